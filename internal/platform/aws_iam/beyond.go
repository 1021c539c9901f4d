package awsiam

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// beyond describes what a policy with the name of a grant gives besides the grant's access; empty if that is nothing.
// The policy that was copied decides, as it is now: whoever can change a copy can also write the digest that fits it.
// If that policy cannot be read, the digest decides.
func (a *account) beyond(document string, found writing) string {
	named, ok := parseARN(found.named)
	_, statements, err := parseStatements(document)
	if err != nil || !ok && len(found.actions) == 0 {
		return "" // without a role it is another access anyway
	}
	var may []statement
	if !ok || named.kind == role {
		_, may, _ = parseStatements(found.plain(jit.Window{}))
	} else if source := a.source(named); source != "" {
		whole, err := timed(source, found.access(), found.window)
		if err == nil { // else it allows nothing on the resources any more
			_, may, _ = parseStatements(whole)
		}
	} else if found.altered {
		return "what somebody has written into it"
	} else {
		return ""
	}
	for _, s := range statements {
		if s["Effect"] != "Deny" && !heldBy(may, s) {
			return described(s)
		}
	}
	return undenied(may, statements)
}

// undenied describes what a policy denies that a copy of it allows; empty if that is nothing. A statement that denies
// must have the dates of the policy with those of the grant, or none: else it does not act when it should.
func undenied(policy, copied []statement) string {
	for _, denied := range policy {
		kept := slices.DeleteFunc(slices.Clone(copied), func(s statement) bool {
			when := times(s)
			return isMarker(s) || len(when) > 0 && encode(when) != encode(times(denied))
		})
		takes := func(s statement) bool { return s["Effect"] != "Deny" && meet(s, denied) }
		if denied["Effect"] == "Deny" && !isMarker(denied) && !heldBy(kept, denied) &&
			slices.ContainsFunc(copied, takes) {
			return "not denied " + described(denied)
		}
	}
	return ""
}

// heldBy reports whether statements of the effect of s, whatever their dates, together do all that s does: each of its
// actions on each of its resources.
func heldBy(all []statement, s statement) bool {
	fitting := slices.DeleteFunc(slices.Clone(all), func(of statement) bool { return !fits(of, s) })
	for _, action := range parts(s, "Action") {
		on := slices.DeleteFunc(slices.Clone(fitting), func(of statement) bool { return !action(of) })
		for _, resource := range parts(s, "Resource") {
			if !slices.ContainsFunc(on, resource) {
				return false
			}
		}
	}
	return true
}

// fits reports whether a statement has the effect of another, and no condition that the other lacks.
func fits(of, s statement) bool {
	if (of["Effect"] == "Deny") != (s["Effect"] == "Deny") {
		return false
	}
	wanted, _ := undated(of)["Condition"].(map[string]any)
	has, _ := undated(s)["Condition"].(map[string]any)
	for operator, keys := range wanted {
		if encode(keys) != encode(has[operator]) {
			return false
		}
	}
	return true
}

// parts returns, for each Action or Resource of a statement, what reports whether another statement has it too. Those
// of NotAction or NotResource are one part.
func parts(s statement, name string) []func(of statement) bool {
	as := func(pattern string) string { return pattern }
	if name == "Action" {
		as = strings.ToLower
	}
	var all []func(of statement) bool
	for _, pattern := range texts(s[name]) {
		all = append(all, func(of statement) bool {
			return slices.ContainsFunc(texts(of[name]), func(o string) bool { return covers(as(o), as(pattern)) })
		})
	}
	if len(all) > 0 {
		return all
	}
	not := slices.Sorted(slices.Values(texts(s["Not"+name])))
	return []func(of statement) bool{func(of statement) bool {
		return slices.Contains(texts(of[name]), "*") ||
			len(not) > 0 && slices.Equal(slices.Sorted(slices.Values(texts(of["Not"+name]))), not)
	}}
}

// meet reports whether two statements may speak of the same action on the same resource.
func meet(a, b statement) bool {
	open := func(pattern string) string { return strings.ToLower(variable.ReplaceAllString(pattern, "*")) }
	for _, name := range []string{"Action", "Resource"} {
		theirs, others := texts(a[name]), texts(b[name])
		if len(theirs) > 0 && len(others) > 0 && !slices.ContainsFunc(theirs, func(t string) bool {
			return slices.ContainsFunc(others, func(o string) bool { return overlap(open(t), open(o)) })
		}) {
			return false
		}
	}
	return true
}

// times are the conditions of a statement on the time.
func times(s statement) map[string]any {
	found := map[string]any{}
	all, _ := s["Condition"].(map[string]any)
	for operator, keys := range all {
		keys, _ := keys.(map[string]any)
		for key, value := range keys {
			if strings.EqualFold(key, currentTime) {
				found[operator] = value
			}
		}
	}
	return found
}

// undated returns a statement without its Sid and without conditions on the time.
func undated(s statement) statement {
	s = maps.Clone(s)
	delete(s, "Sid")
	conditions := map[string]any{}
	all, _ := s["Condition"].(map[string]any)
	for operator, keys := range all {
		others, isMap := keys.(map[string]any)
		if isMap && strings.HasPrefix(operator, "Date") {
			others = maps.Clone(others)
			maps.DeleteFunc(others, func(key string, _ any) bool { return strings.EqualFold(key, currentTime) })
			keys = others
		}
		if !isMap || len(others) > 0 {
			conditions[operator] = keys
		}
	}
	if s["Condition"] = conditions; len(conditions) == 0 {
		delete(s, "Condition")
	}
	return s
}

// described says for people what a statement is about.
func described(s statement) string {
	part := func(name string) string {
		if list := texts(s["Not"+name]); len(list) > 0 {
			return "all but " + strings.Join(list, " ")
		}
		return strings.Join(texts(s[name]), " ")
	}
	return cmp.Or(part("Action"), "nothing") + jit.On + cmp.Or(part("Resource"), "nothing")
}
