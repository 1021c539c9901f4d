// Package policy judges grants by policies. It is separate from package jit because judging needs CEL.
package policy

import (
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Request is a grant as it is judged.
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
	// Given is what the binding gives, under all of its names; if it is zero, the binding gives what it says.
	Given jit.Given
	// Asks is the name of the requester as the grant says it; it may be empty.
	Asks string
	// Requester is the person of that name; nil if there is none.
	Requester *jit.Person
	// BreakGlass asks to begin without approval.
	BreakGlass bool
	// Named is the policy that the grant names; if it is empty, any permit may decide.
	Named string

	// early: the platform has not been asked yet, so its answers decide nothing.
	early bool
}

// complete fills in Given where the caller leaves it out.
func (r *Request) complete() {
	if len(r.Given.Role.All()) == 0 {
		r.Given = jit.AsWritten(r.Binding)
	}
}
