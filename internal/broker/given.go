package broker

import (
	"context"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// judging judges a request for access on a target by policies.
type judging func(ctx context.Context, target jit.Platform, policies []jit.Policy, asked policy.Request) (jit.Verdict, error)

// foregone judges by what is known without a call. It permits what the target may still turn out to permit.
func foregone(ctx context.Context, target jit.Platform, policies []jit.Policy, asked policy.Request) (v jit.Verdict, err error) {
	if asked.Given, err = given(ctx, target, asked.Binding, false); err != nil {
		return v, err
	}
	return policy.Foregone(policies, asked)
}

// verdict judges what the binding gives. The target is asked for further names, through ask, only if they can change the verdict; its
// error is [undescribed] where it does not answer.
func (ask asker) verdict(ctx context.Context, target jit.Platform, policies []jit.Policy, asked policy.Request) (v jit.Verdict, err error) {
	if asked.Given, err = given(ctx, target, asked.Binding, false); err != nil {
		return v, err
	}
	v, err = policy.Judge(policies, asked)
	if err != nil || v.Permitted || !asked.Given.Unresolved() {
		return v, err
	}
	if v, err = policy.Foregone(policies, asked); err != nil || !v.Permitted {
		return v, err
	}
	err = ask(asked.Binding.Target, func() (err error) {
		asked.Given, err = given(ctx, target, asked.Binding, true)
		return err
	})
	if err != nil {
		return v, unanswered(fmt.Errorf("look up the names of %s and %s on target %q, by which a policy may forbid them: %w",
			asked.Binding.Role, asked.Binding.Principal, asked.Binding.Target, err))
	}
	return policy.Judge(policies, asked)
}

// given tells what a binding gives on its target.
func given(ctx context.Context, target jit.Platform, binding jit.Binding, ask bool) (jit.Given, error) {
	if i, ok := jit.Find[jit.Interpreter](target); ok {
		return i.Given(ctx, binding, ask)
	}
	return jit.AsWritten(binding), nil
}
