package jit

import (
	"encoding/json"
	"slices"
	"time"
)

// Evidence says how a person's decision can be proved.
type Evidence string

// The two kinds of evidence.
const (
	// Signature: the person signed the request with a key of theirs. It can be checked offline.
	Signature Evidence = "signature"
	// PullRequest: a forge reported the person's review. Only the forge could prove it.
	PullRequest Evidence = "pull_request"
)

// Requirement is an entry of a policy's approval list: that many distinct people must approve.
type Requirement struct {
	// Required is the number of distinct people, at least 1.
	Required int `json:"required"`
	// From names the people and groups whose approval counts.
	From []string `json:"from"`
	// Unless is a CEL expression; where it holds, the entry asks for nobody.
	Unless string `json:"unless,omitempty"`
	// Evidence lists the kinds that count; empty means [Signature] only.
	Evidence []Evidence `json:"evidence,omitempty"`
	// ValidFor is the longest time from an approval to the beginning of access; zero means no limit of its own.
	ValidFor time.Duration `json:"valid_for,omitempty"`
}

// Equal reports whether two requirements ask for the same.
func (r Requirement) Equal(other Requirement) bool {
	return r.Required == other.Required && r.Unless == other.Unless && r.ValidFor == other.ValidFor &&
		slices.Equal(r.From, other.From) && slices.Equal(r.Evidence, other.Evidence)
}

// Details of events about what policies ask for; see [Asked].
const (
	approvalDetail = "approval"
	excusedDetail  = "excused"
)

// Asked is what the policies ask for at a decision, so that it can be checked again from the record alone.
type Asked struct {
	// Approval lists the requirements that apply; nil if there are none.
	Approval []Requirement
	// Excused lists the exceptions that hold: the entries with such an Unless ask for nobody.
	Excused []string
}

// Details returns the names and values of the details of an event; an empty value is none.
func (a Asked) Details() []string {
	approval, excused := "", ""
	if len(a.Approval) > 0 {
		approval = asJSON(a.Approval)
	}
	if len(a.Excused) > 0 {
		excused = asJSON(a.Excused)
	}
	return []string{approvalDetail, approval, excusedDetail, excused}
}

// AskedBy returns what an event about a decision or a policy says of approval. known is false if it says nothing, or
// nothing that can be read.
func AskedBy(e Event) (a Asked, known bool) {
	for name, into := range map[string]any{approvalDetail: &a.Approval, excusedDetail: &a.Excused} {
		if text := e.Detail[name]; text != "" && json.Unmarshal([]byte(text), into) == nil {
			known = true
		}
	}
	return a, known
}

// BreakGlass says who may begin without approval, and how.
type BreakGlass struct {
	// From names the people and groups who may.
	From []string `json:"from"`
	// MaxTTL is the maximum length of the window; zero means no limit of its own.
	MaxTTL time.Duration `json:"max_ttl,omitempty"`
	// ReasonPattern is an RE2 expression that must match some part of the reason; empty matches all.
	ReasonPattern string `json:"reason_pattern,omitempty"`
}

// Choice is what a statement says about a request.
type Choice string

// The choices.
const (
	Approve Choice = "approve"
	Deny    Choice = "deny"
	// SignOff accepts afterwards that a grant began without approval.
	SignOff Choice = "sign_off"
)

// Vote is one person's decision on one request, after its evidence was checked.
type Vote struct {
	Person   string    `json:"person"`
	Choice   Choice    `json:"choice"`
	Evidence Evidence  `json:"evidence"`
	At       time.Time `json:"at"`
	// NotAfter is the time after which an approval lets nothing begin.
	NotAfter time.Time `json:"not_after"`
	// Source says where the evidence lies, such as a file name.
	Source string `json:"source"`
}
