package bench_test

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// sealed compares a check of the record since a head with a check of all of it, on either database: 100,000 grants that
// are over, 300 that are open, and 100 newer ones.
func (t *table) sealed() {
	for name, url := range map[string]string{
		"SQLite": "sqlite://" + filepath.Join(t.b.TempDir(), "ledger.db"), "PostgreSQL": testenv.Postgres(t.b).Database(t.b),
	} {
		l := openLedger(t.b, url)
		now := time.Now().Truncate(time.Second)
		over := func(g *jit.Grant) { g.EndedAt = now }
		open := func(*jit.Grant) {}
		t.live(l, 0, 100_000, now, over)
		t.live(l, 100_000, 300, now.Add(time.Hour), open)
		heads, err := l.Chains(t.b.Context())
		if err != nil {
			t.b.Fatal(err)
		}
		t.live(l, 100_300, 100, now.Add(time.Hour), open)
		check := func(verify func() (int64, bool, error), events int64) time.Duration {
			return lasts(func() {
				if n, ok, err := verify(); err != nil || !ok || n != events {
					t.b.Fatalf("%d events, want %d; intact %t, %v", n, events, ok, err)
				}
			})
		}
		all := check(func() (int64, bool, error) {
			r, err := l.Verify(t.b.Context())
			return r.Events, r.OK(), err
		}, 3*100_000+2*400)
		since := check(func() (int64, bool, error) {
			r, err := l.VerifySince(t.b.Context(), "", heads)
			return r.Events, r.OK(), err
		}, 2*100)
		t.ratio(fmt.Sprintf("audit verify --since-head beside audit verify, 100,000 grants over and 300 open, %s", name),
			since, all, 0.02)
	}
}

// live records the life of n grants, from the first on: asked for, granted, and changed by last.
func (t *table) live(l jit.Ledger, first, n int, end time.Time, last func(*jit.Grant)) {
	for at := first; at < first+n; at += 1000 {
		some := make([]jit.Grant, 0, 1000)
		for i := at; i < min(at+1000, first+n); i++ {
			g := granted(i, 100, end)
			g.GrantedAt = time.Time{}
			some = append(some, g)
		}
		write := func(kind jit.EventKind, change func(*jit.Grant)) {
			var entries []jit.Entry
			for i := range some {
				var was jit.Grant
				if kind != jit.EventRequested {
					was = some[i]
					change(&some[i])
				}
				if was != some[i] {
					entries = append(entries, jit.Rewrite(was, some[i], jit.Event{Kind: kind, Grant: some[i].ID}))
					some[i].Version++
				}
			}
			for _, err := range l.Write(t.b.Context(), entries) {
				if err != nil {
					t.b.Fatal(err)
				}
			}
		}
		write(jit.EventRequested, nil)
		write(jit.EventGranted, func(g *jit.Grant) { g.GrantedAt = g.Start })
		write(jit.EventExpired, last)
	}
}
