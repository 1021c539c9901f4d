// Package broker carries grants through their life in the one order that survives
// a crash: ledger (the intent), platform, ledger (the outcome). The provider,
// the command line and the sweeper all work through it.
package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// Broker grants, changes and revokes. Its fields are set once, before use; all
// of its methods are safe for concurrent use.
type Broker struct {
	Ledger jit.Ledger
	// Targets are the configured targets by name.
	Targets map[string]jit.Platform
	Owner   string
	// AnyOwner: grants of other owners may be ended too. A sweeper, which is given grants by the ledger, sets it; nothing
	// that acts on what a person names does.
	AnyOwner bool
	// MaxTTL bounds every grant, whatever a policy says.
	MaxTTL time.Duration
	Actor  jit.Actor
	Now    func() time.Time
	// Planned are policies that are part of the same plan and not in the ledger yet; it may be nil.
	Planned *Planned

	failures failures
	sweeps   sweeps
	outages  outages
}

// Warning is something that does not stop a grant and that a reviewer has to know.
type Warning struct {
	Attribute string // to blame; may be empty
	Summary   string
	Detail    string
}

// Target returns the configured target of that name.
func (b *Broker) Target(name string) (jit.Platform, error) {
	p, ok := b.Targets[name]
	if !ok {
		return nil, &jit.Error{
			Attribute: "target",
			Problem:   fmt.Sprintf("%q is not one of the configured targets (%s)", name, quoted(b.Targets)),
			Hint:      fmt.Sprintf("add it to targets in the provider block (or in jit.hcl), for example %s = { ssh = { … } }", name),
			Err:       jit.ErrUnknown,
		}
	}
	return p, nil
}

// Check validates what can be validated without a call or a record: the form of
// every value, the target and the binding. It returns the grant with its
// canonical binding and its id, without a window, and its traits.
func (b *Broker) Check(r Request) (jit.Grant, jit.Traits, error) {
	if err := CheckForm(r, nil); err != nil {
		return jit.Grant{}, jit.Traits{}, err
	}
	p, err := b.Target(r.Binding.Target)
	if err != nil {
		return jit.Grant{}, jit.Traits{}, err
	}
	binding, traits, err := p.Check(r.Binding)
	if err != nil {
		return jit.Grant{}, jit.Traits{}, err
	}
	if err := checkAsked(p, r); err != nil {
		return jit.Grant{}, jit.Traits{}, err
	}
	if r.TerminateSessions && !traits.CanTerminate {
		return jit.Grant{}, jit.Traits{}, jit.Invalid("terminate_sessions", "leave it out",
			"open sessions cannot be ended on target %q (%s)", r.Binding.Target, p.Kind())
	}
	return jit.Grant{
		ID:                jit.NewID(b.Owner, binding, r.Reason, r.Renewal),
		Owner:             b.Owner,
		Binding:           binding,
		Reason:            r.Reason,
		Renewal:           r.Renewal,
		TTL:               r.TTL,
		StartBy:           r.StartBy,
		TerminateSessions: r.TerminateSessions,
		Enforcement:       traits.Enforcement,
		SessionTail:       traits.SessionTail,
		PrincipalName:     traits.PrincipalName,
	}, traits, nil
}

// judge asks the policies about a grant whose window is to have that start and length. checked are the
// traits that Check told; what the platform tells when it may ask is judged and returned.
func (b *Broker) judge(ctx context.Context, g jit.Grant, checked jit.Traits, named string, start time.Time, length time.Duration) (jit.Verdict, jit.Traits, error) {
	return b.judgeBy(ctx, b.Policies, askNow, g, checked, named, start, length)
}

// foresee is judge during a plan. Where the deciding policy still has unknown values, or the target does not answer, the
// grant is permitted with a warning unless it is refused in any case; the apply judges in full.
func (b *Broker) foresee(ctx context.Context, g jit.Grant, checked jit.Traits, named string, start time.Time, length time.Duration) (jit.Verdict, jit.Traits, []Warning, error) {
	by := b.Policies
	if b.Planned != nil {
		by = func(ctx context.Context) ([]jit.Policy, error) {
			recorded, err := b.Ledger.Policies(ctx)
			return b.Planned.foreseen(recorded), err
		}
	}
	var warnings []Warning
	v, traits, err := b.judgeBy(ctx, by, b.askOnce, g, checked, named, start, length)
	if silent := (&undescribed{}); errors.As(err, &silent) {
		warnings = append(warnings, Warning{"target", "The target cannot be read", fmt.Sprintf(
			"The grant is judged without what the target knows: %v. The apply judges it in full, and fails if the target does not answer then either.", err)})
		best := checked
		best.Enforcement, best.SessionTail = jit.Native, 0
		var policies []jit.Policy
		if policies, err = by(ctx); err == nil {
			v, err = b.decide(ctx, policies, g, best, named, start, length, foregone)
		}
	}
	if err == nil && b.Planned != nil && b.Planned.awaits(v.Policy) {
		warnings = append(warnings, Warning{"policy", "The policy is not known yet", fmt.Sprintf(
			"Not every value of policy %q is known before the apply. The grant is judged by it then, and may be refused.", v.Policy)})
	}
	return v, traits, warnings, err
}

// judgeBy is judge by the policies that by returns; the target is asked through ask.
func (b *Broker) judgeBy(ctx context.Context, by func(context.Context) ([]jit.Policy, error), ask asker, g jit.Grant, checked jit.Traits, named string,
	start time.Time, length time.Duration,
) (jit.Verdict, jit.Traits, error) {
	if err := b.bounded(g, checked, length); err != nil {
		return jit.Verdict{}, checked, err
	}
	target, err := b.Target(g.Target)
	if err != nil {
		return jit.Verdict{}, checked, err
	}
	policies, err := by(ctx)
	if err != nil {
		return jit.Verdict{}, checked, err
	}
	if _, asks := jit.Find[jit.Describer](target); asks {
		// The policies go first: what they refuse whatever the target would say is refused without asking it.
		if v, err := b.decide(ctx, policies, g, checked, named, start, length, foregone); err != nil {
			return v, checked, err
		}
	}
	traits, err := ask.describe(ctx, target, g.Binding, checked)
	if err == nil {
		err = b.bounded(g, traits, length)
	}
	if err != nil {
		return jit.Verdict{}, checked, err
	}
	v, err := b.decide(ctx, policies, g, traits, named, start, length, ask.verdict)
	return v, traits, err
}

// decide asks the policies, through judge, about a grant with these traits.
func (b *Broker) decide(ctx context.Context, policies []jit.Policy, g jit.Grant, traits jit.Traits, named string,
	start time.Time, length time.Duration, judge judging,
) (jit.Verdict, error) {
	target, err := b.Target(g.Target)
	if err != nil {
		return jit.Verdict{}, err
	}
	v, err := judge(ctx, target, policies, policy.Request{
		Owner: g.Owner, Platform: target.Kind(), Binding: g.Binding, Reason: g.Reason,
		StartsAt: start, Length: length, Traits: traits, Named: named,
	})
	if err != nil || v.Permitted() {
		return v, err
	}
	if v.Attribute == "ttl" {
		v.Attribute = endAttribute(g)
	}
	return v, &jit.Error{
		Attribute: v.Attribute, Problem: v.Rule,
		Hint: "change the grant, or have the policies changed in a pull request of their own", Err: jit.ErrDenied,
	}
}

// bounded refuses a grant that would last longer than the provider permits, or other than the platform can hold.
func (b *Broker) bounded(g jit.Grant, traits jit.Traits, length time.Duration) error {
	lasts := jit.FormatDuration(length)
	switch {
	case length > b.MaxTTL:
		return jit.Invalid(endAttribute(g), fmt.Sprintf("ask for %s or less, or have max_ttl of the provider raised", jit.FormatDuration(b.MaxTTL)),
			"the grant would last %s; max_ttl of the provider is %s", lasts, jit.FormatDuration(b.MaxTTL))
	case length < traits.MinTTL:
		return jit.Invalid(endAttribute(g), fmt.Sprintf("ask for %s or more", jit.FormatDuration(traits.MinTTL)),
			"the grant would last %s; on target %q a grant of this kind lasts at least %s", lasts, g.Target, jit.FormatDuration(traits.MinTTL))
	case traits.MaxTTL > 0 && length > traits.MaxTTL:
		return jit.Invalid(endAttribute(g), fmt.Sprintf("ask for %s or less", jit.FormatDuration(traits.MaxTTL)),
			"the grant would last %s; on target %q a grant of this kind lasts at most %s", lasts, g.Target, jit.FormatDuration(traits.MaxTTL))
	}
	return nil
}

// boundedAtOnce is [Broker.bounded] before anything is read, for a length that the request itself tells.
func (b *Broker) boundedAtOnce(g jit.Grant, traits jit.Traits) error {
	if g.TTL == "" {
		return nil
	}
	length, err := jit.ParseTTL(g.TTL)
	if err != nil {
		return err
	}
	return b.bounded(g, traits, length)
}

// endAttribute is the attribute that says when the grant ends.
func endAttribute(g jit.Grant) string {
	if g.TTL == "" {
		return "expires_at"
	}
	return "ttl"
}

// Policies returns the recorded policies with those of the same plan laid over them.
func (b *Broker) Policies(ctx context.Context) ([]jit.Policy, error) {
	recorded, err := b.Ledger.Policies(ctx)
	if err != nil || b.Planned == nil {
		return recorded, err
	}
	return b.Planned.Over(recorded), nil
}

// Recall returns the record of id. If the ledger does not know it, remembered (the
// facts that a Terraform state holds; it may be the zero Grant) is returned with
// known false.
func (b *Broker) Recall(ctx context.Context, id jit.ID, remembered jit.Grant) (g jit.Grant, known bool, err error) {
	g, known, err = b.Ledger.Lookup(ctx, id)
	if err != nil || !known {
		return remembered, false, err
	}
	if err := b.owns(g); err != nil {
		return remembered, false, err
	}
	return g, true, nil
}

// ErrOtherOwner says that a grant belongs to another owner. It is of the kind [jit.ErrInvalid], as many other errors are: test for
// ErrOtherOwner itself.
var ErrOtherOwner = fmt.Errorf("the grant belongs to another owner: %w", jit.ErrInvalid)

// owns refuses a grant of another owner with an error of the kind [ErrOtherOwner].
func (b *Broker) owns(g jit.Grant) error {
	if g.Owner == b.Owner || b.AnyOwner {
		return nil
	}
	return &jit.Error{
		Attribute: "owner",
		Problem:   fmt.Sprintf("grant %s belongs to the owner %q, and this configuration acts for %q", g.ID, g.Owner, b.Owner),
		Hint:      fmt.Sprintf("use the configuration whose owner is %q", g.Owner),
		Err:       ErrOtherOwner,
	}
}

// rejudge asks the policies of now about a grant that was permitted before and has given no access yet.
func (b *Broker) rejudge(ctx context.Context, g jit.Grant) error {
	if now := b.Now(); !g.StartBy.IsZero() && now.After(g.StartBy) {
		return jit.Invalid("start_by", "ask for it again with a later start_by and another renewal, if the access is still wanted",
			"the grant may no longer begin: it had to by %s and it is %s", jit.FormatTime(g.StartBy), jit.FormatTime(now))
	}
	p, err := b.Target(g.Target)
	if err != nil {
		return err
	}
	_, traits, err := p.Check(g.Binding)
	if err != nil {
		return err
	}
	_, _, err = b.judge(ctx, g, traits, "", g.Start, g.Length())
	return err
}

// Violations returns the rule that is broken by each of the grants that these policies, which are those of today, would not
// permit. With no policy at all nothing is violated, and a reason that was lost with the ledger matches every pattern.
func (b *Broker) Violations(ctx context.Context, policies []jit.Policy, grants []jit.Grant) (map[jit.ID]string, error) {
	if len(policies) == 0 {
		return nil, nil
	}
	broken := map[jit.ID]string{}
	var errs []error
	for _, g := range grants {
		target, err := b.Target(g.Target)
		if err != nil {
			return nil, err
		}
		_, traits, err := target.Check(g.Binding)
		if err == nil {
			traits, err = asker(askNow).describe(ctx, target, g.Binding, traits)
		}
		var v jit.Verdict
		if err == nil {
			v, err = asker(askNow).verdict(ctx, target, policies, policy.Request{
				Owner: g.Owner, Platform: target.Kind(), Binding: g.Binding, Reason: g.Reason,
				ReasonLost: g.Reason == AdoptedReason, StartsAt: g.Start, Length: g.Length(), Traits: traits,
			})
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("grant %s: %w", g.ID, err))
		case !v.Permitted():
			broken[g.ID] = v.Rule
		}
	}
	return broken, errors.Join(errs...)
}

// Observe reads the grant's scope and tells in words how the grant differs there;
// empty when it is right. It makes no call for a grant that is over, pending or
// scheduled, unless people decide on it.
func (b *Broker) Observe(ctx context.Context, g jit.Grant) (drift string, err error) {
	waiting := b.Waiting(g)
	if g.State(b.Now()) != jit.StateActive && !waiting {
		return "", nil
	}
	p, err := b.Target(g.Target)
	if err != nil {
		return "", err
	}
	s, err := b.outages.read(g.Place(), b.Now, func() (jit.Snapshot, error) { return p.Read(ctx, g.Scope) })
	if err != nil {
		return "", fmt.Errorf("read %s on target %q: %w", g.Scope, g.Target, err)
	}
	switch drift = g.Drift(s); {
	case !waiting:
		return drift, nil
	case drift == jit.Missing:
		return "", nil
	}
	return "it was approved on its target and has begun; that is not recorded yet", nil
}

// maxRetries bounds how often a record that others keep changing is read again.
const maxRetries = 20

// update brings a record up to date: it hands the recorded grant to change, which alters it and returns the
// events to go with it, and writes the result; if the record was changed meanwhile it starts
// again from what is recorded now. first is what the caller believes to be recorded. change returning
// false leaves everything as it is.
func (b *Broker) update(ctx context.Context, first jit.Grant, change func(g *jit.Grant) ([]jit.Event, bool)) (jit.Grant, error) {
	g := first
	for range maxRetries {
		next := g
		events, wanted := change(&next)
		if !wanted {
			return g, nil
		}
		err := b.Ledger.Write(ctx, []jit.Entry{jit.Rewrite(g, next, events...)})[0]
		if err == nil {
			next.Version++
			return next, nil
		}
		if !errors.Is(err, jit.ErrStale) {
			return g, err
		}
		recorded, known, err := b.Ledger.Lookup(ctx, g.ID)
		if err != nil {
			return g, err
		}
		if known {
			g = recorded
		} else {
			g.Version = 0 // the record is gone: write it anew
		}
	}
	return g, fmt.Errorf("grant %s: %w; it did so %d times in a row", first.ID, jit.ErrStale, maxRetries)
}
