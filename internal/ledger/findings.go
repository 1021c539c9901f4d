package ledger

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// findings finds the damage in a broken chain. The hash of an event covers its sequence number, so an event that was
// moved still reveals where it was recorded.
type findings struct {
	chain string
	// genesis is what the first event follows, and head the tip of the chain.
	genesis string
	head    tip
	// byHash holds the stored sequence number of the event with a hash.
	byHash map[string]int64
	links  map[int64]link
	// shifts are the distances by which events were moved, as far as they are known.
	shifts []int64
	// probes counts the sequence numbers that were tried near events.
	probes int
	found  []Damage
}

// link is one stored event without its content.
type link struct {
	prev, hash string
	// recorded is the sequence number under which the event was written; 0 if its content does not match its hash.
	recorded int64
}

// near is how many sequence numbers to either side of an event are tried if its neighbours do not reveal its own.
const near = 64

// maxProbes caps probes: if everything was edited, no number near an event matches.
const maxProbes = 200_000

func newFindings(chain, genesis string, end tip) *findings {
	return &findings{chain: chain, genesis: genesis, head: end, byHash: map[string]int64{}, links: map[int64]link{}}
}

// index stores the links of an event.
func (f *findings) index(e jit.Event) {
	f.byHash[e.Hash] = e.Seq
	f.links[e.Seq] = link{prev: e.Prev, hash: e.Hash}
}

// locate finds out under which sequence number an event was recorded.
func (f *findings) locate(e jit.Event) {
	k := f.links[e.Seq]
	k.recorded = f.recorded(e)
	f.links[e.Seq] = k
}

// recorded returns the sequence number under which an event was recorded, or 0.
func (f *findings) recorded(e jit.Event) int64 {
	at := e.Seq
	for seq := range f.candidates(e) {
		e.Seq = seq
		if seq <= 0 || e.Sum() != e.Hash {
			continue
		}
		if shift := seq - at; shift != 0 && len(f.shifts) < near && !slices.Contains(f.shifts, shift) {
			f.shifts = append(f.shifts, shift)
		}
		return seq
	}
	return 0
}

// candidates yields the sequence numbers under which an event may have been recorded, the likely ones first.
func (f *findings) candidates(e jit.Event) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		likely := []int64{e.Seq}
		for _, shift := range f.shifts {
			likely = append(likely, e.Seq+shift)
		}
		likely = append(likely, 1)
		if before, ok := f.byHash[e.Prev]; ok {
			likely = append(likely, before+1)
		}
		for _, seq := range likely {
			if !yield(seq) {
				return
			}
		}
		for d := int64(1); d <= near && f.probes < maxProbes; d++ {
			f.probes += 2
			if !yield(e.Seq-d) || !yield(e.Seq+d) {
				return
			}
		}
	}
}

// damage compares the stored events with the recorded ones, and returns from which event on the head vouches for them.
func (f *findings) damage() (found []Damage, vouchedFrom int64) {
	origin := f.origins()
	for seq, k := range sorted(f.links) {
		if k.recorded == 0 {
			f.changed(seq, origin[seq])
			continue
		}
		switch {
		case origin[k.recorded] != seq:
			f.add(Inserted, seq, fmt.Sprintf("the event recorded as number %d is another one", k.recorded))
		case k.recorded > f.head.seq:
			f.add(Inserted, seq, "it is after the head")
		case !f.linked(origin, k):
			f.add(Edited, seq, "its hash is its own, but not the recorded one")
		case k.recorded != seq:
			f.add(Reordered, seq, fmt.Sprintf("it was recorded as event %d", k.recorded))
		}
	}
	f.missing()
	slices.SortFunc(f.found, func(a, b Damage) int { return cmp.Compare(a.First, b.First) })
	return f.found, f.vouched(origin)
}

// changed adds the finding about an event whose content does not match its hash. origin is where the event that was
// recorded with its number is stored now, or 0.
func (f *findings) changed(seq, origin int64) {
	switch {
	case seq < 1:
		f.add(Inserted, seq, "events are numbered from 1")
	case seq > f.head.seq:
		f.add(Inserted, seq, "it is after the head")
	case origin != 0:
		f.add(Inserted, seq, fmt.Sprintf("the event recorded here is event %d now", origin))
	default:
		f.add(Edited, seq, "its content does not match its hash")
	}
}

// vouched follows the hashes back from the head, as far as they lead to recorded events.
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

// origins maps each recorded sequence number to where its event is stored now. If several events claim one number, the
// one that the next event follows wins. Among copies, the one in its place wins, or else the one after its predecessor.
func (f *findings) origins() map[int64]int64 {
	followed := map[string]bool{f.head.hash: true}
	for _, k := range f.links {
		if k.recorded > 0 {
			followed[k.prev] = true
		}
	}
	origin := map[int64]int64{}
	for seq, k := range sorted(f.links) {
		if k.recorded == 0 {
			continue
		}
		other, taken := origin[k.recorded]
		rival := f.links[other]
		switch {
		case !taken, followed[k.hash] && !followed[rival.hash]:
			origin[k.recorded] = seq
		case k.hash == rival.hash && (seq == k.recorded || other != k.recorded && f.links[seq-1].hash == k.prev):
			origin[k.recorded] = seq
		}
	}
	return origin
}

// linked reports whether the head, or the event recorded after an event, follows it. The first event must also follow
// the genesis of the chain. A next event that is missing or was edited proves nothing.
func (f *findings) linked(origin map[int64]int64, k link) bool {
	if k.recorded == 1 && k.prev != f.genesis {
		return false
	}
	if k.recorded == f.head.seq {
		return k.hash == f.head.hash
	}
	next, ok := origin[k.recorded+1]
	return !ok || f.links[next].prev == k.hash
}

// missing adds the recorded events that are stored nowhere.
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
			f.found = append(f.found, Damage{f.chain, Removed, next, last, "recorded, but not stored"})
		}
		next = max(next, seq+1)
	}
}

func (f *findings) add(kind DamageKind, seq int64, detail string) {
	f.found = append(f.found, Damage{f.chain, kind, seq, seq, detail})
}
