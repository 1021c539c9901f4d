package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Report is the result of [Ledger.Verify].
type Report struct {
	// Ledger is the id of the ledger, which the first event follows; empty if there is no ledger.
	Ledger string `json:"ledger"`
	// Events counts the stored events.
	Events int64 `json:"events"`
	// Seq is the sequence number of the last event.
	Seq int64 `json:"seq"`
	// Head is the hash of the last event in the head row. Anyone who can write to the database can write a whole new
	// chain; only a head that was kept elsewhere reveals it.
	Head string `json:"head"`
	// Damage lists the damaged events, in the order of the sequence numbers.
	Damage []Damage `json:"damage,omitempty"`
	// Grants counts the grants that were rebuilt from their events. Older counts those of them whose events an older
	// program wrote without some facts, which cannot be compared.
	Grants int64 `json:"grants"`
	Older  int64 `json:"grants_with_facts_not_recorded"`
	// Mismatches are the first maxMismatches rows that differ from their events; MismatchCount counts all.
	Mismatches    []Mismatch `json:"mismatches,omitempty"`
	MismatchCount int64      `json:"mismatch_count"`
	// VouchedFrom is the first event that the head vouches for: from there on, each event is followed by its recorded
	// hash. Events before a break in the chain may have been rewritten. It is 1 if the chain is whole, and one more
	// than the last event if the head vouches for none.
	VouchedFrom int64 `json:"vouched_from"`
}

// OK reports whether the chain is whole and everything else agrees with it.
func (r Report) OK() bool { return r.Findings() == 0 }

// Findings counts the damaged events and the rows that differ.
func (r Report) Findings() int64 { return int64(len(r.Damage)) + r.MismatchCount }

// Vouched returns a sentence about the events that the head still vouches for, for a record that is not intact.
func (r Report) Vouched() string {
	switch {
	case r.VouchedFrom > r.Seq:
		return "The head vouches for no event: all of them may have been rewritten."
	case r.VouchedFrom == 1:
		return fmt.Sprintf("The head vouches for events 1 to %d.", r.Seq)
	}
	return fmt.Sprintf("The head vouches for events %d to %d; the events before them may have been rewritten.",
		r.VouchedFrom, r.Seq)
}

// DamageKind says what happened to an event.
type DamageKind string

// The kinds of damage.
const (
	// Edited: the event differs from the recorded one.
	Edited DamageKind = "edited"
	// Removed: the event was recorded and is missing.
	Removed DamageKind = "removed"
	// Inserted: the event was never recorded.
	Inserted DamageKind = "inserted"
	// Reordered: the event was recorded under another sequence number.
	Reordered DamageKind = "reordered"
)

// Damage is one finding about the events from First to Last, which differ only if several in a row were removed. For a
// row without a number, which SQLite can store, both are the least int64.
type Damage struct {
	Kind   DamageKind `json:"kind"`
	First  int64      `json:"first"`
	Last   int64      `json:"last"`
	Detail string     `json:"detail"`
}

// String returns the finding as a sentence.
func (d Damage) String() string {
	if d.First == unnumbered {
		return fmt.Sprintf("an event without a number was %s: %s", d.Kind, d.Detail)
	}
	if d.First == d.Last {
		return fmt.Sprintf("event %d was %s: %s", d.First, d.Kind, d.Detail)
	}
	return fmt.Sprintf("events %d to %d were %s: %s", d.First, d.Last, d.Kind, d.Detail)
}

// Verify checks the events against their hashes, their order and the head, rebuilds grants, policies and persons from
// them, and checks the decisions of people again, in one consistent view of the ledger. A ledger that does not exist is intact and has no events.
func (l *Ledger) Verify(ctx context.Context) (Report, error) {
	var r Report
	err := l.inSnapshot(ctx, func(tx *sql.Tx) error {
		h, err := l.head(ctx, tx, "")
		if err != nil {
			return err
		}
		r = Report{Ledger: h.id, Head: h.hash, Seq: h.seq}
		c := chain{head: head{id: h.id, hash: h.id}, whole: true,
			told: map[string]facts{"policy": {}, "person": {}}, runs: map[string]string{}}
		if err := l.walk(ctx, tx, c.add); err != nil {
			return err
		}
		r.Events = c.events
		if err := l.rebuild(ctx, tx, h.schema, &c, &r); err != nil {
			return err
		}
		if c.whole && c.head.seq == h.seq && c.head.hash == h.hash {
			r.VouchedFrom = 1
			return nil
		}
		found := newFindings(h)
		// The neighbours of an event that does not match its hash show where it came from, so all are indexed first.
		for _, visit := range []func(jit.Event){found.index, found.locate} {
			if err := l.walk(ctx, tx, visit); err != nil {
				return err
			}
		}
		r.Damage, r.VouchedFrom = found.damage()
		return nil
	})
	if err != nil {
		return Report{}, err
	}
	return r, nil
}

// chain follows the events from the first to the last.
type chain struct {
	head   head
	events int64
	// whole: each event has its hash and follows the one before.
	whole bool
	// told are the facts of the events that recorded each policy and person last, by kind.
	told map[string]facts
	// runs are the first changes of policies and persons, by the run of Terraform.
	runs map[string]string
	// persons are those who could decide, at each time.
	persons approval.History
}

func (c *chain) add(e jit.Event) {
	c.events++
	c.whole = c.whole && e.Seq == c.head.seq+1 && e.Prev == c.head.hash && e.Sum() == e.Hash
	c.head.seq, c.head.hash = e.Seq, e.Hash
	c.persons.Add(e)
	if run := e.Run(); run != "" && c.runs[run] == "" {
		c.runs[run] = strconv.FormatInt(e.Seq, 10)
	}
	switch e.Kind {
	case jit.EventPolicyChanged:
		c.told["policy"][e.Policy] = e.Detail
	case jit.EventPolicyRemoved:
		delete(c.told["policy"], e.Policy)
	case jit.EventPersonChanged:
		c.told["person"][e.Person()] = e.Detail
	case jit.EventPersonRemoved:
		delete(c.told["person"], e.Person())
	}
}

// walk passes all events to visit, in the order of their sequence numbers.
func (l *Ledger) walk(ctx context.Context, tx *sql.Tx, visit func(jit.Event)) error {
	return each(ctx, tx, scanEvent, func(e jit.Event) bool {
		visit(e)
		return true
	}, selectEvent+" ORDER BY seq")
}
