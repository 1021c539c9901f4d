package approval_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// all is an event of the chain of all.
func all(seq int64, at time.Time, kind jit.EventKind, policy string, detail map[string]string) jit.Event {
	return jit.Event{Chain: jit.AllChain, Seq: seq, At: at, Kind: kind, Policy: policy, Detail: detail}
}

// faults are what a trial finds in an event about a grant, beside a record.
func faults(record []jit.Event, e jit.Event) string {
	var h approval.History
	for _, r := range record {
		h.Add(r)
	}
	e.Grant = "g"
	h.Add(e)
	t, account := approval.Trial{History: &h, Ledger: ledgerID}, &jit.Account{}
	account.Add(e)
	t.Add(e, account)
	return strings.Join(t.Faults, "; ")
}

// Promise 11: an event knows no rule that was recorded after it, whatever the time that the rule bears. Clocks decide
// only for events from before there were several chains.
func TestRulesThatAnEventCannotKnow(t *testing.T) {
	signer := newSigner(t)
	bob := jit.Person{Name: "bob@example.com", SigningKeys: []string{line(signer.PublicKey())}}
	approved := sign(t, statement(grant(), bob.Name), grant(), signer).Details()
	early, late := noon.Add(-2*time.Hour), noon.Add(time.Minute)
	own := func(p jit.Policy) map[string]string {
		facts := p.Facts()
		facts[jit.RunDetail] = "own"
		return facts
	}
	for name, c := range map[string]struct {
		second jit.Event
		event  jit.Event
		// says is found if the event was recorded before the second one; otherwise nothing is.
		says string
	}{
		"a policy that comes later": {
			all(2, late, jit.EventPolicyChanged, "late", jit.Policy{Name: "late"}.Facts()),
			jit.Event{Kind: jit.EventDecided, Policy: "late"}, "which was not in force"},
		"a policy that comes later with an earlier time": {
			all(2, early, jit.EventPolicyChanged, "late", jit.Policy{Name: "late"}.Facts()),
			jit.Event{Kind: jit.EventDecided, Policy: "late"}, "which was not in force"},
		"a policy of the run itself": {
			all(2, late, jit.EventPolicyChanged, "late", own(jit.Policy{Name: "late"})),
			jit.Event{Kind: jit.EventDecided, Policy: "late", Detail: map[string]string{jit.RunDetail: "own"}}, ""},
		"the removal of the policy": {
			all(2, late, jit.EventPolicyRemoved, "prod", nil), jit.Event{Kind: jit.EventDecided}, "which was not in force"},
		"a person that comes later": {
			all(2, late, jit.EventPersonChanged, "", bob.Facts()),
			jit.Event{Kind: jit.EventApproved, Detail: approved}, "did not belong to bob@example.com then"},
	} {
		t.Run(name, func(t *testing.T) {
			first := all(1, early, jit.EventPolicyChanged, "prod", jit.Policy{Name: "prod"}.Facts())
			second := c.second
			e := c.event
			e.Chain, e.Seq, e.At, e.After = "payments", 1, noon, 2
			if found := faults([]jit.Event{first, second}, e); found != "" {
				t.Errorf("recorded after it: found %q", found)
			}
			e.After = 1
			found := faults([]jit.Event{first, second}, e)
			if c.says == "" && found != "" || !strings.Contains(found, c.says) {
				t.Errorf("recorded before it: found %q, want %q", found, c.says)
			}
			first.Chain, second.Chain, e.Chain, e.After = "", "", "", 0
			if found := faults([]jit.Event{first, second}, e); found != "" {
				t.Errorf("from before there were several chains: found %q", found)
			}
		})
	}
}

// Of two grants of different owners, the events of all that each follows say who broke the glass first.
func TestWhoBrokeTheGlassFirst(t *testing.T) {
	broke := func(chain string, after int64, id jit.ID) jit.Event {
		return jit.Event{Chain: chain, Seq: 1, After: after, At: noon, Kind: jit.EventBreakGlass, Grant: id,
			Detail: map[string]string{"requester": "bob"}}
	}
	signedOff := func(after int64) jit.Event {
		e := broke("search", after, "first")
		e.Seq, e.Kind = 2, jit.EventGrantFailed
		return e
	}
	first := func(after int64) jit.Event { return broke("search", after, "first") }
	for name, c := range map[string]struct {
		record []jit.Event
		again  jit.Event
		found  bool
	}{
		"again":                        {[]jit.Event{first(1)}, broke("payments", 2, "g"), true},
		"at once, and nothing tells":   {[]jit.Event{first(1)}, broke("payments", 1, "g"), false},
		"before":                       {[]jit.Event{first(2)}, broke("payments", 1, "g"), false},
		"the first was closed in time": {[]jit.Event{first(1), signedOff(2)}, broke("payments", 3, "g"), false},
		"the first was closed later":   {[]jit.Event{first(1), signedOff(3)}, broke("payments", 2, "g"), true},
	} {
		if found := faults(c.record, c.again); (found != "") != c.found {
			t.Errorf("%s: found %q", name, found)
		}
	}
}
