package gcp

import (
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/claims"
)

// draft is a policy with changes made to it. Nothing of it is written yet.
type draft struct {
	policy
	clock clock
	// changed: the policy must be written.
	changed bool
	// tidied are the markers of ended bindings that go with the write.
	tidied []jit.Marker
	claims *claims.Draft
	// unclaimed is why the claims are unknown.
	unclaimed error
}

// newDraft begins with the policy as it was read, without ended bindings of the changes' owners. Dropping those alone
// is no reason to write.
func newDraft(r reading, changes []jit.Change) *draft {
	d := &draft{policy: *r.policy, clock: r.clock, claims: claims.NewDraft(r.claimed), unclaimed: r.unclaimed}
	asked, owners := map[jit.GrantKey]bool{}, map[string]bool{}
	for _, c := range changes {
		asked[c.Access.Marker.Key()], owners[c.Access.Marker.Owner] = true, true
	}
	d.bindings = make([]binding, 0, len(r.bindings)+len(changes))
	isAsked := func(m mark) bool { return asked[m.Marker.Key()] }
	for _, b := range r.bindings {
		if b.ours() && owners[b.marks[0].Owner] && b.over(r.clock.now()) && !slices.ContainsFunc(b.marks, isAsked) {
			d.tidy(b)
		} else {
			d.bindings = append(d.bindings, b)
		}
	}
	return d
}

// tidy notes that a binding goes with the write.
func (d *draft) tidy(b binding) {
	for _, m := range b.marks {
		d.tidied = append(d.tidied, m.Marker)
	}
}

// over reports whether one of our bindings gives no access any more: it has ended for each of its grants, or all its
// members were deleted.
func (b binding) over(now time.Time) bool {
	l, ok := readLimits(b.Condition.Expression)
	ended := ok && !now.Before(l.end) && l.closed() &&
		(!b.shared() || !slices.ContainsFunc(b.marks, func(m mark) bool { return !m.Window.Over(now) }))
	return ended || b.ofDeleted()
}

// make makes one change of access with a condition. If the policy cannot hold it, nothing changes.
func (d *draft) make(c jit.Change, r role) error {
	of, kept := c.Access.Marker.Key(), -1
	if c.Op == jit.Ensure {
		if slices.ContainsFunc(d.bindings, func(b binding) bool { k := b.markOf(of); return k >= 0 && b.gone(k) }) {
			return anotherAccount(c.Access)
		}
		kept = d.rightBinding(c.Access, r)
	}
	before, changed := d.bindings, d.changed
	found := d.drop(of, kept)
	// A tool that writes the policy back without its conditions leaves the principal in the unconditional binding.
	if !found && kept < 0 && c.Access.NoStandingBefore && d.gives(r.name, c.Access.Binding.Principal) {
		d.leave(r.name, c.Access.Binding.Principal)
		d.changed = true
	}
	if c.Op == jit.Remove || kept >= 0 {
		return nil
	}
	if err := d.checkLimits(d.place(c.Access, r)); err != nil {
		d.bindings, d.changed = before, changed
		return err
	}
	d.changed = true
	return nil
}

// rightBinding returns the index of a binding that gives a grant its access as asked for, or -1.
func (d *draft) rightBinding(a jit.Access, r role) int {
	return slices.IndexFunc(d.bindings, func(b binding) bool {
		k := b.markOf(a.Marker.Key())
		return k >= 0 && b.right(k, a, r, d.clock.now())
	})
}

// place adds a grant that has no binding, and returns the binding that it gets.
func (d *draft) place(a jit.Access, r role) binding {
	made := newBinding(a, r, d.clock.Local)
	if !d.dataset && d.load().conditional >= shareFrom && shareable(a.Marker, d.clock.Local) {
		if i := slices.IndexFunc(d.bindings, func(b binding) bool { return b.takes(a, r) }); i >= 0 {
			d.bindings = slices.Clone(d.bindings) // the caller may roll back
			d.bindings[i] = d.bindings[i].with(a)
			return d.bindings[i]
		}
		made = newShared(a, r)
	}
	d.bindings = append(d.bindings, made)
	return made
}

// drop removes a grant from all bindings but kept, and reports whether it was in any.
func (d *draft) drop(of jit.GrantKey, kept int) bool {
	var left []binding
	found := false
	for i, b := range d.bindings {
		k := b.markOf(of)
		if i == kept {
			k = -1
		}
		found = found || k >= 0
		for k >= 0 && len(b.marks) > 1 {
			b = b.less(k)
			k = b.markOf(of)
		}
		if k < 0 {
			left = append(left, b)
		}
	}
	if found {
		d.bindings, d.changed = left, true
	}
	return found
}
