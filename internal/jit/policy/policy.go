// Package policy judges grants by policies. It is apart from package jit because
// of CEL, the one library that judging needs.
package policy

import (
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Request is what is known of a grant when it is judged.
type Request struct {
	Owner    string
	Platform string // the kind of the target, such as "ssh"
	Binding  jit.Binding
	Reason   string
	// ReasonLost: a lost reason matches every pattern. Without this flag, an empty reason matches none.
	ReasonLost bool
	StartsAt   time.Time
	// Length is the length of the whole window.
	Length time.Duration
	Traits jit.Traits
	// Given is what the binding gives, apart from how it is written; the zero value takes the binding at its word.
	Given jit.Given
	// Named is the policy that the grant names; empty lets any permitting policy govern.
	Named string

	// early: the platform has not been asked yet, and only what its answer cannot change counts.
	early bool
}

// complete fills in what the binding gives where the caller does not say.
func (r *Request) complete() {
	if len(r.Given.Role.All()) == 0 {
		r.Given = jit.AsWritten(r.Binding)
	}
}
