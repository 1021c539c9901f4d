package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// asker asks a target about a binding. A nil asker asks nothing and permits everything that an answer could permit.
type asker func(target string, ask func() error) error

// askNow always asks.
func askNow(_ string, ask func() error) error { return ask() }

// askOnce does not ask a target whose outage is remembered. It serves plans; an apply always asks.
func (b *Broker) askOnce(target string, ask func() error) error {
	return b.outages.try(jit.Place{Target: target}, b.Now, ask)
}

// undescribed is the error of a target that does not answer a question about a binding.
type undescribed struct{ error }

// Unwrap returns the target's error.
func (u *undescribed) Unwrap() error { return u.error }

// isSilent reports whether a verdict failed because the target does not answer.
func isSilent(err error) bool {
	silent := &undescribed{}
	return errors.As(err, &silent)
}

// unanswered makes an error [undescribed], unless it is an answer.
func unanswered(err error) error {
	if answered(err) {
		return err
	}
	return &undescribed{err}
}

// describe returns the traits of a binding: those that a [jit.Describer] reports, else those that Check returned.
func (ask asker) describe(
	ctx context.Context, p jit.Platform, binding jit.Binding, checked jit.Traits,
) (jit.Traits, error) {
	d, ok := jit.Find[jit.Describer](p)
	if !ok {
		return checked, nil
	}
	var traits jit.Traits
	err := ask(binding.Target, func() (err error) {
		traits, err = d.Describe(ctx, binding)
		return err
	})
	if err != nil {
		return checked, unanswered(fmt.Errorf("look at %s on target %q: %w", binding.Role, binding.Target, err))
	}
	return traits, nil
}

// verdict judges the access that a binding gives. It asks the target for further names, through ask, only if they can
// change the verdict; the error is [undescribed] if the target does not answer.
func (ask asker) verdict(
	ctx context.Context, target jit.Platform, policies []jit.Policy, asked policy.Request,
) (v jit.Verdict, err error) {
	if asked.Given, err = target.Given(ctx, asked.Binding, false); err != nil {
		return v, err
	}
	if ask != nil {
		v, err = policy.Judge(policies, asked)
		if err != nil || v.Permitted() || !asked.Given.Unresolved() {
			return v, err
		}
	}
	v, err = policy.Foregone(policies, asked)
	if ask == nil || err != nil || !v.Permitted() {
		return v, err
	}
	err = ask(asked.Binding.Target, func() (err error) {
		asked.Given, err = target.Given(ctx, asked.Binding, true)
		return err
	})
	if err != nil {
		return v, unanswered(fmt.Errorf(
			"look up the names of %s and %s on target %q, by which a policy may forbid them: %w",
			asked.Binding.Role, asked.Binding.Principal, asked.Binding.Target, err))
	}
	return policy.Judge(policies, asked)
}
