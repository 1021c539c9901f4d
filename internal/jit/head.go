package jit

import (
	"cmp"
	"encoding/json"
)

// Head identifies a whole chain of a ledger at one moment by its last event.
type Head struct {
	Ledger string `json:"ledger"`
	// Chain is empty in heads that older programs remembered: they are of [AllChain].
	Chain string `json:"chain,omitempty"`
	// Epoch is the hash of the last [EventLedgerRestored] up to the head; empty if there is none.
	Epoch string `json:"epoch,omitempty"`
	Seq   int64  `json:"seq"`
	Hash  string `json:"hash"`
}

// Place returns the place of the head's event; see [Event.Place].
func (h Head) Place() string { return PlaceIn(h.InChain().Chain, h.Seq) }

// ParseHeads reads heads in JSON: a list, or the one head that older programs wrote. What cannot be read is no head.
func ParseHeads(text []byte) []Head {
	var heads []Head
	if json.Unmarshal(text, &heads) != nil {
		heads = make([]Head, 1)
		if json.Unmarshal(text, &heads[0]) != nil {
			return nil
		}
	}
	for i, h := range heads {
		heads[i] = h.InChain()
	}
	return heads
}

// InChain returns the head with its chain.
func (h Head) InChain() Head {
	h.Chain = cmp.Or(h.Chain, AllChain)
	return h
}

// The details of [EventLedgerBehind] and [EventLedgerRestored]: the chain, number and hash of an event that the ledger
// lacks, and the epoch of that event. Without a chain it is [AllChain].
const (
	LostChainDetail = "lost_chain"
	LostSeqDetail   = "lost_seq"
	LostHashDetail  = "lost_hash"
	LostEpochDetail = "lost_epoch"
)

// KnownFromDetail is the detail of an [EventLedgerBehind] that says who remembers the event that the ledger lacks:
// [KnownFromState] for a Terraform state. It is not set if a process or the file beside the ledger remembers it.
const (
	KnownFromDetail = "known_from"
	KnownFromState  = "state"
)

// FromState reports whether only a Terraform state says that the ledger lacks an event. The state may belong to a copy of
// the ledger, so only the run with that state grants nothing; [RunDetail] names it.
func (e Event) FromState() bool { return e.Detail[KnownFromDetail] == KnownFromState }

// EpochBegan returns the sequence number of the event of [AllChain] that began the present epoch: the last
// [EventLedgerRestored]; 0 if there is none. restores are those of [Ledger.Restores].
func EpochBegan(restores []Event) (seq int64) {
	for _, e := range restores {
		if e.Kind == EventLedgerRestored {
			seq = max(seq, e.Seq)
		}
	}
	return seq
}
