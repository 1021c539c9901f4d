package sweeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// drift reads every scope that holds live grants or may hold bindings of ours and carries out what does not fit.
func (p *pass) drift(ctx context.Context) {
	p.each(p.places(ctx, everyTarget), func(at jit.Place) { p.driftAt(ctx, at) })
}

// places are the scopes, of every target that is wanted, that hold live grants or may hold bindings of ours; nil when the ledger does not tell.
func (p *pass) places(ctx context.Context, wanted func(target string) bool) map[jit.Place]bool {
	live, err := p.Broker.Ledger.Places(ctx, p.served(), p.time())
	if err != nil {
		p.unread(fmt.Errorf("read the ledger: %w", err))
		return nil
	}
	places := map[jit.Place]bool{}
	for _, at := range live {
		if _, configured := p.Broker.Targets[at.Target]; configured && wanted(at.Target) {
			places[at] = true
		}
	}
	p.scopes(ctx, places, wanted)
	return places
}

// driftAt reads one scope and carries out what does not fit there. What does not fit is looked at twice: what somebody grants, changes
// or ends in the right way while the ledger and the scope are read, one after the other, is no drift.
func (p *pass) driftAt(ctx context.Context, at jit.Place) {
	seen, read := p.compare(ctx, at)
	if read && p.takeUp(ctx, seen) {
		seen, read = p.compare(ctx, at)
	}
	wrong := map[jit.ID]bool{}
	if read && len(seen.steps) > 0 {
		first := make(map[sighting]bool, len(seen.steps))
		for _, s := range seen.steps {
			first[sighted(s)] = true
		}
		if seen, read = p.compare(ctx, at); read {
			for _, s := range seen.steps {
				wrong[s.Grant.ID] = true
			}
			seen.steps = slices.DeleteFunc(seen.steps, func(s reconcile.Step) bool { return !first[sighted(s)] })
		}
	}
	if read {
		p.settle(ctx, seen, wrong)
		seen.steps = p.vouched(ctx, seen.steps, seen.now)
		p.carryOut(ctx, p.judged(ctx, seen))
	}
}

// takeUp begins or closes the grants of one scope that wait for people to decide, where they have decided. It reports whether any waited.
func (p *pass) takeUp(ctx context.Context, seen comparison) (any bool) {
	for _, g := range seen.recorded {
		if p.DryRun || g.Place() != seen.at || !p.Broker.Waiting(g) {
			continue
		}
		any = true
		if _, err := p.Broker.TakeUp(ctx, g); err != nil && !errors.Is(err, jit.ErrDenied) {
			p.unread(fmt.Errorf("look what was decided on grant %s: %w", g.ID, err))
		}
	}
	return any
}

// settle records of live grants whose repair could not be recorded, for its sweeper died, that nothing is wrong with them any more.
func (p *pass) settle(ctx context.Context, seen comparison, wrong map[jit.ID]bool) {
	var right []jit.Grant
	for _, g := range seen.recorded {
		if g.OpenDrift != "" && !wrong[g.ID] && g.Place() == seen.at && g.State(seen.now) == jit.StateActive {
			right = append(right, g)
		}
	}
	if len(right) == 0 || p.DryRun {
		return
	}
	if err := p.Broker.ClearDrift(ctx, right); err != nil {
		p.unread(fmt.Errorf("record that drift is gone: %w", err))
	}
}

// sighting is what has to be the same when one looks again.
type sighting struct {
	kind    reconcile.Kind
	id      jit.ID
	version int64
	drift   jit.DriftKind
}

func sighted(s reconcile.Step) sighting {
	return sighting{s.Kind, s.Grant.ID, s.Grant.Version, s.Drift}
}

// comparison is one scope beside the record.
type comparison struct {
	at jit.Place
	// now is when the record was read, and the scope after it.
	now      time.Time
	recorded []jit.Grant
	// steps are for what does not fit with the record.
	steps []reconcile.Step
}

// compare reads what is recorded and what is on one scope; read is false when something could not be read, which is noted.
func (p *pass) compare(ctx context.Context, at jit.Place) (seen comparison, read bool) {
	now := p.time()
	recorded, err := p.recorded(ctx, jit.Filter{Target: at.Target, Scope: at.Scope, LiveAt: now})
	if err != nil {
		p.unread(fmt.Errorf("read the ledger: %w", err))
		return comparison{}, false
	}
	snapshot, read := p.readOne(ctx, at, now)
	if !read {
		return comparison{}, false
	}
	if skew := jit.CheckSkew(now, snapshot.Clock); skew != nil {
		// What is live and what is over cannot be told apart while nobody knows the time.
		p.skewed.Store(true)
		p.unread(fmt.Errorf("compare %s of target %q with the record: %w", at.Scope, at.Target, skew))
		return comparison{}, false
	}
	// Markers of grants that are not live here, and of other owners: what does the ledger know of them?
	records := jit.Records{Now: now, MaxTTL: p.Broker.MaxTTL, Grants: make(map[jit.ID]jit.Grant, len(recorded))}
	for _, g := range recorded {
		records.Grants[g.ID] = g
	}
	ours, err := p.serves(ctx)
	if err != nil {
		p.unread(fmt.Errorf("read the ledger: %w", err))
		return comparison{}, false
	}
	var others []jit.ID
	for id := range snapshot.Marked() {
		if _, live := records.Grants[id]; !live {
			others = append(others, id)
		}
	}
	if len(others) > 0 {
		more, err := collect(p.Broker.Ledger.Grants(ctx, jit.Filter{IDs: others}))
		if err != nil {
			p.unread(fmt.Errorf("read the ledger: %w", err))
			return comparison{}, false
		}
		for _, g := range more {
			records.Grants[g.ID] = g
			if p.served().Include(g.Owner) {
				recorded = append(recorded, g)
			}
		}
	}
	steps := reconcile.Plan(now, ours, recorded, map[jit.Place]jit.Snapshot{at: snapshot}, p.OnDrift)
	steps = reconcile.Unexplained(steps, records, ours, at, snapshot)
	if steps, err = p.forgotten(ctx, at, steps, now); err != nil {
		p.unread(fmt.Errorf("read the ledger: %w", err))
		return comparison{}, false
	}
	return comparison{at, now, recorded, steps}, true
}

// forgotten leaves out what is due: it has had its turn. An end stays that is overdue and that the ledger does not call due, as when
// somebody has written into the ledger: nothing else would ever end the grant.
func (p *pass) forgotten(ctx context.Context, at jit.Place, steps []reconcile.Step, now time.Time) ([]reconcile.Step, error) {
	overdue := now.Add(-jit.OverdueAfter)
	ends := false
	steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		end := s.Kind == reconcile.End && s.Grant.Outstanding(overdue)
		ends = ends || end
		return (s.Kind == reconcile.End || s.Kind == reconcile.Start) && !end
	})
	if !ends {
		return steps, nil
	}
	due, err := collect(p.Broker.Ledger.Grants(ctx, jit.Filter{Target: at.Target, Scope: at.Scope, DueBy: now}))
	inTurn := make(map[jit.ID]bool, len(due))
	for _, g := range due {
		inTurn[g.ID] = true
	}
	return slices.DeleteFunc(steps, func(s reconcile.Step) bool { return s.Kind == reconcile.End && inTurn[s.Grant.ID] }), err
}

// recorded reads the grants of a filter whose owners are served.
func (p *pass) recorded(ctx context.Context, f jit.Filter) ([]jit.Grant, error) {
	all, err := collect(p.Broker.Ledger.Grants(ctx, f))
	return slices.DeleteFunc(all, func(g jit.Grant) bool { return !p.served().Include(g.Owner) }), err
}

// policies are read once a pass, when they are first asked for. The zero value is ready.
type policies struct {
	once sync.Once
	all  []jit.Policy
	err  error
}

func (p *policies) read(ctx context.Context, from jit.Ledger) ([]jit.Policy, error) {
	p.once.Do(func() { p.all, p.err = from.Policies(ctx) })
	return p.all, p.err
}

// judged adds to the steps of one scope those for live grants that today's policies would not permit. Such a grant is narrowed where it
// is too wide, but it is not put back where it is missing.
func (p *pass) judged(ctx context.Context, seen comparison) []reconcile.Step {
	at, steps := seen.at, seen.steps
	today, err := p.policies.read(ctx, p.Broker.Ledger)
	if err == nil && len(today) == 0 {
		return steps
	}
	ending := revoked(steps)
	live := slices.DeleteFunc(slices.Clone(seen.recorded), func(g jit.Grant) bool {
		return g.State(seen.now) != jit.StateActive || g.Place() != at || ending[g.ID]
	})
	if len(live) == 0 {
		return steps
	}
	var rules map[jit.ID]string
	if err == nil {
		rules, err = p.Broker.Violations(ctx, today, live)
	}
	if err != nil {
		p.unread(fmt.Errorf("judge the grants on %s of target %q by today's policies: %w", at.Scope, at.Target, err))
	}
	kept := slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		rule, violates := rules[s.Grant.ID]
		widens := violates && s.Kind == reconcile.Repair && s.Severity == jit.Info
		if widens {
			rules[s.Grant.ID] = rule + "; " + s.Reason + ", and not put back"
		}
		return widens
	})
	kind := reconcile.Report
	if p.RevokeViolations {
		kind = reconcile.Revoke
	}
	for _, g := range live {
		if rule, violates := rules[g.ID]; violates {
			kept = append(kept, reconcile.Step{Kind: kind, Place: at, Grant: g, Reason: rule, Drift: jit.DriftViolation, Severity: jit.DriftViolation.Severity()})
		}
	}
	return kept
}

// revoked are the grants that the steps revoke.
func revoked(steps []reconcile.Step) map[jit.ID]bool {
	ids := map[jit.ID]bool{}
	for _, s := range steps {
		if s.Kind == reconcile.Revoke {
			ids[s.Grant.ID] = true
		}
	}
	return ids
}

// tellAgain is how often a finding that stays is recorded.
const tellAgain = 24 * time.Hour

// askAgain is how often the ledger is asked whether a finding has been told of.
const askAgain = time.Hour

// maxHeldTold is how much of what is held back on one scope is recorded: a runaway is not to fill the record.
const maxHeldTold = 100

// tellHeld records what the cap holds back.
func (p *pass) tellHeld(ctx context.Context, held []reconcile.Step) {
	if p.DryRun {
		return
	}
	for _, s := range held[:min(len(held), maxHeldTold)] {
		s.Kind, s.Held, s.Dedup = reconcile.Report, true, p.once(s, "held back", tellAgain)
		steps := []reconcile.Step{s}
		errs := p.Broker.Execute(ctx, s.Place, steps)
		if p.told(steps, errs); errs[0] != nil {
			p.unread(fmt.Errorf("record what was held back: %w", errs[0]))
		}
	}
}

// noted remembers which findings the ledger has been told of, so that it is not asked about all that stays at every pass of a
// daemon. The zero value is ready.
type noted struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// has reports whether the ledger need not be asked at now.
func (n *noted) has(name string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return now.Before(n.until[name])
}

// add notes that the ledger need not be asked until then.
func (n *noted) add(name string, until time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.until == nil {
		n.until = map[string]time.Time{}
	}
	n.until[name] = until
}

// forget drops what is to be asked again.
func (n *noted) forget(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.until, func(_ string, until time.Time) bool { return !now.Before(until) })
}

// once returns the key of a finding, so that it is recorded unless a sweeper has told of it for so long; one of
// which the ledger need not be asked has no key. What is removed is told of at once when it comes again, for then somebody has brought it
// back; two sweepers that find it together tell once.
func (p *pass) once(s reconcile.Step, done string, again time.Duration) jit.DedupKey {
	now := p.time()
	name := strings.Join([]string{"finding", s.Target, s.Scope, string(s.Grant.ID), string(s.Drift), done}, "/")
	if p.unrecorded || p.noted.has(name, now) {
		return jit.DedupKey{}
	}
	return jit.DedupKey{Name: name, At: now, Until: now.Add(again)}
}

// told notes of which findings the ledger need not be asked for a while: those that are recorded.
func (p *pass) told(steps []reconcile.Step, errs []error) {
	for i, s := range steps {
		if o := s.Dedup; errs[i] == nil && o.Name != "" {
			p.noted.add(o.Name, o.At.Add(min(o.Until.Sub(o.At), askAgain)))
		}
	}
}
