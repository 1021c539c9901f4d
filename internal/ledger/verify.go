package ledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Report is the result of [Ledger.Verify].
type Report struct {
	// Ledger is the id of the ledger; empty if there is no ledger.
	Ledger string `json:"ledger"`
	// Owner is the owner whose chain was checked, with [jit.AllChain]; empty if all were.
	Owner string `json:"owner,omitempty"`
	// Events counts the stored events of the checked chains.
	Events int64 `json:"events"`
	// Root is the hash that binds the last events of all chains, as jit_chains has them: see [jit.Root]. Anyone who can
	// write to the database can write whole new chains; only heads that were kept elsewhere reveal it.
	Root string `json:"root"`
	// Chains are the checked chains, [jit.AllChain] first and then by name.
	Chains []ChainReport `json:"chains,omitempty"`
	// Damage lists the damaged events, by chain, in the order of the sequence numbers.
	Damage []Damage `json:"damage,omitempty"`
	// Grants counts the grants that were rebuilt from their events. Older counts those of them whose events an older
	// program wrote without some facts, which cannot be compared.
	Grants int64 `json:"grants"`
	Older  int64 `json:"grants_with_facts_not_recorded"`
	// Mismatches are the first maxMismatches rows that differ from their events; MismatchCount counts all.
	Mismatches    []Mismatch `json:"mismatches,omitempty"`
	MismatchCount int64      `json:"mismatch_count"`
}

// ChainReport is the result for one chain.
type ChainReport struct {
	// Tip is the last event by jit_chains.
	jit.Tip
	// Events counts the stored events, those that were checked.
	Events int64 `json:"events"`
	// VouchedFrom is the first event that the tip vouches for: from there on, each event is followed by its recorded
	// hash. Events before a break in the chain may have been rewritten. It is 1 if the chain is whole, and one more
	// than the last event if the tip vouches for none. Of a chain that is checked since a head, it is the first event
	// after the head.
	VouchedFrom int64 `json:"vouched_from"`
}

// OK reports whether the chain is whole and everything else agrees with it.
func (r Report) OK() bool { return r.Findings() == 0 }

// Findings counts the damaged events and the rows that differ.
func (r Report) Findings() int64 { return int64(len(r.Damage)) + r.MismatchCount }

// Vouched returns a sentence about the events that the tip of a damaged chain still vouches for.
func (c ChainReport) Vouched() string {
	switch {
	case c.VouchedFrom > c.Seq:
		return fmt.Sprintf("The head of chain %s vouches for no event: all of them may have been rewritten.", c.Chain)
	case c.VouchedFrom == 1:
		return fmt.Sprintf("The head of chain %s vouches for events 1 to %d.", c.Chain, c.Seq)
	}
	return fmt.Sprintf("The head of chain %s vouches for events %d to %d; the events before them may have been rewritten.",
		c.Chain, c.VouchedFrom, c.Seq)
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

// Damage is one finding about the events from First to Last of a chain, which differ only if several in a row were
// removed. For a row without a number, which SQLite can store, both are the least int64.
type Damage struct {
	Chain  string     `json:"chain"`
	Kind   DamageKind `json:"kind"`
	First  int64      `json:"first"`
	Last   int64      `json:"last"`
	Detail string     `json:"detail"`
}

// String returns the finding as a sentence.
func (d Damage) String() string {
	first := jit.PlaceIn(d.Chain, d.First)
	if d.First == unnumbered {
		return fmt.Sprintf("an event without a number in chain %s was %s: %s", d.Chain, d.Kind, d.Detail)
	}
	if d.First == d.Last {
		return fmt.Sprintf("event %s was %s: %s", first, d.Kind, d.Detail)
	}
	return fmt.Sprintf("events %s to %d were %s: %s", first, d.Last, d.Kind, d.Detail)
}

// Verify checks the events of each chain against their hashes, their order and the tip, rebuilds grants, policies and
// persons from them, and checks the decisions of people again, in one consistent view of the ledger. Damage in one
// chain accuses no other. A ledger that does not exist is intact and has no events.
func (l *Ledger) Verify(ctx context.Context) (Report, error) { return l.verify(ctx, "", nil) }

// VerifyOwner is [Ledger.Verify] for the chain of one owner, the grants of that owner and [jit.AllChain], whose rules
// decide on them.
func (l *Ledger) VerifyOwner(ctx context.Context, owner string) (Report, error) {
	return l.verify(ctx, owner, nil)
}

func (l *Ledger) verify(ctx context.Context, owner string, since map[string]tip) (Report, error) {
	var r Report
	if owner != "" {
		serving, err := l.serving(ctx, jit.Owners{owner})
		if err != nil {
			return r, err
		}
		ctx = serving
	}
	err := l.inSnapshot(ctx, func(tx *sql.Tx) error {
		s, err := l.state(ctx, tx)
		if err != nil {
			return err
		}
		r = Report{Ledger: s.id, Owner: owner, Root: l.rootOf(s)}
		v := verifier{Ledger: l, tx: tx, state: s, report: &r, told: map[string]facts{"policy": {}, "person": {}},
			runs: map[string]string{}, since: since}
		chains, err := v.chains(ctx, owner)
		if err != nil {
			return err
		}
		if since != nil {
			if err := v.sinceHeads(ctx, chains); err != nil {
				return err
			}
		}
		for _, chain := range chains {
			if err := v.check(ctx, chain); err != nil {
				return err
			}
		}
		return v.rebuild(ctx)
	})
	if err != nil {
		return Report{}, err
	}
	return r, nil
}

// rootOf returns the root; empty if a chain cannot be read to its end.
func (l *Ledger) rootOf(s *state) string {
	if len(l.broken()) > 0 {
		return ""
	}
	return jit.Root(s.id, s.list())
}
