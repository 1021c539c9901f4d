package ledger

import (
	"context"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Report is what a check of the events found.
type Report struct {
	// Ledger is the id of the ledger, which the first event follows; empty when there is no ledger.
	Ledger string `json:"ledger"`
	// Events counts the events that are there.
	Events int64 `json:"events"`
	// Seq is the sequence number of the last event.
	Seq int64 `json:"seq"`
	// Head is the hash of the last event as the head row has it. Whoever can write to the
	// database can write a whole new chain; a head that was noted down elsewhere shows it.
	Head string `json:"head"`
	// Damage lists what was tampered with, in the order of the sequence numbers; empty when nothing was.
	Damage []Damage `json:"damage,omitempty"`
	// Grants counts the grants that were rebuilt from their events. Of Older ones some facts were not recorded when their events were
	// written, by an older program: these cannot be compared.
	Grants int64 `json:"grants"`
	Older  int64 `json:"grants_with_facts_not_recorded"`
	// Mismatches are the rows that do not agree with the events, as far as they are listed; MismatchCount counts all.
	Mismatches    []Mismatch `json:"mismatches,omitempty"`
	MismatchCount int64      `json:"mismatch_count"`
	// VouchedFrom is the first of the events that the head vouches for: from it to the last each is followed by the hash of
	// what was recorded. Whoever broke the chain further on can have written anew what is before, and only the break tells.
	// It is 1 when the chain is whole, and one more than the last event when the head vouches for none.
	VouchedFrom int64 `json:"vouched_from"`
}

// OK reports whether the chain is whole and everything else agrees with it.
func (r Report) OK() bool { return r.Findings() == 0 }

// Findings counts all that is wrong.
func (r Report) Findings() int64 { return int64(len(r.Damage)) + r.MismatchCount }

// Vouched says in words which events the head still vouches for, for a record that is not intact.
func (r Report) Vouched() string {
	switch {
	case r.VouchedFrom > r.Seq:
		return "The head vouches for no event: whoever did this can have written all of them anew."
	case r.VouchedFrom == 1:
		return fmt.Sprintf("The head vouches for events 1 to %d.", r.Seq)
	}
	return fmt.Sprintf("The head vouches for events %d to %d; whoever did this can have written anew what is before them.", r.VouchedFrom, r.Seq)
}

// DamageKind is what was done to an event.
type DamageKind string

// The kinds of damage.
const (
	// Edited: the event is not what was recorded.
	Edited DamageKind = "edited"
	// Removed: the event was recorded and is gone.
	Removed DamageKind = "removed"
	// Inserted: the event was never recorded.
	Inserted DamageKind = "inserted"
	// Reordered: the event was recorded under another sequence number.
	Reordered DamageKind = "reordered"
)

// Damage is one finding: the events from First to Last, which are the same unless many were removed in a row. Of rows
// without a number that SQLite can hold, both are the least number there is.
type Damage struct {
	Kind   DamageKind `json:"kind"`
	First  int64      `json:"first"`
	Last   int64      `json:"last"`
	Detail string     `json:"detail"`
}

// String says what was done to which events.
func (d Damage) String() string {
	if d.First == unnumbered {
		return fmt.Sprintf("an event without a number was %s: %s", d.Kind, d.Detail)
	}
	if d.First == d.Last {
		return fmt.Sprintf("event %d was %s: %s", d.First, d.Kind, d.Detail)
	}
	return fmt.Sprintf("events %d to %d were %s: %s", d.First, d.Last, d.Kind, d.Detail)
}

// Verify checks the events against their hashes, one another and the head, and rebuilds grants and policies from them, in one
// consistent view of the ledger. A ledger that does not exist is whole and has no events.
func (l *Ledger) Verify(ctx context.Context) (Report, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return Report{}, err
	}
	tx, err := db.BeginTx(ctx, &l.snapshot)
	if err != nil {
		return Report{}, l.fail("read", err)
	}
	defer func() { _ = tx.Rollback() }() // it only read
	h, err := l.head(ctx, tx, "")
	if err != nil {
		return Report{}, l.fail("read", err)
	}
	r := Report{Ledger: h.id, Head: h.hash, Seq: h.seq}
	whole := true
	policies := map[string]map[string]string{}
	last := head{id: h.id, hash: h.id}
	err = l.walk(ctx, tx, func(e jit.Event) {
		r.Events++
		whole = whole && e.Seq == last.seq+1 && e.Prev == last.hash && e.Sum() == e.Hash
		last.seq, last.hash = e.Seq, e.Hash
		switch e.Kind {
		case jit.EventPolicyChanged:
			policies[e.Policy] = e.Detail
		case jit.EventPolicyRemoved:
			delete(policies, e.Policy)
		}
	})
	if err != nil {
		return Report{}, l.fail("read", err)
	}
	if err := l.rebuild(ctx, tx, h.schema, policies, &r); err != nil {
		return Report{}, l.fail("read", err)
	}
	if whole && last.seq == h.seq && last.hash == h.hash {
		r.VouchedFrom = 1
		return r, nil
	}
	found := newFindings(h)
	if err := l.walk(ctx, tx, found.note); err != nil {
		return Report{}, l.fail("read", err)
	}
	// Where an event that does not bear its own hash came from shows by its neighbours, so all are noted first.
	if err := l.walk(ctx, tx, found.place); err != nil {
		return Report{}, l.fail("read", err)
	}
	r.Damage, r.VouchedFrom = found.damage()
	return r, nil
}

// walk visits all events in the order of their sequence numbers.
func (l *Ledger) walk(ctx context.Context, q queryer, visit func(jit.Event)) error {
	rows, err := q.QueryContext(ctx, selectEvent+" ORDER BY seq")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return err
		}
		visit(e)
	}
	return rows.Err()
}
