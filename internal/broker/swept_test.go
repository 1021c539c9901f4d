package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A plan warns of access that needs a sweeper unless one that serves its owner on its target has passed recently.
func TestWarnsWhereNoSweeperPasses(t *testing.T) {
	tail := time.Hour
	later := func(r *broker.Request) { r.StartsAt = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		name        string
		enforcement jit.Enforcement
		sweep       *jit.Sweep    // the test fills in its time
		ago         time.Duration // of the pass
		later       bool
		policy      *jit.Policy
		want        string // empty: no warning
		tail        bool   // a warning about sessions
	}{
		{name: "none on record", enforcement: jit.Sweeper, want: `cannot end access by itself, and no ` +
			"`jit sweep`" + ` that serves owner "jit" there is on record`, tail: true},
		{name: "one for all owners", enforcement: jit.Sweeper, sweep: &jit.Sweep{Targets: []string{"other", "db"}},
			ago: 9 * time.Minute, tail: true},
		{name: "one for this owner", enforcement: jit.Sweeper, sweep: &jit.Sweep{Owners: jit.Owners{"jit"},
			Targets: []string{"db"}}, tail: true},
		{name: "one for another owner", enforcement: jit.Sweeper, sweep: &jit.Sweep{Owners: jit.Owners{"ads"},
			Targets: []string{"db"}}, want: "on record", tail: true},
		{name: "one for another target", enforcement: jit.Sweeper, sweep: &jit.Sweep{Targets: []string{"other"}},
			want: "on record", tail: true},
		{name: "one long ago", enforcement: jit.Sweeper, sweep: &jit.Sweep{Targets: []string{"db"}},
			ago: 25 * time.Minute, want: `serves owner "jit" there passed 25m ago`, tail: true},
		{name: "the target ends access", enforcement: jit.Native, tail: true},
		{name: "the target ends and does not begin access", enforcement: jit.Native, later: true,
			want: "cannot begin access by itself", tail: true},
		{name: "a sweeper begins and ends access", enforcement: jit.Sweeper, later: true,
			want: "cannot begin or end access by itself", tail: true},
		{name: "a policy without a setting", enforcement: jit.Sweeper, policy: &jit.Policy{}, want: "on record",
			tail: true},
		{name: "a policy permits the sweeper explicitly", enforcement: jit.Sweeper,
			policy: &jit.Policy{SweeperAccepted: true}, tail: true},
		{name: "a policy decides on sessions", enforcement: jit.Sweeper, policy: &jit.Policy{MaxSessionTail: &tail},
			want: "on record"},
		{name: "a policy permits the sweeper, which must begin access", enforcement: jit.Sweeper,
			policy: &jit.Policy{SweeperAccepted: true}, later: true, want: "cannot begin access", tail: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.enforcement)
			w.platform.Traits.SessionTail = time.Hour
			if c.policy != nil {
				c.policy.Name, c.policy.Effect = "p", jit.Permit
				if err := w.ledger.Write(t.Context(), []jit.Entry{{Policy: c.policy}})[0]; err != nil {
					t.Fatal(err)
				}
			}
			if c.sweep != nil {
				c.sweep.At = w.now.Add(-c.ago)
				if err := w.ledger.Swept(t.Context(), *c.sweep); err != nil {
					t.Fatal(err)
				}
			}
			asked := 0
			w.ledger.Call = func(what string) error {
				if what == "swept since" {
					asked++
				}
				return nil
			}
			r := request()
			if c.later {
				later(&r)
			}
			for range 3 {
				p, err := w.Preview(t.Context(), r, true)
				if err != nil {
					t.Fatal(err)
				}
				var unswept, sessions string
				for _, warning := range p.Warnings {
					switch warning.Summary {
					case "No sweeper is at work":
						unswept = warning.Detail
					case "Sessions can outlive the grant":
						sessions = warning.Detail
					}
				}
				if (unswept == "") != (c.want == "") || !strings.Contains(unswept, c.want) ||
					(sessions == "") == c.tail {
					t.Errorf("the warning is %q, want %q; about sessions %q", unswept, c.want, sessions)
				}
			}
			if asked > 1 {
				t.Errorf("the ledger was asked for sweeps %d times", asked)
			}
		})
	}
}
