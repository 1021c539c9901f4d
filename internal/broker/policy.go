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
	if err == nil && known {
		err = otherContent(p, recorded)
	}
	if err != nil {
		return 0, err
	}
	p.Holder = recorded.Holder + 1
	return p.Holder, b.writePolicy(ctx, p)
}

// CheckPolicyName refuses a new policy if the ledger has another one of its name.
func (b *Broker) CheckPolicyName(ctx context.Context, p jit.Policy) error {
	recorded, known, err := b.RecordedPolicy(ctx, p.Name)
	if err != nil || !known {
		return err
	}
	return otherContent(p, recorded)
}

// otherContent refuses a policy that differs from the recorded one of its name.
func otherContent(p, recorded jit.Policy) error {
	if p.Holder = recorded.Holder; maps.Equal(p.Facts(), recorded.Facts()) {
		return nil
	}
	return jit.Invalid("name",
		"choose another name, or import it and change it then: terraform import jit_policy.<name> "+p.Name,
		"the ledger has a policy %q already, with other content", p.Name)
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
	return b.write(ctx, jit.Entry{Policy: &p, Events: []jit.Event{changed}, Current: true})
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
