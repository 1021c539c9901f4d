package jit

import "slices"

// identity is how a marker names its grant. A marker with another owner does not name the grant of that id.
type identity struct {
	owner string
	id    ID
}

// index holds the positions of the bindings of each grant and of each principal in a snapshot.
type index struct {
	of             map[identity][]int
	ours, standing map[string][]int
	// oursOf and members hold the positions of the bindings, and of the standing access, that the sessions of a role have,
	// by [Session.Prefix].
	oursOf, members map[string][]int
	// anybody holds the positions of the standing access that everybody has.
	anybody []int
	// indexed are the slices that were indexed.
	indexed Snapshot
}

// Indexed returns the snapshot with an index for [Snapshot.Of] and [Snapshot.To]. The elements of Ours and Standing must
// not change afterwards.
func (s Snapshot) Indexed() Snapshot {
	x := &index{of: make(map[identity][]int, len(s.Ours)), ours: map[string][]int{}, standing: map[string][]int{},
		oursOf: map[string][]int{}, members: map[string][]int{}, indexed: s}
	for i := range s.Ours {
		o := &s.Ours[i]
		of := identity{o.Marker.Owner, o.Marker.ID}
		x.of[of] = append(x.of[of], i)
		x.ours[o.Principal] = append(x.ours[o.Principal], i)
		if o.Members != "" {
			x.oursOf[o.Members] = append(x.oursOf[o.Members], i)
		}
	}
	for i := range s.Standing {
		if a := &s.Standing[i]; a.Anybody {
			x.anybody = append(x.anybody, i)
		} else {
			x.standing[a.Principal] = append(x.standing[a.Principal], i)
			if a.Members != "" {
				x.members[a.Members] = append(x.members[a.Members], i)
			}
		}
	}
	s.index = x
	return s
}

// valid reports whether the index is of this snapshot.
func (x *index) valid(s Snapshot) bool {
	return x != nil && same(x.indexed.Ours, s.Ours) && same(x.indexed.Standing, s.Standing)
}

// same reports whether two slices share their elements.
func same[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Of returns the bindings whose marker names the grant. With an index this takes as long for many bindings as for few.
func (s Snapshot) Of(g Grant) (found []Observed) {
	if s.index.valid(s) {
		for _, i := range s.index.of[identity{g.Owner, g.ID}] {
			found = append(found, s.Ours[i])
		}
		return found
	}
	for i := range s.Ours {
		if s.Ours[i].Marker.Names(g) {
			found = append(found, s.Ours[i])
		}
	}
	return found
}

// To returns what gives a principal access, in its order, and nothing else of the snapshot. With an index this takes as
// long for many principals as for few.
func (s Snapshot) To(principal string) Snapshot {
	to := Snapshot{Standing: s.standingTo(principal)}
	if s.index.valid(s) {
		at := slices.Clone(s.index.ours[principal])
		if session, ok := ParseSession(principal); ok {
			at = append(at, s.index.oursOf[session.Prefix()]...)
		}
		slices.Sort(at)
		for _, i := range at {
			to.Ours = append(to.Ours, s.Ours[i])
		}
		return to
	}
	for i := range s.Ours {
		if s.Ours[i].to(principal) {
			to.Ours = append(to.Ours, s.Ours[i])
		}
	}
	return to
}

// standingTo returns the standing access of a principal, in its order.
func (s Snapshot) standingTo(principal string) (found []Standing) {
	if s.index.valid(s) {
		at := slices.Concat(s.index.anybody, s.index.standing[principal])
		if session, ok := ParseSession(principal); ok {
			at = append(at, s.index.members[session.Prefix()]...)
		}
		slices.Sort(at)
		for _, i := range at {
			found = append(found, s.Standing[i])
		}
		return found
	}
	for i := range s.Standing {
		if s.Standing[i].has(principal) {
			found = append(found, s.Standing[i])
		}
	}
	return found
}

// Shares reports whether two snapshots are the same reading, with one index.
func (s Snapshot) Shares(other Snapshot) bool {
	return s.index.valid(s) && other.index == s.index && s.index.valid(other)
}
