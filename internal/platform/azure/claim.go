package azure

import (
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// claim is the share of one grant in an assignment.
type claim struct {
	marker jit.Marker
	// byID: the role was written as an id instead of its name.
	byID bool
}

const (
	// idMark follows the marker of a grant whose role was written as an id.
	idMark = "#id"
	// endMark begins the word that gives up a grant's claim.
	endMark = "ended:"
	// makerMark begins the word for the grant that an assignment was made for, once that grant's claim is gone.
	makerMark = "made:"
)

// String writes the claim as one word of the text on an assignment.
func (c claim) String() string {
	if c.byID {
		return c.marker.String() + idMark
	}
	return c.marker.String()
}

// named is the part of a marker that identifies its grant.
func named(m jit.Marker) string { return m.Owner + ":" + string(m.ID) }

// parseNamed reads the output of [named] after a mark.
func parseNamed(word, mark string) (m jit.Marker, ok bool) {
	rest, ok := strings.CutPrefix(word, mark)
	owner, id, _ := strings.Cut(rest, ":")
	parsed, err := jit.ParseID(id)
	return jit.Marker{Owner: owner, ID: parsed}, ok && err == nil && jit.CheckOwner(owner) == nil
}

// is reports whether the claim belongs to the grant of the marker.
func (c claim) is(m jit.Marker) bool { return c.marker.Owner == m.Owner && c.marker.ID == m.ID }

// text is the content of an assignment's description or of a request's justification.
type text struct {
	claims []claim
	// ended identifies the grants whose claims are given up, by owner and id only.
	ended []jit.Marker
	// maker identifies the grant that the assignment was made for; zero if that is one of the claims, or unknown.
	maker jit.Marker
	// foreign: the text has other words too.
	foreign bool
}

// parseText reads the words of a text.
func parseText(s string) text {
	var t text
	for _, word := range strings.Fields(s) {
		plain, byID := strings.CutSuffix(word, idMark)
		if m, ok := parseNamed(word, endMark); ok {
			t.ended = append(t.ended, m)
		} else if m, ok := parseNamed(word, makerMark); ok {
			t.maker = m
		} else if m, ok := jit.ParseMarker(plain); ok {
			t.claims = put(t.claims, claim{m, byID})
		} else {
			t.foreign = true
		}
	}
	return t
}

// put adds a claim and drops an older one of the same grant.
func put(claims []claim, c claim) []claim { return append(drop(claims, c.marker), c) }

// drop removes the claim of a grant.
func drop(claims []claim, m jit.Marker) []claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c claim) bool { return c.is(m) })
}

// holds reports whether a grant has a claim.
func holds(claims []claim, m jit.Marker) bool {
	return slices.ContainsFunc(claims, func(c claim) bool { return c.is(m) })
}

// without returns the claims that are not among others, word for word.
func without(claims, others []claim) []claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c claim) bool {
		return slices.ContainsFunc(others, func(o claim) bool { return o.String() == c.String() })
	})
}

// equal reports whether both hold the same claims, in any order.
func equal(a, b []claim) bool { return len(without(a, b))+len(without(b, a)) == 0 }

// lastEnd is the latest end of all claims; zero without any.
func lastEnd(claims []claim) time.Time {
	var end time.Time
	for _, c := range claims {
		end = later(end, c.marker.Window.End)
	}
	return end
}

// firstStart is the earliest beginning of all claims; zero without any.
func firstStart(claims []claim) time.Time {
	if len(claims) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(claims, byStart).marker.Window.Start
}

func byStart(a, b claim) int { return a.marker.Window.Start.Compare(b.marker.Window.Start) }

// live returns the claims whose window has not passed.
func live(claims []claim, now time.Time) []claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c claim) bool { return c.marker.Window.Over(now) })
}

// gap reports whether no claim gives access for some time between two of them.
func gap(claims []claim) bool {
	sorted := slices.SortedFunc(slices.Values(claims), byStart)
	for i := range sorted {
		if i > 0 && sorted[i].marker.Window.Start.After(lastEnd(sorted[:i])) {
			return true
		}
	}
	return false
}

// words writes claims, and claims that are given up, as the words of a text.
func words(claims, ended []claim) []string {
	var all []string
	for _, c := range claims {
		all = append(all, c.String())
	}
	for _, c := range ended {
		all = append(all, endMark+named(c.marker))
	}
	return all
}
