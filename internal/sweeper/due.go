package sweeper

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

const (
	// lease is how long due work stays with a sweeper that may have died.
	lease = 2 * time.Minute
	// defaultClaimSize is how many due grants are claimed at once.
	defaultClaimSize = 5000
	// claimsInHand is how many claims' worth of grants is in hand at most.
	claimsInHand = 4
)

// due claims and carries out what the ledger says is due, scopes side by side. Of a scope nothing more is claimed until what is in hand
// of it is done, and none waits for another.
func (p *pass) due(ctx context.Context) error {
	sound, skew, err := p.soundNow(ctx, p.now)
	if err != nil {
		return err
	}
	p.now, p.behind, p.wrong = sound, p.now.Sub(sound), skew
	if skew != nil {
		p.unread(fmt.Errorf("nothing begins and nothing is looked for but what is due: %w", skew))
	}
	if p.DryRun {
		all, unnamed, err := p.allDue(ctx)
		if err != nil {
			return err
		}
		p.carryOut(ctx, p.stripped(ctx, p.dueSteps(all)))
		p.endSeen(ctx, unnamed)
		return nil
	}
	limit := cmp.Or(p.ClaimSize, defaultClaimSize)
	seen := map[jit.ID]bool{}
	h := &inHand{scopes: map[jit.Place]int{}, slots: map[string]chan struct{}{}, done: make(chan jit.Place)}
	defer h.wait(0)
	for {
		claimed, err := p.claim(ctx, limit, h.places())
		if err != nil {
			return err
		}
		for _, g := range claimed {
			seen[g.ID] = true
		}
		for at, steps := range byPlace(p.dueSteps(claimed)) {
			h.begin(at, len(steps), func() { p.run(ctx, p.stripped(ctx, steps)) })
		}
		switch {
		case len(claimed) == limit:
			h.room(limit)
		case len(h.scopes) > 0:
			h.wait(len(h.scopes) / 2) // there may be more of those that are done then
		default:
			return p.others(ctx, seen)
		}
	}
}

// dueSteps are the steps for grants that are due. While the clocks disagree nothing begins.
func (p *pass) dueSteps(grants []jit.Grant) []reconcile.Step {
	steps := reconcile.Plan(p.now, p.served().Include, grants, nil, nil)
	if p.wrong != nil {
		steps = withoutStarts(steps)
	}
	return steps
}

// claim claims what is due on scopes that nothing is in hand of. What was claimed in this pass, all at the time of its beginning, and could not
// be done is not given out again; what a sweeper of this name had in its hands when it died is.
func (p *pass) claim(ctx context.Context, limit int, busy []jit.Place) ([]jit.Grant, error) {
	if len(p.Broker.Targets) == 0 {
		return nil, nil
	}
	return p.Broker.Ledger.AcquireDue(ctx, jit.DueQuery{
		Owners: p.served(), Targets: p.targets(), Now: p.now, Holder: p.Holder, Lease: lease, Limit: limit, Except: busy,
	})
}

// others notes what is due and was not among what this sweeper was given, and ends what it sees of the owners that it does not serve.
func (p *pass) others(ctx context.Context, mine map[jit.ID]bool) error {
	reachable, unnamed, err := p.allDue(ctx)
	p.endSeen(ctx, unnamed)
	for _, g := range reachable {
		if !mine[g.ID] {
			p.report.Elsewhere = append(p.report.Elsewhere, g)
		}
	}
	return err
}

// allDue returns what is due and within reach of this sweeper, and apart what is over of owners that are not served and not kept
// from it; it notes what is overdue and out of reach.
func (p *pass) allDue(ctx context.Context) (reachable, unnamed []jit.Grant, err error) {
	served := p.served()
	for g, err := range p.Broker.Ledger.Grants(ctx, jit.Filter{DueBy: p.now}) {
		if err != nil {
			return nil, nil, err
		}
		if !g.Outstanding(p.now) && !g.DueToStart(p.now) {
			continue
		}
		why := p.OutOfReach(g.Owner, g.Target)
		switch {
		case why == "" && served.Include(g.Owner):
			reachable = append(reachable, g)
		case why == "":
			if g.Outstanding(p.now) {
				unnamed = append(unnamed, g)
			}
		default:
			p.beyond(g, why)
		}
	}
	return reachable, unnamed, nil
}

// beyond notes a grant that is out of reach, once whoever can reach it had the time to end it: a sweeper passes that often.
func (p *pass) beyond(g jit.Grant, why string) {
	if g.Outstanding(p.now.Add(-broker.SweptWithin)) {
		p.report.OutOfReach = append(p.report.OutOfReach, reconcile.Step{Kind: reconcile.End, Place: g.Place(), Grant: g, Reason: why})
	}
}

func byPlace(steps []reconcile.Step) map[jit.Place][]reconcile.Step {
	places := map[jit.Place][]reconcile.Step{}
	for _, s := range steps {
		places[s.Place] = append(places[s.Place], s)
	}
	return places
}

// inHand is the work of a pass that is under way: how many steps of which scopes. One goroutine owns it.
type inHand struct {
	scopes map[jit.Place]int
	steps  int
	slots  map[string]chan struct{} // of each target
	done   chan jit.Place
}

func (h *inHand) places() []jit.Place { return slices.Collect(maps.Keys(h.scopes)) }

// begin starts the work on a scope, as soon as fewer than scopesAtOnce of its target are worked on.
func (h *inHand) begin(at jit.Place, steps int, work func()) {
	h.scopes[at] = steps
	h.steps += steps
	slots, ok := h.slots[at.Target]
	if !ok {
		slots = make(chan struct{}, scopesAtOnce)
		h.slots[at.Target] = slots
	}
	go func() {
		slots <- struct{}{}
		work()
		<-slots
		h.done <- at
	}()
}

// wait waits until no more scopes than so many are worked on.
func (h *inHand) wait(most int) {
	for len(h.scopes) > most {
		h.finish()
	}
}

// room waits until another claim of that size may be in hand.
func (h *inHand) room(size int) {
	for h.steps >= claimsInHand*size || len(h.scopes) >= size {
		h.finish()
	}
}

func (h *inHand) finish() {
	at := <-h.done
	h.steps -= h.scopes[at]
	delete(h.scopes, at)
}
