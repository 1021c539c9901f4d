package jit

// Head identifies the whole record of a ledger at one moment by its last event.
type Head struct {
	Ledger string `json:"ledger"`
	// Epoch is the hash of the last [EventLedgerRestored] up to the head; empty if there is none.
	Epoch string `json:"epoch,omitempty"`
	Seq   int64  `json:"seq"`
	Hash  string `json:"hash"`
}

// The details of [EventLedgerBehind] and [EventLedgerRestored]: the number and hash of an event that the ledger lacks,
// and the epoch of that event.
const (
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

// EpochBegan returns the sequence number of the event that began the present epoch: the last [EventLedgerRestored]; 0
// if there is none. restores are those of [Ledger.Restores].
func EpochBegan(restores []Event) (seq int64) {
	for _, e := range restores {
		if e.Kind == EventLedgerRestored {
			seq = max(seq, e.Seq)
		}
	}
	return seq
}
