package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// findings works out what was done to a chain that is broken. An event carries its own
// sequence number inside its hash, so one that was moved still tells where it was recorded.
type findings struct {
	head head
	// byHash finds where the event with a hash is stored now.
	byHash map[string]int64
	links  map[int64]link
	// shifts are distances over which events have been found to be moved.
	shifts []int64
	// looked counts the places at which events were looked for nearby.
	looked int
	found  []Damage
}

// link is one stored event without its content.
type link struct {
	prev, hash string
	// recorded is the sequence number under which the event was written, 0 when its content no longer has its hash.
	recorded int64
}

// near is how far from its place an event is looked for when its neighbours do not tell.
const near = 64

// maxLooks bounds looked: in a record in which everything was edited there is nothing to be found nearby.
const maxLooks = 200_000

func newFindings(h head) *findings {
	return &findings{head: h, byHash: map[string]int64{}, links: map[int64]link{}}
}

// note keeps the links of an event.
func (f *findings) note(e jit.Event) {
	f.byHash[e.Hash] = e.Seq
	f.links[e.Seq] = link{prev: e.Prev, hash: e.Hash}
}

// place finds out under which sequence number an event was recorded.
func (f *findings) place(e jit.Event) {
	k := f.links[e.Seq]
	k.recorded = f.recorded(e)
	f.links[e.Seq] = k
}

func (f *findings) recorded(e jit.Event) int64 {
	at := e.Seq
	was := func(seq int64) bool {
		e.Seq = seq
		return seq > 0 && e.Sum() == e.Hash
	}
	if was(at) {
		return at
	}
	for _, shift := range f.shifts {
		if was(at + shift) {
			return at + shift
		}
	}
	candidates := []int64{1}
	if before, ok := f.byHash[e.Prev]; ok {
		candidates = append(candidates, before+1)
	}
	for d := int64(1); d <= near && f.looked < maxLooks; d++ {
		candidates = append(candidates, at-d, at+d)
		f.looked += 2
	}
	for _, seq := range candidates {
		if was(seq) {
			if shift := seq - at; len(f.shifts) < near && !slices.Contains(f.shifts, shift) {
				f.shifts = append(f.shifts, shift)
			}
			return seq
		}
	}
	return 0
}

// damage compares what is stored with what was recorded, and tells from which event on the head vouches for it.
func (f *findings) damage() (found []Damage, vouchedFrom int64) {
	origin := f.origins()
	for _, seq := range f.stored() {
		k := f.links[seq]
		switch {
		case k.recorded == 0 && seq < 1:
			f.add(Inserted, seq, "events are numbered from 1")
		case k.recorded == 0 && seq > f.head.seq:
			f.add(Inserted, seq, "it lies beyond the head")
		case k.recorded == 0 && origin[seq] != 0:
			f.add(Inserted, seq, fmt.Sprintf("what was recorded here is event %d now", origin[seq]))
		case k.recorded == 0:
			f.add(Edited, seq, "its content does not have its hash")
		case origin[k.recorded] != seq:
			f.add(Inserted, seq, fmt.Sprintf("what was recorded as event %d is another", k.recorded))
		case k.recorded > f.head.seq:
			f.add(Inserted, seq, "it lies beyond the head")
		case !f.linked(origin, k):
			f.add(Edited, seq, "it has a hash of its own, and not the one that was recorded")
		case k.recorded != seq:
			f.add(Reordered, seq, fmt.Sprintf("it was recorded as event %d", k.recorded))
		}
	}
	f.missing()
	slices.SortFunc(f.found, func(a, b Damage) int { return cmp.Compare(a.First, b.First) })
	return f.found, f.vouched(origin)
}

// vouched follows the hashes from the head down to the last that leads to what was recorded.
func (f *findings) vouched(origin map[int64]int64) int64 {
	hash := f.head.hash
	for seq := f.head.seq; seq > 0; seq-- {
		at, there := origin[seq]
		if !there || f.links[at].hash != hash {
			return seq + 1
		}
		hash = f.links[at].prev
	}
	return 1
}

// origins maps each recorded sequence number to where its event is stored now. Of several that claim the
// same place it is the one that the event after it follows, and of copies the one in its place, else the one that
// comes after what it follows.
func (f *findings) origins() map[int64]int64 {
	followed := map[string]bool{f.head.hash: true}
	for _, k := range f.links {
		if k.recorded > 0 {
			followed[k.prev] = true
		}
	}
	origin := map[int64]int64{}
	for _, seq := range f.stored() {
		k := f.links[seq]
		if k.recorded == 0 {
			continue
		}
		other, taken := origin[k.recorded]
		rival := f.links[other]
		if !taken || followed[k.hash] && !followed[rival.hash] || k.hash == rival.hash && (seq == k.recorded || other != k.recorded && f.links[seq-1].hash == k.prev) {
			origin[k.recorded] = seq
		}
	}
	return origin
}

// linked reports whether the event that was recorded after an event, or the head, follows it.
// The first event also has to follow the ledger's id. What is not there, or was edited itself, says nothing.
func (f *findings) linked(origin map[int64]int64, k link) bool {
	if k.recorded == 1 && k.prev != f.head.id {
		return false
	}
	if k.recorded == f.head.seq {
		return k.hash == f.head.hash
	}
	next, ok := origin[k.recorded+1]
	return !ok || f.links[next].prev == k.hash
}

// missing finds the recorded events that are nowhere.
func (f *findings) missing() {
	there := make([]int64, 0, len(f.links))
	for seq, k := range f.links {
		switch {
		case k.recorded > 0:
			there = append(there, k.recorded)
		case seq > 0:
			there = append(there, seq) // edited in its place
		}
	}
	slices.Sort(there)
	next := int64(1)
	for _, seq := range append(there, f.head.seq+1) {
		if last := min(seq-1, f.head.seq); last >= next {
			f.found = append(f.found, Damage{Kind: Removed, First: next, Last: last, Detail: "it was recorded and is not there"})
		}
		next = max(next, seq+1)
	}
}

func (f *findings) add(kind DamageKind, seq int64, detail string) {
	f.found = append(f.found, Damage{Kind: kind, First: seq, Last: seq, Detail: detail})
}

// stored lists the sequence numbers that are there, in order.
func (f *findings) stored() []int64 {
	all := make([]int64, 0, len(f.links))
	for seq := range f.links {
		all = append(all, seq)
	}
	slices.Sort(all)
	return all
}
