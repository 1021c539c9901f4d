package jit

import (
	"fmt"
	"slices"
	"strings"
)

// DriftKind is the kind of a difference between the record and what was observed.
type DriftKind string

// The kinds of drift, the gravest first. If a grant differs in several ways, the gravest counts.
const (
	// DriftAltered: the record of the grant differs from its events; somebody has written into the ledger.
	DriftAltered DriftKind = "record_altered"
	// DriftUnapproved: the events do not prove the approval that the grant needed.
	DriftUnapproved DriftKind = "unapproved"
	// DriftStripped: the end and the marker were taken off the binding, which made the access permanent.
	DriftStripped DriftKind = "condition_stripped"
	// DriftEndGone: the binding no longer has an end.
	DriftEndGone DriftKind = "end_gone"
	// DriftCameBack: there is a binding of a grant that had ended.
	DriftCameBack DriftKind = "came_back"
	// DriftOrphanOver: the ledger does not know the grant, and its marker says that it is over.
	DriftOrphanOver DriftKind = "orphan_over"
	// DriftUnexplained: access bears a marker, and neither the ledger nor an end that the platform enforces explains
	// it.
	DriftUnexplained DriftKind = "unexplained"
	// DriftTaken: somebody has made the binding their own, so it is not ours to end.
	DriftTaken DriftKind = "taken_over"
	// DriftPrincipal and DriftRole: the binding gives access to another principal, or another role.
	DriftPrincipal DriftKind = "principal_changed"
	DriftRole      DriftKind = "role_changed"
	// DriftEndLater: the end was moved later.
	DriftEndLater DriftKind = "end_later"
	// DriftTooEarly: there is a binding of a grant that has not begun.
	DriftTooEarly DriftKind = "too_early"
	// DriftCopied: there are several bindings of the grant, or one in another place.
	DriftCopied DriftKind = "copied"
	// DriftViolation: today's policies would not permit the grant.
	DriftViolation DriftKind = "policy_violation"
	// DriftDamaged: the marker or another part of the binding was changed.
	DriftDamaged DriftKind = "damaged"
	// DriftOrphanLive: the ledger does not know the grant, its marker says that it is live, and the platform itself
	// ends it soon.
	DriftOrphanLive DriftKind = "orphan_live"
	// DriftEndSooner: the end was moved earlier.
	DriftEndSooner DriftKind = "end_sooner"
	// DriftGone: the account of the principal was deleted, so the grant gives nobody access.
	DriftGone DriftKind = "principal_gone"
	// DriftMissing: the scope holds nothing of the grant.
	DriftMissing DriftKind = "missing"
)

// DriftKinds returns all kinds of drift, the gravest first.
func DriftKinds() []DriftKind {
	return []DriftKind{
		DriftAltered, DriftUnapproved, DriftStripped, DriftEndGone, DriftCameBack, DriftOrphanOver, DriftUnexplained,
		DriftTaken, DriftPrincipal, DriftRole, DriftEndLater, DriftTooEarly, DriftCopied, DriftViolation, DriftDamaged,
		DriftOrphanLive, DriftEndSooner, DriftGone, DriftMissing,
	}
}

// gravity ranks a kind; lower is graver.
func (k DriftKind) gravity() int { return slices.Index(DriftKinds(), k) }

// Severity says how bad a kind of drift is.
type Severity string

// The severities.
const (
	// Critical: somebody has access that nobody granted, or has it longer.
	Critical Severity = "critical"
	// Warning: the access differs from the grant and gives no more than it.
	Warning Severity = "warning"
	// Info: there is less access than was granted.
	Info Severity = "info"
)

// Severity returns how bad drift of this kind is.
func (k DriftKind) Severity() Severity {
	switch rank := k.gravity(); {
	case rank < 0 || rank >= DriftEndSooner.gravity():
		return Info
	case rank >= DriftCopied.gravity():
		return Warning
	}
	return Critical
}

// OnDrift says how a sweeper treats drift on a target.
type OnDrift string

// The treatments.
const (
	// RepairDrift corrects live grants within their windows, and removes access that outlived its end.
	RepairDrift OnDrift = "repair"
	// RevokeDrift ends a grant that drifted, and removes access that outlived its end.
	RevokeDrift OnDrift = "revoke"
	// ReportDrift changes nothing.
	ReportDrift OnDrift = "report"
)

// Missing is the drift of a grant that has nothing on its scope.
const Missing = "missing"

// Stripped begins the drift of a grant whose end and marker were taken off its binding, which made the access
// permanent.
const Stripped = "condition stripped"

// Difference is how the access differs from the record; the zero value is no difference.
type Difference struct {
	// Kind is the gravest difference.
	Kind DriftKind
	// Words describes all differences.
	Words string
}

// Drift returns [Grant.Differs] in words; empty if the access is as recorded.
func (g Grant) Drift(s Snapshot) string { return g.Differs(s).Words }

// Differs compares the grant with its bindings on its scope. It ignores bindings of other grants, and bindings that
// give nobody access.
func (g Grant) Differs(s Snapshot) Difference {
	var found []Observed
	for _, o := range s.Of(g) {
		if o.Principal != "" || o.Gone {
			found = append(found, o)
		}
	}
	if len(found) == 0 {
		return g.absent(s)
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

// absent returns the difference of a grant without a binding.
func (g Grant) absent(s Snapshot) Difference {
	if standing, ok := s.StandingOf(g.Binding); ok && g.Access().NoStandingBefore {
		return Difference{
			DriftStripped, Stripped + ": the same access without an end is in its place (" + standing.Detail + ")",
		}
	}
	if i := slices.IndexFunc(s.Standing, g.claimedBy); i >= 0 {
		if found := s.Standing[i]; found.Unmarked() {
			return Difference{DriftStripped, Stripped + ": the marker of its binding is gone (" + found.Detail + ")"}
		}
		return Difference{DriftTaken, s.Standing[i].Detail}
	}
	if i := slices.IndexFunc(s.Standing, func(s Standing) bool { return s.Unmarked() && s.Marker.Names(g) }); i >= 0 {
		found := s.Standing[i]
		return Difference{DriftTaken, fmt.Sprintf("its binding has no marker any more, and gives %s to %s (%s)",
			found.Role, found.Principal, found.Detail)}
	}
	if s.Another != nil && s.Another(g) {
		return Difference{DriftGone, wasDeleted(g)}
	}
	return Difference{DriftMissing, Missing}
}

// wasDeleted says that nobody is any more whom the grant was given to.
func wasDeleted(g Grant) string {
	return "the account of " + g.Principal + " was deleted or renamed, or has another id now; one that is made anew " +
		"under that name is another"
}

// claimedBy reports whether access that somebody else holds on the scope bears the marker of the grant and gives its
// access.
func (g Grant) claimedBy(s Standing) bool {
	return s.From == "" && s.Marker.Names(g) && s.gives(g.Binding)
}

// Names reports whether the marker has the owner and id of the grant.
func (m Marker) Names(g Grant) bool { return m.ID == g.ID && m.Owner == g.Owner }

// bindings counts the bindings of one grant. Those with the same detail are several people in one binding.
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

// compare adds the differences between the grant and one of its bindings.
func (g Grant) compare(o Observed, d *differences) {
	if o.Gone {
		d.add(DriftGone, "%s", wasDeleted(g))
		return
	}
	if o.Principal != g.Principal && !o.Unsure {
		d.add(DriftPrincipal, "principal is %q", o.Principal)
	}
	if o.Role != g.Role {
		d.add(DriftRole, "role is %q", o.Role)
	}
	if o.Beyond != "" {
		d.add(DriftRole, "it also gives %s", o.Beyond)
	}
	switch {
	case o.End.IsZero():
		if g.Enforcement == Native {
			d.add(DriftEndGone, "the end is gone")
		}
	case o.End.After(g.End):
		d.add(DriftEndLater, "the end was moved to %s", FormatTime(o.End))
	case o.End.Before(g.End):
		d.add(DriftEndSooner, "the end was moved to %s", FormatTime(o.End))
	}
	if !o.Marker.Window.Equal(g.Window) {
		w := o.Marker.Window
		d.add(DriftDamaged, "the marker says %s to %s", FormatTime(w.Start), FormatTime(w.End))
	}
	if o.Damage != "" {
		d.add(DriftDamaged, "%s", o.Damage)
	}
}

// differences collects differences.
type differences struct {
	worst DriftKind
	words []string
}

func (d *differences) add(kind DriftKind, format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(d.words, text) {
		d.words = append(d.words, text)
	}
	if d.worst == "" || kind.gravity() < d.worst.gravity() {
		d.worst = kind
	}
}
