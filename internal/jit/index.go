package jit

// identity is how a marker names its grant. A marker with another owner does not name the grant of that id.
type identity struct {
	owner string
	id    ID
}

// index holds the positions of the bindings of each grant in a snapshot.
type index struct {
	of map[identity][]int
	// first and length are those of the slice that was indexed.
	first  *Observed
	length int
}

// Indexed returns the snapshot with an index for [Snapshot.Of]. The elements of Ours must not change afterwards.
func (s Snapshot) Indexed() Snapshot {
	if len(s.Ours) == 0 {
		return s
	}
	s.index = &index{make(map[identity][]int, len(s.Ours)), &s.Ours[0], len(s.Ours)}
	for i := range s.Ours {
		of := identity{s.Ours[i].Marker.Owner, s.Ours[i].Marker.ID}
		s.index.of[of] = append(s.index.of[of], i)
	}
	return s
}

// Of returns the bindings whose marker names the grant. With an index this takes as long for many bindings as for few.
func (s Snapshot) Of(g Grant) (found []Observed) {
	if x := s.index; x != nil && len(s.Ours) == x.length && &s.Ours[0] == x.first {
		for _, i := range x.of[identity{g.Owner, g.ID}] {
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
