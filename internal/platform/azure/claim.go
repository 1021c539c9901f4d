package azure

import (
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// claim is what one grant has of an assignment.
type claim struct {
	marker jit.Marker
	// byID: the role was written as an id, and not as its name.
	byID bool
}

const (
	// idMark follows the marker of a grant whose role was written as an id.
	idMark = "#id"
	// endMark begins the word that says that a grant has given up its claim.
	endMark = "ended:"
	// makerMark begins the word that says for whose claim an assignment was made, once that claim is gone.
	makerMark = "made:"
)

// String writes the claim as one word of the text on an assignment.
func (c claim) String() string {
	if c.byID {
		return c.marker.String() + idMark
	}
	return c.marker.String()
}

// end is the word that takes the claim back.
func (c claim) end() string { return endMark + named(c.marker) }

// named is the part of a marker that says which grant it is of.
func named(m jit.Marker) string { return m.Owner + ":" + string(m.ID) }

// parseNamed reads what named wrote after a mark.
func parseNamed(word, mark string) (m jit.Marker, ok bool) {
	rest, ok := strings.CutPrefix(word, mark)
	owner, id, _ := strings.Cut(rest, ":")
	parsed, err := jit.ParseID(id)
	return jit.Marker{Owner: owner, ID: parsed}, ok && err == nil && jit.CheckOwner(owner) == nil
}

// is reports whether two claims are of one grant.
func (c claim) is(m jit.Marker) bool { return c.marker.Owner == m.Owner && c.marker.ID == m.ID }

// text is what is written on an assignment, or in a request of PIM.
type text struct {
	claims []claim
	// ended are the markers (owner and id only) of claims that are taken back.
	ended []jit.Marker
	// maker is the grant for which the assignment was made; zero when that is one of the claims, or not told.
	maker jit.Marker
	// foreign: there is more in it than that.
	foreign bool
}

// parseText reads the words of a text.
func parseText(s string) text {
	var t text
	for _, word := range strings.Fields(s) {
		if m, ok := parseNamed(word, endMark); ok {
			t.ended = append(t.ended, m)
			continue
		}
		if m, ok := parseNamed(word, makerMark); ok {
			t.maker = m
			continue
		}
		plain, byID := strings.CutSuffix(word, idMark)
		m, ok := jit.ParseMarker(plain)
		if !ok {
			t.foreign = true
			continue
		}
		t.claims = put(t.claims, claim{m, byID})
	}
	return t
}

// put adds a claim in the place of an older one of the same grant.
func put(claims []claim, c claim) []claim {
	return append(drop(claims, c.marker), c)
}

// drop takes the claim of a grant out.
func drop(claims []claim, m jit.Marker) []claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c claim) bool { return c.is(m) })
}

// without returns the claims that are not among others, word for word.
func without(claims, others []claim) []claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c claim) bool {
		return slices.ContainsFunc(others, func(o claim) bool { return o.String() == c.String() })
	})
}

// lastEnd is the latest end of all claims; zero without any.
func lastEnd(claims []claim) time.Time {
	var end time.Time
	for _, c := range claims {
		if c.marker.Window.End.After(end) {
			end = c.marker.Window.End
		}
	}
	return end
}

// firstStart is the earliest beginning of all claims; zero without any.
func firstStart(claims []claim) time.Time {
	var start time.Time
	for _, c := range claims {
		if start.IsZero() || c.marker.Window.Start.Before(start) {
			start = c.marker.Window.Start
		}
	}
	return start
}

// live are the claims whose window has not passed.
func live(claims []claim, now time.Time) []claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c claim) bool { return c.marker.Window.Over(now) })
}

// gap reports whether there is a time between the claims at which none of them gives access.
func gap(claims []claim) bool {
	sorted := slices.SortedFunc(slices.Values(claims), func(a, b claim) int { return a.marker.Window.Start.Compare(b.marker.Window.Start) })
	for i := 1; i < len(sorted); i++ {
		if sorted[i].marker.Window.Start.After(lastEnd(sorted[:i])) {
			return true
		}
	}
	return false
}

// words writes claims and what has ended as one text.
func words(claims, ended []claim) []string {
	var all []string
	for _, c := range claims {
		all = append(all, c.String())
	}
	for _, c := range ended {
		all = append(all, c.end())
	}
	return all
}
