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
func Unexplained(steps []Step, records jit.Records, ours func(owner string) bool, at jit.Place, snapshot jit.Snapshot) []Step {
	var found []Step
	add := func(marker jit.Marker, principal, role, why string) {
		why = fmt.Sprintf("it bears the marker of a grant of owner %q, but %s", marker.Owner, why)
		if ours(marker.Owner) {
			for i, s := range steps {
				if s.Grant.ID == marker.ID && s.Drift == jit.DriftOrphanLive {
					steps[i] = Drifted(s.Kind, s.Place, s.Grant, jit.DriftUnexplained, why)
				}
			}
			if slices.ContainsFunc(steps, func(s Step) bool { return s.Grant.ID == marker.ID && s.Place == at }) {
				return
			}
		}
		step := Drifted(Report, at, marker.Grant(at.Binding(principal, role)), jit.DriftUnexplained, why)
		step.Foreign = !ours(marker.Owner)
		found = append(found, step)
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
	slices.SortFunc(found, compare)
	if more := len(found) - maxUnexplained; more > 0 {
		found = found[:maxUnexplained]
		found[maxUnexplained-1].Reason += fmt.Sprintf("; and %d more such bindings are on the scope: jit scan lists them", more)
	}
	steps = append(steps, found...)
	slices.SortStableFunc(steps, compare)
	return steps
}
