package jit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"
)

// AllChain is the chain of the events about what belongs to all owners: policies, persons and the ledger itself. No
// owner has that name.
const AllChain = "_all"

// ChainOf returns the chain of an owner's events. A name that no owner can have is that of nobody.
func ChainOf(owner string) string {
	if CheckOwner(owner) != nil {
		return AllChain
	}
	return owner
}

// Genesis is the Prev of the first event of a chain. The chain of ledgers from before there were several begins with
// the id of the ledger alone.
func Genesis(ledger, chain string) string { return ledger + "/" + chain }

// Tip is the last event of a chain.
type Tip struct {
	Chain string `json:"chain"`
	Seq   int64  `json:"seq"`
	Hash  string `json:"hash"`
}

// Root returns the hash that binds the chains of a ledger: SHA-256, in hex, over one line with the id of the ledger and
// one with chain, sequence number and hash of each tip, sorted by chain, without chains that have no event.
func Root(ledger string, tips []Tip) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", ledger)
	for _, t := range slices.SortedFunc(slices.Values(tips), func(a, b Tip) int { return cmp.Compare(a.Chain, b.Chain) }) {
		if t.Seq > 0 {
			fmt.Fprintf(h, "%s %d %s\n", t.Chain, t.Seq, t.Hash)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// InChain returns the chain of the event.
func (e Event) InChain() string { return cmp.Or(e.Chain, AllChain) }

// Concerns reports whether the event is where those about grants of an owner are. Whoever may write the chain of another
// owner only can record events about any grant there.
func (e Event) Concerns(owner string) bool {
	return e.InChain() == AllChain || e.InChain() == ChainOf(owner)
}

// Place returns the chain and the sequence number of the event, which identify it in a ledger that was never restored.
func (e Event) Place() string { return PlaceIn(e.InChain(), e.Seq) }

// PlaceIn writes a place in a chain: jit/42.
func PlaceIn(chain string, seq int64) string { return chain + "/" + strconv.FormatInt(seq, 10) }

// Follows reports whether the event was recorded after the event of [AllChain] with that sequence number.
func (e Event) Follows(all int64) bool {
	if e.InChain() == AllChain {
		return e.Seq > all
	}
	return e.After >= all
}

// AllEvents returns the events of all chains. Those of one chain are in its order, and the chains are merged by time.
func AllEvents(ctx context.Context, l Ledger) iter.Seq2[Event, error] {
	return allFrom(ctx, l, func(string) (int64, error) { return 1, nil })
}

// EventsSince is [AllEvents] from the first event of each chain on that was recorded at or after a time.
func EventsSince(ctx context.Context, l Ledger, at time.Time) iter.Seq2[Event, error] {
	return allFrom(ctx, l, func(chain string) (int64, error) { return l.FirstEvent(ctx, chain, at) })
}

func allFrom(ctx context.Context, l Ledger, first func(chain string) (int64, error)) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		tips, err := l.Chains(ctx)
		from := map[string]int64{}
		for _, t := range tips {
			if err == nil {
				from[t.Chain], err = first(t.Chain)
			}
		}
		if err != nil {
			yield(Event{}, err)
			return
		}
		mergeChains(ctx, l, from)(yield)
	}
}

// mergeChains returns the events of chains, each from its sequence number on.
func mergeChains(ctx context.Context, l Ledger, from map[string]int64) iter.Seq2[Event, error] {
	chains := slices.Sorted(maps.Keys(from))
	if len(chains) == 1 {
		return l.Events(ctx, chains[0], from[chains[0]])
	}
	return func(yield func(Event, error) bool) {
		var open []*pulled
		defer func() {
			for _, p := range open {
				p.stop()
			}
		}()
		for _, chain := range chains {
			p := &pulled{}
			p.next, p.stop = iter.Pull2(l.Events(ctx, chain, from[chain]))
			open = append(open, p)
			p.pull()
		}
		for {
			open = slices.DeleteFunc(open, func(p *pulled) bool { return !p.ok })
			if len(open) == 0 {
				return
			}
			first := slices.MinFunc(open, func(a, b *pulled) int { return a.event.At.Compare(b.event.At) })
			if !yield(first.event, first.err) || first.err != nil {
				return
			}
			first.pull()
		}
	}
}

// pulled is one chain and its next event.
type pulled struct {
	next  func() (Event, error, bool)
	stop  func()
	event Event
	err   error
	ok    bool
}

func (p *pulled) pull() { p.event, p.err, p.ok = p.next() }
