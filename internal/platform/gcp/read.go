package gcp

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Read gets the policy of the scope. A bucket or folder that is not there holds nothing.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	at, err := parseScope(scope)
	if err != nil {
		return jit.Snapshot{}, err
	}
	c, err := p.client(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	current, err := p.look(ctx, c, at)
	if errors.Is(err, errGone) {
		return jit.Snapshot{Clock: current.clock.remote}, nil
	}
	if err != nil {
		return jit.Snapshot{}, err
	}
	p.note(at, &current)
	s := current.snapshot(current.clock.now())
	s.Clock, s.Notes = current.clock.remote, current.notes(at)
	if p.marks == nil {
		return s, nil
	}
	after := p.remembered(ctx, at)
	if err := cmp.Or(current.memory.err, after.err); err != nil {
		return jit.Snapshot{}, err
	}
	current.recollect(&s, current.Marks, after.Marks)
	return s, nil
}

// snapshot tells what of the policy is ours and what has no end, at now.
func (p *policy) snapshot(now time.Time) jit.Snapshot {
	var s jit.Snapshot
	for _, b := range p.bindings {
		switch {
		case b.ours():
			for k, m := range b.marks {
				if m.member >= 0 { // else somebody took the principal out
					s.Ours = append(s.Ours, b.observe(k, now))
				}
			}
		case b.Condition != nil:
			// Somebody else's condition: whether it ends cannot be said.
		default:
			for _, member := range b.Members {
				s.Standing = append(s.Standing, jit.Standing{
					Principal: canonicalMember(member), Role: b.Role, Covers: b.Role + when,
					Detail: "the binding of " + b.Role + " that has no condition",
				})
			}
		}
	}
	return s
}

// observe describes what one of its grants has of a binding of ours, as it is at now.
func (b binding) observe(k int, now time.Time) jit.Observed {
	m := b.marks[k]
	o := jit.Observed{Marker: m.Marker, Role: b.Role, Damage: strings.Join(damageOf(b, now), "; ")}
	if m.member >= 0 {
		o.Principal = canonicalMember(b.Members[m.member])
	}
	if l, ok := parseExpression(b.Condition.Expression); ok {
		o.Role = role{b.Role, l.when}.String()
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
