package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// errTaken refuses a request for one run that meets a record or a marker: another run asked for the same.
var errTaken = errors.New("the renewal is used up")

// GrantOneRun grants what r asks for to one run of Terraform: always a new grant, under the first renewal that nobody
// has used for the same reason. It never adopts a grant, and refuses one that needs approval, without recording a
// request. On an error it returns the part of the grant that is known, as [Broker.Grant] does.
func (b *Broker) GrantOneRun(ctx context.Context, r Request) (jit.Grant, error) {
	r, err := b.unused(ctx, r)
	if err != nil {
		return jit.Grant{}, err
	}
	for range maxRetries {
		g, err := b.Grant(ctx, r)
		if !errors.Is(err, errTaken) {
			return g, err
		}
		r.Renewal++
	}
	return jit.Grant{}, fmt.Errorf("%d runs asked for the same at the same time: %w", maxRetries, jit.ErrStale)
}

// PreviewOneRun decides on what [Broker.GrantOneRun] would grant. It writes nothing and reads no target.
func (b *Broker) PreviewOneRun(ctx context.Context, r Request) (Decision, error) {
	r, err := b.unused(ctx, r)
	if err != nil {
		return Decision{}, err
	}
	return b.Preview(ctx, r, false)
}

// unused returns the request with the first renewal that the ledger has no grant of. The renewals of one reason follow
// each other, so it doubles the number until one is unused and then halves the distance.
func (b *Broker) unused(ctx context.Context, r Request) (Request, error) {
	r.OneRun, r.Renewal = true, 1
	g, _, err := b.Check(r)
	if err != nil {
		return r, err
	}
	if _, asks := jit.Asks(b.Targets[g.Target]); asks {
		return r, r.checkOneRun(jit.Verdict{Outcome: jit.NeedsApproval,
			Rule: fmt.Sprintf("people approve each grant on target %q", g.Target)})
	}
	used := func(renewal int64) (bool, error) {
		_, known, err := b.Find(ctx, jit.NewID(b.Owner, g.Binding, r.Reason, renewal))
		return known, err
	}
	last, next := int64(0), int64(1) // last is used, or 0
	for {
		known, err := used(next)
		if err != nil {
			return r, err
		}
		if !known {
			break
		}
		last, next = next, 2*next
	}
	for next-last > 1 {
		middle := last + (next-last)/2
		known, err := used(middle)
		if err != nil {
			return r, err
		}
		if known {
			last = middle
		} else {
			next = middle
		}
	}
	r.Renewal = next
	return r, nil
}

// checkOneRun refuses a grant for one run that needs approval, or that only policies of the same plan permit. Nothing
// tells an opening in a plan from one in an apply, and nobody has reviewed the policies of a plan.
func (b *Broker) checkOneRun(ctx context.Context, r Request, d *Decision, planned bool) error {
	if err := r.checkOneRun(d.Verdict); err != nil || !r.OneRun || planned {
		return err
	}
	recorded, err := b.Ledger.Policies(ctx)
	if err != nil {
		return err
	}
	j, err := b.judgeBy(ctx, recorded, askNow, d.Grant, d.traits, r.Policy)
	if err != nil {
		return err
	}
	d.Verdict = j.Verdict
	return r.checkOneRun(j.Verdict)
}

// checkOneRun refuses a grant for one run that needs approval: nobody can decide while the run waits.
func (r Request) checkOneRun(v jit.Verdict) error {
	if !r.OneRun || v.Outcome != jit.NeedsApproval {
		return nil
	}
	return jit.Errorf(jit.ErrUnapproved, "",
		"use a resource jit_grant, which people can approve before it begins, or a policy that permits this without approval",
		"an ephemeral grant cannot wait for people to approve it: %s", v.Rule)
}

// Renew moves the end of a live grant of [Broker.GrantOneRun] to ttl from now, or less far if the maximum of the
// provider or of the policy that permitted the grant is nearer. The policies judge the new length. last reports whether
// the end cannot move again.
func (b *Broker) Renew(ctx context.Context, id jit.ID, ttl time.Duration) (g jit.Grant, last bool, err error) {
	g, known, err := b.Lookup(ctx, id, jit.Grant{})
	if err == nil && !known {
		err = jit.Errorf(jit.ErrUnknown, "", "", "the ledger has no grant %s", id)
	}
	if err != nil {
		return g, false, err
	}
	now := b.Now()
	if g.Over(now) {
		return g, true, errOver(g, now, "ttl")
	}
	longest, err := b.longest(ctx, g)
	if err != nil {
		return g, false, err
	}
	length := (now.Sub(g.Start) + ttl).Truncate(time.Second)
	if last = length >= longest; last {
		length = longest
	}
	if length <= g.Length() {
		return g, last, nil
	}
	r := Request{Binding: g.Binding, Reason: g.Reason, Renewal: g.Renewal, Terms: g.Terms, OneRun: true}
	if r.TTL, err = jit.ParseTTL(jit.FormatDuration(length)); err != nil {
		return g, last, err
	}
	g, err = b.Change(ctx, g, r)
	return g, last, err
}

// longest returns the maximum length of a recorded grant: that of the provider, or of the policy that permitted it, as
// recorded and as planned.
func (b *Broker) longest(ctx context.Context, g jit.Grant) (time.Duration, error) {
	recorded, err := b.Ledger.Policies(ctx)
	if err != nil {
		return 0, err
	}
	longest := b.MaxTTL
	for _, p := range slices.Concat(recorded, b.Planned.Overlay(recorded)) {
		if p.Name == g.Policy && p.MaxTTL > 0 {
			longest = min(longest, p.MaxTTL)
		}
	}
	return longest, nil
}

// InForce reports whether the target shows the access of a grant that has begun.
func (b *Broker) InForce(ctx context.Context, g jit.Grant) (bool, error) {
	s, err := b.read(ctx, g)
	return err == nil && g.Drift(s) != jit.Missing, err
}
