package gcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"google.golang.org/api/googleapi"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Of basic roles and of everybody the service takes no conditions, so such access has neither an end nor a marker: the principal
// is a member of the role's binding without a condition, beside others. What is ours of it is remembered outside of the policy.
//
// Marks are read before the policy and written after it was read and before it is written, if nobody has written marks
// meanwhile. Who gives access up always writes its marks; who claims what somebody is giving up always writes the
// policy. So of two who do that at a time one is told, by the version of the marks or by the etag, and looks again.

// place is whose scopes the marks are of: a scope names the same resource under every configuration.
const place = kind

var everybody = map[string]bool{"allUsers": true, "allAuthenticatedUsers": true}

// lasting reports whether a binding can carry no condition (https://cloud.google.com/iam/docs/conditions-overview).
func lasting(principal string, r role) bool { return basicRoles[r.name] || everybody[principal] }

// lastingTraits are those of access that is remembered.
func lastingTraits(principal string, r role) (jit.Traits, error) {
	if r.when != "" {
		return jit.Traits{}, jit.Invalid("role", "leave the condition out, or grant a predefined role to somebody",
			"%s for %s can carry no condition, so it cannot be narrowed to %q", r.name, principal, r.when)
	}
	return jit.Traits{Enforcement: jit.Sweeper, Remembered: true}, nil
}

// objectOf names the access of a binding.
func objectOf(b jit.Binding) string { return b.Role + " " + b.Principal }

// memory is what is remembered of a scope.
type memory struct {
	jit.ClaimSet
	err error // why nothing is known
}

// UseClaims hands over the marks.
func (p *Platform) UseClaims(m jit.Claims) { p.marks = m }

// remembered reads the marks of a scope.
func (p *Platform) remembered(ctx context.Context, at resource) memory {
	if p.marks == nil {
		return memory{err: unremembered(errors.New("there is none"))}
	}
	m, err := p.marks.ReadClaims(ctx, place, at.String())
	return memory{m, unremembered(err)}
}

// unremembered: without the marks nobody can say which access is ours.
func unremembered(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("the ledger remembers which access of basic roles and of everybody is ours: %w", err)
}

// look reads the marks of a resource and then its policy.
func (p *Platform) look(ctx context.Context, c *client, at resource) (reading, error) {
	known := p.remembered(ctx, at)
	r, err := c.getPolicy(ctx, at)
	r.memory = known
	return r, err
}

// members returns where in the bindings without a condition those of a role are whom is says; by binding.
func (p *policy) members(role string, is func(member string) bool) map[int][]int {
	found := map[int][]int{}
	for i, b := range p.bindings {
		for k, m := range b.Members {
			if b.Condition == nil && b.Role == role && is(m) {
				found[i] = append(found[i], k)
			}
		}
	}
	return found
}

// gives reports whether the policy gives what a mark is of.
func (p *policy) gives(m jit.Claim) bool {
	return len(p.members(m.Role, func(member string) bool { return sameMember(member, m.Principal) })) > 0
}

// recollect adds to a snapshot what is remembered, by the marks before and after the policy was read: of what has come or gone
// meanwhile neither tell alone. Access that was there before our grants of it is both ours and standing access.
func (p *policy) recollect(s *jit.Snapshot, before, after []jit.Claim) {
	marked, prior := map[string]bool{}, map[string]bool{}
	for _, m := range slices.Concat(before, after) {
		marked[m.Object] = true
	}
	for _, m := range after {
		prior[m.Object] = prior[m.Object] || m.Prior
		if p.gives(m) {
			s.Ours = append(s.Ours, jit.Observed{Marker: m.Marker, Principal: m.Principal, Role: m.Role})
		}
	}
	s.Standing = slices.DeleteFunc(s.Standing, func(is jit.Standing) bool {
		o := objectOf(jit.Binding{Principal: is.Principal, Role: is.Role})
		return marked[o] && !prior[o]
	})
}

// recollection is what a draft makes of the marks.
type recollection struct {
	memory
	was []jit.Claim
	// asked are the grants that the changes are of.
	asked map[owned]bool
	// put is to be written before the policy, and void dropped after it.
	put, void []jit.Claim
}

// any reports whether one of the marks of an object has a property.
func (r *recollection) any(object string, is func(m jit.Claim) bool) bool {
	return slices.ContainsFunc(r.Claims, func(m jit.Claim) bool { return m.Object == object && is(m) })
}

// same reports whether two marks say the same.
func same(a, b jit.Claim) bool {
	equal := a.Marker.Window.Equal(b.Marker.Window)
	a.Marker.Window = b.Marker.Window
	return equal && a == b
}

func claims(m jit.Claim) bool { return !m.Ending }
func ends(m jit.Claim) bool   { return m.Ending }
func prior(m jit.Claim) bool  { return m.Prior }

// giveUp lets a grant claim nothing but an object.
func (r *recollection) giveUp(of owned, except string) {
	r.asked[of] = true
	for i, m := range r.Claims {
		r.Claims[i].Ending = m.Ending || ownedBy(m.Marker) == of && m.Object != except
	}
}

// claim makes an Ensure of access that is remembered. What cannot be is an error and changes nothing.
func (d *draft) claim(a jit.Access) error {
	object := objectOf(a.Binding)
	mark := jit.Claim{Marker: a.Marker, Object: object, Principal: a.Binding.Principal, Role: a.Binding.Role}
	there := d.gives(mark)
	if !there {
		before := d.bindings
		if err := d.checkLimits(d.join(mark.Role, mark.Principal)); err != nil {
			d.bindings = before
			return err
		}
	}
	// What somebody is giving up may be gone by the time that the mark is written: the policy's etag tells.
	d.changed = d.changed || !there || d.recollection.any(object, ends)
	mark.Prior = there && (d.recollection.any(object, prior) || !d.recollection.any(object, func(jit.Claim) bool { return true }))
	d.giveUp(ownedBy(a.Marker), object)
	d.Claims = slices.DeleteFunc(d.Claims, func(m jit.Claim) bool { return ownedBy(m.Marker) == ownedBy(a.Marker) && m.Object == object })
	d.Claims = append(d.Claims, mark)
	for i, m := range d.Claims {
		d.Claims[i].Prior = m.Prior && (there || m.Object != object) // else we make it, whatever there was before
	}
	return nil
}

// settle takes out of the policy what the grants that were asked for have given up and nobody claims, and says what is to become of the marks.
func (d *draft) settle() {
	for _, m := range d.Claims {
		given := m.Ending && d.asked[ownedBy(m.Marker)]
		if given && !d.recollection.any(m.Object, claims) && !d.recollection.any(m.Object, prior) {
			d.leave(m.Role, m.Principal)
			d.changed = true // also of what is not there: its making may be under way, and fails by the etag then
		}
		if given {
			d.void = append(d.void, m)
		}
		if given || !slices.ContainsFunc(d.was, func(is jit.Claim) bool { return same(is, m) }) {
			d.put = append(d.put, m)
		}
	}
}

// join adds a member to the binding of a role that has no condition, and returns it.
func (d *draft) join(role, member string) binding {
	d.bindings = slices.Clone(d.bindings)
	i := slices.IndexFunc(d.bindings, func(b binding) bool { return b.Role == role && b.Condition == nil })
	if i < 0 {
		i, d.bindings = len(d.bindings), append(d.bindings, binding{Role: role})
	}
	d.bindings[i] = d.bindings[i].having(append(slices.Clone(d.bindings[i].Members), member))
	return d.bindings[i]
}

// leave takes a principal out of the bindings of a role that have no condition; one whose account was deleted meanwhile, as it is named then.
func (d *draft) leave(role, principal string) {
	found := d.members(role, func(m string) bool { return sameMember(m, principal) })
	if len(found) == 0 {
		found = d.members(role, func(m string) bool { return sameMember(undeleted(m), principal) })
	}
	d.bindings = slices.Clone(d.bindings)
	for i, members := range found {
		for _, k := range slices.Backward(members) {
			d.bindings[i] = d.bindings[i].without(k)
		}
	}
	emptied := slices.Collect(maps.Keys(found))
	slices.Sort(emptied)
	for _, i := range slices.Backward(emptied) {
		if len(d.bindings[i].Members) == 0 {
			d.bindings = slices.Delete(d.bindings, i, i+1)
		}
	}
}

// lasts reports whether a change is, or may be, of access that is remembered: of a Remove the access need not be known.
func (a *application) lasts(i int) bool {
	r := a.roles[i]
	return r.name == "" || lasting(a.changes[i].Access.Binding.Principal, r)
}

// remember makes a change of access that is, or may be, remembered.
func (a *application) remember(d *draft, c jit.Change) error {
	of := ownedBy(c.Access.Marker)
	if c.Op == jit.Ensure {
		if err := errors.Join(d.err, a.unrecorded); err != nil {
			return err
		}
		return d.claim(c.Access)
	}
	if marked := d.drop(of, -1); d.err != nil && !marked {
		return d.err
	}
	d.giveUp(of, "")
	return nil
}

// record writes the marks that the draft needs before the policy. [jit.ErrStale]: somebody wrote marks meanwhile.
func (a *application) record(ctx context.Context, d *draft) error {
	if len(d.put) == 0 {
		return nil
	}
	_, err := a.platform.marks.Update(ctx, place, a.at.String(), d.Version, d.put, nil)
	if err != nil {
		return err
	}
	failpoint.Hit(kind + ".after-claim")
	for _, m := range d.put {
		if !slices.ContainsFunc(d.was, func(is jit.Claim) bool { return ownedBy(is.Marker) == ownedBy(m.Marker) && is.Object == m.Object }) {
			a.fresh = append(a.fresh, m)
		}
	}
	return nil
}

// conclude drops the marks that stand for nothing any more, now that the policy is as the draft wants it.
func (a *application) conclude(ctx context.Context, d *draft, todo []int) {
	failpoint.Hit(kind + ".after-write")
	if len(d.void) == 0 {
		return
	}
	err := a.unrecorded
	if err == nil {
		err = a.forget(ctx, d.void)
	}
	if err == nil {
		return
	}
	for _, i := range todo {
		of := ownedBy(a.changes[i].Access.Marker)
		if a.errs[i] == nil && a.changes[i].Op == jit.Remove && slices.ContainsFunc(d.void, func(m jit.Claim) bool { return ownedBy(m.Marker) == of }) {
			a.errs[i] = fmt.Errorf("the access was ended, but that could not be recorded: %w", err)
		}
	}
}

// forget drops marks, but for those that somebody has changed meanwhile.
func (a *application) forget(ctx context.Context, void []jit.Claim) error {
	for try := 0; len(void) > 0; try++ {
		now, err := a.platform.marks.ReadClaims(ctx, place, a.at.String())
		if err != nil {
			return unremembered(err)
		}
		left := slices.DeleteFunc(slices.Clone(void), func(m jit.Claim) bool {
			return !slices.ContainsFunc(now.Claims, func(is jit.Claim) bool { return same(is, m) })
		})
		if len(left) == 0 {
			break
		}
		if _, err = a.platform.marks.Update(ctx, place, a.at.String(), now.Version, nil, left); !errors.Is(err, jit.ErrStale) {
			return unremembered(err)
		}
		if err := backoff.Wait(ctx, try, firstPause, maxPause); err != nil {
			return err
		}
	}
	return nil
}

// disclaim drops the marks made for changes that the service has refused, as an answer says, where nothing came of them: the
// same access may be somebody else's one day.
func (a *application) disclaim(ctx context.Context, refused []int, was reading, err error) {
	var answered *googleapi.Error
	if a.unsure || !errors.As(err, &answered) || answered.Code/100 != http.StatusBadRequest/100 {
		return
	}
	for _, i := range refused {
		of := ownedBy(a.changes[i].Access.Marker)
		void := slices.DeleteFunc(slices.Clone(a.fresh), func(m jit.Claim) bool {
			return ownedBy(m.Marker) != of || m.Ending || !m.Prior && was.gives(m)
		})
		if err := a.forget(ctx, void); err != nil {
			a.errs[i] = errors.Join(a.errs[i], err)
		}
	}
}

// unread gives changes the error of a read; with a resource that is not there the marks go too.
func (a *application) unread(ctx context.Context, todo []int, r reading, err error) {
	a.fail(todo, err)
	if !errors.Is(err, errGone) {
		return
	}
	for _, i := range todo {
		if a.changes[i].Op != jit.Remove {
			continue
		}
		of := ownedBy(a.changes[i].Access.Marker)
		void := slices.DeleteFunc(slices.Clone(r.Claims), func(m jit.Claim) bool { return ownedBy(m.Marker) != of })
		a.errs[i] = a.forget(ctx, void)
	}
}
