package reconcile

import (
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Kind is what a step does.
type Kind string

// The kinds of steps, in the order in which a plan has them.
const (
	// End removes a grant that is over from its platform.
	End Kind = "end"
	// Start puts a grant that has begun on its platform.
	Start Kind = "start"
	// Repair restores a live grant that was altered or is missing.
	Repair Kind = "repair"
	// Remove removes a binding with our marker that no live grant explains.
	Remove Kind = "remove"
	// Revoke ends a live grant because of drift.
	Revoke Kind = "revoke"
	// Report changes nothing: a person must decide.
	Report Kind = "report"
)

var kinds = []Kind{End, Start, Repair, Remove, Revoke, Report}

// Unplanned reports whether a step of the kind removes access without a recorded end.
func (k Kind) Unplanned() bool { return k == Remove || k == Revoke }

// Step is one thing to do, and why.
type Step struct {
	Kind Kind `json:"kind"`
	jit.Place
	// Grant is the record. For a Remove or Report of an unknown grant it has only the facts of the marker.
	Grant  jit.Grant `json:"grant"`
	Reason string    `json:"reason"`
	// Drift and Severity are empty for steps that are due by the record alone.
	Drift    jit.DriftKind `json:"drift,omitempty"`
	Severity jit.Severity  `json:"severity,omitempty"`
	// Idle: the binding gives nobody access at the moment.
	Idle bool `json:"-"`
	// Foreign: the marker names an owner that is not ours, who may have another ledger.
	Foreign bool `json:"foreign,omitempty"`
	// Held: the step reports a removal that the cap on unplanned removals holds back.
	Held bool `json:"-"`
	// Dedup is the key under which a finding is recorded. Without a name, a report or a finding about a stray is not
	// recorded.
	Dedup jit.DedupKey `json:"-"`
}

// Drifted returns a step because of drift; reason describes the drift.
func Drifted(kind Kind, at jit.Place, g jit.Grant, drift jit.DriftKind, reason string) Step {
	return Step{Kind: kind, Place: at, Grant: g, Reason: reason, Drift: drift, Severity: drift.Severity()}
}

// Unknown reports whether the grant is known only from a marker, which anyone can write.
func (s Step) Unknown() bool {
	return slices.Contains([]jit.DriftKind{jit.DriftOrphanOver, jit.DriftOrphanLive, jit.DriftUnexplained}, s.Drift)
}

// Gravity ranks drift, lower is worse: bindings that give access first, then by kind, then privileged roles first.
func (s Step) Gravity() []int {
	if s.Drift == "" {
		return nil
	}
	last := map[bool]int{true: 1}
	return []int{last[s.Idle], slices.Index(jit.DriftKinds(), s.Drift), last[!jit.Privileged(s.Grant.Role)]}
}
