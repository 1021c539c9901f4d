package lifetest_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The ledger on a server is slow, refuses, cuts connections or does not answer.
func TestFaultsLedgerServer(t *testing.T) {
	t.Parallel()
	server := testenv.Postgres(t)
	for name, fault := range networkFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t, released, map[string]place{"host": newHost(t), "db": newDatabase(t)}, 4)
			p.ledger = server.Database(t)
			u, err := url.Parse(p.ledger)
			if err != nil {
				t.Fatal(err)
			}
			proxy := testenv.NewProxy(t, u.Host)
			p.watched = strings.Replace(p.ledger, u.Host, proxy.Addr, 1)
			p.ledgerFails(func() { proxy.Set(fault) }, func() { proxy.Set(testenv.Sound) })
		})
	}
}

// Another process keeps the ledger's file locked.
func TestFaultsLedgerLocked(t *testing.T) {
	t.Parallel()
	p := newPost(t, released, map[string]place{"host": newHost(t), "gateway": newGateway(t)}, 4)
	db, err := sql.Open("sqlite", filepath.Join(p.dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	exec := func(statement string) {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	p.ledgerFails(func() { exec("BEGIN IMMEDIATE") }, func() { exec("ROLLBACK") })
}

// ledgerFails makes the ledger fail while grants end. Their access ends by the markers, other access continues, and
// everything is recorded when the ledger is back. It takes one minute, or five in long tests.
func (p *post) ledgerFails(set, over func()) {
	t := p.t
	lasts := time.Minute
	if long() {
		lasts = 5 * time.Minute
	}
	p.open()
	begin := time.Now().Add(10 * time.Second)
	var ending, staying []asked
	for name, people := range p.people {
		for i, who := range people[:3] {
			ending = append(ending,
				asked{target: name, who: who, reason: "ends", end: begin.Add(5 * time.Second * time.Duration(i+1))})
		}
		staying = append(staying,
			asked{target: name, who: people[3], reason: "goes on", end: begin.Add(lasts + 20*time.Second)})
	}
	gone, live := p.grant(ending...), p.grant(staying...)
	d := p.watch(nil)
	time.Sleep(time.Until(begin))
	set()
	// A silent ledger counts as failed only after a while.
	eventually(t, lasts, func() string {
		for name, at := range p.targets {
			if n := at.marked(t); n != 1 {
				return fmt.Sprintf("%d bindings are ours on target %s, want only the lasting one\n%s", n, name, d.log)
			}
		}
		return ""
	})
	t.Logf("without the ledger the last access ended %s after its end",
		time.Since(begin.Add(15*time.Second)).Round(time.Second))
	time.Sleep(time.Until(begin.Add(lasts)))
	for _, g := range live {
		may(t, p.targets[g.Target], g.Principal, true, "inside the window, while the ledger fails")
	}
	over()
	stalled := pulse(t)
	eventually(t, time.Minute+lasts, func() string {
		for _, g := range append(gone, live...) {
			if p.record(g.ID).EndedAt.IsZero() {
				return fmt.Sprintf("the end of %s on target %s is not recorded\n%s", g.ID, g.Target, d.log)
			}
		}
		return ""
	})
	patience := 5*time.Second + stalled()
	for _, g := range live {
		if lag := p.record(g.ID).EndedAt.Sub(g.End); lag > patience {
			t.Errorf("with the ledger back, a grant on target %s ended %s late", g.Target, lag)
		}
		may(t, p.targets[g.Target], g.Principal, false, "after the end")
	}
	p.checkRecord()
	d.stop()
}
