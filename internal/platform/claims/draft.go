package claims

import (
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Draft is the claims on a scope with changes made to them. Nothing of it is written yet.
type Draft struct {
	jit.ClaimSet
	read    []jit.Claim           // as they were read
	changed map[jit.GrantKey]bool // the grants that the changes are for
}

// claimKey identifies a claim.
type claimKey struct {
	jit.GrantKey
	object string
}

func key(c jit.Claim) claimKey { return claimKey{c.Marker.Key(), c.Object} }

// contains reports whether the claim is among all, unchanged.
func contains(all []jit.Claim, c jit.Claim) bool {
	return slices.ContainsFunc(all, func(is jit.Claim) bool {
		equal := is.Marker.Window.Equal(c.Marker.Window)
		is.Marker.Window = c.Marker.Window
		return equal && is == c
	})
}

// NewDraft begins with the claims as they were read.
func NewDraft(set jit.ClaimSet) *Draft {
	d := &Draft{ClaimSet: set, read: set.Claims, changed: map[jit.GrantKey]bool{}}
	d.Claims = slices.Clone(set.Claims)
	return d
}

// Ensure makes a grant claim one object and give up all others. there says whether the object exists.
func (d *Draft) Ensure(a jit.Access, object string, there bool) {
	claim := jit.Claim{Marker: a.Marker, Object: object, Principal: a.Binding.Principal, Role: a.Binding.Role}
	claim.Prior = there && (d.prior(object) || !d.any(object, func(jit.Claim) bool { return true }))
	d.giveUp(a.Marker, object)
	d.Claims = slices.DeleteFunc(d.Claims, func(c jit.Claim) bool { return key(c) == key(claim) })
	d.Claims = append(d.Claims, claim)
	for i, c := range d.Claims {
		d.Claims[i].Prior = c.Prior && (there || c.Object != object) // an absent object will be of our making
	}
}

// Has reports whether a grant claims an object that it has not given up.
func (d *Draft) Has(m jit.Marker, object string) bool {
	return slices.ContainsFunc(d.Claims, func(c jit.Claim) bool {
		return c.Marker.Key() == m.Key() && c.Object == object && !c.Ending
	})
}

// Remove makes a grant give up every object.
func (d *Draft) Remove(m jit.Marker) { d.giveUp(m, "") }

func (d *Draft) giveUp(m jit.Marker, except string) {
	of := m.Key()
	d.changed[of] = true
	for i, c := range d.Claims {
		d.Claims[i].Ending = c.Ending || c.Marker.Key() == of && c.Object != except
	}
}

// Ended returns the claims that the changed grants have given up.
func (d *Draft) Ended() []jit.Claim {
	return slices.DeleteFunc(slices.Clone(d.Claims), func(c jit.Claim) bool { return !d.ended(c) })
}

func (d *Draft) ended(c jit.Claim) bool { return c.Ending && d.changed[c.Marker.Key()] }

// Removable reports whether an object is ours to remove: every claim on it was given up, and it was not there before.
func (d *Draft) Removable(object string) bool {
	return d.any(object, func(c jit.Claim) bool { return c.Ending }) && !d.claimed(object) && !d.prior(object)
}

// Contested reports whether somebody was giving the object up when the claims were read: it may vanish at any time.
func (d *Draft) Contested(object string) bool {
	return !d.prior(object) &&
		slices.ContainsFunc(d.read, func(c jit.Claim) bool { return c.Object == object && c.Ending })
}

func (d *Draft) claimed(object string) bool {
	return d.any(object, func(c jit.Claim) bool { return !c.Ending })
}

func (d *Draft) prior(object string) bool {
	return d.any(object, func(c jit.Claim) bool { return c.Prior })
}

// any reports whether one of the claims on an object has a property.
func (d *Draft) any(object string, is func(jit.Claim) bool) bool {
	return slices.ContainsFunc(d.Claims, func(c jit.Claim) bool { return c.Object == object && is(c) })
}

// put returns the claims to be written. A claim that was given up is written again even if it has not changed: the
// version then proves that nobody has claimed the object since the claims were read.
func (d *Draft) put() []jit.Claim {
	return slices.DeleteFunc(slices.Clone(d.Claims),
		func(c jit.Claim) bool { return !d.ended(c) && contains(d.read, c) })
}

// reread replaces the claims with those that are recorded now. The changed grants stay the same.
func (d *Draft) reread(set jit.ClaimSet) { d.ClaimSet = set }
