package sweeper_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/postgresql"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// clockServers are PostgreSQL servers whose clocks can be set: a target, and a ledger.
type clockServers struct{ target, ledger *testenv.WrongClock }

// realClocks is a grant's world with real servers. Time passes on all of its clocks at once, and then each may be wrong.
type realClocks struct {
	*testing.T
	clockServers
	url    string // of the ledger
	db     *pgx.Conn
	prefix string
	passed time.Duration
	// ours, theirs and shared are how wrong the clocks of this machine, the target and the ledger's server are.
	ours, theirs, shared time.Duration
	// daemon has watchers in the place of sweeps.
	daemon bool
	reads  atomic.Int64
	// told is what processes said about the clocks.
	told error
}

func newRealClocks(t *testing.T, servers clockServers) *realClocks {
	t.Helper()
	w := &realClocks{T: t, clockServers: servers, prefix: "r" + strings.ToLower(rand.Text()[:10]) + "_"}
	w.url = "sqlite://" + filepath.Join(t.TempDir(), "ledger.db")
	if w.ledger != nil {
		w.url = w.ledger.Database(t)
	}
	w.set()
	var err error
	if w.db, err = pgx.Connect(t.Context(), w.target.URL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close(context.Background()) })
	w.exec(fmt.Sprintf("CREATE ROLE %sreader NOLOGIN", w.prefix))
	for _, name := range []string{"alice", "bob", "carol", "dave"} {
		w.exec(fmt.Sprintf("CREATE ROLE %s LOGIN", w.prefix+name))
	}
	return w
}

func (w *realClocks) exec(statement string) {
	w.Helper()
	if _, err := w.db.Exec(w.Context(), statement); err != nil {
		w.Fatalf("%s: %v", statement, err)
	}
}

func (w *realClocks) now() time.Time { return time.Now().Add(w.passed + w.ours) }

// set sets the servers' clocks.
func (w *realClocks) set() {
	w.target.SetClock(w, w.passed+w.theirs)
	if w.ledger != nil {
		w.ledger.SetClock(w, w.passed+w.shared)
	}
}

func (w *realClocks) pass(d time.Duration) {
	w.passed += d
	w.set()
}

// process is a new process, which knows nothing yet.
func (w *realClocks) process() *broker.Broker {
	w.Helper()
	l, err := ledger.Open(w.Context(), ledger.Config{URL: w.url, Now: w.now})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = l.Close() })
	p, err := postgresql.New(postgresql.Config{URL: w.target.URL}, jit.Services{Now: w.now})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(p.Close)
	p.OnCall = func(string) { w.reads.Add(1) }
	return &broker.Broker{Ledger: l, Targets: map[string]jit.Platform{"db": p}, Owner: "jit", MaxTTL: 24 * time.Hour,
		Now: w.now, Actor: jit.Actor{Name: "test", Source: jit.FromTerraform}}
}

func (w *realClocks) ask(who, ttl string) broker.Request {
	return broker.Request{Reason: "INC-1: look", Renewal: 1, TTL: jit.RecordedTTL(ttl), Binding: jit.Binding{
		Target: "db", Principal: w.prefix + who, Role: w.prefix + "reader", Scope: "cluster"}}
}

func (w *realClocks) grant(r broker.Request) jit.Grant {
	w.Helper()
	g, err := w.process().Grant(w.Context(), r)
	if err != nil {
		w.Fatal(err)
	}
	return g
}

// has reports whether a person has the role now.
func (w *realClocks) has(who string) (has bool) {
	w.Helper()
	if err := w.db.QueryRow(w.Context(), "SELECT pg_has_role($1, $2, 'USAGE')", w.prefix+who, w.prefix+"reader").
		Scan(&has); err != nil {
		w.Fatal(err)
	}
	return has
}

// want returns what is wrong if not exactly these people have access.
func (w *realClocks) want(people ...string) (wrong string) {
	w.Helper()
	for _, who := range []string{"alice", "bob", "carol", "dave"} {
		wanted := strings.Contains(strings.Join(people, " "), who)
		if got := w.has(who); got != wanted {
			wrong += fmt.Sprintf("access of %s is %t, want %t; ", who, got, wanted)
		}
	}
	return wrong
}

// sweep sweeps with a new process until exactly these people have access: once, or as a daemon.
func (w *realClocks) sweep(when string, people ...string) {
	w.Helper()
	b := w.process()
	s := sweeper.Sweeper{Broker: b, Holder: rand.Text(), MaxUnplanned: 20}
	if !w.daemon {
		w.told = errors.Join(w.told, errors.Join(s.Pass(w.Context()).Unread...))
		if wrong := w.want(people...); wrong != "" {
			w.Errorf("%s: %s", when, wrong)
		}
		return
	}
	watcher := &sweeper.Watcher{Sweeper: s, Leases: b.Ledger.(*ledger.Ledger).Leases(), Observer: unheard{},
		Interval: time.Second, DriftInterval: time.Second}
	before := w.reads.Load()
	stop := run(w.T, watcher)
	defer stop()
	right := w.ours == 0 && w.theirs == 0 && w.shared == 0
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		state, told := watcher.State(), error(nil)
		for _, u := range state.Unread {
			told = errors.Join(told, u.Err)
		}
		told = errors.Join(told, state.ClockError)
		wrong := w.want(people...)
		if looked := w.reads.Load() >= before+2; wrong == "" && looked && (right || told != nil) {
			w.told = errors.Join(w.told, told)
			return
		}
		if time.Now().After(deadline) {
			w.Errorf("%s, a minute later: %s the daemon says %v", when, wrong, told)
			return
		}
	}
}

// unheard is an observer that keeps nothing.
type unheard struct{}

func (unheard) Stepped(sweeper.Result, time.Duration) {}
func (unheard) Passed(string, sweeper.Passed)         {}

// refused fails the test unless the error says in words that the clocks disagree.
func (w *realClocks) refused(what string, err error) {
	w.Helper()
	var user *jit.Error
	if !errors.Is(err, jit.ErrSkew) || !errors.As(err, &user) || !strings.Contains(err.Error(), "this machine says") ||
		!strings.Contains(user.Hint, "NTP") {
		w.Errorf("%s: %v, want words about the clocks", what, err)
	}
}

// One clock of three, or of two beside a ledger in a file, is wrong by a day or by minutes. Nothing begins, changes or
// is repaired by it. Where two clocks agree against the third, each grant ends at its end, neither early nor late. A
// target against a machine whose ledger is a file decides what is over there, as the design says. Everything is said in
// words, and done once the clock is right.
func TestOneRealClockIsWrong(t *testing.T) {
	file := clockServers{target: testenv.PostgresWithClock(t)}
	server := clockServers{file.target, testenv.PostgresWithClock(t)}
	for _, daemon := range []bool{false, true} {
		for _, wrong := range []time.Duration{24 * time.Hour, -24 * time.Hour, 2 * time.Minute, -2 * time.Minute} {
			if daemon && wrong.Abs() < time.Hour {
				continue // a daemon's passes decide as any pass does, and its cases take much longer
			}
			for _, c := range []struct {
				name    string
				servers clockServers
				set     func(w *realClocks)
				// decides is how wrong the clock is that decides what is over.
				decides time.Duration
			}{
				{"the target's, beside a file", file, func(w *realClocks) { w.theirs = wrong }, wrong},
				{"ours, beside a file", file, func(w *realClocks) { w.ours = wrong }, 0},
				{"the target's", server, func(w *realClocks) { w.theirs = wrong }, 0},
				{"ours", server, func(w *realClocks) { w.ours = wrong }, 0},
				{"the ledger's", server, func(w *realClocks) { w.shared = wrong }, 0},
			} {
				t.Run(fmt.Sprintf("%s by %s, daemon %t", c.name, wrong, daemon), func(t *testing.T) {
					w := newRealClocks(t, c.servers)
					w.daemon = daemon
					oneClockIsWrong(w, func() { c.set(w) }, c.decides)
				})
			}
		}
	}
}

func oneClockIsWrong(w *realClocks, set func(), decides time.Duration) {
	live, repaired := w.grant(w.ask("alice", "2h")), w.grant(w.ask("bob", "4h"))
	begins := w.ask("carol", "4h")
	begins.StartsAt = jit.Second(w.now().Add(time.Hour))
	w.grant(begins)
	w.pass(10 * time.Minute)
	w.exec(fmt.Sprintf(`REVOKE "jit:%s:jit" FROM %s`, repaired.ID, w.prefix+"bob"))
	if wrong := w.want("alice"); wrong != "" {
		w.Fatalf("before: %s", wrong)
	}

	set()
	w.set()
	b := w.process()
	if _, err := b.Preview(w.Context(), w.ask("dave", "2h"), true); err != nil {
		w.refused("a plan", err)
	}
	_, err := b.Grant(w.Context(), w.ask("dave", "2h"))
	w.refused("an apply", err)
	for _, ttl := range []string{"3h", "1h"} {
		g, err := w.process().Change(w.Context(), live, w.ask("alice", ttl))
		if !live.Over(w.now()) {
			w.refused("a change", err)
		}
		if !g.End.Equal(live.End) {
			w.Errorf("the change to %s leads to the end %s, want %s", ttl, g.End, live.End)
		}
	}
	atFirst := []string{"alice"}
	if decides > 2*time.Hour {
		atFirst = nil // over by the clock that decides
	}
	w.sweep("inside the window", atFirst...)
	w.pass(time.Hour)
	w.sweep("past a beginning", atFirst...)
	w.pass(time.Until(live.End) - w.passed + time.Minute)
	if decides > -time.Minute {
		atFirst = nil
	}
	w.sweep("past the end", atFirst...)
	w.refused("the sweeps", w.told)

	w.ours, w.theirs, w.shared = 0, 0, 0
	w.pass(5 * time.Minute) // the leases of the passes before are over
	if decides > 4*time.Hour {
		w.sweep("right again, when the others are over", "carol")
	} else {
		w.sweep("right again", "bob", "carol")
	}
	w.recorded(live, 1)
}

// recorded fails the test unless the record is intact and has one end of the grant.
func (w *realClocks) recorded(g jit.Grant, ends int) {
	w.Helper()
	l := w.process().Ledger.(*ledger.Ledger)
	n := 0
	for e, err := range jit.AllEvents(w.Context(), l) {
		if err != nil {
			w.Fatal(err)
		}
		if e.Grant == g.ID && (e.Kind == jit.EventExpired || e.Kind == jit.EventRevoked) {
			n++
		}
	}
	if n != ends {
		w.Errorf("%d events record the end, want %d", n, ends)
	}
	if report, err := l.Verify(w.Context()); err != nil || len(report.Damage) > 0 {
		w.Errorf("the record: %v, %v", report.Damage, err)
	}
}
