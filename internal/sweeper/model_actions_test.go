package sweeper_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// perhapsCrash runs f, and sometimes lets the process die at one of its calls, or the ledger lose the answer to a write.
// f returns an error only for a fault that a living process must not see.
func (m *model) perhapsCrash(t *rapid.T, f func() error) (crashed bool) {
	deaf := false
	switch rapid.IntRange(0, 5).Draw(t, "crash?") {
	case 0:
		m.countdown = rapid.IntRange(1, 12).Draw(t, "at call")
	case 1:
		m.deaf, deaf = rapid.IntRange(1, 3).Draw(t, "answer lost"), true
	}
	err := f()
	crashed = m.dead || deaf && m.deaf == 0
	m.countdown, m.dead, m.deaf = 0, false, 0
	if err != nil && !crashed && len(m.unreachable) == 0 && !m.misled() {
		t.Fatal(err)
	}
	return crashed || err != nil
}

// either draws one of the two processes. An error of one with a wrong clock is no fault; what it must not do, check
// finds.
func (m *model) either(t *rapid.T) (b *broker.Broker, judge func(error) error) {
	if rapid.IntRange(0, 2).Draw(t, "which process") > 0 {
		return m.broker, func(err error) error { return err }
	}
	return m.second, func(err error) error {
		// The model's time stands still between steps, so a reading from before a jump may seem current.
		if m.offset.Load() != 0 || errors.Is(err, jit.ErrSkew) {
			return nil
		}
		return err
	}
}

// jump sets the clock of the second process.
func (m *model) jump(t *rapid.T) {
	m.offset.Store(int64(rapid.SampledFrom([]time.Duration{
		0, time.Minute, -time.Minute, time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour,
	}).Draw(t, "off by")))
}

func (m *model) request(t *rapid.T) broker.Request {
	r := broker.Request{
		Binding: jit.Binding{
			Target: rapid.SampledFrom([]string{"cloud", "db"}).Draw(t, "target"), Scope: "all", Role: "reader",
			Principal: rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "principal"),
		},
		Reason:  rapid.SampledFrom([]string{"INC-1", "INC-2"}).Draw(t, "reason"),
		Renewal: int64(rapid.IntRange(1, 2).Draw(t, "renewal")),
		TTL:     jit.RecordedTTL(rapid.SampledFrom([]string{"10m", "1h", "2h"}).Draw(t, "ttl")),
	}
	if rapid.IntRange(0, 4).Draw(t, "later?") == 0 {
		r.StartsAt = m.at().Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "in minutes")) * time.Minute)
	}
	return r
}

func (m *model) grant(t *rapid.T) {
	r := m.request(t)
	b, judge := m.either(t)
	m.perhapsCrash(t, func() error {
		_, err := b.Grant(t.Context(), r)
		return judge(err)
	})
}

// known draws a recorded grant.
func (m *model) known(t *rapid.T) (jit.Grant, bool) {
	all := m.recorded(t, jit.Filter{})
	if len(all) == 0 {
		return jit.Grant{}, false
	}
	return rapid.SampledFrom(all).Draw(t, "grant"), true
}

func (m *model) change(t *rapid.T) {
	g, ok := m.known(t)
	if !ok {
		return
	}
	r := broker.Request{Binding: g.Binding, Reason: g.Reason, Renewal: g.Renewal,
		TTL: jit.RecordedTTL(rapid.SampledFrom([]string{"10m", "1h", "3h"}).Draw(t, "ttl"))}
	wasOver := g.Over(m.at())
	b, judge := m.either(t)
	m.perhapsCrash(t, func() error {
		changed, err := b.Change(t.Context(), g, r)
		err = judge(err)
		if wasOver && errors.Is(err, jit.ErrOver) {
			return nil
		}
		if err == nil && wasOver && changed.Owner != "" && !changed.Window.Equal(g.Window) {
			return errors.New("the window of an ended grant was changed")
		}
		return err
	})
}

func (m *model) revoke(t *rapid.T) {
	g, ok := m.known(t)
	if !ok {
		return
	}
	b, _ := m.either(t)
	if m.perhapsCrash(t, func() error {
		_, _, err := b.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "enough"})
		return err
	}) || m.tampered[g.Target] {
		return // the sweep must find a binding that somebody restored after the end
	}
	for _, o := range m.observed(t, g.Target).Ours {
		if o.Marker.ID == g.ID && o.Marker.Owner == "jit" && (o.End.IsZero() || m.at().Before(o.End)) {
			t.Fatalf("the grant is revoked, but its binding remains: %+v", o)
		}
	}
}

func (m *model) tick(t *rapid.T) {
	m.set(m.at().Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "minutes")) * time.Minute))
}

// tamper changes, copies or removes one of our bindings.
func (m *model) tamper(t *rapid.T) {
	target := rapid.SampledFrom([]string{"cloud", "db"}).Draw(t, "target")
	how := rapid.SampledFrom([]string{"remove", "no end", "later end", "copy", "principal", "bring back"}).
		Draw(t, "how")
	if how == "bring back" && len(m.seen[target]) > 0 {
		o := rapid.SampledFrom(m.seen[target]).Draw(t, "what")
		m.tampered[target] = true
		m.platforms[target].Edit("all", func(held []jit.Observed) []jit.Observed { return append(held, o) })
		return
	}
	m.platforms[target].Edit("all", func(held []jit.Observed) []jit.Observed {
		for i, o := range held {
			if o.Marker.Owner != "jit" {
				continue
			}
			m.tampered[target] = true
			switch how {
			case "remove":
				return slices.Delete(held, i, i+1)
			case "no end":
				held[i].End = time.Time{}
			case "later end":
				held[i].End = o.Marker.Window.End.Add(time.Hour)
			case "copy":
				return append(held, o)
			case "principal":
				held[i].Principal = "eve"
			}
			return held
		}
		return held
	})
}

// foreign adds a binding of another owner.
func (m *model) foreign(t *rapid.T) {
	target := rapid.SampledFrom([]string{"cloud", "db"}).Draw(t, "target")
	n := len(m.others[target])
	o := jit.Observed{
		Marker: jit.Marker{Owner: "other", ID: jit.ID(fmt.Sprintf("00000000-0000-8000-8000-%012d", n)),
			Window: jit.Window{Start: m.at(), End: m.at().Add(time.Minute)}},
		Principal: "carol",
		Role:      "reader",
	}
	m.others[target] = append(m.others[target], o)
	m.platforms[target].Edit("all", func(held []jit.Observed) []jit.Observed { return append(held, o) })
}

// outage requests a grant while the platform refuses every write. Nobody gets access, and the grant can be made later.
func (m *model) outage(t *rapid.T) {
	r := m.request(t)
	p := m.platforms[r.Binding.Target]
	before := p.Call
	p.Call = func(what string) error {
		if what == "write" {
			return errors.New("unavailable")
		}
		return nil
	}
	defer func() { p.Call = before }()
	_, writes := p.Calls()
	_, err := m.broker.Grant(t.Context(), r)
	if _, after := p.Calls(); after != writes {
		t.Fatal("the platform was written to during its outage")
	}
	_ = err // an ended or live grant needs no platform
}

// down disconnects a target or the ledger, or reconnects everything.
func (m *model) down(t *rapid.T) {
	if len(m.unreachable) > 0 {
		clear(m.unreachable)
		return
	}
	m.unreachable[rapid.SampledFrom([]string{"cloud", "db", theLedger}).Draw(t, "what")] = true
}

func (m *model) sweeper(b *broker.Broker, holder string) *sweeper.Sweeper {
	return &sweeper.Sweeper{Broker: b, Holder: holder, MaxUnplanned: 1000}
}

// another returns the broker of another process, whose clock may be wrong.
func (m *model) another(skew time.Duration) *broker.Broker {
	b := &broker.Broker{Ledger: m.ledger, Targets: m.broker.Targets, Owner: "jit", MaxTTL: 24 * time.Hour,
		Actor: m.broker.Actor}
	b.Now = func() time.Time { return m.at().Add(skew) }
	return b
}

// twoSweeps runs a whole pass of another sweeper in the middle of a pass. The first pass sometimes stalls until its
// leases have ended.
func (m *model) twoSweeps(t *rapid.T) {
	m.countdown = rapid.IntRange(1, 12).Draw(t, "at call")
	stalls := time.Duration(rapid.IntRange(0, 5).Draw(t, "minutes")) * time.Minute
	m.meanwhile = func() {
		m.set(m.at().Add(stalls))
		m.sweeper(m.another(0), "another").Pass(t.Context())
	}
	m.sweeper(m.broker, "model").Pass(t.Context())
	m.countdown, m.meanwhile = 0, nil
}

// sweepWithoutLedger sweeps by the markers; live grants stay.
func (m *model) sweepWithoutLedger(t *rapid.T) {
	was := m.unreachable[theLedger]
	m.reachable(theLedger, false)
	m.sweeper(m.broker, "model").Pass(t.Context())
	m.reachable(theLedger, !was)
}

// sweepWithAWrongClock makes a pass with a clock that is an hour ahead or behind. It ends nothing early.
func (m *model) sweepWithAWrongClock(t *rapid.T) {
	if m.onlyLedger && m.unreachable[theLedger] {
		return // it goes by the markers, and nothing tells the time
	}
	skew := rapid.SampledFrom([]time.Duration{0, time.Hour, -time.Hour}).Draw(t, "skew")
	wrong := m.another(skew)
	if skew == 0 {
		wrong, skew = m.second, time.Duration(m.offset.Load())
	}
	var live []jit.Grant
	for _, g := range m.recorded(t, jit.Filter{LiveAt: m.at()}) {
		if g.State(m.at()) == jit.StateActive && m.holds(t, g) {
			live = append(live, g)
		}
	}
	m.sweeper(wrong, "wrong").Pass(t.Context())
	for _, g := range live {
		if !m.tampered[g.Target] && !m.holds(t, g) {
			t.Fatalf("a sweep with a clock that is %s off ended %s early: %+v", skew, g.ID, g)
		}
	}
}

func (m *model) sweep(t *rapid.T) {
	s := m.sweeper(m.broker, "model")
	elsewhere := false // another sweeper holds leases, dead or alive
	if m.perhapsCrash(t, func() error {
		report := s.Pass(t.Context())
		if elsewhere = len(report.Elsewhere) > 0; report.Failed() > 0 || len(report.Unread) > 0 {
			return fmt.Errorf("sweep: %+v", report)
		}
		return nil
	}) || len(m.unreachable) > 0 || elsewhere || m.misled() {
		return
	}
	clear(m.tampered)
	// Nothing is left to do.
	again := s.Pass(t.Context())
	for _, r := range again.Results {
		if r.Kind != reconcile.Report {
			t.Fatalf("a second pass had results: %+v", r)
		}
	}
	// Every grant that should give access does. Ended grants are gone, and their ends are recorded.
	for _, g := range m.recorded(t, jit.Filter{LiveAt: m.at()}) {
		if g.State(m.at()) == jit.StateActive && !m.platforms[g.Target].Allowed("all", g.Principal, g.Role) {
			t.Fatalf("after a sweep the active grant %+v gives no access", g)
		}
	}
	for target := range m.platforms {
		m.checkAccess(t, target, true)
	}
}
