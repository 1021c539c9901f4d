package gcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Read gets the policy of the scope. A bucket or folder that is not there holds nothing.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	at, c, err := p.reach(ctx, scope)
	if err != nil {
		return jit.Snapshot{}, err
	}
	current, err := p.readAll(ctx, c, at)
	if errors.Is(err, errGone) {
		return jit.Snapshot{Clock: current.clock.remote}, nil
	}
	if err != nil {
		return jit.Snapshot{}, err
	}
	p.keep(at, &current)
	s := current.snapshot(current.clock.now())
	s.Clock, s.Notes = current.clock.remote, current.notes(at)
	if p.ledger == nil {
		return s, nil
	}
	after, err := p.claims(at).Read(ctx)
	if err := cmp.Or(current.unclaimed, err); err != nil {
		return jit.Snapshot{}, err
	}
	current.policy.observe(&s, current.claimed.Claims, after.Claims)
	return s, nil
}

// snapshot tells what of the policy is ours and what else gives access, at now.
func (p *policy) snapshot(now time.Time) jit.Snapshot {
	var s jit.Snapshot
	for i, b := range p.bindings {
		if !b.ours() {
			s.Standing = append(s.Standing, b.standing()...)
			continue
		}
		detail := fmt.Sprintf("binding %d of the policy, titled %q", i+1, b.Condition.Title)
		for _, o := range b.observed(now) {
			o.Detail = detail
			s.Ours = append(s.Ours, o)
		}
	}
	return s
}

// standing tells what a binding of somebody else's gives each of its members.
func (b binding) standing() []jit.Standing {
	given := role{name: b.Role}
	detail := "the binding of " + b.Role + " that has no condition"
	var end time.Time
	if b.Condition != nil {
		given.when, end = endOf(b.Condition.Expression)
		detail = fmt.Sprintf("the binding of %s with the condition %q", b.Role, b.Condition.Expression)
	}
	all := make([]jit.Standing, len(b.Members))
	for i, member := range b.Members {
		all[i] = jit.Standing{Principal: canonicalMember(member), Role: given.String(), Covers: given.covers(), Anybody: everybody[member], Detail: detail, End: end}
	}
	return all
}

// covers begins the roles that are this one narrowed.
func (r role) covers() string {
	if r.when != "" {
		return ""
	}
	return r.name + when
}

// observed describes what everybody has of a binding of ours: its grants, and whoever was put beside them. Who was taken out of it has nothing.
func (b binding) observed(now time.Time) []jit.Observed {
	var all []jit.Observed
	named := map[int]bool{}
	for k, m := range b.marks {
		if m.member >= 0 {
			named[m.member] = true
			all = append(all, b.observe(k, now))
		}
	}
	for i, member := range b.Members {
		if !named[i] {
			added := b.observe(0, now)
			added.Principal = canonicalMember(member)
			all = append(all, added)
		}
	}
	return all
}

// observe describes what one of its grants has of a binding of ours, as it is at now.
func (b binding) observe(k int, now time.Time) jit.Observed {
	m := b.marks[k]
	o := jit.Observed{Marker: m.Marker, Role: b.Role, Covers: role{name: b.Role}.covers(), Damage: strings.Join(damageOf(b, now), "; ")}
	if m.member >= 0 {
		o.Principal = canonicalMember(b.Members[m.member])
	}
	if l, ok := parseExpression(b.Condition.Expression); ok {
		given := role{b.Role, l.when}
		o.Role, o.Covers = given.String(), given.covers()
		o.Start, o.End = l.start, l.end
		if b.shared() && l.end.Equal(b.minute) {
			o.End = m.Window.End // as nearly as a shared binding keeps it
		}
	}
	return o
}

// right reports whether the binding is what the access asks for, at now.
func (b binding) right(k int, a jit.Access, r role, now time.Time) bool {
	o := b.observe(k, now)
	return o.Marker.Window.Equal(a.Marker.Window) && o.Principal == a.Binding.Principal && o.Role == r.String() &&
		o.End.Equal(a.Marker.Window.End) && o.Damage == ""
}
