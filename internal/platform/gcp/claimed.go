package gcp

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/claims"
)

// Some bindings take no condition: see [resource.unconditional]. Such access has neither an end
// nor a marker: the principal is a member of the role's unconditional binding, beside others. Package claims keeps
// track of it. The etag makes the protocol exact: the claims are read before the policy and written before it is
// written, so a removal and a new claim of the same access cannot both succeed.

// place is the same for every target: a scope names the same resource under every configuration.
const place = kind

var everybody = map[string]bool{"allUsers": true, "allAuthenticatedUsers": true}

// objectOf names the access of a binding.
func objectOf(b jit.Binding) string { return b.Role + " " + b.Principal }

// claims returns the claims on a resource.
func (p *Platform) claims(at resource) claims.Scope {
	return claims.Scope{Kind: kind, Place: place, Name: at.String(), Ledger: p.ledger}
}

// readAll reads the claims on a resource and then its policy.
func (p *Platform) readAll(ctx context.Context, c *client, at resource) (reading, error) {
	claimed, unknown := p.claims(at).Read(ctx)
	r, err := c.getPolicy(ctx, at)
	r.claimed, r.unclaimed = claimed, unknown
	return r, err
}

// has reports whether an unconditional binding of a role has such a member.
func (p *policy) has(role string, is func(member string) bool) bool {
	return slices.ContainsFunc(p.bindings, func(b binding) bool {
		return b.Condition == nil && b.Role == role && slices.ContainsFunc(b.Members, is)
	})
}

// gives reports whether the policy gives a principal a role without a condition.
func (p *policy) gives(role, principal string) bool {
	return p.has(role, func(m string) bool { return sameMember(m, principal) })
}

// gaveDeleted reports whether the policy gives a role without a condition to a deleted account that had this name.
func (p *policy) gaveDeleted(role, principal string) bool {
	return p.has(role, func(m string) bool {
		return strings.HasPrefix(m, deletedPrefix) && sameMember(undeleted(m), principal)
	})
}

// observe adds to a snapshot what the claims say of the policy.
func (p *policy) observe(s *jit.Snapshot, before, after []jit.Claim) {
	ours, standing := claims.Observe(before, after, func(c jit.Claim) bool { return p.gives(c.Role, c.Principal) })
	s.Ours = append(s.Ours, ours...)
	for _, c := range after {
		if !p.gives(c.Role, c.Principal) && p.gaveDeleted(c.Role, c.Principal) {
			s.Ours = append(s.Ours, jit.Observed{Marker: c.Marker, Principal: c.Principal, Role: c.Role, Gone: true})
		}
	}
	s.Standing = slices.DeleteFunc(s.Standing, func(is jit.Standing) bool {
		return !standing(objectOf(jit.Binding{Principal: is.Principal, Role: is.Role}))
	})
}

// claim makes an ensure of unconditional access. If the policy cannot hold it, nothing changes.
func (d *draft) claim(a jit.Access) error {
	b, object := a.Binding, objectOf(a.Binding)
	there := d.gives(b.Role, b.Principal)
	if !there && d.gaveDeleted(b.Role, b.Principal) && d.claims.Has(a.Marker, object) {
		return anotherAccount(a)
	}
	if !there {
		before := d.bindings
		if err := d.checkLimits(d.join(b.Role, b.Principal)); err != nil {
			d.bindings = before
			return err
		}
	}
	// Contested access may be gone by the time that the claim is written. The policy's etag shows that.
	d.changed = d.changed || !there || d.claims.Contested(object)
	d.claims.Ensure(a, object, there)
	return nil
}

// release takes the access out of the policy that the changes have given up and nobody claims.
func (d *draft) release() {
	for _, c := range d.claims.Ended() {
		removable := d.claims.Removable(c.Object)
		if removable {
			d.leave(c.Role, c.Principal)
		}
		// Another etag stops whoever is adding the access, and an earlier removal whose answer was lost.
		d.changed = d.changed || removable || d.claims.Contested(c.Object)
	}
}

// join adds a member to the unconditional binding of a role, and returns the binding.
func (d *draft) join(role, member string) binding {
	d.bindings = slices.Clone(d.bindings)
	i := slices.IndexFunc(d.bindings, func(b binding) bool { return b.Role == role && b.Condition == nil })
	if i < 0 || d.dataset {
		i, d.bindings = len(d.bindings), append(d.bindings, binding{Role: role})
	}
	d.bindings[i] = d.bindings[i].having(append(slices.Clone(d.bindings[i].Members), member))
	return d.bindings[i]
}

// leave takes a principal out of the unconditional bindings of a role. The service renames the member of an account
// that was deleted.
func (d *draft) leave(role, principal string) {
	is := func(m string) bool { return sameMember(m, principal) }
	if !d.has(role, is) {
		is = func(m string) bool { return sameMember(undeleted(m), principal) }
	}
	left := make([]binding, 0, len(d.bindings))
	for _, b := range d.bindings {
		if b.Condition == nil && b.Role == role && slices.ContainsFunc(b.Members, is) {
			if b = b.having(slices.DeleteFunc(slices.Clone(b.Members), is)); len(b.Members) == 0 {
				continue
			}
		}
		left = append(left, b)
	}
	d.bindings = left
}

// claimed reports whether the access of a change has, or may have, a claim: a removal need not name the access.
func (a *application) claimed(i int) bool {
	r := a.roles[i]
	return r.name == "" || a.at.unconditional(a.changes[i].Access.Binding.Principal, r)
}

// makeClaimed makes a change of access that has, or may have, a claim.
func (a *application) makeClaimed(d *draft, c jit.Change) error {
	if c.Op == jit.Ensure {
		if err := cmp.Or(d.unclaimed, a.unrecorded); err != nil {
			return err
		}
		return d.claim(c.Access)
	}
	if marked := d.drop(c.Access.Marker.Key(), -1); d.unclaimed != nil && !marked {
		return d.unclaimed
	}
	d.claims.Remove(c.Access.Marker)
	return nil
}

// conclude drops the claims that were given up, now that the policy is as the draft wants it.
func (a *application) conclude(ctx context.Context, d *draft, todo []int) {
	failpoint.Hit(kind + ".after-write")
	void, err := d.claims.Ended(), a.unrecorded
	if err == nil {
		err = a.drop(ctx, void)
	}
	if err == nil {
		return
	}
	for _, i := range todo {
		if a.errs[i] == nil && a.changes[i].Op == jit.Remove && len(a.of(i, void)) > 0 {
			a.errs[i] = claims.Unrecorded(err)
		}
	}
}

// of returns those of the claims that are a change's.
func (a *application) of(i int, all []jit.Claim) []jit.Claim {
	is := a.changes[i].Access.Marker.Key()
	return slices.DeleteFunc(slices.Clone(all), func(c jit.Claim) bool { return c.Marker.Key() != is })
}

func (a *application) drop(ctx context.Context, void []jit.Claim) error {
	return a.platform.claims(a.at).Drop(ctx, void)
}

// disclaim drops the new claims of changes that the service has refused, unless the access is there all the same.
// Somebody else may be given the same access one day.
func (a *application) disclaim(ctx context.Context, refused []int, was reading, err error) {
	if a.unsure || answerOf(err).Code/100 != 4 {
		return
	}
	for _, i := range refused {
		void := slices.DeleteFunc(a.of(i, a.fresh), func(c jit.Claim) bool {
			return c.Ending || !c.Prior && was.gives(c.Role, c.Principal)
		})
		if err := a.drop(ctx, void); err != nil {
			a.errs[i] = errors.Join(a.errs[i], err)
		}
	}
}

// unread gives changes the error of a read. If the resource is gone, its claims go too.
func (a *application) unread(ctx context.Context, todo []int, r reading, err error) {
	a.fail(todo, err)
	if !errors.Is(err, errGone) {
		return
	}
	for _, i := range todo {
		if a.changes[i].Op == jit.Remove {
			a.errs[i] = a.drop(ctx, a.of(i, r.claimed.Claims))
		}
	}
}
