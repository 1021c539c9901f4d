package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// noon is the moment of the pages of these tests.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// record puts a grant on record; change alters it before.
func record(t testing.TB, l *jittest.Ledger, target, who, reason string, start, end time.Duration, change func(*jit.Grant)) jit.Grant {
	t.Helper()
	b := jit.Binding{Target: target, Principal: who, Role: "viewer", Scope: "projects/payments"}
	g := jit.Grant{ID: jit.NewID("payments", b, reason, 1), Owner: "payments", Binding: b, Reason: reason, Renewal: 1, Enforcement: jit.Native,
		Window: jit.Window{Start: noon.Add(start), End: noon.Add(end)}, RequestedAt: noon.Add(start), GrantedAt: noon.Add(start)}
	if change != nil {
		change(&g)
	}
	e := jit.Event{At: g.RequestedAt, Kind: jit.EventRequested, Grant: g.ID, Actor: jit.Actor{Name: "carol", Change: "commit abc", Source: jit.FromTerraform}}
	if err := l.Write(t.Context(), []jit.Entry{{Grant: &g, Events: []jit.Event{e}}})[0]; err != nil {
		t.Fatal(err)
	}
	return g
}

// day is a ledger with a grant of every kind, and the state of a watcher.
func day(t testing.TB) (*jittest.Ledger, sweeper.State) {
	l := &jittest.Ledger{}
	record(t, l, "prod", "user:alice@example.com", "INC-1: fail over", -time.Hour, time.Hour, nil)
	record(t, l, "bastion", "bob", `INC-2: <script>alert("x")</script>`+" \u202edesrever", -time.Hour, 30*time.Hour, nil)
	record(t, l, "prod", "group:sre", "CHG-3: later", time.Hour, 2*time.Hour, func(g *jit.Grant) { g.RequestedAt, g.GrantedAt = noon, time.Time{} })
	record(t, l, "prod", "user:dave@example.com", "INC-4: done", -5*time.Hour, -2*time.Hour, func(g *jit.Grant) { g.EndedAt = noon.Add(-2 * time.Hour) })
	record(t, l, "prod", "user:erin@example.com", "INC-5: done early", -5*time.Hour, time.Hour, func(g *jit.Grant) {
		g.RevokedAt, g.EndedAt, g.RevokedBy, g.RevokeReason = noon.Add(-4*time.Hour), noon.Add(-4*time.Hour), "frank", "stolen laptop"
	})
	record(t, l, "prod", "user:past@example.com", "INC-6: yesterday", -40*time.Hour, -20*time.Hour, func(g *jit.Grant) { g.EndedAt = noon.Add(-20 * time.Hour) })
	stuck := record(t, l, "db", "grace", "INC-7: stuck", -3*time.Hour, -10*time.Minute, nil)
	return l, sweeper.State{
		Started: noon.Add(-time.Hour), LastPoll: noon, Due: sweeper.Passed{At: noon},
		Drift: map[string]sweeper.Passed{
			"bastion": {At: noon.Add(-time.Minute)}, "db": {At: noon.Add(-2 * time.Minute), Steps: 4, Held: 3}, "gateway": {}, "prod": {At: noon.Add(-3 * time.Minute)},
		},
		Stuck: []sweeper.Stuck{{Grant: stuck, Since: stuck.End, Attempts: 4, Err: errors.New("connection refused by db")}}, StuckOn: map[string]int{"db": 1},
		Found:  []sweeper.Result{{Step: reconcile.Step{Kind: reconcile.Repair, Place: stuck.Place(), Grant: stuck, Reason: "the end was moved", Drift: jit.DriftEndLater, Severity: jit.Critical}}},
		Unread: []sweeper.Unread{{Place: jit.Place{Target: "gateway"}, Since: noon, Err: errors.New(`list the scopes of target "gateway": no answer`)}},
	}
}

// sourceOf is a watcher that serves every owner but ghosts, on every target but gone.
func sourceOf(l jit.Ledger, now func() time.Time, s sweeper.State) Source {
	beyond := func(owner, target string) string {
		if owner == "ghosts" || target == "gone" {
			return "out of reach of this daemon"
		}
		return ""
	}
	return Source{Ledger: l, OutOfReach: beyond, Now: now, State: func() sweeper.State { return s }}
}

func pageOf(t *testing.T, l jit.Ledger, s sweeper.State, path string) (page string, code int, header http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	Page(sourceOf(l, func() time.Time { return noon }, s)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Body.String(), w.Code, w.Header()
}

// section returns the part of a page under a heading.
func section(t *testing.T, page, id string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `<section aria-labelledby="`+id+`">`)
	if !ok {
		return ""
	}
	part, _, _ := strings.Cut(rest, "</section>")
	return part
}

func TestPageTellsWhoHasAccess(t *testing.T) {
	l, s := day(t)
	page, code, header := pageOf(t, l, s, "/")
	if code != http.StatusOK || header.Get("Content-Security-Policy") == "" {
		t.Errorf("%d, %v", code, header)
	}
	for id, want := range map[string][]string{
		"live":     {"user:alice@example.com", "INC-1: fail over", "1 h 0 min left", `data-until="2026-11-24T13:00:00Z"`, "bob", "1 d 6 h left", "&lt;script&gt;"},
		"waiting":  {"group:sre", "starts in 1 h 0 min"},
		"ended":    {"user:dave@example.com", "expired", "user:erin@example.com", "revoked by frank", "stolen laptop"},
		"overdue":  {"grace", "connection refused by db", "tried 4 times", "ended 10 min 0 s ago"},
		"drift":    {"critical", "the end was moved", "repair"},
		"timeline": {"<title>user:alice@example.com: viewer on projects/payments of prod, from 2026-11-24T11:00:00Z to 2026-11-24T13:00:00Z (1 h 0 min left). INC-1: fail over</title>", `class="late"`},
	} {
		part := section(t, page, id)
		for _, text := range want {
			if !strings.Contains(part, text) {
				t.Errorf("the section %s does not tell %q:\n%s", id, text, part)
			}
		}
	}
	for _, not := range []string{"user:past@example.com", "<script>alert", "\u202e", "http://", "https://", " style=", " onclick="} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %q", not)
		}
	}
	if !strings.Contains(page, "the scopes of target &#34;gateway&#34;: no answer") || !strings.Contains(page, "(1 overdue)") {
		t.Error("the page does not tell what could not be read, or its title not what is overdue")
	}
	if !strings.Contains(page, "3 unplanned removals of db are held back") || strings.Contains(page, "of bastion are held back") {
		t.Error("the page does not tell what is held back, and where")
	}
}

// The page says that nothing is amiss where this process has looked and found nothing, and of nowhere else.
func TestPageTellsWhereNothingIsAmiss(t *testing.T) {
	looked := func(steps int) sweeper.Passed { return sweeper.Passed{At: noon.Add(-time.Minute), Steps: steps} }
	at := jit.Place{Target: "db", Scope: "all"}
	g := jit.Grant{Binding: jit.Binding{Target: "db", Scope: "all", Principal: "grace"}}
	found := []sweeper.Result{{Step: reconcile.Step{Kind: reconcile.Report, Place: at, Grant: g, Reason: "it is missing"}}}
	unread := []sweeper.Unread{{Place: at, Since: noon, Err: errors.New("read all of db: no answer")}}
	const amiss, none, dark, hides = "Nothing amiss on", "Not checked by this process:", "Could not be read, or not in full:", "The filter hides"
	for name, c := range map[string]struct {
		state sweeper.State
		path  string
		want  []string
		not   []string
	}{
		"it has just begun": {sweeper.State{Drift: map[string]sweeper.Passed{"bastion": {}, "db": {}}}, "/", []string{none + " bastion, db."}, []string{amiss, dark}},
		"all were looked at": {sweeper.State{Drift: map[string]sweeper.Passed{"bastion": {At: noon}, "db": looked(0)}}, "/",
			[]string{amiss + ` bastion, db, as of <time datetime="2026-11-24T11:59:00Z">`}, []string{none, dark}},
		"another process looks": {sweeper.State{Drift: map[string]sweeper.Passed{"bastion": looked(0), "db": {}}}, "/", []string{amiss + " bastion, as of", none + " db."}, []string{dark}},
		"a scope cannot be read": {sweeper.State{Drift: map[string]sweeper.Passed{"bastion": looked(0), "db": looked(0)}, Unread: unread}, "/",
			[]string{amiss + " bastion, as of", dark + " db."}, []string{none}},
		"something was found": {sweeper.State{Drift: map[string]sweeper.Passed{"bastion": looked(0), "db": looked(1)}, Found: found}, "/",
			[]string{amiss + " bastion, as of", "it is missing"}, []string{none, dark, hides}},
		"more was found than is kept": {sweeper.State{Drift: map[string]sweeper.Passed{"bastion": looked(0), "db": looked(1)}}, "/", []string{amiss + " bastion, as of"}, []string{none, dark}},
		"the filter hides what was found": {sweeper.State{Drift: map[string]sweeper.Passed{"db": looked(1)}, Found: found}, "/?principal=alice",
			[]string{hides + " 1 more."}, []string{amiss, "it is missing"}},
		"the filter hides a target": {sweeper.State{Drift: map[string]sweeper.Passed{"bastion": looked(0), "db": looked(0)}}, "/?target=bast", []string{amiss + " bastion, as of"}, []string{"db"}},
		"the filter hides all":      {sweeper.State{Drift: map[string]sweeper.Passed{"db": looked(0)}}, "/?target=x", []string{"No target that matches the filter has been checked."}, []string{amiss, none}},
	} {
		page, _, _ := pageOf(t, &jittest.Ledger{}, c.state, c.path)
		part := section(t, page, "drift")
		for _, text := range c.want {
			if !strings.Contains(part, text) {
				t.Errorf("%s: it does not say %q:\n%s", name, text, part)
			}
		}
		for _, text := range c.not {
			if strings.Contains(part, text) {
				t.Errorf("%s: it says %q:\n%s", name, text, part)
			}
		}
	}
}

func TestPageFilters(t *testing.T) {
	l, s := day(t)
	page, _, _ := pageOf(t, l, s, "/?principal=ALICE&target=prod")
	if !strings.Contains(page, "user:alice@example.com") || strings.Contains(page, "group:sre") || strings.Contains(page, "grace") || !strings.Contains(page, `value="ALICE"`) {
		t.Errorf("filtered by principal:\n%s", page)
	}
	page, _, _ = pageOf(t, l, s, "/?principal=%22%3E%3Cscript%3E")
	if !strings.Contains(page, "Nobody has temporary access that matches the filter") || strings.Contains(page, `"><script>`) {
		t.Errorf("a filter that is an attack:\n%s", page)
	}
	if _, code, _ := pageOf(t, l, s, "/?target="+strings.Repeat("x", 300)); code != http.StatusBadRequest {
		t.Errorf("a filter without end: %d", code)
	}
}

// A filter hides no trouble.
func TestPageFilterHidesNoTrouble(t *testing.T) {
	l, s := day(t)
	page, _, _ := pageOf(t, l, s, "/?principal=alice")
	if !strings.Contains(page, "1 grant is past the end and not removed yet, 0 of which the filter shows") || !strings.Contains(page, "<title>(1 overdue)") || strings.Contains(page, "Everything that is over is gone") {
		t.Errorf("what is overdue is hidden by a filter:\n%s", page)
	}
}

func TestPageTellsWhyAStartFails(t *testing.T) {
	l := &jittest.Ledger{}
	g := record(t, l, "db", "grace", "INC-8: later", -time.Minute, time.Hour, func(g *jit.Grant) { g.RequestedAt, g.GrantedAt = noon.Add(-time.Hour), time.Time{} })
	page, _, _ := pageOf(t, l, sweeper.State{Stuck: []sweeper.Stuck{{Grant: g, Since: g.Start, Attempts: 3, Err: errors.New("refused by db")}}}, "/")
	if !strings.Contains(page, "refused by db<small>tried 3 times") {
		t.Errorf("the page does not tell why a grant has not begun:\n%s", page)
	}
}

// What is overdue is shown and counted whoever owns it, also where this daemon cannot end it.
func TestEveryOwnerIsTold(t *testing.T) {
	l, s := day(t)
	record(t, l, "db", "ivan", "INC-9: nobody sweeps", -3*time.Hour, -5*time.Minute, func(g *jit.Grant) { g.Owner = "ghosts" })
	record(t, l, "gone", "judy", "INC-10: no such target", -3*time.Hour, -5*time.Minute, func(g *jit.Grant) { g.Owner = "search" })
	page, _, _ := pageOf(t, l, s, "/")
	for _, text := range []string{"3 grants are past the end", "ivan", "judy", "; owner ghosts", "; owner search", "; owner payments", "out of reach of this daemon</td>"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %q:\n%s", text, section(t, page, "overdue"))
		}
	}
	if page, _, _ = pageOf(t, l, s, "/?owner=ghosts"); !strings.Contains(page, "ivan") || strings.Contains(page, "judy") || !strings.Contains(page, "3 grants are past the end and not removed yet, 1 of which the filter shows") {
		t.Errorf("filtered by owner:\n%s", section(t, page, "overdue"))
	}
	m := NewMetrics("1.2.3")
	m.Watch(sourceOf(l, func() time.Time { return noon }, s))
	want := `
		# HELP jit_out_of_reach_grants Overdue grants that this daemon cannot end: it has no such target, or does not serve their owner.
		# TYPE jit_out_of_reach_grants gauge
		jit_out_of_reach_grants{owner="ghosts",target="db"} 1
		jit_out_of_reach_grants{owner="payments",target="bastion"} 0
		jit_out_of_reach_grants{owner="payments",target="db"} 0
		jit_out_of_reach_grants{owner="payments",target="prod"} 0
		jit_out_of_reach_grants{owner="search",target="gone"} 1
	`
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), "jit_out_of_reach_grants"); err != nil {
		t.Error(err)
	}
}

// What has ended and is not cleaned up is told apart: it is neither live nor overdue.
func TestCleanupOpenIsNoTrouble(t *testing.T) {
	l := &jittest.Ledger{}
	record(t, l, "db", "kim", "INC-11: cluttered", -3*time.Hour, -time.Hour, func(g *jit.Grant) {
		g.EndedAt, g.Remains = noon.Add(-time.Hour), "role \"jit:a\" cannot be dropped"
	})
	page, _, _ := pageOf(t, l, sweeper.State{}, "/")
	if part := section(t, page, "cleanup"); !strings.Contains(part, "kim") || !strings.Contains(part, "cannot be dropped") || !strings.Contains(page, "Everything that is over is gone.") || section(t, page, "overdue") != "" {
		t.Errorf("the page:\n%s", page)
	}
	m := NewMetrics("1.2.3")
	m.Watch(sourceOf(l, func() time.Time { return noon }, sweeper.State{}))
	want := `
		# HELP jit_cleanup_open Grants whose access has ended, which their target has confirmed, and of which something that gives none is left there.
		# TYPE jit_cleanup_open gauge
		jit_cleanup_open{owner="payments",target="db"} 1
		# HELP jit_grants Grants by target, owner and state: live, waiting (to begin, or for its confirmation), due (over for less than a minute, and its end not confirmed), overdue (for longer).
		# TYPE jit_grants gauge
		jit_grants{owner="payments",state="due",target="db"} 0
		jit_grants{owner="payments",state="live",target="db"} 0
		jit_grants{owner="payments",state="overdue",target="db"} 0
		jit_grants{owner="payments",state="waiting",target="db"} 0
	`
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), "jit_cleanup_open", "jit_grants"); err != nil {
		t.Error(err)
	}
}

// Of more that are stuck than the state lists nobody is told that they were not tried.
func TestPageOfMoreStuckThanAreListed(t *testing.T) {
	l, s := day(t)
	record(t, l, "db", "heidi", "INC-8: stuck too", -3*time.Hour, -5*time.Minute, nil)
	const untried, cut = "not tried yet by this process", "too many fail for this process to list them all"
	if page, _, _ := pageOf(t, l, s, "/"); !strings.Contains(page, untried) || strings.Contains(page, cut) {
		t.Errorf("of a grant that was not tried:\n%s", section(t, page, "overdue"))
	}
	s.StuckOn["db"] = 2
	if page, _, _ := pageOf(t, l, s, "/"); strings.Contains(page, untried) || !strings.Contains(page, cut) {
		t.Errorf("of a grant that was tried and is not listed:\n%s", section(t, page, "overdue"))
	}
}

// Of many that ended the latest are shown.
func TestPageShowsTheLatestEnds(t *testing.T) {
	l := &jittest.Ledger{}
	for n := range maxRows + 50 {
		record(t, l, "prod", fmt.Sprintf("user:%03d@example.com", n), "INC-9: done", -11*time.Hour, -10*time.Hour+time.Duration(n)*time.Minute, func(g *jit.Grant) { g.EndedAt = g.End })
	}
	page, _, _ := pageOf(t, l, sweeper.State{}, "/")
	_, ended, _ := strings.Cut(page, `id="ended"`)
	first, last := strings.Index(ended, "user:249@"), strings.Index(ended, "user:050@")
	if first < 0 || last < first || strings.Contains(ended, "user:049@") || !strings.Contains(ended, "50 more are not shown") {
		t.Errorf("the latest is at %d, the last that fits at %d:\n%s", first, last, ended)
	}
}

// Nothing turns a text around, wherever it comes from.
func TestPageTurnsNothingAround(t *testing.T) {
	const around = "\u202e"
	l := &jittest.Ledger{}
	g := record(t, l, "db", "eve"+around, "reason"+around, -time.Hour, time.Hour, func(g *jit.Grant) { g.Role, g.Scope = "role"+around, "scope"+around })
	s := sweeper.State{Found: []sweeper.Result{{Step: reconcile.Step{Kind: reconcile.Report, Place: g.Place(), Grant: g, Reason: "found" + around}, Err: errors.New("error" + around)}}}
	page, _, _ := pageOf(t, l, s, "/")
	r, err := NewReport(t.Context(), l, "payments", Period{From: noon.Add(-time.Hour), To: noon, Wanted: func(jit.Grant) bool { return true }}, Head{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	var report strings.Builder
	if err := r.WriteHTML(&report); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page, "found") || strings.Contains(page, around) || !strings.Contains(report.String(), "scope") || strings.Contains(report.String(), around) {
		t.Error("a text can be turned around")
	}
}

func TestPageWithoutLedger(t *testing.T) {
	l, s := day(t)
	l.Call = func(string) error { return errors.New("cannot read the ledger") }
	page, code, _ := pageOf(t, l, s, "/")
	if code != http.StatusOK || !strings.Contains(page, "The ledger does not answer") || !strings.Contains(page, "cannot read the ledger") || strings.Contains(page, "Everything that is over is gone") {
		t.Errorf("%d:\n%s", code, page)
	}
}

func TestPageOfMany(t *testing.T) {
	l := &jittest.Ledger{}
	for n := range 10_000 {
		record(t, l, "prod", fmt.Sprintf("user:%d@example.com", n), strings.Repeat("x", 500), -time.Hour, time.Hour+time.Duration(n)*time.Second, nil)
	}
	began := time.Now()
	page, _, _ := pageOf(t, l, sweeper.State{}, "/")
	t.Logf("a page of 10,000 grants: %s, %d KB", time.Since(began), len(page)>>10)
	if !strings.Contains(page, "9800 more are not shown") || strings.Count(page, "<tr>") > maxRows+10 || len(page) > 1<<20 {
		t.Errorf("%d rows, %d bytes", strings.Count(page, "<tr>"), len(page))
	}
}

func TestReport(t *testing.T) {
	l, _ := day(t)
	for _, e := range []jit.Event{
		{At: noon.Add(-time.Hour), Kind: jit.EventPolicyChanged, Policy: "oncall", Actor: jit.Actor{Name: "heidi"}},
		{At: noon.Add(-time.Hour), Kind: jit.EventDrift, Detail: map[string]string{"drift": "came back", "kind": string(jit.DriftViolation), "severity": "critical", "principal": "eve", "target": "prod"}},
		{At: noon.Add(time.Hour), Kind: jit.EventPolicyChanged, Policy: "tomorrow"},
	} {
		l.Write(t.Context(), []jit.Entry{{Events: []jit.Event{e}}})
	}
	period := Period{From: noon.Add(-24 * time.Hour), To: noon.Add(time.Second), Wanted: func(jit.Grant) bool { return true }}
	r, err := NewReport(t.Context(), l, "payments", period, Head{Ledger: "the-ledger", Hash: "the-hash", Seq: 9, Intact: true}, noon)
	if err != nil {
		t.Fatal(err)
	}
	want := ReportTotals{Grants: 6, Live: 2, EndedByTime: 2, RevokedEarly: 1, Overdue: 1, Drift: 1, Violations: 1, People: 6, Longest: 31 * time.Hour, LongestText: "1 d 7 h"}
	if r.Totals != want {
		t.Errorf("totals %+v, want %+v", r.Totals, want)
	}
	var page strings.Builder
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"user:past@example.com", "carol", "commit abc", "stolen laptop", "over, not removed yet", "oncall", "heidi", "came back", "the-hash", "&lt;script&gt;", `http-equiv="Content-Security-Policy"`} {
		if !strings.Contains(page.String(), text) {
			t.Errorf("the report does not tell %q", text)
		}
	}
	for _, not := range []string{"group:sre", "tomorrow", "<script", "http://", "https://"} {
		if strings.Contains(page.String(), not) {
			t.Errorf("the report has %q", not)
		}
	}
	period.Wanted = func(g jit.Grant) bool { return g.Target == "db" }
	if r, err := NewReport(t.Context(), l, "payments", period, Head{}, noon); err != nil || r.Totals.Grants != 1 || r.Totals.Drift != 0 {
		t.Errorf("of one target: %+v, %v", r.Totals, err)
	}
}

// The clock of one writer is ahead: what others wrote after it is told all the same.
func TestReportWithAClockThatIsAhead(t *testing.T) {
	l := &jittest.Ledger{}
	ahead := jit.Event{At: noon.Add(time.Hour), Kind: jit.EventPolicyChanged, Policy: "tomorrow"}
	if err := l.Write(t.Context(), []jit.Entry{{Events: []jit.Event{ahead}}})[0]; err != nil {
		t.Fatal(err)
	}
	g := record(t, l, "prod", "user:alice@example.com", "INC-1: a", -30*time.Minute, time.Hour, nil)
	period := Period{From: noon.Add(-time.Hour), To: noon, Wanted: func(jit.Grant) bool { return true }}
	for _, e := range []jit.Event{
		{At: noon.Add(-30 * time.Minute), Kind: jit.EventRevokeFailed, Grant: g.ID},
		{At: noon.Add(-20 * time.Minute), Kind: jit.EventDrift, Grant: g.ID},
		{At: noon.Add(-10 * time.Minute), Kind: jit.EventPolicyChanged, Policy: "oncall"},
	} {
		if err := l.Write(t.Context(), []jit.Entry{{Events: []jit.Event{e}}})[0]; err != nil {
			t.Fatal(err)
		}
	}
	r, err := NewReport(t.Context(), l, "payments", period, Head{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	if r.Totals.Drift != 1 || r.Totals.Failures != 1 || len(r.Policy) != 1 || r.Policy[0].Policy != "oncall" || r.Grants[0].AskedBy != "carol" {
		t.Errorf("got %d drift, %d failures, %+v and %+v", r.Totals.Drift, r.Totals.Failures, r.Policy, r.Grants)
	}
}

// Access that outlives its end is access, however long ago the end was.
func TestReportTellsWhatOutlivedItsEnd(t *testing.T) {
	const days = 24 * time.Hour
	l := &jittest.Ledger{}
	by := func(e jit.Enforcement, ended time.Duration) func(*jit.Grant) {
		return func(g *jit.Grant) {
			g.Enforcement = e
			if ended != 0 {
				g.EndedAt = noon.Add(ended)
			}
		}
	}
	record(t, l, "db", "stuck", "INC-1: still there", -60*days, -59*days, by(jit.Sweeper, 0))
	record(t, l, "db", "late", "INC-2: went within the period", -60*days, -59*days, by(jit.Sweeper, -2*days))
	record(t, l, "db", "punctual", "INC-3: went on time", -2*days, -days, by(jit.Sweeper, -days+time.Second))
	record(t, l, "db", "tidied", "INC-4: the target ended it, the rest went later", -3*days, -2*days, by(jit.Native, -days))
	record(t, l, "db", "long-tidied", "INC-5: ended by the target before the period", -60*days, -59*days, by(jit.Native, -days))
	record(t, l, "db", "before", "INC-6: gone before the period", -60*days, -59*days, by(jit.Sweeper, -40*days))
	r, err := NewReport(t.Context(), l, "payments", Period{From: noon.Add(-30 * days), To: noon, Wanted: func(jit.Grant) bool { return true }}, Head{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range r.Grants {
		got = append(got, g.Principal)
		if want := g.Principal == "late"; g.Late != want || want && !g.EndedAt.Equal(noon.Add(-2*days)) {
			t.Errorf("%s ended at %s, late: %t", g.Principal, g.EndedAt, g.Late)
		}
	}
	slices.Sort(got)
	if want := []string{"late", "punctual", "stuck", "tidied"}; !slices.Equal(got, want) || r.Totals.Overdue != 1 || r.Totals.RemovedLate != 1 {
		t.Errorf("the report has %v, %+v, want %v", got, r.Totals, want)
	}
	var page strings.Builder
	if err := r.WriteHTML(&page); err != nil || !strings.Contains(page.String(), `removed <time datetime="2026-11-22T12:00:00Z">`) {
		t.Errorf("%v:\n%s", err, page.String())
	}
}

// silent is a ledger that does not answer; it counts who asks for counts.
type silent struct {
	jit.Ledger
	asked int
}

func (l *silent) Counts(ctx context.Context, _ jit.Owners, _ time.Time) ([]jit.Count, error) {
	l.asked++
	<-ctx.Done()
	return nil, ctx.Err()
}

func (*silent) Grants(ctx context.Context, _ jit.Filter) iter.Seq2[jit.Grant, error] {
	return func(yield func(jit.Grant, error) bool) {
		<-ctx.Done()
		yield(jit.Grant{}, ctx.Err())
	}
}

// A ledger that is silent is told before who asks gives up, and is not asked again by everybody who does.
func TestMetricsOfASilentLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &silent{}
		var state sweeper.State
		m := NewMetrics("1.2.3")
		source := sourceOf(l, time.Now, state)
		source.State = func() sweeper.State { return state }
		m.Watch(source)
		scrape := func(asked int, most time.Duration) {
			t.Helper()
			began := time.Now()
			err := testutil.GatherAndCompare(m.registry, strings.NewReader("# HELP jit_ledger_up Whether the ledger answered the last look at it.\n# TYPE jit_ledger_up gauge\njit_ledger_up 0\n"), "jit_ledger_up", "jit_grants")
			if took := time.Since(began); err != nil || l.asked != asked || took > most {
				t.Errorf("it took %s, and the ledger was asked %d times, want at most %s and %d: %v", took, l.asked, most, asked, err)
			}
		}
		scrape(1, 5*time.Second)
		time.Sleep(10 * time.Second)
		scrape(1, 0)
		time.Sleep(10 * time.Second)
		scrape(2, 5*time.Second)
		time.Sleep(time.Minute)
		state.LedgerError = errors.New("no answer") // the watcher has seen it too
		scrape(2, 0)
	})
}

func TestPageOfASilentLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		page, code, _ := pageOf(t, &silent{}, sweeper.State{}, "/")
		if took := time.Since(began); took > answerTimeout/2 || code != http.StatusOK || !strings.Contains(page, "The ledger does not answer") || strings.Contains(page, "Everything that is over is gone") {
			t.Errorf("%d after %s:\n%s", code, took, page)
		}
	})
}

// serve starts a server and returns its address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	listener, err := s.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func newServer(t *testing.T, a Access) *Server {
	l, state := day(t)
	source := sourceOf(l, func() time.Time { return noon }, state)
	m := NewMetrics("1.2.3")
	m.Watch(source)
	return &Server{Access: a, Page: Page(source), Metrics: m, State: source.State, Interval: time.Minute, Now: source.Now}
}

func ask(t *testing.T, url string, change func(*http.Request)) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestWhoMayLook(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	user := func(r *http.Request) { r.Header.Set("X-Forwarded-User", "alice") }
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, c := range map[string]struct {
		access Access
		change func(*http.Request)
		want   int
	}{
		"loopback":                              {Access{}, nil, 200},
		"a page elsewhere points its name here": {Access{}, func(r *http.Request) { r.Host = "evil.example.com" }, 421},
		"no token":                              {Access{Token: token}, nil, 401},
		"a wrong token":                         {Access{Token: token}, bearer(token[1:]), 401},
		"the token":                             {Access{Token: token}, bearer(token), 200},
		"the token, any name":                   {Access{Token: token}, func(r *http.Request) { bearer(token)(r); r.Host = "jit.example.com" }, 200},
		"the proxy":                             {Access{ProxyHeader: "X-Forwarded-User", Proxies: here}, user, 200},
		"the proxy does not say who":            {Access{ProxyHeader: "X-Forwarded-User", Proxies: here}, nil, 401},
		"somebody else sets the header":         {Access{ProxyHeader: "X-Forwarded-User", Proxies: elsewhere}, user, 401},
		"an empty token is no token":            {Access{ProxyHeader: "X-Forwarded-User", Proxies: here}, bearer(""), 401},
	} {
		t.Run(name, func(t *testing.T) {
			c.access.Listen = "127.0.0.1:0"
			base := "http://" + serve(t, newServer(t, c.access))
			for _, path := range []string{"/", "/metrics"} {
				code, body := ask(t, base+path, c.change)
				if code != c.want {
					t.Errorf("%s: %d, want %d", path, code, c.want)
				}
				if code != http.StatusOK && strings.Contains(body, "alice") {
					t.Errorf("%s tells: %s", path, body)
				}
			}
			if code, body := ask(t, base+"/healthz", nil); code != http.StatusOK || body != "ok\n" {
				t.Errorf("/healthz: %d %s", code, body)
			}
		})
	}
}

func TestAccessRefuses(t *testing.T) {
	for want, a := range map[string]Access{
		"is not an address with a port":         {Listen: "8085"},
		`"127.0.0.1:65536" is not an address`:   {Listen: "127.0.0.1:65536"},
		`"127.0.0.1:htpp" is not an address`:    {Listen: "127.0.0.1:htpp"},
		"can be reached from elsewhere":         {Listen: "0.0.0.0:8085"},
		"[::]:8085 can be reached":              {Listen: "[::]:8085"},
		"10.0.0.7:8085 can be reached":          {Listen: "10.0.0.7:8085"},
		"the token has 5 characters":            {Listen: "0.0.0.0:8085", Token: "short"},
		"a character that a header cannot bear": {Listen: "0.0.0.0:8085", Token: "0123456789abcdef\n"},
		"anybody could set the header":          {Listen: "0.0.0.0:8085", ProxyHeader: "X-User"},
	} {
		if _, err := a.Check(); !errors.Is(err, jit.ErrInvalid) || !strings.Contains(err.Error(), want) || a.Token != "" && strings.Contains(err.Error(), a.Token) {
			t.Errorf("%+v: %v, want %q", a, err, want)
		}
	}
	for _, listen := range []string{":8085", "localhost:8085", "[::1]:8085"} {
		if address, err := (Access{Listen: listen}).Check(); err != nil || listen == ":8085" && address != "127.0.0.1:8085" {
			t.Errorf("%s: %s, %v", listen, address, err)
		}
	}
}

// An address that may be had later is no mistake in the settings: whoever starts the daemon may start it again.
func TestListenOnWhatMayBeHadLater(t *testing.T) {
	taken := serve(t, newServer(t, Access{Listen: "127.0.0.1:0"}))
	listener, err := newServer(t, Access{Listen: taken}).Listen(t.Context())
	if err == nil {
		_ = listener.Close()
	}
	if err == nil || errors.Is(err, jit.ErrInvalid) || !strings.Contains(err.Error(), "cannot listen on "+taken) || !strings.Contains(err.Error(), "write another address") {
		t.Errorf("taken: %v", err)
	}
	for _, c := range []struct {
		err     error
		invalid bool
	}{
		{os.NewSyscallError("bind", syscall.EADDRINUSE), false},
		{os.NewSyscallError("bind", syscall.EADDRNOTAVAIL), false},
		{&net.DNSError{Err: "no such host", Name: "jit.example.com", IsNotFound: true}, false},
		{os.NewSyscallError("bind", syscall.EACCES), true},
	} {
		if err := notHad("192.0.2.1:80", &net.OpError{Op: "listen", Net: "tcp", Err: c.err}); errors.Is(err, jit.ErrInvalid) != c.invalid || !strings.Contains(err.Error(), c.err.Error()) {
			t.Errorf("%v: %v", c.err, err)
		}
	}
}

func TestHealth(t *testing.T) {
	s := newServer(t, Access{})
	get := func(path string, state sweeper.State) (int, string) {
		s.State = func() sweeper.State { return state }
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	for name, c := range map[string]struct {
		state         sweeper.State
		health, ready string
	}{
		"it has just begun":        {sweeper.State{Started: noon}, "ok", "starting"},
		"it works":                 {sweeper.State{Started: noon, LastPoll: noon, Due: sweeper.Passed{At: noon}}, "ok", "ok"},
		"the ledger is gone":       {sweeper.State{LastPoll: noon, Due: sweeper.Passed{At: noon}, LedgerError: errors.New("gone: postgres://secret")}, "ok", "ledger"},
		"it has stopped to look":   {sweeper.State{LastPoll: noon.Add(-5 * time.Minute), Due: sweeper.Passed{At: noon}}, "stalled", "ok"},
		"it looks, without effect": {sweeper.State{LastPoll: noon.Add(-3 * time.Minute), Due: sweeper.Passed{At: noon.Add(-time.Hour)}}, "ok", "ok"},
	} {
		for path, want := range map[string]string{"/healthz": c.health, "/readyz": c.ready} {
			code, body := get(path, c.state)
			if body != want || (code == http.StatusOK) != (want == "ok") {
				t.Errorf("%s: %s: %d %s, want %s", name, path, code, body, want)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	s := newServer(t, Access{})
	m := s.Metrics
	g := jit.Grant{Binding: jit.Binding{Target: "db", Scope: "all", Principal: "alice"}}
	step := func(kind reconcile.Kind, drift jit.DriftKind, err error) sweeper.Result {
		return sweeper.Result{Step: reconcile.Step{Kind: kind, Place: g.Place(), Grant: g, Drift: drift, Severity: drift.Severity()}, Err: err}
	}
	m.Stepped(step(reconcile.End, "", nil), 700*time.Millisecond)
	m.Stepped(step(reconcile.End, "", errors.New("no")), -1)
	m.Stepped(step(reconcile.Repair, jit.DriftEndLater, nil), -1)
	m.Passed("due", sweeper.Passed{At: noon.Add(time.Minute), Took: time.Millisecond})
	p := m.Wrap("db", &jittest.Platform{Now: func() time.Time { return noon }})
	p.Apply(t.Context(), "all", []jit.Change{{Op: jit.Remove, Access: g.Access()}})
	_, _ = p.Read(t.Context(), "all")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Read(cancelled, "all"); err == nil {
		t.Error("a read that was cancelled succeeded")
	}
	want := `
		# HELP jit_last_pass_timestamp_seconds When the last complete pass began, or the daemon where it has made none.
		# TYPE jit_last_pass_timestamp_seconds gauge
		jit_last_pass_timestamp_seconds{pass="drift"} 1.7955216e+09
		jit_last_pass_timestamp_seconds{pass="due"} 1.79552166e+09
		# HELP jit_grants Grants by target, owner and state: live, waiting (to begin, or for its confirmation), due (over for less than a minute, and its end not confirmed), overdue (for longer).
		# TYPE jit_grants gauge
		jit_grants{owner="payments",state="due",target="bastion"} 0
		jit_grants{owner="payments",state="due",target="db"} 0
		jit_grants{owner="payments",state="due",target="prod"} 0
		jit_grants{owner="payments",state="live",target="bastion"} 1
		jit_grants{owner="payments",state="live",target="db"} 0
		jit_grants{owner="payments",state="live",target="prod"} 1
		jit_grants{owner="payments",state="overdue",target="bastion"} 0
		jit_grants{owner="payments",state="overdue",target="db"} 1
		jit_grants{owner="payments",state="overdue",target="prod"} 0
		jit_grants{owner="payments",state="waiting",target="bastion"} 0
		jit_grants{owner="payments",state="waiting",target="db"} 0
		jit_grants{owner="payments",state="waiting",target="prod"} 1
		# HELP jit_stuck_grants Grants whose end or start failed and is tried again.
		# TYPE jit_stuck_grants gauge
		jit_stuck_grants{target="db"} 1
		# HELP jit_ledger_up Whether the ledger answered the last look at it.
		# TYPE jit_ledger_up gauge
		jit_ledger_up 1
		# HELP jit_held_removals Unplanned removals of the last drift pass that max_unplanned_revocations kept from being done.
		# TYPE jit_held_removals gauge
		jit_held_removals{target="bastion"} 0
		jit_held_removals{target="db"} 3
		jit_held_removals{target="prod"} 0
		# HELP jit_target_calls_total Calls to targets by operation (scopes, read, apply).
		# TYPE jit_target_calls_total counter
		jit_target_calls_total{operation="apply",platform="memory",target="db"} 1
		jit_target_calls_total{operation="read",platform="memory",target="db"} 2
		jit_target_calls_total{operation="scopes",platform="memory",target="db"} 0
		# HELP jit_target_errors_total Calls to targets that failed, or of which a change failed.
		# TYPE jit_target_errors_total counter
		jit_target_errors_total{operation="apply",platform="memory",target="db"} 0
		jit_target_errors_total{operation="read",platform="memory",target="db"} 1
		jit_target_errors_total{operation="scopes",platform="memory",target="db"} 0
	`
	names := []string{"jit_last_pass_timestamp_seconds", "jit_grants", "jit_stuck_grants", "jit_ledger_up", "jit_held_removals", "jit_target_calls_total", "jit_target_errors_total"}
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Host = "localhost:8085"
	s.handler().ServeHTTP(w, r)
	for _, text := range []string{`jit_revocation_lag_seconds_bucket{le="0.5"} 0`, `jit_revocation_lag_seconds_bucket{le="1"} 1`, "jit_pass_duration_seconds_count{pass=\"drift\"} 0", "jit_pass_duration_seconds_count{pass=\"due\"} 1", `jit_build_info{version="1.2.3"} 1`, "go_goroutines",
		`jit_drift_total{kind="end_later",severity="critical",target="db"} 1`, `jit_drift_total{kind="missing",severity="info",target="db"} 0`,
		`jit_steps_total{kind="end",result="done",target="db"} 1`, `jit_steps_total{kind="end",result="failed",target="db"} 1`,
		`jit_steps_total{kind="repair",result="done",target="db"} 1`, `jit_steps_total{kind="remove",result="failed",target="db"} 0`} {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("/metrics does not tell %s", text)
		}
	}
	for _, not := range []string{"alice", "INC-", "projects/"} {
		if strings.Contains(w.Body.String(), not) {
			t.Errorf("/metrics tells %s", not)
		}
	}
}

// What bears the marker of an owner that is not served is listed apart, counts by itself, and makes no target unclean.
func TestWhatIsForeignIsListedApart(t *testing.T) {
	g := jit.Grant{ID: "3f2b8c1e-0000-8000-8000-00000000abcd", Owner: "elsewhere", Binding: jit.Binding{Target: "db", Principal: "mallory", Role: "reader", Scope: "all"}}
	foreign := sweeper.Result{Step: reconcile.Step{Kind: reconcile.Report, Place: g.Place(), Grant: g, Reason: "another ledger", Drift: jit.DriftUnexplained, Severity: jit.Critical, Foreign: true}}
	s := sweeper.State{Drift: map[string]sweeper.Passed{"db": {At: noon}, "bastion": {At: noon}}, Found: []sweeper.Result{foreign}}
	page, _, _ := pageOf(t, &jittest.Ledger{}, s, "/")
	drift := section(t, page, "drift")
	for _, text := range []string{`Drift <span class="n">0</span>`, "leaves them alone", "mallory", "another ledger", "Nothing else amiss on bastion, db"} {
		if !strings.Contains(drift, text) {
			t.Errorf("the page does not tell %q:\n%s", text, drift)
		}
	}
	m := NewMetrics("1.2.3")
	m.begin("db", "memory")
	m.Watch(sourceOf(&jittest.Ledger{}, func() time.Time { return noon }, s))
	m.Stepped(foreign, -1)
	want := `
		# HELP jit_unexplained_bindings Bindings with the marker of an owner that is not served, which the ledger does not explain, as of the last drift pass; of one scope 100 are counted at most.
		# TYPE jit_unexplained_bindings gauge
		jit_unexplained_bindings{target="bastion"} 0
		jit_unexplained_bindings{target="db"} 1
	`
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), "jit_unexplained_bindings"); err != nil {
		t.Error(err)
	}
	if n := testutil.ToFloat64(m.drift.WithLabelValues("db", string(jit.DriftUnexplained), string(jit.Critical))); n != 0 {
		t.Errorf("jit_drift_total counts %v of them", n)
	}
}
