package reconcile

import (
	"fmt"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxUnexplained caps the findings of one scope that are listed one by one: anyone who can write there can make any
// number.
const maxUnexplained = 100

// Unexplained adds to the steps that [Plan] returned for one scope a report on all access with a marker, of any owner,
// that the records do not explain. For owners that ours accepts, a step of Plan about the same grant takes precedence.
func Unexplained(
	steps []Step, records jit.Records, ours func(owner string) bool, at jit.Place, snapshot jit.Snapshot,
) []Step {
	found := slices.DeleteFunc(unexplained(records, at, snapshot), func(s Step) bool {
		return ours(s.Grant.Owner) && merge(steps, s)
	})
	for i := range found {
		found[i].Foreign = !ours(found[i].Grant.Owner)
	}
	slices.SortFunc(found, compare)
	if more := len(found) - maxUnexplained; more > 0 {
		found = found[:maxUnexplained]
		last := &found[maxUnexplained-1]
		last.Reason += fmt.Sprintf("; the scope has %d more such bindings: jit scan lists them", more)
	}
	steps = append(steps, found...)
	slices.SortStableFunc(steps, compare)
	return steps
}

// unexplained returns a report on each access with a marker that the records do not explain.
func unexplained(records jit.Records, at jit.Place, snapshot jit.Snapshot) []Step {
	var found []Step
	add := func(marker jit.Marker, principal, role, why string) {
		why = fmt.Sprintf("it bears the marker of a grant of owner %q, but %s", marker.Owner, why)
		g := marker.Grant(at.Binding(principal, role))
		found = append(found, Drifted(Report, at, g, jit.DriftUnexplained, why))
	}
	for _, o := range snapshot.Ours {
		if why := records.Unexplained(o, at.Scope); why != "" && !records.Known(o, at.Scope) {
			add(o.Marker, o.Principal, o.Role, why)
		}
	}
	for _, s := range snapshot.Standing {
		if s.Claims() && !records.Explains(s) {
			add(s.Marker, s.Principal, s.Role, s.Detail)
		}
	}
	return found
}

// merge gives steps on an unknown live grant the reason of the finding, and reports whether any step on the finding's
// place is about its grant.
func merge(steps []Step, finding Step) (covered bool) {
	for i, s := range steps {
		if s.Grant.ID != finding.Grant.ID {
			continue
		}
		if s.Drift == jit.DriftOrphanLive {
			steps[i] = Drifted(s.Kind, s.Place, s.Grant, jit.DriftUnexplained, finding.Reason)
		}
		covered = covered || s.Place == finding.Place
	}
	return covered
}
