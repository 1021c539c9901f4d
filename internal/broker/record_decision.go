package broker

import (
	"context"
	"errors"
	"strings"

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
	ask := b.ask(g)
	ask.Actor = "" // whoever decides is the actor here
	required, err := b.requiredNow(ctx, g)
	if s.Choice == jit.SignOff {
		required, err = b.requiredSignOff(ctx, g, people, ask, required, err)
	}
	if err != nil {
		return err
	}
	if vote.Choice == jit.Approve && b.Now().After(vote.NotAfter) {
		return jit.Invalid("not_after", "sign it again: jit approve "+string(g.ID), "the approval was valid until %s",
			jit.FormatTime(vote.NotAfter))
	}
	person, _ := people.Named(vote.Person)
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
		if s.Choice == jit.Deny {
			closeWaiting(g, vote.Person+" denied it")
		}
		return []jit.Event{b.decision(s, *g)}, true
	})
	return err
}

// requiredSignOff returns who may sign off a grant that broke the glass: whom today's policies ask, now, unless now is
// an error; else those who were skipped; else any person. The first of them who are still known and may decide count, so
// a policy that has gone does not keep the duty open for ever.
func (b *Broker) requiredSignOff(
	ctx context.Context, g jit.Grant, people *approval.People, ask approval.Ask, now []jit.Requirement, unasked error,
) ([]jit.Requirement, error) {
	if unasked != nil && !errors.Is(unasked, jit.ErrDenied) && !errors.Is(unasked, jit.ErrUnknown) {
		return nil, unasked
	}
	skipped, err := b.skipped(ctx, g)
	if err != nil {
		return nil, err
	}
	all, err := b.Ledger.Persons(ctx)
	if err != nil {
		return nil, err
	}
	var anybody []string
	for _, p := range all {
		anybody = append(anybody, p.Name)
	}
	required := now
	for _, from := range [][]string{skipped, anybody} {
		if len(people.Count(required, ask, nil).Candidates()) > 0 {
			break
		}
		required = []jit.Requirement{{Required: 1, From: from}}
	}
	return required, nil
}

// skipped names the people who could have approved a grant when it broke the glass last.
func (b *Broker) skipped(ctx context.Context, g jit.Grant) (names []string, err error) {
	for e, err := range b.Ledger.EventsOf(ctx, []jit.ID{g.ID}) {
		if err != nil {
			return nil, err
		}
		if e.Kind == jit.EventBreakGlass {
			names = strings.Split(e.Detail["approvers"], ", ")
		}
	}
	return names, nil
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
