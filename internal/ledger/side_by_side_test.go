package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// twoVersions is a day with a program and a later version of it on one ledger. All clocks go together.
type twoVersions struct {
	*testing.T
	url      string
	setClock func(passed time.Duration) // of the ledger's server
	passed   time.Duration
	target   *jittest.Platform
	granted  []jit.Grant
	revoked  map[jit.ID]bool
}

func (d *twoVersions) now() time.Time { return time.Now().Add(d.passed) }

func (d *twoVersions) pass(by time.Duration) {
	d.passed += by
	d.setClock(d.passed)
}

// program starts a program, of the later version or of this one.
func (d *twoVersions) program(later bool) *broker.Broker {
	d.Helper()
	l, err := ledger.Open(d.Context(), ledger.Config{URL: d.url, Now: d.now})
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = l.Close() })
	name := "the old program"
	if later {
		l.Later(d)
		name = "the new program"
	}
	return &broker.Broker{Ledger: l, Targets: map[string]jit.Platform{"db": d.target}, Owner: "jit", MaxTTL: 24 * time.Hour,
		Now: d.now, Actor: jit.Actor{Name: name, Source: jit.FromTerraform}}
}

func (d *twoVersions) grant(b *broker.Broker, ttl string) {
	d.Helper()
	g, err := b.Grant(d.Context(), broker.Request{Reason: "INC-1: look", Renewal: 1, TTL: jit.RecordedTTL(ttl),
		Binding: jit.Binding{Target: "db", Principal: fmt.Sprintf("p%d", len(d.granted)), Role: "reader"}})
	if err != nil {
		d.Fatalf("%s, by %s: %v", d.passed, b.Actor.Name, err)
	}
	d.granted = append(d.granted, g)
}

// revoke ends the newest grant of the other program.
func (d *twoVersions) revoke(b, other *broker.Broker) {
	d.Helper()
	d.grant(other, "3h")
	g := d.granted[len(d.granted)-1]
	if _, _, err := b.Revoke(d.Context(), broker.Revocation{Grant: g, Reason: "INC-1: done"}); err != nil {
		d.Fatalf("%s, by %s: %v", d.passed, b.Actor.Name, err)
	}
	d.revoked[g.ID] = true
}

// sweep sweeps with programs at once, after which exactly those have access whose time it is.
func (d *twoVersions) sweep(programs ...*broker.Broker) {
	d.Helper()
	var all sync.WaitGroup
	for _, b := range programs {
		all.Go(func() {
			s := sweeper.Sweeper{Broker: b, Holder: b.Actor.Name, MaxUnplanned: sweeper.DefaultMaxUnplanned}
			if r := s.Pass(d.Context()); len(r.Unread) > 0 || r.Failed() > 0 {
				d.Errorf("%s, a sweep by %s: %v, %d steps failed", d.passed, b.Actor.Name, errors.Join(r.Unread...), r.Failed())
			}
		})
	}
	all.Wait()
	now := d.now()
	for _, g := range d.granted {
		want := now.Before(g.End) && !d.revoked[g.ID]
		if got := d.target.Allowed("all", g.Binding.Principal, "reader"); got != want {
			d.Errorf("%s: access of %s is %t, want %t", d.passed, g.Binding.Principal, got, want)
		}
	}
}

// recorded returns by how many of whose grants each program began and ended, and fails the test unless each grant began
// once and ended once.
func (d *twoVersions) recorded(l jit.Ledger) (crossed map[string]int) {
	d.Helper()
	began, ended, crossed := map[jit.ID]string{}, map[jit.ID]string{}, map[string]int{}
	for e, err := range jit.AllEvents(d.Context(), l) {
		if err != nil {
			d.Fatal(err)
		}
		of := map[jit.EventKind]map[jit.ID]string{jit.EventGranted: began, jit.EventExpired: ended,
			jit.EventRevoked: ended}[e.Kind]
		if of == nil {
			continue
		}
		if by, twice := of[e.Grant]; twice {
			d.Errorf("%s of %s by %s, and by %s before", e.Kind, e.Grant, e.Actor.Name, by)
		}
		of[e.Grant] = e.Actor.Name
	}
	for _, g := range d.granted {
		if began[g.ID] == "" || ended[g.ID] == "" {
			d.Errorf("%s began by %q, ended by %q", g.ID, began[g.ID], ended[g.ID])
		}
		crossed[began[g.ID]+", "+ended[g.ID]]++
	}
	return crossed
}

// Teams upgrade one by one: after a later version that only adds to the ledger has migrated it, programs of both
// versions grant, revoke and sweep beside each other for a day. Each ends on time what the other granted, once.
func TestADayOfTwoVersions(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { aDay(t, sqliteURL(t), func(time.Duration) {}) })
	t.Run("postgres", func(t *testing.T) {
		server := testenv.PostgresWithClock(t)
		aDay(t, server.Database(t), func(passed time.Duration) { server.SetClock(t, passed) })
	})
}

func aDay(t *testing.T, url string, setClock func(time.Duration)) {
	d := &twoVersions{T: t, url: url, setClock: setClock, revoked: map[jit.ID]bool{}}
	d.target = &jittest.Platform{Now: d.now}
	old := d.program(false)
	d.grant(old, "20h")
	d.grant(old, "1h")
	before := d.program(false)
	d.sweep(before)

	new := d.program(true)
	if err := new.Ledger.(*ledger.Ledger).Migrate(t.Context(), func(int) {}); err != nil {
		t.Fatal(err)
	}
	for hour := range 24 {
		if hour%6 == 0 { // a job of CI, which starts anew; the others are daemons
			before = d.program(false)
		}
		granting, other := old, new
		if hour%2 == 0 {
			granting, other = new, before
		}
		for _, ttl := range []string{"1h", "90m", "2h"} {
			d.grant(granting, ttl)
		}
		d.revoke(other, granting)
		d.pass(31 * time.Minute)
		switch hour % 3 {
		case 0:
			d.sweep(old)
		case 1:
			d.sweep(new)
		default:
			d.sweep(before, new)
		}
		d.pass(29 * time.Minute)
		d.sweep(old, new)
	}
	d.pass(3 * time.Hour)
	d.sweep(old)

	for _, b := range []*broker.Broker{old, before, new} {
		if r, err := b.Ledger.(*ledger.Ledger).Verify(context.Background()); err != nil || !r.OK() {
			t.Errorf("%s verifies: %+v, %v", b.Actor.Name, r, err)
		}
	}
	crossed := d.recorded(new.Ledger)
	for _, pair := range []string{"the old program, the new program", "the new program, the old program"} {
		if crossed[pair] == 0 {
			t.Errorf("no grant of %s", strings.Replace(pair, ", ", " was ended by ", 1))
		}
	}
}
