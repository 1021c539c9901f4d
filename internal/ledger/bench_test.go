package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// stores runs a benchmark on every available database.
func stores(b *testing.B, run func(b *testing.B, l *ledger.Ledger)) {
	b.Run("sqlite", func(b *testing.B) { run(b, open(b, sqliteURL(b))) })
	b.Run("postgres", func(b *testing.B) { run(b, open(b, postgresURL(b))) })
}

func batchOf(first, n int) []jit.Entry {
	entries := make([]jit.Entry, n)
	for i := range entries {
		entries[i] = ledgertest.Entry(ledgertest.Grant(first + i))
	}
	return entries
}

// BenchmarkWrite writes 1,000 new grants with an event each, in one call.
func BenchmarkWrite(b *testing.B) {
	stores(b, func(b *testing.B, l *ledger.Ledger) {
		const size = 1000
		for n := 0; b.Loop(); n++ {
			b.StopTimer()
			entries := batchOf(n*size, size)
			b.StartTimer()
			for _, err := range l.Write(b.Context(), entries) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "entries/s")
	})
}

// BenchmarkWriteOne writes one grant and its event per call, sequentially.
func BenchmarkWriteOne(b *testing.B) {
	stores(b, func(b *testing.B, l *ledger.Ledger) {
		for n := 0; b.Loop(); n++ {
			if err := l.Write(b.Context(), batchOf(n, 1))[0]; err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLookup looks up 1,000 grants as a plan does: ten callers at a time, each busy for a moment after each
// answer.
func BenchmarkLookup(b *testing.B) {
	stores(b, func(b *testing.B, l *ledger.Ledger) {
		const size, callers = 1000, 10
		for _, err := range l.Write(b.Context(), batchOf(0, size)) {
			if err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					for n := c; n < size; n += callers {
						if _, ok, err := l.Lookup(b.Context(), ledgertest.Grant(n).ID); !ok || err != nil {
							b.Error(ok, err)
						}
						time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
					}
				})
			}
			wg.Wait()
		}
		b.ReportMetric(b.Elapsed().Seconds()*1000/float64(size*b.N), "ms/lookup")
	})
}

// BenchmarkClaim claims due work in a ledger with many grants that are not due.
func BenchmarkClaim(b *testing.B) {
	stores(b, func(b *testing.B, l *ledger.Ledger) {
		const size = 20000
		entries := batchOf(0, size)
		for i, e := range entries {
			e.Events = nil
			if i%100 > 0 {
				e.Grant.End = e.Grant.End.Add(24 * time.Hour)
			}
		}
		for _, err := range l.Write(b.Context(), entries) {
			if err != nil {
				b.Fatal(err)
			}
		}
		for n := 0; b.Loop(); n++ {
			q := jit.DueQuery{
				Owners: jit.Owners{"payments"},
				Now:    ledgertest.Epoch.Add(2*time.Hour + time.Duration(n)*time.Second),
				Holder: fmt.Sprint(n),
				Lease:  time.Second,
				Limit:  100,
			}
			if got, err := l.AcquireDue(b.Context(), q); err != nil || len(got) != 100 {
				b.Fatal(len(got), err)
			}
		}
	})
}

// BenchmarkVerify checks a long record: intact, with its first event removed and the others renumbered, and edited.
func BenchmarkVerify(b *testing.B) {
	const size = 100_000
	check := func(b *testing.B, l *ledger.Ledger, whole bool) {
		for b.Loop() {
			if r, err := l.Verify(b.Context()); err != nil || r.OK() != whole {
				b.Fatal(r.OK(), err)
			}
		}
		b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "events/s")
	}
	each := func(b *testing.B, url string) {
		l := open(b, url)
		entries := make([]jit.Entry, 10_000)
		for n := range entries {
			entries[n].Events = []jit.Event{ledgertest.Event(ledgertest.Grant(n).ID)}
		}
		for range size / len(entries) {
			write(b, l, entries...)
		}
		b.Run("whole", func(b *testing.B) { check(b, l, true) })
		run(b, raw(b, url), append([]string{"DELETE FROM jit_log WHERE seq = 1"}, shift(2, -1)...)...)
		b.Run("moved", func(b *testing.B) { check(b, l, false) })
		run(b, raw(b, url), "UPDATE jit_log SET actor = 'mallory'")
		b.Run("edited", func(b *testing.B) { check(b, l, false) })
	}
	b.Run("sqlite", func(b *testing.B) { each(b, sqliteURL(b)) })
	b.Run("postgres", func(b *testing.B) { each(b, postgresURL(b)) })
}

// BenchmarkEnd claims grants that are due and records their ends, 1,000 at a time, as a sweeper does. Each claim finds
// the grants of one scope, whose rows lie apart.
func BenchmarkEnd(b *testing.B) {
	stores(b, func(b *testing.B, l *ledger.Ledger) {
		const size, batch = 20_000, 1000
		for n := 0; b.Loop(); n++ {
			b.StopTimer()
			entries := batchOf(n*size, size)
			for i := range entries {
				entries[i].Grant.Scope = fmt.Sprint("projects/p", i%(size/batch))
				entries[i].Events = nil
			}
			write(b, l, entries...)
			b.StartTimer()
			now := entries[0].Grant.End.Add(time.Hour)
			for range size / batch {
				due, err := l.AcquireDue(b.Context(), jit.DueQuery{Owners: jit.Owners{"payments"}, Now: now,
					Holder: "bench", Lease: time.Minute, Limit: batch})
				if err != nil || len(due) != batch {
					b.Fatal(len(due), err)
				}
				ends := make([]jit.Entry, batch)
				for i, was := range due {
					is := was
					is.EndedAt = now
					ends[i] = jit.Rewrite(was, is, jit.Event{Kind: jit.EventExpired, Grant: was.ID, At: now,
						Actor: jit.Actor{Name: "bench", Source: jit.FromSweeper}})
				}
				write(b, l, ends...)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(size*b.N), "µs/end")
	})
}
