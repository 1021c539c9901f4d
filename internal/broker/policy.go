package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// MakePolicy records a policy that the caller considers new, and returns the caller's holder number. If the ledger has
// the same policy, the caller becomes its holder; a different policy of that name is refused.
func (b *Broker) MakePolicy(ctx context.Context, p jit.Policy) (holder int64, err error) {
	recorded, known, err := b.RecordedPolicy(ctx, p.Name)
	if err != nil {
		return 0, err
	}
	p.Holder = recorded.Holder
	if known && !maps.Equal(p.Facts(), recorded.Facts()) {
		hint := "choose another name, or import it and change it then: terraform import jit_policy.<name> " + p.Name
		return 0, jit.Invalid("name", hint, "the ledger has a policy %q already, with other content", p.Name)
	}
	p.Holder++
	return p.Holder, b.writePolicy(ctx, p)
}

// PutPolicy records a policy, new or changed.
func (b *Broker) PutPolicy(ctx context.Context, p jit.Policy) error {
	recorded, _, err := b.RecordedPolicy(ctx, p.Name)
	if err != nil {
		return err
	}
	p.Holder = max(recorded.Holder, 1)
	return b.writePolicy(ctx, p)
}

func (b *Broker) writePolicy(ctx context.Context, p jit.Policy) error {
	if err := policy.Check(p); err != nil {
		return err
	}
	changed := b.ruleEvent(jit.EventPolicyChanged, p.Name, p.Facts())
	return b.write(ctx, jit.Entry{Policy: &p, Events: []jit.Event{changed}})
}

// DropPolicy removes a policy; an absent one is a success. A holder other than 0 restricts the removal to that holder:
// a policy with a newer holder stays.
func (b *Broker) DropPolicy(ctx context.Context, name string, holder int64) error {
	recorded, known, err := b.RecordedPolicy(ctx, name)
	if err != nil || !known || holder != 0 && recorded.Holder > holder {
		return err
	}
	removed := b.ruleEvent(jit.EventPolicyRemoved, name, map[string]string{})
	return b.write(ctx, jit.Entry{DropPolicy: name, Events: []jit.Event{removed}})
}

// RecordedPolicy returns the policy of that name from the ledger, regardless of planned changes.
func (b *Broker) RecordedPolicy(ctx context.Context, name string) (p jit.Policy, known bool, err error) {
	all, err := b.Ledger.Policies(ctx)
	if i := slices.IndexFunc(all, func(p jit.Policy) bool { return p.Name == name }); i >= 0 {
		return all[i], true, err
	}
	return jit.Policy{}, false, err
}
