package status

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// A report says who decided what on each request, also on those that gave nothing.
func TestReportOfDecisions(t *testing.T) {
	l := &jittest.Ledger{}
	nothing := func(g *jit.Grant) { g.GrantedAt, g.FailedAt = time.Time{}, g.Start }
	add := func(reason string, change func(*jit.Grant)) jit.Grant {
		return record(t, l, "db", "bob", reason, -2*time.Hour, -time.Hour, change)
	}
	both, denied, late, broke := add("INC-1: two people", nil), add("INC-2: denied", nothing),
		add("INC-3: nobody came", nothing), add("SEV1-1: down", nil)
	elsewhere := record(t, l, "prod", "bob", "INC-4: elsewhere", -time.Hour, time.Hour, nil)
	for n, e := range []struct {
		kind   jit.EventKind
		grant  jit.Grant
		detail map[string]string
	}{
		{jit.EventApproved, both, map[string]string{"person": "lea", "requester": "bob", "evidence": "signature", "text": "secret"}},
		{jit.EventApproved, both, map[string]string{"person": "leo", "requester": "bob", "evidence": "pull_request"}},
		{jit.EventDecided, both, map[string]string{"approved_by": "lea, leo"}},
		{jit.EventDenied, denied, map[string]string{"person": "leo", "comment": "<not> now"}},
		{jit.EventLapsed, late, map[string]string{"awaits": "1 of: lea, leo", "why": "it had to begin by noon"}},
		{jit.EventBreakGlass, broke, map[string]string{"requester": "bob", "skipped": "1 of: lea"}},
		{jit.EventSignedOff, broke, map[string]string{"person": "lea"}},
		{jit.EventApproved, elsewhere, map[string]string{"person": "eve"}},
	} {
		write(t, l, nil, jit.Event{At: noon.Add(time.Duration(n)*time.Minute - 2*time.Hour), Kind: e.kind, Grant: e.grant.ID, Detail: e.detail})
	}
	period := Period{noon.Add(-24 * time.Hour), noon, func(g jit.Grant) bool { return g.Target == "db" }}
	r, err := NewReport(t.Context(), l, "payments", period, Head{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r.Decisions)
	if err != nil {
		t.Fatal(err)
	}
	want := []ReportedDecision{
		{Kind: jit.EventApproved, Grant: both.ID, Person: "lea", Requester: "bob", Evidence: "signature"},
		{Kind: jit.EventApproved, Grant: both.ID, Person: "leo", Requester: "bob", Evidence: "pull_request"},
		{Kind: jit.EventDenied, Grant: denied.ID, Person: "leo", Comment: "<not> now"},
		{Kind: jit.EventLapsed, Grant: late.ID, Awaits: "1 of: lea, leo", Why: "it had to begin by noon"},
		{Kind: jit.EventBreakGlass, Grant: broke.ID, Requester: "bob", Awaits: "1 of: lea"},
		{Kind: jit.EventSignedOff, Grant: broke.ID, Person: "lea"},
	}
	if len(r.Decisions) != len(want) {
		t.Fatalf("%s\nwant %d decisions", text, len(want))
	}
	for i, d := range r.Decisions {
		if d.Summary == "" || d.At.IsZero() {
			t.Errorf("%+v does not say what it is about", d)
		}
		if d.Summary, d.At = "", (time.Time{}); d != want[i] {
			t.Errorf("got %+v, want %+v", d, want[i])
		}
	}
	_, page := reportOf(t, l, noon.Add(-24*time.Hour), noon)
	checkText(t, "the report", section(page, "decisions"), []string{
		"INC-1: two people", "approved", "lea", "leo", "by pull request", "INC-2: denied", "&lt;not&gt; now",
		"INC-3: nobody came", "lapsed", "it had to begin by noon", "began without approval", "signed off",
	}, []string{"secret"})
	checkText(t, "the grants", section(page, "grants"), []string{"approved by lea, leo"}, []string{"INC-3"})
}
