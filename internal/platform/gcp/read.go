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

// Read reads the policy of the scope. A resource that does not exist has no access.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	at, c, err := p.reach(ctx, scope)
	if err != nil {
		return jit.Snapshot{}, err
	}
	current, err := p.readAll(ctx, c, at)
	if errors.Is(err, errGone) {
		return jit.Snapshot{Clock: current.clock.Remote}, nil
	}
	if err != nil {
		return jit.Snapshot{}, err
	}
	p.keep(at, &current)
	s := current.snapshot(current.clock.now())
	s.Clock, s.Notes = current.clock.Remote, current.notes(at)
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

// snapshot returns our access in the policy, and all other access, at now.
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

// standing returns what somebody else's binding gives each of its members.
func (b binding) standing() []jit.Standing {
	given := role{name: b.Role}
	detail := "the binding of " + b.Role + " that has no condition"
	var end time.Time
	if b.Condition != nil {
		given.when, end = endOf(b.Condition.Expression)
		detail = fmt.Sprintf("the binding of %s with the condition %q", b.Role, b.Condition.Expression)
	}
	if hidden := hiddenCondition.FindString(b.Role); hidden != "" {
		given = role{strings.TrimSuffix(b.Role, hidden), "a condition that Google Cloud does not show"}
	}
	all := make([]jit.Standing, len(b.Members))
	for i, member := range b.Members {
		all[i] = jit.Standing{Principal: canonicalMember(member), Role: given.String(), Covers: given.covers(),
			Anybody: everybody[member], Detail: detail, End: end}
	}
	return all
}

// covers is the prefix of the roles that narrow this one.
func (r role) covers() string {
	if r.when != "" {
		return ""
	}
	return r.name + when
}

// observed describes what everybody has through one of our bindings: its grants, and members that somebody added. A
// grant whose member was removed gives nothing.
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
			added.Principal, added.Gone = canonicalMember(member), strings.HasPrefix(member, deletedPrefix)
			all = append(all, added)
		}
	}
	return all
}

// observe describes what one grant has through one of our bindings, at now.
func (b binding) observe(k int, now time.Time) jit.Observed {
	m := b.marks[k]
	o := jit.Observed{Marker: m.Marker, Role: b.Role, Covers: role{name: b.Role}.covers(),
		Damage: strings.Join(damageOf(b, now), "; ")}
	if m.member >= 0 {
		o.Principal = canonicalMember(b.Members[m.member])
		o.Gone = b.gone(k)
	}
	if l, ok := parseExpression(b.Condition.Expression); ok {
		given := role{b.Role, l.when}
		o.Role, o.Covers = given.String(), given.covers()
		o.Start, o.End = l.start, l.end
		if b.shared() && l.end.Equal(b.minute) {
			o.End = m.Window.End // a shared binding keeps it to the minute
		}
	}
	return o
}

// right reports whether the binding gives the access as asked for, at now.
func (b binding) right(k int, a jit.Access, r role, now time.Time) bool {
	o := b.observe(k, now)
	return o.Marker.Window.Equal(a.Marker.Window) && o.Principal == a.Binding.Principal && o.Role == r.String() &&
		o.End.Equal(a.Marker.Window.End) && o.Damage == ""
}
