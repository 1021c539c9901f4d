package jit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// EventKind is the kind of a recorded fact.
type EventKind string

// The kinds of events.
const (
	EventRequested     EventKind = "requested"
	EventDecided       EventKind = "policy_decision"
	EventGranted       EventKind = "granted"
	EventGrantFailed   EventKind = "grant_failed"
	EventAdopted       EventKind = "adopted"
	EventChanged       EventKind = "changed"
	EventExtended      EventKind = "extended"
	EventEndsSoon      EventKind = "ends_soon"
	EventDrift         EventKind = "drift_found"
	EventRepaired      EventKind = "repaired"
	EventRepairFailed  EventKind = "repair_failed"
	EventExpired       EventKind = "expired"
	EventRevokeAsked   EventKind = "revoke_requested"
	EventRevoked       EventKind = "revoked"
	EventRevokeFailed  EventKind = "revocation_failed"
	EventCleanedUp     EventKind = "cleaned_up"
	EventPolicyChanged EventKind = "policy_changed"
	EventPolicyRemoved EventKind = "policy_removed"
	EventApproved      EventKind = "approved"
	EventDenied        EventKind = "denied"
	// EventApprovalWanted: a request waits for people.
	EventApprovalWanted EventKind = "approval_wanted"
	// EventApprovalUsed: a grant begins, or lasts longer, by the approvals of the people it names.
	EventApprovalUsed EventKind = "approval_used"
	// EventLapsed: a request waited for people too long. It gave nothing.
	EventLapsed EventKind = "lapsed"
	// EventBreakGlass: a grant begins without the approval that its policy asks for.
	EventBreakGlass EventKind = "break_glass"
	EventSignedOff  EventKind = "signed_off"
	// The person is the detail "person".
	EventPersonChanged EventKind = "person_changed"
	EventPersonRemoved EventKind = "person_removed"
	// EventLedgerBehind: the ledger lacks an event that somebody remembers, so it has gone back in time; see also
	// [Event.FromState].
	EventLedgerBehind EventKind = "ledger_behind"
	// EventLedgerRestored: somebody accepts the ledger as it is. A new epoch begins.
	EventLedgerRestored EventKind = "ledger_restored"
)

// Source is the part of the program that recorded an event.
type Source string

// The sources.
const (
	FromTerraform Source = "terraform"
	FromSweeper   Source = "sweeper"
	FromCLI       Source = "cli"
)

// Actor is who did something and for which change.
type Actor struct {
	// Name is the user: of the CI run where there is one, else of the operating system.
	Name string `json:"actor"`
	// Change names the commit and the CI run, where they are known.
	Change string `json:"change,omitempty"`
	Source Source `json:"source"`
}

// Event is one recorded fact. Chain, Seq, After, Prev and Hash are the ledger's to fill in.
type Event struct {
	// Chain is the chain of the event: [AllChain], or the owner of the grant that it is about. It is empty in the first
	// events of [AllChain] of a ledger from before there were several chains; see [Event.InChain].
	Chain string `json:"chain,omitempty"`
	// Seq is the number of the event in its chain, from 1.
	Seq int64 `json:"seq"`
	// After is the number of the last event of [AllChain] that was recorded before this one; 0 if there was none, and in
	// [AllChain] itself. So it says which policies and persons the event could know.
	After int64     `json:"after,omitempty"`
	At    time.Time `json:"at"`
	Kind  EventKind `json:"kind"`
	Grant ID        `json:"grant,omitempty"`
	// Policy is the name of the policy that changed or decided.
	Policy string `json:"policy,omitempty"`
	Actor
	// Detail holds the facts of this kind of event. It never holds a secret.
	Detail map[string]string `json:"detail,omitempty"`
	// Prev is the hash of the event before in the chain (see [Genesis]), Hash the hash of this one, both in hex.
	Prev string `json:"prev"`
	Hash string `json:"hash"`
}

// Sum returns the hash of the event: SHA-256, in hex, of its canonical JSON with
// Prev set and Hash empty. Canonical is what encoding/json writes for this type:
// fields in their order, map keys sorted, no white space, the time in UTC with
// microseconds cut off beyond.
func (e Event) Sum() string {
	e.At = e.At.UTC().Truncate(time.Microsecond)
	e.Hash = ""
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings, numbers and a time in range always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
