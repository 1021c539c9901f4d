package jit

import "time"

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
