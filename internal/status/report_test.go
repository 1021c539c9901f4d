package status

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

const days = 24 * time.Hour

func everyGrant(jit.Grant) bool { return true }

// reportOf returns the report between two times, as data and as a page.
func reportOf(t testing.TB, l jit.Ledger, from, to time.Time) (r Report, page string) {
	t.Helper()
	head := Head{Ledger: "the-ledger", Root: "the-root", Events: 9, Intact: true}
	r, err := NewReport(t.Context(), l, "payments", Period{from, to, everyGrant}, head, noon)
	if err != nil {
		t.Fatal(err)
	}
	var html strings.Builder
	if err := r.WriteHTML(&html); err != nil {
		t.Fatal(err)
	}
	return r, html.String()
}

func TestReport(t *testing.T) {
	l, _ := day(t)
	policy := func(at time.Duration, name, who string) jit.Event {
		return jit.Event{
			At: noon.Add(at), Kind: jit.EventPolicyChanged, Policy: name, Actor: jit.Actor{Name: who},
		}
	}
	write(t, l, nil, policy(-time.Hour, "oncall", "heidi"))
	write(t, l, nil, jit.Event{At: noon.Add(-time.Hour), Kind: jit.EventDrift, Detail: map[string]string{
		"drift": "came back", "kind": string(jit.DriftViolation), "severity": "critical", "principal": "eve",
		"target": "prod",
	}})
	write(t, l, nil, policy(time.Hour, "tomorrow", ""))
	r, page := reportOf(t, l, noon.Add(-24*time.Hour), noon.Add(time.Second))
	want := ReportTotals{
		Grants: 6, Live: 2, EndedByTime: 2, RevokedEarly: 1, Overdue: 1, Drift: 1, Violations: 1, People: 6,
		Longest: 31 * time.Hour, LongestText: "1 d 7 h",
	}
	if r.Totals != want {
		t.Errorf("totals %+v, want %+v", r.Totals, want)
	}
	checkText(t, "the report", page, []string{
		"user:past@example.com", "carol", "commit abc", "stolen laptop", "over, not removed yet", "oncall", "heidi",
		"came back", "the-root", "requester Alice &lt;Smith&gt;", "&lt;script&gt;", `http-equiv="Content-Security-Policy"`,
	}, []string{"group:sre", "tomorrow", "<script", "http://", "https://"})
	period := Period{r.From, r.To, func(g jit.Grant) bool { return g.Target == "db" }}
	r, err := NewReport(t.Context(), l, "payments", period, Head{}, noon)
	if err != nil || r.Totals.Grants != 1 || r.Totals.Drift != 0 {
		t.Errorf("of one target: %+v, %v", r.Totals, err)
	}
}

// If the clock of one writer is ahead, the events that others wrote after it are still in the report.
func TestReportWithAClockThatIsAhead(t *testing.T) {
	l := &jittest.Ledger{}
	write(t, l, nil, jit.Event{At: noon.Add(time.Hour), Kind: jit.EventPolicyChanged, Policy: "tomorrow"})
	g := record(t, l, "prod", "user:alice@example.com", "INC-1: a", -30*time.Minute, time.Hour, nil)
	write(t, l, nil, jit.Event{At: noon.Add(-30 * time.Minute), Kind: jit.EventRevokeFailed, Grant: g.ID})
	write(t, l, nil, jit.Event{At: noon.Add(-20 * time.Minute), Kind: jit.EventDrift, Grant: g.ID})
	write(t, l, nil, jit.Event{At: noon.Add(-10 * time.Minute), Kind: jit.EventPolicyChanged, Policy: "oncall"})
	r, _ := reportOf(t, l, noon.Add(-time.Hour), noon)
	if r.Totals.Drift != 1 || r.Totals.Failures != 1 || len(r.Policy) != 1 || r.Policy[0].Policy != "oncall" ||
		r.Grants[0].AskedBy != "carol" {
		t.Errorf("got %+v, %+v and %+v", r.Totals, r.Policy, r.Grants)
	}
}

// Access that outlives its end is in the report, however long ago the end was.
func TestReportShowsWhatOutlivedItsEnd(t *testing.T) {
	l := &jittest.Ledger{}
	add := func(who string, start, end time.Duration, by jit.Enforcement, gone time.Duration) {
		record(t, l, "db", who, "INC-1: "+who, start, end, func(g *jit.Grant) {
			g.Enforcement = by
			if gone != 0 {
				g.EndedAt = noon.Add(gone)
			}
		})
	}
	add("stuck", -60*days, -59*days, jit.Sweeper, 0)
	add("late", -60*days, -59*days, jit.Sweeper, -2*days)
	add("punctual", -2*days, -days, jit.Sweeper, -days+time.Second)
	add("tidied", -3*days, -2*days, jit.Native, -days)        // the target ended access; the binding was removed later
	add("long-tidied", -60*days, -59*days, jit.Native, -days) // the target ended access before the period
	add("before", -60*days, -59*days, jit.Sweeper, -40*days)
	r, page := reportOf(t, l, noon.Add(-30*days), noon)
	var got []string
	for _, g := range r.Grants {
		got = append(got, g.Principal)
		if want := g.Principal == "late"; g.Late != want || want && !g.EndedAt.Equal(noon.Add(-2*days)) {
			t.Errorf("%s ended at %s, late: %t", g.Principal, g.EndedAt, g.Late)
		}
	}
	slices.Sort(got)
	want := []string{"late", "punctual", "stuck", "tidied"}
	if !slices.Equal(got, want) || r.Totals.Overdue != 1 || r.Totals.RemovedLate != 1 {
		t.Errorf("the report has %v, %+v, want %v", got, r.Totals, want)
	}
	checkText(t, "the report", page, []string{`removed <time datetime="2026-11-22T12:00:00Z">`}, nil)
}
