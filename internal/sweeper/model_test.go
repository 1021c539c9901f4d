package sweeper_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// TestPromisesHoldUnderRandomSchedules runs grants, changes, revocations, time, crashes, foreign edits and sweeps in
// random order and checks the promises after every step.
func TestPromisesHoldUnderRandomSchedules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"grant":   m.grant,
			"change":  m.change,
			"revoke":  m.revoke,
			"tick":    m.tick,
			"tamper":  m.tamper,
			"foreign": m.foreign,
			"outage":  m.outage,
			"down":    m.down,
			"sweep":   m.sweep,
			"two":     m.twoSweeps,
			"lost":    m.sweepWithoutLedger,
			"skewed":  m.sweepWithAWrongClock,
			"jump":    m.jump,
			"":        m.check,
		})
	})
}

type model struct {
	// clock is the true time, in microseconds. A sweep reads it while another process advances it.
	clock     atomic.Int64
	ledger    *jittest.Ledger
	platforms map[string]*jittest.Platform
	broker    *broker.Broker
	// second is another process, whose clock is off by offset.
	second *broker.Broker
	offset atomic.Int64
	// onlyLedger: the targets tell no time.
	onlyLedger bool
	mu         sync.Mutex
	countdown  int // calls until the process dies; 0 means never
	dead       bool
	// deaf, if not 0, is the write to the ledger whose answer is lost after it took effect. The process lives on.
	deaf int
	// meanwhile, if set, runs at the end of the countdown instead of a death. It acts as another process.
	meanwhile func()
	// unreachable names the targets that refuse every call, and the ledger if it does. The test itself can read them.
	unreachable map[string]bool
	looking     bool
	// ended are the grants that have ended. They must stay ended.
	ended map[jit.ID]bool
	// others are the original bindings of another owner, by target.
	others map[string][]jit.Observed
	// seen are all bindings of ours that each target ever had.
	seen map[string][]jit.Observed
	// checked is the last checked event of each chain. ends counts the recorded ends of each grant, begins its granted
	// events since the last request or change.
	checked      map[string]jit.Event
	ends, begins map[jit.ID]int
	// tampered names the targets that may give unexplained access until the next sweep.
	tampered map[string]bool
}

func (m *model) at() time.Time { return time.UnixMicro(m.clock.Load()).UTC() }

func (m *model) set(now time.Time) { m.clock.Store(now.UnixMicro()) }

var errCrash = errors.New("the process died")

func newModel(t *rapid.T) *model {
	m := &model{ledger: &jittest.Ledger{}, platforms: map[string]*jittest.Platform{},
		ended: map[jit.ID]bool{}, unreachable: map[string]bool{}, ends: map[jit.ID]int{}, checked: map[string]jit.Event{},
		begins: map[jit.ID]int{}, others: map[string][]jit.Observed{},
		seen: map[string][]jit.Observed{}, tampered: map[string]bool{}}
	m.set(time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC))
	clock := m.at
	// The ledger, the targets or both tell the time.
	tells := rapid.IntRange(0, 2).Draw(t, "who tells the time")
	m.onlyLedger = tells == 1
	targets := map[string]jit.Platform{}
	for name, enforcement := range map[string]jit.Enforcement{"cloud": jit.Native, "db": jit.Sweeper} {
		p := &jittest.Platform{Traits: jit.Traits{Enforcement: enforcement}, Now: clock,
			Call: func(what string) error { return m.onTarget(name, what) }}
		m.platforms[name], targets[name] = p, p
		if m.onlyLedger {
			targets[name] = mute{p}
		}
	}
	m.ledger.Call = func(what string) error {
		switch {
		case m.looking:
			return nil
		case m.unreachable[theLedger]:
			return errUnreachable
		case what == "written" && m.loses():
			return errUnreachable
		}
		return m.call(what)
	}
	if tells > 0 {
		m.ledger.Remote = clock
	}
	m.broker = &broker.Broker{Ledger: m.ledger, Targets: targets, Owner: "jit", MaxTTL: 24 * time.Hour, Now: clock,
		Actor: jit.Actor{Name: "model", Source: jit.FromTerraform}}
	m.second = m.another(0)
	m.second.Now = func() time.Time { return m.at().Add(time.Duration(m.offset.Load())) }
	return m
}

// mute is a platform that tells no time.
type mute struct{ *jittest.Platform }

func (p mute) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	s, err := p.Platform.Read(ctx, scope)
	s.Clock = time.Time{}
	return s, err
}

var errUnreachable = errors.New("no answer")

// theLedger stands for the ledger in unreachable.
const theLedger = "ledger"

// recorded returns the grants in the ledger, also while the ledger is unreachable.
func (m *model) recorded(t *rapid.T, f jit.Filter) []jit.Grant {
	m.looking = true
	defer func() { m.looking = false }()
	var all []jit.Grant
	for g, err := range m.ledger.Grants(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	return all
}

func (m *model) onTarget(name, what string) error {
	if m.unreachable[name] {
		return errUnreachable
	}
	return m.call(what)
}

// call counts down to the crash, or to the act of another process. After a crash, calls have no effect.
func (m *model) call(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.countdown > 0 {
		if m.countdown--; m.countdown == 0 && m.meanwhile != nil {
			other := m.meanwhile
			m.meanwhile = nil
			m.mu.Unlock()
			other()
			m.mu.Lock()
		} else if m.countdown == 0 {
			m.dead = true
		}
	}
	if m.dead {
		return errCrash
	}
	return nil
}

// loses reports whether the answer to this write is lost.
func (m *model) loses() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deaf == 0 {
		return false
	}
	m.deaf--
	return m.deaf == 0
}

func (m *model) observed(t *rapid.T, target string) jit.Snapshot {
	defer func(was bool) { m.reachable(target, !was) }(m.unreachable[target])
	m.reachable(target, true)
	s, err := m.platforms[target].Read(t.Context(), "all")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// holds reports whether the target has an unexpired binding of the grant.
func (m *model) holds(t *rapid.T, g jit.Grant) bool {
	return slices.ContainsFunc(m.observed(t, g.Target).Ours, func(o jit.Observed) bool {
		return o.Marker.ID == g.ID && !o.Marker.Window.Over(m.at())
	})
}

func (m *model) reachable(target string, reachable bool) {
	if reachable {
		delete(m.unreachable, target)
	} else {
		m.unreachable[target] = true
	}
}

// checkAccess checks that everybody with access has a live grant. Without a sweep, that holds only for a platform that
// ends access by itself and was not tampered with.
func (m *model) checkAccess(t *rapid.T, target string, swept bool) {
	if !swept && (m.tampered[target] || m.platforms[target].Traits.Enforcement != jit.Native) {
		return
	}
	for _, principal := range []string{"alice", "bob", "eve"} {
		if !m.platforms[target].Allowed("all", principal, "reader") {
			continue
		}
		explained := false
		for _, g := range m.recorded(t, jit.Filter{Target: target, Principal: principal}) {
			// A crash may have interrupted a revocation or a shorter end before the platform was called. A sweep
			// completes it.
			explained = explained || g.Live(m.at()) ||
				!swept && g.EndedAt.IsZero() && m.at().Before(g.RequestedAt.Add(24*time.Hour))
		}
		if !explained {
			t.Fatalf("%s has access on %s at %s without a live grant", principal, target, m.at())
		}
	}
}

// checkTimes checks that no wrong clock has begun a grant, and that none has ended before its end.
func (m *model) checkTimes(t *rapid.T, g jit.Grant) {
	soon := m.at().Add(jit.MaxSkew)
	switch {
	case g.GrantedAt.After(soon), !g.GrantedAt.IsZero() && g.RequestedAt.After(soon):
		t.Fatalf("at %s a clock that is ahead has granted %+v", m.at(), g)
	case !g.EndedAt.IsZero() && g.RevokedAt.IsZero() && soon.Before(g.End):
		t.Fatalf("at %s a clock that is ahead has ended %+v: %s", m.at(), g, m.history(g.ID))
	}
}

// misled reports whether the newest event of a ledger without a clock is of a clock that was ahead. Nothing begins then.
func (m *model) misled() bool {
	m.looking = true
	defer func() { m.looking = false }()
	_, newest, err := m.ledger.Clock(context.Background())
	return err == nil && jit.CheckNotBefore(m.at(), newest) != nil
}

// history returns the events of a grant as text.
func (m *model) history(id jit.ID) string {
	var all []string
	for e, err := range jit.AllEvents(context.Background(), m.ledger) {
		if err != nil {
			panic(err) // the ledger is in memory
		}
		if e.Grant == id {
			all = append(all, fmt.Sprintf("%s %s %v", e.At.Format(time.TimeOnly), e.Kind, e.Detail))
		}
	}
	return "\n" + strings.Join(all, "\n")
}

// check checks the promises that hold after every step.
func (m *model) check(t *rapid.T) {
	for _, g := range m.recorded(t, jit.Filter{}) {
		if m.ended[g.ID] && g.Live(m.at()) {
			t.Fatalf("grant %s had ended and is live again: %+v", g.ID, g)
		}
		if g.Over(m.at()) && !g.GrantedAt.IsZero() {
			m.ended[g.ID] = true
		}
		m.checkTimes(t, g)
	}
	for target := range m.platforms {
		var others []jit.Observed
		for _, o := range m.observed(t, target).Ours {
			if o.Marker.Owner == "other" {
				others = append(others, o)
			} else if !slices.Contains(m.seen[target], o) {
				m.seen[target] = append(m.seen[target], o)
			}
		}
		if !slices.Equal(others, m.others[target]) {
			t.Fatalf("another owner's bindings on %s are %+v, were %+v", target, others, m.others[target])
		}
		m.checkAccess(t, target, false)
	}
	m.looking = true
	defer func() { m.looking = false }()
	tips, err := m.ledger.Chains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tip := range tips {
		for e, err := range m.ledger.Events(t.Context(), tip.Chain, m.checked[tip.Chain].Seq+1) {
			if err != nil {
				t.Fatal(err)
			}
			m.checkEvent(t, e)
		}
	}
}

// checkEvent checks that an event continues its chain, and that each grant begins and ends once.
func (m *model) checkEvent(t *rapid.T, e jit.Event) {
	before := m.checked[e.Chain]
	if e.Seq > 1 && e.Prev != before.Hash || e.Hash != e.Sum() || e.Seq != before.Seq+1 || e.After < before.After {
		t.Fatalf("the chain breaks at event %s", e.Place())
	}
	m.checked[e.Chain] = e
	switch e.Kind {
	case jit.EventRequested: // a failed attempt may be followed by another request
		m.ends[e.Grant], m.begins[e.Grant] = 0, 0
	case jit.EventChanged, jit.EventExtended:
		m.begins[e.Grant] = 0
	case jit.EventGranted:
		if m.begins[e.Grant]++; m.begins[e.Grant] > 1 {
			t.Fatalf("grant %s has two granted events: %s", e.Grant, m.history(e.Grant))
		}
	case jit.EventExpired, jit.EventRevoked:
		if m.ends[e.Grant]++; m.ends[e.Grant] > 1 {
			t.Fatalf("the end of %s is recorded twice: %s", e.Grant, m.history(e.Grant))
		}
	}
}
