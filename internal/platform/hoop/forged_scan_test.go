package hoop

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// A user gives a session of their own, of at most 48 hours, the name of a request, and reviewers approve it. The name
// excuses nothing: scan, plan and page list the access as standing beyond max_ttl, whatever grant it names, and a sweep
// does not take it for ours.
func TestAForgedRequestWithinTheLimitIsNotExcused(t *testing.T) {
	for name, id := range map[string]func(live jit.Grant) jit.ID{
		"no grant":        func(jit.Grant) jit.ID { return access("nobody's", time.Hour).Marker.ID },
		"another's grant": func(live jit.Grant) jit.ID { return live.ID },
	} {
		t.Run(name, func(t *testing.T) {
			s, lead, p := askSite(t)
			b := &broker.Broker{
				Ledger:  &jittest.Ledger{},
				Targets: map[string]jit.Platform{"gateway": batch.Share(p, 0, time.Now)},
				Owner:   "jit", MaxTTL: 4 * time.Hour, Now: time.Now,
				Actor: jit.Actor{Name: "test", Source: jit.FromTerraform},
			}
			r := broker.Request{Reason: "INC-1", Renewal: 1, TTL: jit.RecordedTTL("1h"),
				Binding: jit.Binding{Target: "gateway", Principal: bob, Role: connect, Scope: db}}
			_, _ = b.Grant(t.Context(), r) // it waits for the reviewers
			s.Decide(lead, s.Reviews()[0].Session, approved, time.Now())
			live, err := b.Grant(t.Context(), r)
			must(t, err)
			forged := s.forge(lead, alice, jit.Marker{Owner: "jit", ID: id(live)}, maxTTL)

			seen := (&sweeper.Sweeper{Broker: b}).Observe(t.Context(), func(string) bool { return true })
			snap := seen.Snapshots[live.Place()]
			all := seen.Records.Standing(snap, db)
			if len(all) != 1 || all[0].Principal != alice || !strings.Contains(all[0].Detail, "max_ttl") {
				t.Errorf("scan lists %+v, want alice's access of 48 hours", all)
			}
			report := (&sweeper.Sweeper{Broker: b, Holder: "test", MaxUnplanned: 20}).Pass(t.Context())
			told := false
			for _, r := range report.Results {
				told = told || r.Severity == jit.Critical
			}
			if !told {
				t.Errorf("the sweep says %+v, want something critical", report.Results)
			}
			for _, r := range s.Reviews() {
				if r.Status != approved {
					t.Errorf("the sweep has changed %+v", r)
				}
			}
			s.may(t, time.Now(), true, "by the reviewers' approval of "+forged)
		})
	}
}
