package azure

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// key identifies an assignment on a scope: Azure holds at most one for each key.
type key struct {
	principal string // object id
	role      string // id of the role definition
}

// holder returns the principal and the key of an assignment, and notes the kind of the principal.
func (v *view) holder(id *string, kind *armauthorization.PrincipalType, role *string) (principal, key) {
	who := principalOf(id, kind)
	if _, ok := principalTypes[who.kind]; ok {
		v.kinds[who.id] = who.kind
	}
	return who, key{who.id, baseName(role)}
}

// otherKind returns an error if Azure names another kind of the principal.
func (v *view) otherKind(who principal) error {
	if kind, seen := v.kinds[who.id]; seen && kind != who.kind {
		return otherKind(who, principal{kind, who.id})
	}
	return nil
}

// slot is the state of one key on a scope.
type slot struct {
	key
	who principal
	// there: an assignment exists, active or to begin later.
	there bool
	// claims are ours. They are empty if the assignment is not ours.
	claims []claim
	// orphans are claims that a removal ended without naming them; they must be given back.
	orphans []claim
	// start and end are those that Azure enforces; zero if it enforces none.
	start, end time.Time
	// detail describes the assignment for people.
	detail string
	// unknown: Azure named the type Unknown of the principal; see [view.name]. gone: the principal was deleted. Its
	// object id is never given to another one
	// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
	unknown, gone bool
	// written is when the assignment was last written.
	written time.Time
	// damage says what was changed since it was written.
	damage []string

	// name is the name of a plain assignment, maker the grant that it was made for, and text its description.
	name  string
	maker jit.Marker
	text  string
	// since is when an assignment with PIM began or will begin, and waits the name of the request that it will begin
	// by; empty if it has begun.
	since time.Time
	waits string
	// cancelled are the claims of the latest request if that was cancelled: another process may be about to replace it.
	cancelled []claim
}

// kept returns the claims that stay unless a change says otherwise.
func (s *slot) kept() []claim {
	if !s.there {
		return s.orphans
	}
	kept := s.claims
	for _, c := range s.orphans {
		if !holds(kept, c.marker) {
			kept = put(kept, c)
		}
	}
	return kept
}

// observed describes a claim as the grant of its marker. If the service enforces the first start and the last end of
// all claims, every claim is as it should be: what begins sooner or lasts longer is for another grant.
func (s *slot) observed(c claim, role string) jit.Observed {
	o := jit.Observed{
		Marker: c.marker, Principal: s.who.String(), Role: role,
		Start: s.start, End: s.end, Detail: s.detail, Damage: strings.Join(s.damage, "; "), Gone: s.gone,
		Unsure: s.unknown && !s.gone && s.who.kind == unknownType,
	}
	if !s.start.IsZero() && s.start.Equal(firstStart(s.claims)) {
		o.Start = c.marker.Window.Start
	}
	if !s.end.IsZero() && s.end.Equal(lastEnd(s.claims)) {
		o.End = c.marker.Window.End
	}
	return o
}

// view is the state of one scope.
type view struct {
	scope string
	now   time.Time
	slots map[key]*slot
	// kinds holds the kind of each principal that Azure has named; an object id keeps its kind.
	kinds map[string]string
	// mentioned holds the name, as [named] writes it, of each grant that a request mentions.
	mentioned map[string]bool
	// standing is access that is not ours, on the scope or above it, with the ids of role definitions as roles.
	standing []jit.Standing
}

func newView(scope string, now time.Time) *view {
	return &view{scope: scope, now: now, slots: map[key]*slot{}, kinds: map[string]string{}}
}

// at returns the slot of a key, which may be empty.
func (v *view) at(k key, who principal) *slot {
	s := v.slots[k]
	if s == nil {
		s = &slot{key: k, who: who}
		v.slots[k] = s
	}
	s.unknown = s.unknown || who.kind == unknownType
	return s
}

// name decides what the type Unknown means: a principal that was deleted, or one that was made just now. A record that
// names another type, or a recent write, shows that it is there.
func (v *view) name() *view {
	for _, s := range v.slots {
		if kind, seen := v.kinds[s.principal]; seen {
			s.who.kind = kind
		} else {
			s.gone = s.unknown && v.now.Sub(s.written) >= lag
		}
	}
	return v
}

// holds reports whether a slot has, or had until it was cancelled, the claim's grant.
func (v *view) holds(c claim) bool {
	for _, s := range v.slots {
		if holds(s.claims, c.marker) || holds(s.cancelled, c.marker) {
			return true
		}
	}
	return false
}

// on reports whether an assignment is on the scope itself and not above it.
func (v *view) on(scope *string) bool { return strings.EqualFold(value(scope), v.scope) }

// addForeign adds an assignment of somebody else, made on this scope or on one above it. It does not hide ours of the
// same key, if h has one.
func (v *view) addForeign(scope *string, who principal, k key, a jit.Standing, h *history) {
	a.Principal, a.Role = who.String(), k.role
	ours := h != nil && h.there && !h.over(v.now)
	if h != nil {
		h.listed = h.listed || !ours
	}
	if ours {
		v.standing = append(v.standing, a)
		return
	}
	if v.on(scope) {
		s := v.at(k, who)
		s.there, s.claims, s.end, s.detail = true, nil, a.End, a.Detail
	} else if canonical, err := parseScope(value(scope)); err == nil {
		a.From = canonical
	} else {
		a.From = value(scope)
	}
	v.standing = append(v.standing, a)
}

// describe names an assignment for people.
func (v *view) describe(name, scope *string) string {
	if v.on(scope) {
		return "role assignment " + value(name)
	}
	return fmt.Sprintf("role assignment %s on %s", value(name), value(scope))
}

// assigner is one of the two ways to assign roles.
type assigner interface {
	// read reads a scope. [isGone] is true of the error if the scope does not exist.
	read(ctx context.Context, scope string) (*view, error)
	// write leaves the claims wanted on the slot, and no assignment without any. sure is true if no other
	// writer can have interfered. The error wraps errRace if the assignment has changed since it was read.
	write(ctx context.Context, scope string, s *slot, want []claim) (sure bool, err error)
	// seek looks for the claim of a removal that the view lacks, and adds it to the view. The error says that the
	// access may be there.
	seek(ctx context.Context, v *view, j *job) error
	// differs reports whether the slot must be written to hold the claims wanted.
	differs(s *slot, want []claim) bool
	// recheckAfter is how long after an unsure write the scope is read again.
	recheckAfter() time.Duration
	// fits refuses claims that one assignment cannot hold together.
	fits(want []claim) error
}

func (c *client) assigner() assigner {
	if c.platform.cfg.Assignment == rbacAssignment {
		return rbac{c}
	}
	return pim{c, &sync.Map{}}
}

// Read returns the access on the scope. An assignment above the scope applies to it too and is standing access if it
// has no end. A scope that does not exist has no access.
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
	snap := jit.Snapshot{Clock: p.clock.Latest().Remote, Advise: func(ctx context.Context, b jit.Binding) []jit.Advice {
		return append(p.advise(ctx, b), v.advise(b)...)
	}}
	switch {
	case isGone(err):
		return snap, nil
	case err != nil:
		return jit.Snapshot{}, err
	}
	if snap.Ours, err = c.ours(ctx, v); err == nil {
		snap.Standing, err = c.foreign(ctx, v)
	}
	return snap, err
}

// ours returns every claim as a grant, with its role as the grant wrote it.
func (c *client) ours(ctx context.Context, v *view) (all []jit.Observed, err error) {
	for _, s := range v.slots {
		for _, held := range s.claims {
			role := s.role
			if !held.byID {
				if role, err = c.roleName(ctx, v.scope, role); err != nil {
					return nil, err
				}
			}
			all = append(all, s.observed(held, role))
		}
	}
	return all, nil
}

// foreign returns the standing access by the name of each role, and by its id if a binding wrote that.
func (c *client) foreign(ctx context.Context, v *view) (all []jit.Standing, err error) {
	for _, a := range v.standing {
		id := a.Role
		if a.Role, err = c.roleName(ctx, v.scope, id); err != nil {
			return nil, err
		}
		all = append(all, a)
		if _, written := c.platform.written.Load(id); written && a.Role != id {
			a.Role = id
			all = append(all, a)
		}
	}
	return all, nil
}

// baseName is the last part of an id of the Resource Manager, in lower case.
func baseName(id *string) string {
	s := strings.ToLower(value(id))
	return s[strings.LastIndexByte(s, '/')+1:]
}
