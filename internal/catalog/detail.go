package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// inert are attributes that give nobody anything. Some of them change by themselves.
var inert = []string{
	"annotations", "description", "effective_labels", "etag", "inert", "last_login", "last_modified", "last_updated",
	"last_used", "last_used_at", "tags", "tags_all", "terraform_labels", "timeouts", "updated_at",
}

// inertParts are names inside of attributes that give nobody anything.
var inertParts = []string{"annotations", "description", "generation", "labels", "resource_version", "title"}

// detail is the [Access.Detail] of a rule: the element of its list, and the rest of the resource.
func (r *rule) detail(in context) string {
	if r.Guard != "" && r.Own != "" {
		own := in.root.child(r.Own)
		return digest([]any{own.value, marked(own.unknown)})
	}
	if r.each == nil {
		return in.rest
	}
	element := withoutInert(in.element.value)
	if object, ok := element.(map[string]any); ok && r.document != nil { // each statement tells apart itself
		delete(object, r.document.where[0].steps[0].name)
	}
	return digest([]any{in.rest, element, marked(in.element.unknown)})
}

// rest is a digest of all that a resource says, without what is inert and what its accesses tell apart themselves. Any
// other change may change what each of them permits.
func rest(root node, rules []rule) string {
	object, ok := root.value.(map[string]any)
	if !ok {
		return digest([]any{root.value, marked(root.unknown)})
	}
	told := map[string]bool{}
	for i := range rules {
		rules[i].tells(root, told)
		told[rules[i].Own] = told[rules[i].Own] || rules[i].Guard != ""
	}
	left := map[string]any{}
	for name, value := range object {
		if value != nil && !told[name] && !slices.Contains(inert, name) {
			left[name] = withoutInert(value)
		}
	}
	unknown, _ := root.unknown.(map[string]any)
	for name, marks := range unknown {
		if marked(marks) && !told[name] && !slices.Contains(inert, name) {
			left[name] = []any{"unknown", left[name]}
		}
	}
	return digest([]any{left, root.isUnknown()})
}

// tells adds the attributes whose parts are accesses of their own.
func (r *rule) tells(root node, told map[string]bool) {
	for _, c := range r.when {
		if slices.ContainsFunc(c.where, func(p place) bool { return !p.relative }) {
			return // it may not apply
		}
	}
	if len(r.each) == 1 {
		told[r.each[0].name] = true
	}
	if r.document != nil && r.each == nil {
		told[r.document.where[0].steps[0].name] = len(r.document.where[0].steps) == 1
	}
	for _, s := range []selector{r.Principal, r.Role, r.Scope} {
		if len(s) != 1 || len(s[0]) != 1 || len(s[0][0]) != 1 { // several attributes may hold the same text
			continue
		}
		p := s[0][0][0]
		if len(p.steps) == 1 && p.steps[0].fan && !p.relative && !marked(root.child(p.steps[0].name).sensitive) {
			told[p.steps[0].name] = true
		}
	}
}

// withoutInert returns a value without the names in it that are inert.
func withoutInert(value any) any {
	switch v := value.(type) {
	case map[string]any:
		left := make(map[string]any, len(v))
		for name, part := range v {
			if !slices.Contains(inertParts, name) {
				left[name] = withoutInert(part)
			}
		}
		return left
	case []any:
		left := make([]any, len(v))
		for i, part := range v {
			left[i] = withoutInert(part)
		}
		return left
	}
	return value
}

// digest returns a short digest of what JSON decoded.
func digest(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		return "unreadable"
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// marked says whether anything in a mark is true.
func marked(mark any) bool {
	switch m := mark.(type) {
	case bool:
		return m
	case map[string]any:
		for _, part := range m {
			if marked(part) {
				return true
			}
		}
	case []any:
		for _, part := range m {
			if marked(part) {
				return true
			}
		}
	}
	return false
}
