package jit

import (
	"fmt"
	"strings"
)

// Missing is the drift of a grant of which nothing is on its scope.
const Missing = "missing"

// Stripped begins the drift of a grant whose end and marker were taken off its binding, which made the access permanent.
const Stripped = "condition stripped"

// Drift tells in words how what was observed on the grant's scope differs from
// what has to be there; it is empty when exactly that is there. Bindings
// of other grants are passed over.
func (g Grant) Drift(s Snapshot) string {
	var found []Observed
	for _, o := range s.Ours {
		if o.Marker.ID == g.ID && o.Marker.Owner == g.Owner {
			found = append(found, o)
		}
	}
	if len(found) == 0 {
		if standing, ok := s.StandingOf(g.Binding); ok && g.Access().Alone {
			return Stripped + ": the same access without an end is in its place (" + standing.Detail + ")"
		}
		return Missing
	}
	var wrong []string
	if len(found) > 1 {
		wrong = append(wrong, fmt.Sprintf("%d copies", len(found)))
	}
	for _, o := range found {
		if o.Principal != g.Principal {
			wrong = append(wrong, fmt.Sprintf("principal is %q", o.Principal))
		}
		if o.Role != g.Role {
			wrong = append(wrong, fmt.Sprintf("role is %q", o.Role))
		}
		switch {
		case g.Enforcement == Native && o.End.IsZero():
			wrong = append(wrong, "the end is gone")
		case !o.End.IsZero() && !o.End.Equal(g.End):
			wrong = append(wrong, "the end was moved to "+FormatTime(o.End))
		}
		if !o.Marker.Window.Equal(g.Window) {
			wrong = append(wrong, "the marker says "+FormatTime(o.Marker.Window.Start)+" to "+FormatTime(o.Marker.Window.End))
		}
		if o.Damage != "" {
			wrong = append(wrong, o.Damage)
		}
	}
	return strings.Join(wrong, "; ")
}
