package sweeper

import (
	"cmp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Standing is access that has no end and that no grant explains.
type Standing struct {
	jit.Place
	Principal string
	Role      string
	// Detail says where it was found.
	Detail string
	// Shadows is the id of a live grant whose end would end nothing because of it; empty for none.
	Shadows  jit.ID
	Severity jit.Severity
}

// Note is something about a scope that whoever reviews grants on it has to know.
type Note struct {
	jit.Place
	jit.Note
}

// FindStanding lists the standing access in what was observed, worst first: what shadows a live grant, then the roles that may do
// everything, then the rest.
func FindStanding(observed map[jit.Place]jit.Snapshot, live []jit.Grant) ([]Standing, []Note) {
	var standing []Standing
	var notes []Note
	byPlace := map[jit.Place][]jit.Grant{}
	for _, g := range live {
		byPlace[g.Place()] = append(byPlace[g.Place()], g)
	}
	for at, snapshot := range observed {
		for _, s := range snapshot.Standing {
			found := Standing{Place: at, Principal: s.Principal, Role: s.Role, Detail: s.Detail, Severity: jit.Minor}
			if mighty(s.Role) {
				found.Severity = jit.Notable
			}
			for _, g := range byPlace[at] {
				if _, same := (jit.Snapshot{Standing: []jit.Standing{s}}).StandingOf(g.Binding); same {
					found.Shadows, found.Severity = g.ID, jit.Critical
				}
			}
			standing = append(standing, found)
		}
		for _, n := range snapshot.Notes {
			notes = append(notes, Note{at, n})
		}
	}
	slices.SortFunc(standing, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)), a.Compare(b.Place),
			cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Detail, b.Detail))
	})
	slices.SortFunc(notes, func(a, b Note) int {
		return cmp.Or(a.Compare(b.Place), cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Text, b.Text))
	})
	return standing, notes
}

var severities = []jit.Severity{jit.Critical, jit.Notable, jit.Minor}

// mightyWords are parts of the names of roles that may do nearly everything, on all platforms.
var mightyWords = []string{"admin", "owner", "superuser", "editor", "contributor", "poweruser", "*"}

// mighty reports whether a role may do nearly everything, by its name.
func mighty(role string) bool {
	role = strings.ToLower(role)
	return slices.ContainsFunc(mightyWords, func(word string) bool { return strings.Contains(role, word) })
}
