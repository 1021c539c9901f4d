package awsiam

import (
	"regexp"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// narrow keeps the resources of an Allow statement that lie within the given ones. If none are left, the statement has
// no Resource. Patterns that overlap in part cannot be intersected and are refused, so the copy gives exactly what was
// asked for.
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

// narrowNot narrows a statement with NotResource.
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

// variable is a policy variable. Here it stands for any text.
var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// covers reports whether pattern a matches every text that pattern b matches; * and ? are wildcards in both. It may
// miss a pair but never invents one.
func covers(a, b string) bool {
	return inPairs(func(i, j int, from func(i, j int) bool) bool {
		switch {
		case i == len(a):
			return j == len(b)
		case a[i] == '*':
			return from(i+1, j) || j < len(b) && from(i, j+1)
		case j == len(b), b[j] == '*':
			return false
		case a[i] == '?', a[i] == b[j] && b[j] != '?':
			return from(i+1, j+1)
		}
		return false
	})
}

// overlap reports whether some text is matched by both patterns.
func overlap(a, b string) bool {
	return inPairs(func(i, j int, from func(i, j int) bool) bool {
		switch {
		case i == len(a) && j == len(b):
			return true
		case i < len(a) && a[i] == '*':
			return from(i+1, j) || j < len(b) && from(i, j+1)
		case j < len(b) && b[j] == '*':
			return from(i, j+1) || i < len(a) && from(i+1, j)
		case i == len(a) || j == len(b):
			return false
		case a[i] == '?', b[j] == '?', a[i] == b[j]:
			return from(i+1, j+1)
		}
		return false
	})
}

// inPairs computes step for the beginnings of two patterns. step calls from for what follows; no pair of positions is
// computed twice.
func inPairs(step func(i, j int, from func(i, j int) bool) bool) bool {
	known := map[[2]int]bool{}
	var from func(i, j int) bool
	from = func(i, j int) bool {
		at := [2]int{i, j}
		is, ok := known[at]
		if !ok {
			is = step(i, j, from)
			known[at] = is
		}
		return is
	}
	return from(0, 0)
}
