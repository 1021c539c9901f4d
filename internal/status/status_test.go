package status

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// noon is the time of the pages in these tests.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func atNoon() time.Time { return noon }

// record records a grant that change has altered.
func record(
	t testing.TB, l *jittest.Ledger, target, who, reason string, start, end time.Duration, change func(*jit.Grant),
) jit.Grant {
	t.Helper()
	b := jit.Binding{Target: target, Principal: who, Role: "viewer", Scope: "projects/payments"}
	g := jit.Grant{
		ID: jit.NewID("payments", b, reason, 1), Owner: "payments", Binding: b, Reason: reason, Renewal: 1,
		Enforcement: jit.Native, Window: jit.Window{Start: noon.Add(start), End: noon.Add(end)},
		RequestedAt: noon.Add(start), GrantedAt: noon.Add(start),
	}
	if change != nil {
		change(&g)
	}
	carol := jit.Actor{Name: "carol", Change: "commit abc", Source: jit.FromTerraform}
	write(t, l, &g, jit.Event{At: g.RequestedAt, Kind: jit.EventRequested, Grant: g.ID, Actor: carol})
	return g
}

func write(t testing.TB, l *jittest.Ledger, g *jit.Grant, e jit.Event) {
	t.Helper()
	if err := l.Write(t.Context(), []jit.Entry{{Grant: g, Events: []jit.Event{e}}})[0]; err != nil {
		t.Fatal(err)
	}
}

// ended returns a change that sets a grant's confirmed end.
func ended(at time.Duration) func(*jit.Grant) {
	return func(g *jit.Grant) { g.EndedAt = noon.Add(at) }
}

// later returns a change that sets a grant's beginning after its request.
func later(g *jit.Grant) { g.RequestedAt, g.GrantedAt = noon.Add(-time.Hour), time.Time{} }

// day returns a ledger with a grant of every kind, and a watcher's state.
func day(t testing.TB) (*jittest.Ledger, sweeper.State) {
	l := &jittest.Ledger{}
	const alice, script = "user:alice@example.com", `<script>alert("x")</script>`
	record(t, l, "prod", alice, "INC-1: fail over", -time.Hour, time.Hour, nil)
	record(t, l, "bastion", "bob", "INC-2: "+script+" \u202edesrever", -time.Hour, 30*time.Hour,
		func(g *jit.Grant) { g.Requester = "Alice <Smith>" })
	record(t, l, "prod", "group:sre", "CHG-3: later", time.Hour, 2*time.Hour, later)
	record(t, l, "prod", "user:dave@example.com", "INC-4: done", -5*time.Hour, -2*time.Hour, ended(-2*time.Hour))
	record(t, l, "prod", "user:erin@example.com", "INC-5: done early", -5*time.Hour, time.Hour, func(g *jit.Grant) {
		g.RevokedAt, g.EndedAt = noon.Add(-4*time.Hour), noon.Add(-4*time.Hour)
		g.RevokedBy, g.RevokeReason = "frank", "stolen laptop"
	})
	const past = "user:past@example.com"
	record(t, l, "prod", past, "INC-6: yesterday", -40*time.Hour, -20*time.Hour, ended(-20*time.Hour))
	stuck := record(t, l, "db", "grace", "INC-7: stuck", -3*time.Hour, -10*time.Minute, nil)
	found := reconcile.Drifted(reconcile.Repair, stuck.Place(), stuck, jit.DriftEndLater, "the end was moved")
	return l, sweeper.State{
		Started: noon.Add(-time.Hour), LastPoll: noon, Due: sweeper.Passed{At: noon},
		Drift: map[string]sweeper.Passed{
			"bastion": {At: noon.Add(-time.Minute)}, "db": {At: noon.Add(-2 * time.Minute), Steps: 4, Held: 3},
			"gateway": {}, "prod": {At: noon.Add(-3 * time.Minute)},
		},
		Stuck: []sweeper.Stuck{
			{Grant: stuck, Since: stuck.End, Attempts: 4, Err: errors.New("connection refused by db")},
		},
		StuckOn: map[string]int{"db": 1},
		Found:   []sweeper.Result{{Step: found}},
		Unread: []sweeper.Unread{{
			Place: jit.Place{Target: "gateway"}, Since: noon,
			Err: errors.New(`list the scopes of target "gateway": no answer`),
		}},
	}
}

// sourceOf is a watcher that serves every owner except ghosts, on every target except gone.
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
	server := &Server{Source: sourceOf(l, atNoon, s), Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics("test")}
	w := httptest.NewRecorder()
	server.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
	return w.Body.String(), w.Code, w.Header()
}

// section returns the part of a page under a heading.
func section(page, id string) string {
	_, rest, _ := strings.Cut(page, `<section aria-labelledby="`+id+`">`)
	part, _, _ := strings.Cut(rest, "</section>")
	return part
}

// checkText fails the test if a text lacks one of wants or has one of nots.
func checkText(t testing.TB, what, text string, has, lacks []string) {
	t.Helper()
	for _, want := range has {
		if !strings.Contains(text, want) {
			t.Errorf("%s: the text does not say %q:\n%s", what, want, text)
		}
	}
	for _, not := range lacks {
		if strings.Contains(text, not) {
			t.Errorf("%s: the text says %q:\n%s", what, not, text)
		}
	}
}

// silent is a ledger that does not answer. It counts the calls of Counts.
type silent struct {
	jit.Ledger
	asked int
}

func (l *silent) Counts(ctx context.Context, _ jit.Owners, _ time.Time) ([]jit.Count, error) {
	l.asked++
	<-ctx.Done()
	return nil, ctx.Err()
}

func (*silent) Owners(ctx context.Context) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (*silent) Grants(ctx context.Context, _ jit.Filter) iter.Seq2[jit.Grant, error] {
	return func(yield func(jit.Grant, error) bool) {
		<-ctx.Done()
		yield(jit.Grant{}, ctx.Err())
	}
}
