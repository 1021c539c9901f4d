package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// judgment is the verdict of the policies on a grant.
type judgment struct {
	Verdict jit.Verdict
	// Traits are those that the target reports, if it is a [jit.Describer]; else those of Check.
	Traits   jit.Traits
	Warnings []Warning
	// Provisional: the verdict rests on the most that unknown values and a silent target may turn out to permit.
	Provisional bool
}

// judge asks the policies about a grant with its window; checked are the traits that Check returned. A refusal is an
// error.
func (b *Broker) judge(ctx context.Context, g jit.Grant, checked jit.Traits, named string) (judgment, error) {
	policies, err := b.Policies(ctx)
	if err != nil {
		return judgment{Traits: checked}, err
	}
	return b.judgeBy(ctx, policies, askNow, g, checked, named)
}

// judgePlanned is judge during plan: if the deciding policy still has unknown values, or the target does not answer,
// the grant is permitted with a warning unless it is refused in any case. The apply judges in full.
func (b *Broker) judgePlanned(ctx context.Context, g jit.Grant, checked jit.Traits, named string) (judgment, error) {
	policies, err := b.Ledger.Policies(ctx)
	if err != nil {
		return judgment{Traits: checked}, err
	}
	policies = b.Planned.mostPermissive(policies)
	j, err := b.judgeBy(ctx, policies, b.askOnce, g, checked, named)
	if isSilent(err) {
		j.Warnings = append(j.Warnings, Warning{"target", "The target cannot be read", fmt.Sprintf(
			"The grant is judged without the target's answer: %v. "+
				"The apply judges it in full, and fails if the target still does not answer.", err)})
		j.Provisional = true
		best := checked
		best.Enforcement, best.SessionTail = jit.Native, 0
		j.Verdict, err = b.verdict(ctx, policies, nil, g, best, named)
	}
	if err == nil && b.Planned.incomplete(j.Verdict.Policy) {
		j.Provisional = true
		j.Warnings = append(j.Warnings, Warning{"policy", "The policy is not known yet", fmt.Sprintf(
			"Policy %q has values that are unknown until apply. The apply judges the grant by them and may refuse it.",
			j.Verdict.Policy)})
	}
	return j, err
}

// judgeBy judges by policies; ask puts questions to the target.
func (b *Broker) judgeBy(
	ctx context.Context, policies []jit.Policy, ask asker, g jit.Grant, checked jit.Traits, named string,
) (judgment, error) {
	j := judgment{Traits: checked}
	if err := b.checkLength(g, checked, g.Length()); err != nil {
		return j, err
	}
	target, err := b.Target(g.Target)
	if err != nil {
		return j, err
	}
	if _, asks := jit.Find[jit.Describer](target); asks {
		// First refuse a grant that no answer of the target can save.
		if j.Verdict, err = b.verdict(ctx, policies, nil, g, checked, named); err != nil {
			return j, err
		}
	}
	traits, err := ask.describe(ctx, target, g.Binding, checked)
	if err == nil {
		err = b.checkLength(g, traits, g.Length())
	}
	if err != nil {
		return j, err
	}
	j.Traits = traits
	j.Verdict, err = b.verdict(ctx, policies, ask, g, traits, named)
	return j, err
}

// verdict judges a grant with these traits by the policies. A refusal is an error; the need of an approval is not.
func (b *Broker) verdict(
	ctx context.Context, policies []jit.Policy, ask asker, g jit.Grant, traits jit.Traits, named string,
) (jit.Verdict, error) {
	target, err := b.Target(g.Target)
	if err != nil {
		return jit.Verdict{}, err
	}
	r, err := b.policyRequest(ctx, target, g, traits, named)
	if err != nil {
		return jit.Verdict{}, err
	}
	v, err := ask.verdict(ctx, target, policies, r)
	if err == nil && ask != nil {
		v, err = b.requirements(ctx, target, policies, ask, r, v)
	}
	if err != nil || v.Outcome != jit.Refused {
		return v, err
	}
	if v.Attribute == "ttl" {
		v.Attribute = endAttribute(g)
	}
	return v, jit.Errorf(jit.ErrDenied, v.Attribute,
		"change the grant, or have the policies changed in a pull request of their own", "%s", v.Rule)
}

// policyRequest describes a grant to the policies.
func (b *Broker) policyRequest(
	ctx context.Context, target jit.Platform, g jit.Grant, traits jit.Traits, named string,
) (policy.Request, error) {
	r := policy.Request{
		Owner: g.Owner, Platform: target.Kind(), Binding: g.Binding, Reason: g.Reason,
		StartsAt: g.Start, Length: g.Length(), Traits: traits, Named: named, BreakGlass: g.BreakGlass,
		Asks: g.Requester,
	}
	if g.Requester == "" {
		return r, nil
	}
	people, err := b.deciders(ctx)
	if err != nil {
		return r, err
	}
	if person, known := people.Named(g.Requester); known {
		r.Requester = &person
	}
	return r, nil
}

// checkLength refuses a grant that is longer than max_ttl, or longer or shorter than its platform permits.
func (b *Broker) checkLength(g jit.Grant, traits jit.Traits, length time.Duration) error {
	text := jit.FormatDuration
	refuse := func(hint, rule string, args ...any) error {
		return jit.Invalid(endAttribute(g), hint, "the grant would last %s; %s",
			text(length), fmt.Sprintf(rule, args...))
	}
	const bound = "on target %q a grant of this kind lasts at %s %s"
	switch least, most := text(traits.MinTTL), text(traits.MaxTTL); {
	case length > b.MaxTTL:
		return refuse(fmt.Sprintf("ask for %s or less, or have max_ttl of the provider raised", text(b.MaxTTL)),
			"max_ttl of the provider is %s", text(b.MaxTTL))
	case length < traits.MinTTL:
		return refuse(fmt.Sprintf("ask for %s or more", least), bound, g.Target, "least", least)
	case traits.MaxTTL > 0 && length > traits.MaxTTL:
		return refuse(fmt.Sprintf("ask for %s or less", most), bound, g.Target, "most", most)
	case traits.MaxAhead > 0 && !g.Start.IsZero() && g.Start.Add(length).Sub(b.Now()) > traits.MaxAhead:
		return jit.Invalid("starts_at", "ask nearer to its beginning",
			"the grant would end %s from now; on target %q a grant ends at most %s after it is asked for",
			text(g.Start.Add(length).Sub(b.Now()).Truncate(time.Second)), g.Target, text(traits.MaxAhead))
	}
	return nil
}

// endAttribute returns the attribute that sets the grant's end.
func endAttribute(g jit.Grant) string {
	if g.TTL.IsZero() {
		return "expires_at"
	}
	return "ttl"
}

// Policies returns the recorded policies, overlaid with those of the same plan.
func (b *Broker) Policies(ctx context.Context) ([]jit.Policy, error) {
	recorded, err := b.Ledger.Policies(ctx)
	return b.Planned.Overlay(recorded), err
}

// rejudge judges a grant that was permitted before and has given no access yet by today's policies. A lost reason
// matches no pattern.
func (b *Broker) rejudge(ctx context.Context, g jit.Grant) error {
	if err := mayStillBegin(g, b.Now()); err != nil {
		return err
	}
	_, traits, err := b.checkBinding(g)
	if err != nil {
		return err
	}
	j, err := b.judge(ctx, g, traits, "")
	if err != nil {
		return err
	}
	return b.approve(ctx, &Decision{Grant: g, Verdict: j.Verdict}, false)
}

// checkBinding returns the target of a recorded grant and the traits of its binding.
func (b *Broker) checkBinding(g jit.Grant) (jit.Platform, jit.Traits, error) {
	p, err := b.Target(g.Target)
	if err != nil {
		return nil, jit.Traits{}, err
	}
	_, traits, err := p.Check(g.Binding)
	return p, traits, err
}

// mayStillBegin refuses a recorded grant whose start_by has passed.
func mayStillBegin(g jit.Grant, now time.Time) error {
	if g.StartBy.IsZero() || !now.After(g.StartBy) {
		return nil
	}
	return startByPassed(g.StartBy, now,
		"ask for it again with a later start_by and another renewal, if the access is still wanted")
}

func startByPassed(startBy, now time.Time, hint string) error {
	return jit.Invalid("start_by", hint, "the grant may no longer begin: it had to by %s and it is %s",
		jit.FormatTime(startBy), jit.FormatTime(now))
}

// Violations returns, for each grant that the given policies would not permit, the rule that it breaks. Without
// policies there are no violations. A lost reason matches every pattern.
func (b *Broker) Violations(
	ctx context.Context, policies []jit.Policy, grants []jit.Grant,
) (map[jit.ID]string, error) {
	if len(policies) == 0 {
		return nil, nil
	}
	broken := map[jit.ID]string{}
	var errs []error
	for _, g := range grants {
		if _, err := b.Target(g.Target); err != nil {
			return nil, err
		}
		g.BreakGlass = g.BreakGlass && g.GrantedAt.IsZero() // who is on call later ends nothing that has begun
		v, err := b.judgeRecorded(ctx, policies, g)
		if err != nil {
			errs = append(errs, fmt.Errorf("grant %s: %w", g.ID, err))
		} else if v.Outcome == jit.Refused {
			broken[g.ID] = v.Rule
		}
	}
	return broken, errors.Join(errs...)
}

// judgeRecorded judges a recorded grant by policies.
func (b *Broker) judgeRecorded(ctx context.Context, policies []jit.Policy, g jit.Grant) (v jit.Verdict, err error) {
	target, traits, err := b.checkBinding(g)
	if err != nil {
		return v, err
	}
	if traits, err = asker(askNow).describe(ctx, target, g.Binding, traits); err != nil {
		return v, err
	}
	asked, err := b.policyRequest(ctx, target, g, traits, "")
	if err != nil {
		return v, err
	}
	asked.ReasonLost = g.ReasonLost()
	return asker(askNow).verdict(ctx, target, policies, asked)
}
