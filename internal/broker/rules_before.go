package broker

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// rules are what a run of Terraform found in the ledger before it changed anything. A change of the same run neither
// adds an approver nor takes a requirement away.
type rules struct {
	mu       sync.Mutex
	read     bool
	policies []jit.Policy
	persons  []jit.Person
	// people are the persons, once they have been asked for; nil before.
	people *approval.People
}

// rulesBefore returns the policies and persons from before the run, or those of now if the broker does not belong to a
// run. Whoever changes them calls it first.
func (b *Broker) rulesBefore(ctx context.Context) ([]jit.Policy, []jit.Person, error) {
	b.before.mu.Lock()
	defer b.before.mu.Unlock()
	if b.OneRun && b.before.read {
		return b.before.policies, b.before.persons, nil
	}
	policies, err := b.Ledger.Policies(ctx)
	if err != nil {
		return nil, nil, err
	}
	persons, err := b.Ledger.Persons(ctx)
	if err != nil {
		return nil, nil, err
	}
	b.before.read, b.before.policies, b.before.persons = true, policies, persons
	return policies, persons, nil
}

// deciders returns the people whose decisions count: those of the ledger before the run. While it has none, those count
// that the run has recorded or plans.
func (b *Broker) deciders(ctx context.Context) (*approval.People, error) {
	_, persons, err := b.rulesBefore(ctx)
	if err == nil && b.OneRun && len(persons) > 0 {
		return b.peopleBefore()
	}
	if err == nil && len(persons) == 0 {
		if persons, err = b.Ledger.Persons(ctx); err == nil {
			persons = b.Planned.Persons(persons)
		}
	}
	if err != nil {
		return nil, err
	}
	return newPeople(persons)
}

// peopleBefore returns the people from before the run, whose keys it parses once.
func (b *Broker) peopleBefore() (people *approval.People, err error) {
	b.before.mu.Lock()
	defer b.before.mu.Unlock()
	if b.before.people == nil {
		b.before.people, err = newPeople(b.before.persons)
	}
	return b.before.people, err
}

func newPeople(persons []jit.Person) (*approval.People, error) {
	people, err := approval.NewPeople(persons)
	if err != nil {
		return nil, fmt.Errorf("the persons of the ledger: %w", err)
	}
	return people, nil
}

// requirements adds to a verdict what the policies from before the run ask for, whatever their limits were and whichever
// policy the grant names, so that a run neither drops the approval of its own grants nor lets itself break the glass.
func (b *Broker) requirements(
	ctx context.Context, target jit.Platform, r policy.Request, v jit.Verdict,
) (jit.Verdict, error) {
	if !b.OneRun || v.Outcome == jit.Refused {
		return v, nil
	}
	policies, _, err := b.rulesBefore(ctx)
	if err != nil || !slices.ContainsFunc(policies, func(p jit.Policy) bool { return len(p.Approval) > 0 }) {
		return v, err
	}
	if r.Given, err = target.Given(ctx, r.Binding, false); err != nil {
		return v, err
	}
	required, glass := policy.Before(policies, r)
	if len(required) == 0 {
		return v, nil
	}
	for _, entry := range required {
		if !slices.ContainsFunc(v.Approval, func(e jit.Requirement) bool { return sameRequirement(e, entry) }) {
			v.Approval = append(v.Approval, entry)
		}
	}
	switch {
	case r.BreakGlass && glass:
		v.BrokeGlass = true
	case v.Permitted():
		v.Outcome, v.BrokeGlass = jit.NeedsApproval, false
		v.Rule += ", but with approval, as it was before this run"
	}
	return v, nil
}

func sameRequirement(a, b jit.Requirement) bool {
	return a.Required == b.Required && a.Unless == b.Unless && a.ValidFor == b.ValidFor &&
		slices.Equal(a.From, b.From) && slices.Equal(a.Evidence, b.Evidence)
}
