package status

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

const (
	allGone    = "Everything that is over is gone"
	noAnswer   = "The ledger does not answer"
	moreHidden = "more are not shown"
)

func TestPageShowsWhoHasAccess(t *testing.T) {
	l, s := day(t)
	page, code, header := pageOf(t, l, s, "/")
	if code != http.StatusOK || header.Get("Content-Security-Policy") == "" {
		t.Errorf("%d, %v", code, header)
	}
	for id, want := range map[string][]string{
		"live": {
			"user:alice@example.com", "INC-1: fail over", "1 h 0 min left", `data-until="2026-11-24T13:00:00Z"`, "bob",
			"1 d 6 h left", "&lt;script&gt;",
		},
		"waiting": {"group:sre", "starts in 1 h 0 min"},
		"ended": {
			"user:dave@example.com", "expired", "user:erin@example.com", "revoked by frank", "stolen laptop",
			"ended 2 h 0 min ago",
		},
		"overdue": {"grace", "connection refused by db", "tried 4 times", "overdue by 10 min 0 s"},
		"drift":   {"critical", "the end was moved", ">repaired<"},
		"timeline": {
			"<title>user:alice@example.com: viewer on projects/payments of prod, from 2026-11-24T11:00:00Z to " +
				"2026-11-24T13:00:00Z (1 h 0 min left). INC-1: fail over</title>", `class="late"`,
		},
	} {
		checkText(t, id, section(page, id), want, nil)
	}
	checkText(t, "the page", page, []string{
		"the scopes of target &#34;gateway&#34;: no answer", "(1 overdue)", "3 unplanned removals of db are held back",
	}, []string{
		"user:past@example.com", "<script>alert", "\u202e", "http://", "https://", " style=", " onclick=",
		"of bastion are held back",
	})
}

// The page shows the actual end of access. A target with native enforcement ended it with the window, however late the
// binding was removed.
func TestPageShowsWhenAccessEnded(t *testing.T) {
	l := &jittest.Ledger{}
	sweeperEnds := func(g *jit.Grant) {
		g.Enforcement = jit.Sweeper
		ended(-30 * time.Minute)(g)
	}
	record(t, l, "db", "late", "INC-1: removed late", -5*time.Hour, -2*time.Hour, sweeperEnds)
	page, _, _ := pageOf(t, l, sweeper.State{}, "/")
	checkText(t, "removed late", section(page, "ended"),
		[]string{`<time datetime="2026-11-24T11:30:00Z">`, "ended 30 min 0 s ago", "expired"}, []string{"10:00:00"})

	l = &jittest.Ledger{}
	record(t, l, "db", "tidied", "INC-2: tidied late", -5*time.Hour, -2*time.Hour, ended(-30*time.Minute))
	page, _, _ = pageOf(t, l, sweeper.State{}, "/")
	checkText(t, "tidied late", section(page, "ended"),
		[]string{`<time datetime="2026-11-24T10:00:00Z">`, "ended 2 h 0 min ago"}, []string{"11:30:00"})
}

// The page says that nothing is amiss only for targets that this process has checked without a finding.
func TestPageSaysWhereNothingIsAmiss(t *testing.T) {
	type passes = map[string]sweeper.Passed
	checked := func(steps int) sweeper.Passed { return sweeper.Passed{At: noon.Add(-time.Minute), Steps: steps} }
	at := jit.Place{Target: "db", Scope: "all"}
	g := jit.Grant{Binding: at.Binding("grace", "")}
	step := reconcile.Step{Kind: reconcile.Report, Place: at, Grant: g, Reason: "it is missing"}
	found := []sweeper.Result{{Step: step}}
	unread := []sweeper.Unread{{Place: at, Since: noon, Err: errors.New("read all of db: no answer")}}
	const (
		amiss = "Nothing amiss on"
		none  = "Not checked by this process:"
		dark  = "Could not be read, or not in full:"
		hides = "The filter hides"
	)
	for name, c := range map[string]struct {
		state       sweeper.State
		path        string
		want, lacks []string
	}{
		"before the first check": {
			sweeper.State{Drift: passes{"bastion": {}, "db": {}}}, "/",
			[]string{none + " bastion, db."}, []string{amiss, dark},
		},
		"all were checked": {
			sweeper.State{Drift: passes{"bastion": {At: noon}, "db": checked(0)}}, "/",
			[]string{amiss + ` bastion, db, as of <time datetime="2026-11-24T11:59:00Z">`}, []string{none, dark},
		},
		"another process checks": {
			sweeper.State{Drift: passes{"bastion": checked(0), "db": {}}}, "/",
			[]string{amiss + " bastion, as of", none + " db."}, []string{dark},
		},
		"a scope cannot be read": {
			sweeper.State{Drift: passes{"bastion": checked(0), "db": checked(0)}, Unread: unread}, "/",
			[]string{amiss + " bastion, as of", dark + " db."}, []string{none},
		},
		"a finding": {
			sweeper.State{Drift: passes{"bastion": checked(0), "db": checked(1)}, Found: found}, "/",
			[]string{amiss + " bastion, as of", "it is missing"}, []string{none, dark, hides},
		},
		"more findings than are kept": {
			sweeper.State{Drift: passes{"bastion": checked(0), "db": checked(1)}}, "/",
			[]string{amiss + " bastion, as of"}, []string{none, dark},
		},
		"the filter hides the finding": {
			sweeper.State{Drift: passes{"db": checked(1)}, Found: found}, "/?principal=alice",
			[]string{hides + " 1 more."}, []string{amiss, "it is missing"},
		},
		"the filter hides a target": {
			sweeper.State{Drift: passes{"bastion": checked(0), "db": checked(0)}}, "/?target=bast",
			[]string{amiss + " bastion, as of"}, []string{"db"},
		},
		"the filter hides all": {
			sweeper.State{Drift: passes{"db": checked(0)}}, "/?target=x",
			[]string{"No target that matches the filter has been checked."}, []string{amiss, none},
		},
	} {
		page, _, _ := pageOf(t, &jittest.Ledger{}, c.state, c.path)
		checkText(t, name, section(page, "drift"), c.want, c.lacks)
	}
}

func TestPageFilters(t *testing.T) {
	l, s := day(t)
	page, _, _ := pageOf(t, l, s, "/?principal=ALICE&target=prod")
	checkText(t, "filtered by principal", page,
		[]string{"user:alice@example.com", `value="ALICE"`}, []string{"group:sre", "grace"})
	page, _, _ = pageOf(t, l, s, "/?principal=%22%3E%3Cscript%3E")
	checkText(t, "a filter that is an attack", page,
		[]string{"Nobody has temporary access that matches the filter"}, []string{`"><script>`})
	if _, code, _ := pageOf(t, l, s, "/?target="+strings.Repeat("x", 300)); code != http.StatusBadRequest {
		t.Errorf("an unclosed filter: %d", code)
	}
}

// The filter offers the owners that there are, and names one as a whole.
func TestPageOfAnOwner(t *testing.T) {
	l, s := day(t)
	record(t, l, "db", "ivan", "INC-9: another owner", -time.Hour, time.Hour, func(g *jit.Grant) { g.Owner = "pay" })
	const none = "No grant in the ledger has the owner"
	page, _, _ := pageOf(t, l, s, "/?owner=pay")
	checkText(t, "of one owner", page, []string{
		"ivan", "<option selected>pay</option><option>payments</option>", "of owner pay", `href="/policies?owner=pay"`,
	}, []string{"user:alice@example.com", none})
	page, _, _ = pageOf(t, l, s, "/?owner=paymentz%22%3E")
	checkText(t, "of an unknown owner", page, []string{
		none + " paymentz&#34;&gt;.", "<option selected>paymentz&#34;&gt;</option>", "Nobody has temporary access that matches",
	}, []string{"ivan", "user:alice@example.com"})
}

// A request that waits for approval is listed with the command that approves it; one that nobody can approve is not.
func TestPageOfRequests(t *testing.T) {
	l := &jittest.Ledger{}
	waits := func(g *jit.Grant) {
		g.TTL, g.GrantedAt, g.FailedAt, g.Awaits = jit.RecordedTTL("2h"), time.Time{}, noon.Add(-time.Minute), "1 of: lea"
	}
	g := record(t, l, "db", "bob", "INC-1: waits", -time.Minute, 2*time.Hour, waits)
	record(t, l, "db", "bob", "INC-2: lapsed", -time.Minute, 2*time.Hour, func(g *jit.Grant) {
		waits(g)
		g.StartBy = noon.Add(-time.Second)
	})
	page, _, _ := pageOf(t, l, sweeper.State{}, "/")
	checkText(t, "the requests", section(page, "requests"), []string{
		"INC-1", "waiting for 1 min 0 s", "1 of: lea", "<code>jit approve " + string(g.ID) + "</code>",
		`<a href="/grants/` + string(g.ID) + `">`,
	}, []string{"INC-2"})
	page, _, _ = pageOf(t, l, sweeper.State{}, "/?owner=search")
	checkText(t, "the requests of another owner", page, nil, []string{"INC-1"})
}

// A filter does not hide that a grant is overdue.
func TestPageFilterHidesNoTrouble(t *testing.T) {
	l, s := day(t)
	page, _, _ := pageOf(t, l, s, "/?principal=alice")
	checkText(t, "filtered by principal", page, []string{
		"1 grant is past the end and not removed yet, 0 of which the filter shows", "<title>(1 overdue)",
	}, []string{allGone})
}

func TestPageSaysWhyAStartFails(t *testing.T) {
	l := &jittest.Ledger{}
	g := record(t, l, "db", "grace", "INC-8: later", -time.Minute, time.Hour, later)
	stuck := []sweeper.Stuck{{Grant: g, Since: g.Start, Attempts: 3, Err: errors.New("refused by db")}}
	page, _, _ := pageOf(t, l, sweeper.State{Stuck: stuck}, "/")
	checkText(t, "the page", page, []string{"refused by db<small>tried 3 times", "was to begin 1 min 0 s ago"}, nil)
}

// Overdue grants of every owner are shown and counted, also those that this daemon cannot end.
func TestEveryOwnerIsShown(t *testing.T) {
	l, s := day(t)
	owner := func(name string) func(*jit.Grant) { return func(g *jit.Grant) { g.Owner = name } }
	record(t, l, "db", "ivan", "INC-9: nobody sweeps", -3*time.Hour, -5*time.Minute, owner("ghosts"))
	record(t, l, "gone", "judy", "INC-10: no such target", -3*time.Hour, -5*time.Minute, owner("search"))
	page, _, _ := pageOf(t, l, s, "/")
	checkText(t, "the page", page, []string{
		"3 grants are past the end", "ivan", "judy", "; owner ghosts", "; owner search", "; owner payments",
		"out of reach of this daemon</td>",
	}, nil)
	page, _, _ = pageOf(t, l, s, "/?owner=ghosts")
	checkText(t, "filtered by owner", page, []string{
		"ivan", "3 grants are past the end and not removed yet, 1 of which the filter shows",
	}, []string{"judy"})
	checkMetrics(t, watching(l, s), []string{"jit_out_of_reach_grants"}, `
		# HELP jit_out_of_reach_grants Overdue grants that this daemon cannot end: it has no such target, or does not serve their owner.
		# TYPE jit_out_of_reach_grants gauge
		jit_out_of_reach_grants{owner="ghosts",target="db"} 1
		jit_out_of_reach_grants{owner="payments",target="bastion"} 0
		jit_out_of_reach_grants{owner="payments",target="db"} 0
		jit_out_of_reach_grants{owner="payments",target="prod"} 0
		jit_out_of_reach_grants{owner="search",target="gone"} 1
	`)
}

// An ended grant with remains is listed separately. It is neither live nor overdue.
func TestCleanupOpenIsNoTrouble(t *testing.T) {
	l := &jittest.Ledger{}
	record(t, l, "db", "kim", "INC-11: cluttered", -3*time.Hour, -time.Hour, func(g *jit.Grant) {
		g.EndedAt, g.Remains = noon.Add(-time.Hour), "role \"jit:a\" cannot be dropped"
	})
	page, _, _ := pageOf(t, l, sweeper.State{}, "/")
	checkText(t, "the page", page, []string{allGone + "."}, nil)
	checkText(t, "the clean-up", section(page, "cleanup"), []string{"kim", "cannot be dropped"}, nil)
	if part := section(page, "overdue"); part != "" {
		t.Errorf("the grant is listed as overdue:\n%s", part)
	}
	checkMetrics(t, watching(l, sweeper.State{}), []string{"jit_cleanup_open", "jit_grants"}, `
		# HELP jit_cleanup_open Grants whose target has confirmed that access ended, and still has something of them that gives no access.
		# TYPE jit_cleanup_open gauge
		jit_cleanup_open{owner="payments",target="db"} 1
		# HELP jit_grants Grants by target, owner and state: live, waiting (to begin, or for the target's confirmation), due (over for less than a minute and not confirmed as gone), overdue (for longer).
		# TYPE jit_grants gauge
		jit_grants{owner="payments",state="due",target="db"} 0
		jit_grants{owner="payments",state="live",target="db"} 0
		jit_grants{owner="payments",state="overdue",target="db"} 0
		jit_grants{owner="payments",state="waiting",target="db"} 0
	`)
}

// If the state does not list all stuck grants, the page does not call the others untried.
func TestPageOfMoreStuckThanAreListed(t *testing.T) {
	l, s := day(t)
	record(t, l, "db", "heidi", "INC-8: stuck too", -3*time.Hour, -5*time.Minute, nil)
	const untried, cut = "not tried yet by this process", "too many fail for this process to list them all"
	page, _, _ := pageOf(t, l, s, "/")
	checkText(t, "a grant that was not tried", page, []string{untried}, []string{cut})
	s.StuckOn["db"] = 2
	page, _, _ = pageOf(t, l, s, "/")
	checkText(t, "a grant that was tried and is not listed", page, []string{cut}, []string{untried})
}

func TestPageShowsTheLatestEnds(t *testing.T) {
	l := &jittest.Ledger{}
	for n := range maxRows + 50 {
		end := -10*time.Hour + time.Duration(n)*time.Minute
		record(t, l, "prod", fmt.Sprintf("user:%03d@example.com", n), "INC-9: done", -11*time.Hour, end, ended(end))
	}
	page, _, _ := pageOf(t, l, sweeper.State{}, "/")
	part := section(page, "ended")
	checkText(t, "the ended", part, []string{"50 " + moreHidden}, []string{"user:049@"})
	if first, last := strings.Index(part, "user:249@"), strings.Index(part, "user:050@"); first < 0 || last < first {
		t.Errorf("the latest end is at %d, the last one that fits at %d:\n%s", first, last, part)
	}
}

// A character that reverses the direction of text is made visible, whatever its source.
func TestPageReversesNoText(t *testing.T) {
	const around = "\u202e"
	l := &jittest.Ledger{}
	g := record(t, l, "db", "eve"+around, "reason"+around, -time.Hour, time.Hour, func(g *jit.Grant) {
		g.Role, g.Scope = "role"+around, "scope"+around
	})
	step := reconcile.Step{Kind: reconcile.Report, Place: g.Place(), Grant: g, Reason: "found" + around}
	found := []sweeper.Result{{Step: step, Err: errors.New("error" + around)}}
	page, _, _ := pageOf(t, l, sweeper.State{Found: found}, "/")
	checkText(t, "the page", page, []string{"found"}, []string{around})
	_, report := reportOf(t, l, noon.Add(-time.Hour), noon)
	checkText(t, "the report", report, []string{"scope"}, []string{around})
}

func TestPageWithoutLedger(t *testing.T) {
	l, s := day(t)
	l.Call = func(string) error { return errors.New("cannot read the ledger") }
	page, code, _ := pageOf(t, l, s, "/")
	checkText(t, "the page", page, []string{noAnswer, "cannot read the ledger"}, []string{allGone})
	if code != http.StatusOK {
		t.Errorf("%d", code)
	}
}

// A ledger that has gone back in time is on the page once, and nothing on it says that all is well.
func TestPageOfALedgerThatWentBackInTime(t *testing.T) {
	behind := fmt.Errorf("event 7 is missing: %w", jit.ErrBehind)
	page, _, _ := pageOf(t, &jittest.Ledger{}, sweeper.State{Behind: behind, Unread: []sweeper.Unread{
		{Place: jit.Place{Target: "db", Scope: "all"}, Since: noon, Err: behind},
		{Place: jit.Place{Target: "db", Scope: "other"}, Since: noon, Err: errors.New("no route to host")},
	}}, "/")
	checkText(t, "the page", page, []string{"The ledger has gone back in time.", "no route to host"}, []string{allGone})
	if n := strings.Count(page, "event 7 is missing"); n != 1 {
		t.Errorf("the page says %d times what is missing", n)
	}
}

func TestPageOfMany(t *testing.T) {
	l := &jittest.Ledger{}
	reason := strings.Repeat("x", 500)
	for n := range 10_000 {
		end := time.Hour + time.Duration(n)*time.Second
		record(t, l, "prod", fmt.Sprintf("user:%d@example.com", n), reason, -time.Hour, end, nil)
	}
	began := time.Now()
	page, _, _ := pageOf(t, l, sweeper.State{}, "/")
	t.Logf("a page of 10,000 grants: %s, %d KB", time.Since(began), len(page)>>10)
	rows := strings.Count(page, "<tr>")
	if !strings.Contains(page, "9800 "+moreHidden) || rows > maxRows+10 || len(page) > 1<<20 {
		t.Errorf("%d rows, %d bytes", rows, len(page))
	}
}

func TestPageOfASilentLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		page, code, _ := pageOf(t, &silent{}, sweeper.State{}, "/")
		checkText(t, "the page", page, []string{noAnswer}, []string{allGone})
		if took := time.Since(began); took > answerTimeout/2 || code != http.StatusOK {
			t.Errorf("%d after %s", code, took)
		}
	})
}

// If the page cannot be rendered, the log has the reason once, and the answer does not have it.
func TestPageThatCannotBeMade(t *testing.T) {
	before := pages
	t.Cleanup(func() { pages = before })
	broken := template.Must(template.New("page.html.tmpl").Parse("{{.NoSuchField}}"))
	pages = func() *template.Template { return broken }
	var log bytes.Buffer
	s := newServer(t, Access{})
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	w := httptest.NewRecorder()
	s.page(w, httptest.NewRequest(http.MethodGet, "/?principal=alice", nil))
	checkText(t, "the answer", w.Body.String(), []string{"could not be made"}, []string{"NoSuchField"})
	checkText(t, "the log", log.String(), []string{"level=ERROR", "NoSuchField"}, []string{"alice"})
	if lines := strings.Count(log.String(), "\n"); w.Code != http.StatusInternalServerError || lines != 1 {
		t.Errorf("%d, %d lines of log", w.Code, lines)
	}
}

// Bindings with the marker of an owner that is not served are listed and counted separately. They do not count as
// findings of the target.
func TestForeignBindingsAreListedApart(t *testing.T) {
	at := jit.Place{Target: "db", Scope: "all"}
	g := jit.Grant{
		ID: "3f2b8c1e-0000-8000-8000-00000000abcd", Owner: "elsewhere", Binding: at.Binding("mallory", "reader"),
	}
	foreign := sweeper.Result{Step: reconcile.Drifted(reconcile.Report, at, g, jit.DriftUnexplained, "another ledger")}
	foreign.Foreign = true
	s := sweeper.State{
		Drift: map[string]sweeper.Passed{"db": {At: noon}, "bastion": {At: noon}}, Found: []sweeper.Result{foreign},
	}
	page, _, _ := pageOf(t, &jittest.Ledger{}, s, "/")
	checkText(t, "the drift", section(page, "drift"), []string{
		`Drift <span class="n">0</span>`, "leaves them alone", "mallory", "another ledger",
		"Nothing else amiss on bastion, db",
	}, nil)
	m := watching(&jittest.Ledger{}, s)
	m.begin("db", "memory")
	m.Stepped(foreign, -1)
	checkMetrics(t, m, []string{"jit_unexplained_bindings"}, `
		# HELP jit_unexplained_bindings Bindings with the marker of an owner that is not served, which the ledger does not explain, found by the last drift pass; at most 100 of a scope.
		# TYPE jit_unexplained_bindings gauge
		jit_unexplained_bindings{target="bastion"} 0
		jit_unexplained_bindings{target="db"} 1
	`)
	drift := testutil.ToFloat64(m.drift.WithLabelValues("db", string(jit.DriftUnexplained), string(jit.Critical)))
	if drift != 0 {
		t.Errorf("jit_drift_total counts %v of them", drift)
	}
}
