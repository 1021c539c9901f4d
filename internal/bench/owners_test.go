package bench_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// owners writes grants one by one from twenty processes at once, to a PostgreSQL server that writes each commit to the
// disk: for twenty owners, each with a chain, beside one owner, whose chain they share.
func (t *table) owners() {
	const processes, writes = 20, 40
	server := testenv.DurablePostgres(t.b)
	run := func(owners int) time.Duration {
		url := server.Database(t.b)
		ledgers := make([]*ledger.Ledger, processes)
		for i := range ledgers {
			ledgers[i] = openLedger(t.b, url)
			writeOne(t.b, ledgers[i], i%owners, -i-1)
		}
		return lasts(func() {
			var wg sync.WaitGroup
			for i, l := range ledgers {
				wg.Go(func() {
					for n := range writes {
						writeOne(t.b, l, i%owners, n*processes+i)
					}
				})
			}
			wg.Wait()
		})
	}
	one := make([]time.Duration, rounds)
	many := make([]time.Duration, rounds)
	for i := range rounds {
		one[i], many[i] = run(1), run(processes)
	}
	times := median(one).Seconds() / median(many).Seconds()
	t.add("20 owners on one PostgreSQL ledger: grants a second, beside one owner",
		fmt.Sprintf("%.2f x (%.2fs / %.2fs)", times, median(one).Seconds(), median(many).Seconds()), ">= 5.00 x", times >= 5)
}

// writeOne records the nth grant, of a team.
func writeOne(tb testing.TB, l *ledger.Ledger, team, n int) {
	owner, now := fmt.Sprint("team-", team), time.Now().UTC().Truncate(time.Second)
	b := jit.Binding{Target: "db", Principal: "bob", Role: "reporting", Scope: "cluster"}
	reason := fmt.Sprintf("INC-%d: measure", n)
	g := jit.Grant{ID: jit.NewID(owner, b, reason, 1), Owner: owner, Binding: b, Reason: reason, Renewal: 1,
		TTL: jit.RecordedTTL("1h"), Window: jit.Window{Start: now, End: now.Add(time.Hour)},
		Enforcement: jit.Sweeper, RequestedAt: now}
	e := jit.Entry{Grant: &g, Owner: owner, Events: []jit.Event{{Kind: jit.EventRequested, Grant: g.ID}}}
	if err := errors.Join(l.Write(context.WithoutCancel(tb.Context()), []jit.Entry{e})...); err != nil {
		tb.Error(err)
	}
}
