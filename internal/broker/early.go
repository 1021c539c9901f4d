package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// early is a planned grant that names no policy.
type early struct {
	// grant has the known values, and traits those of its binding. unknown: it has unknown values.
	grant   jit.Grant
	traits  jit.Traits
	unknown bool
	// at are its target, platform and owner, empty if unknown.
	at [3]string

	mu sync.Mutex
	// permitted: the recorded policies permit it without approval. judged: that is known.
	permitted, judged bool
}

// NoteUnknown notes a planned grant that names no policy and has unknown values, and refuses it if a recorded policy
// that may decide on it asks for approval from this plan on. target is empty if it is unknown.
func (b *Broker) NoteUnknown(ctx context.Context, target string) error {
	return b.noteEarly(ctx, &early{grant: jit.Grant{Binding: jit.Binding{Target: target}, Owner: b.Owner}, unknown: true})
}

// noteEarly notes a planned grant that names no policy, and checks it against the policies planned so far.
func (b *Broker) noteEarly(ctx context.Context, e *early) error {
	if b.Planned == nil {
		return nil
	}
	e.at = [3]string{e.grant.Target, "", e.grant.Owner}
	if target, err := b.Target(e.grant.Target); err == nil {
		e.at[1] = target.Kind()
	}
	b.Planned.mu.Lock()
	b.Planned.early = append(b.Planned.early, e)
	changes := maps.Clone(b.Planned.changes)
	b.Planned.mu.Unlock()
	return b.checkBeginnings(ctx, []*early{e}, slices.Sorted(maps.Keys(changes)))
}

// checkEarly checks the grants that were planned before against the policies that were planned since the last check.
func (b *Broker) checkEarly(ctx context.Context) error {
	b.Planned.mu.Lock()
	all, names := slices.Clone(b.Planned.early), b.Planned.unchecked
	b.Planned.unchecked = nil
	b.Planned.mu.Unlock()
	return b.checkBeginnings(ctx, all, names)
}

// checkBeginnings refuses a grant that could begin before one of the named policies of the plan asks for its approval.
func (b *Broker) checkBeginnings(ctx context.Context, all []*early, names []string) error {
	if len(all) == 0 || !b.Planned.MayWait() {
		return nil
	}
	before, err := b.rules(ctx)
	if err != nil || len(before.policies) == 0 {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !b.Planned.alters(before.policies, name) })
	var known []*early
	for _, e := range all {
		concerned, err := b.Planned.concerns(e, before.policies, names)
		if err != nil {
			return err
		}
		if concerned && !e.unknown {
			known = append(known, e)
		}
	}
	// All grants are judged by the recorded policies first, so that each list of policies is compiled once.
	known = slices.DeleteFunc(known, func(e *early) bool { return !b.begins(ctx, before.policies, e) })
	is := b.Planned.mostPermissive(before.policies)
	for _, e := range known {
		v, err := b.verdict(ctx, is, b.askOnce, e.grant, e.traits, "")
		if isSilent(err) {
			if name := b.Planned.mayAsk(e, before.policies, names); name != "" {
				return errEarly(fmt.Sprintf("grant %q, whose target does not answer,", e.grant.Summary()), name)
			}
		}
		if err == nil && v.Outcome == jit.NeedsApproval && !v.BrokeGlass { // a refusal is told elsewhere
			return errEarly(fmt.Sprintf("grant %q", e.grant.Summary()), v.Policy)
		}
	}
	return nil
}

// concerns reports whether one of the named policies of the plan may be about the grant. A grant with unknown values is
// refused if such a policy asks for approval from this plan on.
func (p *Planned) concerns(e *early, recorded []jit.Policy, names []string) (concerned bool, err error) {
	for _, name := range names {
		concerned = concerned || e.maybeIn(policyOf(recorded, name)) || e.maybeIn(p.change(name).policy)
	}
	if name := p.mayAsk(e, recorded, names); e.unknown && name != "" {
		return true, errEarly("a grant", name)
	}
	return concerned, nil
}

// mayAsk returns the first of the named policies of the plan that may be about the grant and asks for approval from this
// plan on; empty if there is none.
func (p *Planned) mayAsk(e *early, recorded []jit.Policy, names []string) string {
	for _, name := range names {
		was, is := policyOf(recorded, name), p.change(name)
		asksNow := was.Name != "" && len(was.Approval) == 0 && !is.incomplete && len(is.policy.Approval) > 0
		if asksNow && e.maybeIn(is.policy) {
			return name
		}
	}
	return ""
}

// begins reports whether the recorded policies permit a grant without approval, or may if the target does not answer. An
// answer is kept; an error is none.
func (b *Broker) begins(ctx context.Context, recorded []jit.Policy, e *early) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.judged {
		v, err := b.verdict(ctx, recorded, b.askOnce, e.grant, e.traits, "")
		if isSilent(err) {
			return true
		}
		e.judged, e.permitted = err == nil, err == nil && v.Permitted()
	}
	return e.permitted
}

// maybeIn reports whether a policy may be about the grant, by its target, platform and owner.
func (e *early) maybeIn(p jit.Policy) bool {
	return p.Name != "" && slices.ContainsFunc(p.Match.Entries(), func(m jit.Match) bool {
		where := whereOfEntry(m)
		for i, value := range e.at {
			if value == "" {
				where[i] = nil
			}
		}
		return isAt(where, e.at)
	})
}

// policyOf returns the policy of a name; the zero policy if there is none.
func policyOf(policies []jit.Policy, name string) jit.Policy {
	for _, p := range policies {
		if p.Name == name {
			return p
		}
	}
	return jit.Policy{}
}

// change returns the planned change of a policy.
func (p *Planned) change(name string) change {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes[name]
}

// alters reports whether the plan changes more of a policy than its holder.
func (p *Planned) alters(recorded []jit.Policy, name string) bool {
	was, is := policyOf(recorded, name), p.change(name).policy
	is.Holder = was.Holder
	return was.Name != is.Name || !maps.Equal(was.Facts(), is.Facts())
}

// errEarly refuses a grant that could begin before its policy asks for approval.
func errEarly(grant, policy string) error {
	return jit.Invalid("policy", "write policy = jit_policy.<name>.name in the jit_grant, or apply the policies first",
		"%s names no policy, and policy %q asks for approval from this apply on: the grant could begin before that policy "+
			"is recorded, without approval", grant, policy)
}
