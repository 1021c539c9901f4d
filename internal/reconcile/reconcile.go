// Package reconcile compares the ledger with observed access and returns the steps to take. It has no clock and makes
// no call.
package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Plan returns the steps to take at now for the owners that ours accepts; it skips grants and bindings of other owners.
// recorded must hold all grants that are live or whose end is not confirmed, and all whose marker was observed.
// observed holds the scopes that were read; Plan concludes nothing about others. on says how to treat drift on each
// target; the default is to repair it.
func Plan(
	now time.Time, ours func(owner string) bool, recorded []jit.Grant, observed map[jit.Place]jit.Snapshot,
	on map[string]jit.OnDrift,
) []Step {
	var steps []Step
	marked := index(ours, observed)
	known := make(map[identity]jit.Grant, len(recorded))
	for _, g := range recorded {
		of := identity{g.Owner, g.ID}
		if !ours(of.owner) {
			continue
		}
		known[of] = g
		s, ok := due(now, g)
		if snapshot, read := observed[g.Place()]; !ok && read && expected(now, g) {
			snapshot.Ours = marked[key{g.Place(), of}]
			s, ok = repair(g, g.Differs(snapshot), on[g.Target])
		}
		if ok {
			steps = append(steps, s)
		}
	}
	for of, bindings := range marked {
		g, recorded := known[of.identity]
		if s, ok := stray(now, of.Place, bindings, g, recorded, on[of.Target]); ok {
			s.Idle = !gives(now, bindings)
			steps = append(steps, s)
		}
	}
	slices.SortFunc(steps, compare)
	return steps
}

// identity is how a marker names its grant. A marker with another owner does not name the grant of that id.
type identity struct {
	owner string
	id    jit.ID
}

// key is one grant in one place.
type key struct {
	jit.Place
	identity
}

// index groups the bindings of our owners by place and by the grant that their markers name.
func index(ours func(owner string) bool, observed map[jit.Place]jit.Snapshot) map[key][]jit.Observed {
	marked := map[key][]jit.Observed{}
	for place, snapshot := range observed {
		for _, o := range snapshot.Ours {
			if of := (key{place, identity{o.Marker.Owner, o.Marker.ID}}); ours(of.owner) {
				marked[of] = append(marked[of], o)
			}
		}
	}
	return marked
}

// due returns the step that follows from the record alone.
func due(now time.Time, g jit.Grant) (s Step, ok bool) {
	s = Step{Kind: End, Place: g.Place(), Grant: g}
	switch {
	case g.Outstanding(now) && !g.RevokedAt.IsZero():
		s.Reason = fmt.Sprintf("revoked by %s: %s", g.RevokedBy, g.RevokeReason)
	case g.Outstanding(now):
		s.Reason = "its window ended at " + jit.FormatTime(g.End)
	case g.CleanupOpen():
		s.Reason = "its access has ended; what remains: " + g.Remains
	case g.DueToStart(now):
		s.Kind, s.Reason = Start, "its window began at "+jit.FormatTime(g.Start)
	default:
		return Step{}, false
	}
	return s, true
}

// expected reports whether a grant must be on its platform at now.
func expected(now time.Time, g jit.Grant) bool {
	return g.Window.Contains(now) && g.Live(now) && g.EndedAt.IsZero()
}

// repair returns the step for a live grant with drift.
func repair(g jit.Grant, d jit.Difference, on jit.OnDrift) (Step, bool) {
	if d.Kind == "" || d.Kind == jit.DriftMissing && g.GrantedAt.IsZero() {
		return Step{}, false
	}
	kind := Repair
	switch {
	case on == jit.RevokeDrift, on != jit.ReportDrift && d.Kind == jit.DriftGone:
		kind = Revoke
	case on == jit.ReportDrift, d.Kind == jit.DriftTaken: // a binding that somebody else holds cannot be repaired
		kind = Report
	}
	return Drifted(kind, g.Place(), g, d.Kind, d.Words), true
}

// stray returns the step for bindings with the marker of one grant that its record g does not explain.
func stray(
	now time.Time, at jit.Place, bindings []jit.Observed, g jit.Grant, recorded bool, on jit.OnDrift,
) (s Step, ok bool) {
	drift, reason := unexpected(now, at, bindings, g)
	if !recorded {
		g = bindings[0].Marker.Grant(at.Binding(bindings[0].Principal, bindings[0].Role))
		drift, reason = orphaned(now, g)
	}
	reason += all(bindings)
	kind := Remove
	if drift == jit.DriftTooEarly && misdated(now, g) {
		kind, reason = Revoke, reason+", and a clock that was ahead granted it"
	}
	if on == jit.ReportDrift || drift == jit.DriftOrphanLive && on != jit.RevokeDrift || elsewhere(now, at, g) {
		kind = Report
	}
	return Drifted(kind, at, g, drift, reason), drift != ""
}

// all names everybody to whom the bindings of one grant give access, if there is more than one.
func all(bindings []jit.Observed) string {
	var given []string
	for _, o := range bindings {
		if text := o.Principal + ": " + o.Role; o.Principal != "" && !slices.Contains(given, text) {
			given = append(given, text)
		}
	}
	if len(given) < 2 {
		return ""
	}
	return "; it gives access to " + strings.Join(given, ", ")
}

// orphaned describes a binding whose grant the ledger does not know.
func orphaned(now time.Time, g jit.Grant) (jit.DriftKind, string) {
	end := jit.FormatTime(g.End)
	if g.End.IsZero() {
		return jit.DriftOrphanOver, "the ledger does not know it and its marker names no end"
	}
	if g.Window.Over(now) {
		return jit.DriftOrphanOver, "the ledger does not know it and its marker says that it ended at " + end
	}
	return jit.DriftOrphanLive, "the ledger does not know it; its marker says that it ends at " + end
}

// unexpected says why the bindings of a recorded grant must not be there; the kind is empty if they may be.
func unexpected(now time.Time, at jit.Place, bindings []jit.Observed, g jit.Grant) (jit.DriftKind, string) {
	switch {
	case elsewhere(now, at, g):
		return jit.DriftCopied, fmt.Sprintf("the grant belongs on target %q", g.Target)
	case at != g.Place():
		return jit.DriftCopied, fmt.Sprintf("a copy: the grant belongs on %s of target %q", g.Scope, g.Target)
	case tooEarly(now, bindings, g):
		return jit.DriftTooEarly, "it has not begun: it begins at " + jit.FormatTime(g.Start)
	case g.Failed():
		return jit.DriftCameBack,
			fmt.Sprintf("the attempt to grant it failed at %s, and it is there", jit.FormatTime(g.FailedAt))
	case g.CleanupOpen() && !gives(now, bindings):
		return "", "" // a clean-up step is due for it
	case !g.EndedAt.IsZero():
		return jit.DriftCameBack, "it came back: the grant ended at " + jit.FormatTime(g.ActualEnd())
	}
	return "", ""
}

// elsewhere reports whether a live grant belongs on another target. Two targets may name one server.
func elsewhere(now time.Time, at jit.Place, g jit.Grant) bool {
	return at.Target != g.Target && g.Live(now)
}

// tooEarly reports whether bindings of a grant that has not begun give access, or may: they are not as recorded, or the
// platform does not begin the access itself. The clock of the granting machine may be a little ahead of ours.
func tooEarly(now time.Time, bindings []jit.Observed, g jit.Grant) bool {
	switch {
	case !now.Add(jit.MaxSkew).Before(g.Start):
		return false
	case !g.GrantedAt.IsZero():
		return gives(now, bindings)
	}
	return bindings[0].Start.Before(g.Start) || g.Differs(jit.Snapshot{Ours: bindings}).Kind != ""
}

// misdated reports whether a clock that was far ahead recorded the request of a live grant: its window is wrong.
func misdated(now time.Time, g jit.Grant) bool {
	return g.Live(now) && now.Add(jit.MaxSkew).Before(g.RequestedAt)
}

// gives reports whether any of the bindings gives access at now.
func gives(now time.Time, bindings []jit.Observed) bool {
	return slices.ContainsFunc(bindings, func(o jit.Observed) bool { return o.Gives(now) })
}

// compare orders steps by kind. Drift comes worst first, so that harmless decoys, which anyone can make, do not use up
// the cap on removals. Due steps come in the order of their ends.
func compare(a, b Step) int {
	return cmp.Or(
		cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), slices.Compare(a.Gravity(), b.Gravity()),
		a.Grant.End.Compare(b.Grant.End), cmp.Compare(a.Grant.ID, b.Grant.ID), a.Place.Compare(b.Place),
	)
}
