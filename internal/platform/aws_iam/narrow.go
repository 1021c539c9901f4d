package awsiam

import (
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// narrow leaves of the resources of a statement that allows what lies within the given ones too. A
// statement of which nothing is left has no Resource then. What overlaps only in part cannot be
// written down and is refused: neither more nor silently less is given than asked for.
func narrow(s statement, to []string) error {
	if _, ok := s["NotResource"]; ok {
		return narrowNot(s, to)
	}
	var kept []string
	for _, has := range texts(s["Resource"]) {
		for _, wanted := range to {
			switch open := variable.ReplaceAllString(has, "*"); {
			case open == has && covers(has, wanted):
				kept = append(kept, wanted)
			case covers(wanted, open):
				kept = append(kept, has)
			case overlap(open, wanted):
				return partial(has, wanted)
			}
		}
	}
	put(s, kept)
	return nil
}

// narrowNot narrows a statement about everything but some resources.
func narrowNot(s statement, to []string) error {
	var kept []string
	for _, wanted := range to {
		whole := true
		for _, not := range texts(s["NotResource"]) {
			switch open := variable.ReplaceAllString(not, "*"); {
			case open == not && covers(not, wanted):
				whole = false
			case overlap(open, wanted):
				return partial(not, wanted)
			}
		}
		if whole {
			kept = append(kept, wanted)
		}
	}
	delete(s, "NotResource")
	put(s, kept)
	return nil
}

func put(s statement, resources []string) {
	delete(s, "Resource")
	if len(resources) > 0 {
		slices.Sort(resources)
		s["Resource"] = slices.Compact(resources)
	}
}

func partial(has, wanted string) error {
	return jit.Invalid("role", "name resources that lie within those of the policy, or around them",
		"the policy speaks of %q, which %q covers in part only", has, wanted)
}

// variable is a policy variable, which stands for any text here.
var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// covers reports whether every text that the pattern b matches is matched by a too; * and ?
// are wildcards in both. It may miss such a pair, never invent one.
func covers(a, b string) bool {
	if a == "" {
		return b == ""
	}
	switch {
	case a[0] == '*':
		return covers(strings.TrimLeft(a, "*"), b) || b != "" && covers(a, b[1:])
	case b == "", b[0] == '*':
		return false
	case a[0] == '?', a[0] == b[0] && b[0] != '?':
		return covers(a[1:], b[1:])
	}
	return false
}

// overlap reports whether some text is matched by both patterns.
func overlap(a, b string) bool {
	switch {
	case a == "" && b == "":
		return true
	case a != "" && a[0] == '*':
		return overlap(a[1:], b) || b != "" && overlap(a, b[1:])
	case b != "" && b[0] == '*':
		return overlap(b, a)
	case a == "" || b == "":
		return false
	case a[0] == '?', b[0] == '?', a[0] == b[0]:
		return overlap(a[1:], b[1:])
	}
	return false
}
