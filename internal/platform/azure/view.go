package azure

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// key is what Azure holds one assignment of on a scope.
type key struct {
	principal string // object id
	role      string // id of the role definition
}

// slot is what there is of one key on a scope.
type slot struct {
	key
	who principal
	// there: an assignment exists, active or to begin later.
	there bool
	// claims are ours. They are empty when what is there is not ours.
	claims []claim
	// orphans are claims that went with a removal that did not mean them: they have to be given back.
	orphans []claim
	// start and end are what the service enforces; zero where it does not.
	start, end time.Time
	// detail says what is there, for people.
	detail string
	// damage says what of it is not as it was written.
	damage []string

	// name is that of a plain assignment, maker the grant for which it was made, and read when it had been read, by the
	// clock of this process.
	name  string
	maker jit.Marker
	read  time.Time
	// since is when an assignment with PIM was asked for.
	since time.Time
}

// kept are the claims that stay when nobody asks for anything.
func (s *slot) kept() []claim {
	if s.there {
		return s.claims
	}
	return s.orphans
}

// view is what is on one scope.
type view struct {
	now   time.Time
	slots map[key]*slot
	// standing is access that is not ours, on the scope or above it.
	standing []access
}

// access is one assignment of somebody else.
type access struct {
	who    principal
	role   string // id of the role definition
	detail string
	from   string    // the scope above, where it is on one
	end    time.Time // that the service enforces; zero for none
	// marker is what its text claims though it is not ours; zero for nothing.
	marker jit.Marker
}

// at returns the slot of a key, which may be empty.
func (v *view) at(k key, who principal) *slot {
	s := v.slots[k]
	if s == nil {
		s = &slot{key: k, who: who}
		v.slots[k] = s
	}
	return s
}

// assigner is one of the two ways to assign roles.
type assigner interface {
	// read reads a scope. The error wraps errGone if the scope does not exist.
	read(ctx context.Context, scope string) (*view, error)
	// write leaves the claims wanted on the slot, and no assignment without any. sure is true if no other
	// writer can have interfered. The error wraps errRace if the assignment has changed since it was read.
	write(ctx context.Context, scope string, s *slot, want []claim) (sure bool, err error)
	// differs reports whether the slot must be written to hold the claims wanted.
	differs(s *slot, want []claim) bool
	// recheckAfter is when a write that another writer may have disturbed is read again.
	recheckAfter() time.Duration
	// fits refuses claims that one assignment cannot hold together.
	fits(want []claim) error
}

func (c *client) assigner() assigner {
	if c.platform.cfg.Assignment == rbacAssignment {
		return rbac{c}
	}
	return pim{c}
}

// Read lists what holds on the scope. What is assigned above it holds there too, and is standing
// access where it has no end. A scope that is not there holds nothing.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	scope, err := parseScope(scope)
	if err != nil {
		return jit.Snapshot{}, err
	}
	c, err := p.client()
	if err != nil {
		return jit.Snapshot{}, err
	}
	v, err := c.assigner().read(ctx, scope)
	snap := jit.Snapshot{Clock: p.clock.Latest().Remote, Advise: p.advise}
	if isGone(err) {
		return snap, nil
	}
	if err != nil {
		return jit.Snapshot{}, err
	}
	for _, s := range v.slots {
		for _, m := range s.claims {
			o := jit.Observed{Marker: m.marker, Principal: s.who.String(), Role: s.role, Start: s.start, End: s.end, Detail: s.detail, Damage: strings.Join(s.damage, "; ")}
			if !s.start.IsZero() && s.start.Equal(firstStart(s.claims)) {
				o.Start = m.marker.Window.Start // what begins sooner is for the sake of another grant
			}
			if !s.end.IsZero() && s.end.Equal(lastEnd(s.claims)) {
				o.End = m.marker.Window.End // what lasts longer is for the sake of another grant
			}
			if !m.byID {
				if o.Role, err = c.roleName(ctx, scope, s.role); err != nil {
					return jit.Snapshot{}, err
				}
			}
			snap.Ours = append(snap.Ours, o)
		}
	}
	for _, a := range v.standing {
		name, err := c.roleName(ctx, scope, a.role)
		if err != nil {
			return jit.Snapshot{}, err
		}
		found := jit.Standing{Principal: a.who.String(), Role: name, Detail: a.detail, From: a.from, End: a.end, Marker: a.marker}
		snap.Standing = append(snap.Standing, found)
		if name != a.role && p.wrote(a.role) {
			found.Role = a.role
			snap.Standing = append(snap.Standing, found)
		}
	}
	return snap, nil
}

// wrote reports whether a binding was checked whose role is this id.
func (p *Platform) wrote(role string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written[role]
}

// baseName is the last part of an id of the Resource Manager, in lower case.
func baseName(id *string) string {
	s := strings.ToLower(value(id))
	return s[strings.LastIndexByte(s, '/')+1:]
}

// above returns the scope of an assignment that holds at another one; empty when it is that one.
func above(scope *string, at string) string {
	if strings.EqualFold(value(scope), at) {
		return ""
	}
	if canonical, err := parseScope(value(scope)); err == nil {
		return canonical
	}
	return value(scope)
}

// described names an assignment for people.
func described(name, scope, at string) string {
	if strings.EqualFold(scope, at) {
		return fmt.Sprintf("role assignment %s", name)
	}
	return fmt.Sprintf("role assignment %s on %s", name, scope)
}
