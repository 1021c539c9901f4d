package broker

import (
	"context"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Decide records a person's decision on a recorded request or grant. The statement must be about it as it stands, and by
// somebody whose decision counts.
func (b *Broker) Decide(ctx context.Context, g jit.Grant, s approval.Signed) error {
	ledger, err := b.Ledger.ID(ctx)
	if err != nil {
		return err
	}
	if s.Digest != g.RequestDigest(ledger) {
		return jit.Invalid("request_digest", "sign it again: jit approve "+string(g.ID), "the statement is about another request")
	}
	people, err := b.deciders(ctx)
	if err != nil {
		return err
	}
	vote, err := people.Authenticate(s, g.RequestFields())
	if err != nil {
		return err
	}
	required, err := b.requiredNow(ctx, g)
	if err != nil {
		return err
	}
	person, _ := people.Named(vote.Person)
	ask := b.ask(g)
	ask.Actor = "" // whoever decides is the actor here
	if why := people.Unfit(required, ask, person); why != "" {
		return jit.Errorf(jit.ErrDenied, "", "somebody else must decide: "+people.Count(required, ask, nil).Missing(),
			"the decision of %s does not count: %s", vote.Person, why)
	}
	_, err = b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if s.Choice == jit.SignOff {
			if !g.Unsigned() {
				return nil, false
			}
			g.SignedOffAt, g.SignedOffBy = b.Now(), vote.Person
		}
		return []jit.Event{b.decision(s, *g)}, true
	})
	return err
}

// requiredNow returns whose approval today's policies ask for.
func (b *Broker) requiredNow(ctx context.Context, g jit.Grant) ([]jit.Requirement, error) {
	policies, err := b.Policies(ctx)
	if err != nil {
		return nil, err
	}
	g.BreakGlass = false // the requirement that it skipped
	v, err := b.judgeRecorded(ctx, policies, g)
	if err != nil {
		return nil, err
	}
	if v.Outcome == jit.Refused {
		return nil, jit.Errorf(jit.ErrDenied, v.Attribute, "", "no policy permits it any more: %s", v.Rule)
	}
	return v.Approval, nil
}
