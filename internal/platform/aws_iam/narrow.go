package awsiam

import (
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// narrow keeps the resources of an Allow statement that lie within the given ones. If none are left, the statement has
// no Resource. Patterns that overlap in part cannot be intersected and are refused, so the copy gives exactly what was
// asked for.
func narrow(s statement, to []string) error {
	intersect := within
	if _, ok := s["NotResource"]; ok {
		intersect = outside
	}
	kept, err := intersect(s, to)
	if err != nil {
		return err
	}
	delete(s, "NotResource")
	delete(s, "Resource")
	if len(kept) > 0 {
		slices.Sort(kept)
		s["Resource"] = slices.Compact(kept)
	}
	return nil
}

// within returns the parts of the resources that Resource names.
func within(s statement, to []string) ([]string, error) {
	var kept []string
	for _, has := range texts(s["Resource"]) {
		open := variable.ReplaceAllString(has, "*")
		for _, wanted := range to {
			switch {
			case open == has && covers(has, wanted):
				kept = append(kept, wanted)
			case covers(wanted, open):
				kept = append(kept, has)
			case overlap(open, wanted):
				return nil, partial(has, wanted)
			}
		}
	}
	return kept, nil
}

// outside returns the resources that NotResource does not name.
func outside(s statement, to []string) ([]string, error) {
	kept := slices.Clone(to)
	for _, not := range texts(s["NotResource"]) {
		open := variable.ReplaceAllString(not, "*")
		for _, wanted := range to {
			if open == not && covers(not, wanted) {
				kept = slices.DeleteFunc(kept, func(k string) bool { return k == wanted })
			} else if overlap(open, wanted) {
				return nil, partial(not, wanted)
			}
		}
	}
	return kept, nil
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
	return match(a, b, func(a, b string, rest func(a, b string) bool) bool {
		switch {
		case a == "":
			return b == ""
		case a[0] == '*':
			return rest(a[1:], b) || b != "" && rest(a, b[1:])
		case b == "" || b[0] == '*':
			return false
		}
		return (a[0] == '?' || a[0] == b[0]) && rest(a[1:], b[1:])
	})
}

// overlap reports whether some text is matched by both patterns.
func overlap(a, b string) bool {
	return match(a, b, func(a, b string, rest func(a, b string) bool) bool {
		switch {
		case a == "" || b == "":
			return strings.Trim(a+b, "*") == ""
		case a[0] == '*' || b[0] == '*':
			return rest(a[1:], b) || rest(a, b[1:])
		}
		return (a[0] == '?' || b[0] == '?' || a[0] == b[0]) && rest(a[1:], b[1:])
	})
}

// match computes step for two patterns. step calls rest for what remains of them; no pair is computed twice.
func match(a, b string, step func(a, b string, rest func(a, b string) bool) bool) bool {
	known := map[[2]int]bool{}
	var rest func(a, b string) bool
	rest = func(a, b string) bool {
		at := [2]int{len(a), len(b)}
		is, ok := known[at]
		if !ok {
			is = step(a, b, rest)
			known[at] = is
		}
		return is
	}
	return rest(a, b)
}
