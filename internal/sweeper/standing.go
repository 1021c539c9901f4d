package sweeper

import (
	"cmp"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Standing is standing access and its place.
type Standing struct {
	jit.Place
	jit.Standing
	// Shadows is the id of a live grant whose end leaves the access in place because of it; empty if there is none.
	Shadows  jit.ID
	Severity jit.Severity
}

// Note is a fact about a scope that a reviewer of its grants must know.
type Note struct {
	jit.Place
	jit.Note
}

// FindStanding lists the standing access in snapshots and the notes about their scopes. The worst comes first: access
// that shadows a live grant or pretends to be one, then privileged roles, then the rest.
func FindStanding(observed map[jit.Place]jit.Snapshot, live []jit.Grant, records jit.Records) (
	standing []Standing, notes []Note,
) {
	grants := byPlace(live)
	for at, snapshot := range observed {
		for _, s := range records.Standing(snapshot, at.Scope) {
			found := rated(at, s, grants[at], records.Unread != nil)
			_, listed := observed[jit.Place{Target: at.Target, Scope: s.From}]
			if s.From != "" && listed && found.Shadows == "" {
				continue // it is listed on the scope that gives it
			}
			standing = append(standing, found)
		}
		for _, n := range snapshot.Notes {
			notes = append(notes, Note{at, n})
		}
	}
	slices.SortFunc(standing, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)),
			a.Place.Compare(b.Place), cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Role, b.Role),
			cmp.Compare(a.Detail, b.Detail))
	})
	slices.SortFunc(notes, func(a, b Note) int {
		return cmp.Or(a.Place.Compare(b.Place), cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Text, b.Text))
	})
	return standing, notes
}

func byPlace(grants []jit.Grant) map[jit.Place][]jit.Grant {
	places := map[jit.Place][]jit.Grant{}
	for _, g := range grants {
		places[g.Place()] = append(places[g.Place()], g)
	}
	return places
}

// rated rates the severity of standing access beside the live grants of its place. unsure is set if the ledger could
// not say whether a grant explains it.
func rated(at jit.Place, s jit.Standing, live []jit.Grant, unsure bool) Standing {
	found := Standing{Place: at, Standing: s, Severity: jit.Info}
	switch {
	case s.Claims() && !unsure:
		found.Severity = jit.Critical
	case s.Claims(), s.Anybody, jit.Privileged(s.Role):
		found.Severity = jit.Warning
	}
	for _, g := range live {
		if _, shadows := jit.Shadow([]jit.Standing{s}, g.Binding, g.End); shadows && g.ID != s.Marker.ID {
			found.Shadows, found.Severity = g.ID, jit.Critical
		}
	}
	return found
}

var severities = []jit.Severity{jit.Critical, jit.Warning, jit.Info}
