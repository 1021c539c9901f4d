package gcp

import (
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// draft is a policy with changes made to it. Nothing of it is written yet.
type draft struct {
	policy
	clock clock
	// changed: it has to be written.
	changed bool
	// tidied are the markers of what is dropped in passing.
	tidied []jit.Marker
}

// newDraft begins with the policy as it was read, without what is over and bears the owner of one of
// the changes. To drop that is by itself no reason to write.
func newDraft(r reading, changes []jit.Change) *draft {
	d := &draft{policy: *r.policy, clock: r.clock}
	asked, owners := map[owned]bool{}, map[string]bool{}
	for _, c := range changes {
		asked[ownedBy(c.Access.Marker)], owners[c.Access.Marker.Owner] = true, true
	}
	d.bindings = make([]binding, 0, len(r.bindings)+len(changes))
	for _, b := range r.bindings {
		if b.ours && owners[b.marker.Owner] && !asked[ownedBy(b.marker)] && b.over(r.clock.now()) {
			d.tidied = append(d.tidied, b.marker)
			continue
		}
		d.bindings = append(d.bindings, b)
	}
	return d
}

// owned names the grant of a binding.
type owned struct {
	owner string
	id    jit.ID
}

func ownedBy(m jit.Marker) owned { return owned{m.Owner, m.ID} }

// over reports whether a binding of ours gives no access any more: it has ended, or all who have it were deleted.
func (b binding) over(now time.Time) bool {
	l, ok := parseExpression(b.Condition.Expression)
	return ok && !now.Before(l.end) || b.ofDeleted()
}

// make carries out one change. What cannot be is an error and changes nothing.
func (d *draft) make(c jit.Change, r role) error {
	at := slices.IndexFunc(d.bindings, func(b binding) bool { return b.ours && ownedBy(b.marker) == ownedBy(c.Access.Marker) })
	if at < 0 {
		d.unstrip(c.Access, r)
	}
	if c.Op == jit.Remove {
		d.drop(c.Access.Marker, 0)
		return nil
	}
	made := newBinding(c.Access, r, d.clock.local)
	if at < 0 {
		d.bindings = append(d.bindings, made)
		if err := d.checkLimits(made); err != nil {
			d.bindings = d.bindings[:len(d.bindings)-1]
			return err
		}
		d.changed = true
		return nil
	}
	if !d.bindings[at].right(c.Access, r, d.clock.now()) {
		was := d.bindings[at]
		d.bindings[at] = made
		if err := d.checkLimits(made); err != nil {
			d.bindings[at] = was
			return err
		}
		d.changed = true
	}
	d.drop(c.Access.Marker, at+1)
	return nil
}

// drop takes out the bindings of a grant from a place on.
func (d *draft) drop(m jit.Marker, from int) {
	kept := slices.DeleteFunc(d.bindings[from:], func(b binding) bool { return b.ours && ownedBy(b.marker) == ownedBy(m) })
	d.changed = d.changed || from+len(kept) != len(d.bindings)
	d.bindings = d.bindings[:from+len(kept)]
}

// unstrip takes the principal out of the binding without a condition, of a grant that has no other
// binding and is [jit.Access].Alone: a tool that writes a policy back without its conditions makes that of a grant.
func (d *draft) unstrip(a jit.Access, r role) {
	if !a.Alone {
		return
	}
	for i, b := range d.bindings {
		if b.Role != r.name || b.Condition != nil {
			continue
		}
		if member := slices.IndexFunc(b.Members, func(m string) bool { return sameMember(m, a.Binding.Principal) }); member >= 0 {
			d.bindings[i], d.changed = b.without(member), true
		}
	}
	d.bindings = slices.DeleteFunc(d.bindings, func(b binding) bool { return b.Role == r.name && len(b.Members) == 0 })
}
