// Package reconcile compares the ledger with observed access and returns the steps to take. It has no clock and makes
// no call.
package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Kind is what a step does.
type Kind string

// The kinds of steps, in the order in which a plan has them.
const (
	// End takes a grant that is over off its platform.
	End Kind = "end"
	// Start puts a grant whose beginning has come on its platform.
	Start Kind = "start"
	// Repair puts back a live grant that was altered or is missing.
	Repair Kind = "repair"
	// Remove removes a binding that has our marker and that no live grant explains.
	Remove Kind = "remove"
	// Revoke ends a live grant because of drift.
	Revoke Kind = "revoke"
	// Report changes nothing: a person must decide.
	Report Kind = "report"
)

var order = map[Kind]int{End: 0, Start: 1, Repair: 2, Remove: 3, Revoke: 4, Report: 5}

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
	// Held: it reports a removal that the cap on unplanned removals holds back.
	Held bool `json:"-"`
	// Dedup is the key under which a finding is recorded; without a name a finding about a stray, or a report, is not
	// recorded.
	Dedup jit.DedupKey `json:"-"`
}

// Unknown reports whether only a marker, which anyone can write, tells of the grant.
func (s Step) Unknown() bool {
	return s.Drift == jit.DriftOrphanOver || s.Drift == jit.DriftOrphanLive || s.Drift == jit.DriftUnexplained
}

// Drifted returns a step because of drift; reason describes the drift.
func Drifted(kind Kind, at jit.Place, g jit.Grant, drift jit.DriftKind, reason string) Step {
	return Step{Kind: kind, Place: at, Grant: g, Reason: reason, Drift: drift, Severity: drift.Severity()}
}

// Plan returns the steps to take at now for the owners that ours accepts; it skips grants and bindings of other owners.
// recorded must hold all grants that are live or whose end is not confirmed, and all whose marker was observed.
// observed holds the scopes that were read; Plan concludes nothing about others. on says how to treat drift on each
// target; the default is to repair it.
func Plan(now time.Time, ours func(owner string) bool, recorded []jit.Grant, observed map[jit.Place]jit.Snapshot, on map[string]jit.OnDrift) []Step {
	var steps []Step
	marked := index(ours, observed)
	known := make(map[identity]jit.Grant, len(recorded))
	for _, g := range recorded {
		if !ours(g.Owner) {
			continue
		}
		known[identity{g.Owner, g.ID}] = g
		if s, ok := due(now, g); ok {
			steps = append(steps, s)
		} else if snapshot, read := observed[g.Place()]; read && g.Window.Contains(now) && g.Live(now) && g.EndedAt.IsZero() {
			snapshot.Ours = marked[g.Place()][identity{g.Owner, g.ID}]
			if s, ok := repair(g, g.Differs(snapshot), on[g.Target]); ok {
				steps = append(steps, s)
			}
		}
	}
	for place, grants := range marked {
		for _, bindings := range grants {
			if s, ok := stray(now, place, bindings, known, on[place.Target]); ok {
				s.Idle = !slices.ContainsFunc(bindings, func(o jit.Observed) bool { return o.Gives(now) })
				steps = append(steps, s)
			}
		}
	}
	slices.SortFunc(steps, compare)
	return steps
}

// compare orders steps by kind. Drift comes worst first, so that harmless decoys, which anyone can make, do not use up
// the cap on removals; due steps come in the order of their ends.
func compare(a, b Step) int {
	return cmp.Or(cmp.Compare(order[a.Kind], order[b.Kind]), slices.Compare(a.gravity(), b.gravity()), a.Grant.End.Compare(b.Grant.End),
		cmp.Compare(a.Grant.ID, b.Grant.ID), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Scope, b.Scope))
}

// gravity ranks drift: bindings that give access first, then by the kind of drift, then by the role. Lower is worse.
func (s Step) gravity() []int {
	if s.Drift == "" {
		return nil
	}
	rank := func(less bool) int {
		if less {
			return 1
		}
		return 0
	}
	return []int{rank(s.Idle), severities[s.Severity], slices.Index(jit.DriftKinds(), s.Drift), rank(!jit.Privileged(s.Grant.Role))}
}

var severities = map[jit.Severity]int{jit.Critical: 0, jit.Warning: 1, jit.Info: 2}

// identity is how a marker names its grant. A marker with another owner does not name the grant of that id.
type identity struct {
	owner string
	id    jit.ID
}

// index groups the bindings of our owners in every place by the grant that their markers name.
func index(ours func(owner string) bool, observed map[jit.Place]jit.Snapshot) map[jit.Place]map[identity][]jit.Observed {
	marked := make(map[jit.Place]map[identity][]jit.Observed, len(observed))
	for place, snapshot := range observed {
		grants := make(map[identity][]jit.Observed, len(snapshot.Ours))
		for _, o := range snapshot.Ours {
			if ours(o.Marker.Owner) {
				of := identity{o.Marker.Owner, o.Marker.ID}
				grants[of] = append(grants[of], o)
			}
		}
		marked[place] = grants
	}
	return marked
}

// repair returns the step for a live grant with drift.
func repair(g jit.Grant, d jit.Difference, on jit.OnDrift) (Step, bool) {
	if d.Kind == "" || d.Kind == jit.DriftMissing && g.GrantedAt.IsZero() {
		return Step{}, false
	}
	kind := Repair
	switch {
	case on == jit.RevokeDrift:
		kind = Revoke
	case on == jit.ReportDrift, d.Kind == jit.DriftTaken: // a binding that somebody else holds cannot be repaired
		kind = Report
	}
	return Drifted(kind, g.Place(), g, d.Kind, d.Words), true
}

// due returns the step that follows from the record alone.
func due(now time.Time, g jit.Grant) (Step, bool) {
	at := g.Place()
	switch {
	case g.Outstanding(now) && !g.RevokedAt.IsZero():
		return Step{Kind: End, Place: at, Grant: g, Reason: fmt.Sprintf("revoked by %s: %s", g.RevokedBy, g.RevokeReason)}, true
	case g.Outstanding(now):
		return Step{Kind: End, Place: at, Grant: g, Reason: "its window ended at " + jit.FormatTime(g.End)}, true
	case g.CleanupOpen():
		return Step{Kind: End, Place: at, Grant: g, Reason: "its access has ended; what remains: " + g.Remains}, true
	case g.DueToStart(now):
		return Step{Kind: Start, Place: at, Grant: g, Reason: "its window began at " + jit.FormatTime(g.Start)}, true
	}
	return Step{}, false
}

// stray returns the step for bindings with the marker of one grant that its record does not explain.
func stray(now time.Time, at jit.Place, bindings []jit.Observed, known map[identity]jit.Grant, on jit.OnDrift) (Step, bool) {
	remove := Remove
	if on == jit.ReportDrift {
		remove = Report
	}
	o := bindings[0]
	g, ok := known[identity{o.Marker.Owner, o.Marker.ID}]
	switch {
	case !ok:
		g = o.Marker.Grant(at.Binding(o.Principal, o.Role))
		if o.Marker.Window.Over(now) {
			return Drifted(remove, at, g, jit.DriftOrphanOver, "the ledger does not know it and its marker says that it ended at "+jit.FormatTime(o.Marker.Window.End)), true
		}
		reason := "the ledger does not know it; its marker says that it ends at " + jit.FormatTime(o.Marker.Window.End)
		if on == jit.RevokeDrift {
			return Drifted(Remove, at, g, jit.DriftOrphanLive, reason), true
		}
		return Drifted(Report, at, g, jit.DriftOrphanLive, reason), true
	case at.Target != g.Target && g.Live(now):
		// Two targets may name one server.
		return Drifted(Report, at, g, jit.DriftCopied, fmt.Sprintf("the grant belongs on target %q", g.Target)), true
	case at != g.Place():
		return Drifted(remove, at, g, jit.DriftCopied, fmt.Sprintf("a copy: the grant belongs on %s of target %q", g.Scope, g.Target)), true
	case now.Add(jit.MaxSkew).Before(g.Start) && g.GrantedAt.IsZero() && !startsByItself(g, bindings): // the granting clock may be ahead of ours
		return Drifted(remove, at, g, jit.DriftTooEarly, "it has not begun: it begins at "+jit.FormatTime(g.Start)), true
	case g.Failed():
		return Drifted(remove, at, g, jit.DriftCameBack, "the attempt to grant it failed at "+jit.FormatTime(g.FailedAt)+", and it is there"), true
	case g.CleanupOpen() && !slices.ContainsFunc(bindings, func(o jit.Observed) bool { return o.Gives(now) }):
		return Step{}, false // a clean-up step is due for it
	case !g.EndedAt.IsZero():
		return Drifted(remove, at, g, jit.DriftCameBack, "it came back: the grant ended at "+jit.FormatTime(g.ActualEnd())), true
	}
	return Step{}, false
}

// startsByItself reports whether a grant is on its scope as recorded, with a beginning that the platform enforces.
func startsByItself(g jit.Grant, bindings []jit.Observed) bool {
	return !bindings[0].Start.Before(g.Start) && g.Differs(jit.Snapshot{Ours: bindings}).Kind == ""
}
