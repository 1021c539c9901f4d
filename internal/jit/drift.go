package jit

import (
	"fmt"
	"slices"
	"strings"
)

// DriftKind is the kind of a difference between the record and what was observed.
type DriftKind string

// The kinds of drift. Of a grant that differs in several ways the gravest counts, which is the first of this list.
const (
	// DriftAltered: the record of the grant is not what its events tell: somebody has written into the ledger.
	DriftAltered DriftKind = "record_altered"
	// DriftStripped: the end and the marker were taken off the binding, which made the access permanent.
	DriftStripped DriftKind = "condition_stripped"
	// DriftEndGone: the binding has no end any more.
	DriftEndGone DriftKind = "end_gone"
	// DriftCameBack: a binding of a grant that had ended.
	DriftCameBack DriftKind = "came_back"
	// DriftOrphanOver: the ledger does not know the grant, and its marker says that it is over.
	DriftOrphanOver DriftKind = "orphan_over"
	// DriftUnexplained: access bears a marker, and neither the ledger nor an end that the platform enforces explains
	// it.
	DriftUnexplained DriftKind = "unexplained"
	// DriftPrincipal and DriftRole: the binding gives the access to somebody else, or another access.
	DriftPrincipal DriftKind = "principal_changed"
	DriftRole      DriftKind = "role_changed"
	// DriftTaken: somebody has made the binding their own, so it is not ours to end.
	DriftTaken DriftKind = "taken_over"
	// DriftEndLater: the end was moved to a later time.
	DriftEndLater DriftKind = "end_later"
	// DriftTooEarly: a binding of a grant that has not begun.
	DriftTooEarly DriftKind = "too_early"
	// DriftCopied: there are several bindings of the grant, or one in another place.
	DriftCopied DriftKind = "copied"
	// DriftViolation: today's policies would not permit the grant.
	DriftViolation DriftKind = "policy_violation"
	// DriftDamaged: the marker or something else of the binding is not as it was written.
	DriftDamaged DriftKind = "damaged"
	// DriftOrphanLive: the ledger does not know the grant, its marker says that it is live, and the platform itself
	// ends it soon.
	DriftOrphanLive DriftKind = "orphan_live"
	// DriftEndSooner: the end was moved to an earlier time.
	DriftEndSooner DriftKind = "end_sooner"
	// DriftMissing: nothing of the grant is on its scope.
	DriftMissing DriftKind = "missing"
)

// DriftKinds returns all kinds of drift.
func DriftKinds() []DriftKind {
	return []DriftKind{DriftAltered, DriftStripped, DriftEndGone, DriftCameBack, DriftOrphanOver, DriftUnexplained, DriftTaken, DriftPrincipal, DriftRole, DriftEndLater, DriftEndSooner,
		DriftCopied, DriftTooEarly, DriftViolation, DriftDamaged, DriftOrphanLive, DriftMissing}
}

// Severity says how bad a kind of drift is.
type Severity string

// The severities.
const (
	// Critical: somebody has access that nobody granted, or has it longer.
	Critical Severity = "critical"
	// Warning: what is there is not what was granted, and gives no more than that.
	Warning Severity = "warning"
	// Info: there is less access than was granted.
	Info Severity = "info"
)

// Severity returns how bad drift of this kind is.
func (k DriftKind) Severity() Severity {
	switch k {
	case DriftAltered, DriftStripped, DriftEndGone, DriftCameBack, DriftOrphanOver, DriftUnexplained, DriftTaken, DriftPrincipal, DriftRole, DriftEndLater, DriftTooEarly:
		return Critical
	case DriftCopied, DriftViolation, DriftDamaged, DriftOrphanLive:
		return Warning
	case DriftEndSooner, DriftMissing:
	}
	return Info
}

// OnDrift is what is done about drift on a target.
type OnDrift string

// What can be done.
const (
	// RepairDrift puts live grants right within their windows, and removes what outlived its end.
	RepairDrift OnDrift = "repair"
	// RevokeDrift ends a grant that drifted, and removes what outlived its end.
	RevokeDrift OnDrift = "revoke"
	// ReportDrift changes nothing.
	ReportDrift OnDrift = "report"
)

// Missing is the drift of a grant of which nothing is on its scope.
const Missing = "missing"

// Stripped begins the drift of a grant whose end and marker were taken off its binding, which made the access
// permanent.
const Stripped = "condition stripped"

// Difference is what of a grant is not as it has to be; the zero value is no difference.
type Difference struct {
	// Kind is the gravest of all that is wrong.
	Kind DriftKind
	// Words tell all of it.
	Words string
}

// Drift is [Grant.Differs] in words; empty when exactly what has to be there is there.
func (g Grant) Drift(s Snapshot) string { return g.Differs(s).Words }

// Differs tells how what was observed on the grant's scope differs from what has to be there. Bindings of other grants
// are passed over. What is left of a binding and gives nobody access is nothing.
func (g Grant) Differs(s Snapshot) Difference {
	var found []Observed
	for i := range s.Ours { // a plan of many grants on one scope looks at all for each
		if o := &s.Ours[i]; o.Marker.ID == g.ID && o.Marker.Owner == g.Owner && o.Principal != "" {
			found = append(found, *o)
		}
	}
	if len(found) == 0 {
		if standing, ok := s.StandingOf(g.Binding); ok && g.Access().NoStandingBefore {
			return Difference{DriftStripped, Stripped + ": the same access without an end is in its place (" + standing.Detail + ")"}
		}
		if i := slices.IndexFunc(s.Standing, g.claimedBy); i >= 0 {
			return Difference{DriftTaken, s.Standing[i].Detail}
		}
		return Difference{DriftMissing, Missing}
	}
	d := &differences{}
	if n := bindings(found); n > 1 {
		d.add(DriftCopied, "%d copies", n)
	}
	for _, o := range found {
		g.compare(o, d)
	}
	return Difference{d.worst, strings.Join(d.words, "; ")}
}

// claimedBy reports whether access that somebody else holds on the scope bears the marker of the grant and gives what
// the grant does.
func (g Grant) claimedBy(s Standing) bool {
	return s.From == "" && s.Marker.ID == g.ID && s.Marker.Owner == g.Owner && s.gives(g.Binding)
}

// bindings counts the bindings of one grant. Several people in one binding are found in one place.
func bindings(found []Observed) int {
	places := map[string]bool{}
	n := 0
	for _, o := range found {
		if o.Detail == "" || !places[o.Detail] {
			n++
		}
		places[o.Detail] = true
	}
	return n
}

// compare notes what of one binding of the grant is wrong.
func (g Grant) compare(o Observed, d *differences) {
	if o.Principal != g.Principal {
		d.add(DriftPrincipal, "principal is %q", o.Principal)
	}
	if o.Role != g.Role {
		d.add(DriftRole, "role is %q", o.Role)
	}
	switch {
	case g.Enforcement == Native && o.End.IsZero():
		d.add(DriftEndGone, "the end is gone")
	case o.End.After(g.End):
		d.add(DriftEndLater, "the end was moved to %s", FormatTime(o.End))
	case !o.End.IsZero() && o.End.Before(g.End):
		d.add(DriftEndSooner, "the end was moved to %s", FormatTime(o.End))
	}
	if !o.Marker.Window.Equal(g.Window) {
		d.add(DriftDamaged, "the marker says %s to %s", FormatTime(o.Marker.Window.Start), FormatTime(o.Marker.Window.End))
	}
	if o.Damage != "" {
		d.add(DriftDamaged, "%s", o.Damage)
	}
}

// differences collects what is wrong.
type differences struct {
	worst DriftKind
	words []string
}

// gravity orders the kinds that one binding can have.
var gravity = []DriftKind{DriftMissing, DriftEndSooner, DriftDamaged, DriftCopied, DriftEndLater, DriftRole, DriftPrincipal, DriftEndGone}

func (d *differences) add(kind DriftKind, format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(d.words, text) {
		d.words = append(d.words, text)
	}
	if d.worst == "" || slices.Index(gravity, kind) > slices.Index(gravity, d.worst) {
		d.worst = kind
	}
}
