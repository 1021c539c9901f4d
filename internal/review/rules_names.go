package review

import (
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// ruleNames are the attributes that this version knows of policies and persons; their objects by their own name.
var ruleNames = map[string][]string{
	policyType: {"name", "description", "effect", "match", "condition", "max_ttl", "max_session_tail", "reason_pattern",
		"enforcement", "approval", "break_glass"},
	personType:    {"name", "groups", "signing_keys", "principals", "github", "gitlab"},
	"match":       matchNames,
	"approval":    {"required", "from", "unless", "evidence", "valid_for"},
	"break_glass": {"from", "max_ttl", "reason_pattern"},
}

// unknownName returns an attribute of a policy or a person that this version does not know; empty if it knows all.
func unknownName(r *plan.Resource) string {
	for _, values := range []any{r.Change.Before, r.Change.After, r.Change.AfterUnknown} {
		if name := unknownIn(r.Type, values); name != "" {
			return name
		}
	}
	return ""
}

// unknownIn looks for a name in an object, in those of a list, and in the objects within.
func unknownIn(kind string, values any) string {
	switch v := values.(type) {
	case []any:
		for _, entry := range v {
			if name := unknownIn(kind, entry); name != "" {
				return name
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if !slices.Contains(ruleNames[kind], name) {
				return name
			}
			if _, object := ruleNames[name]; object {
				if inner := unknownIn(name, v[name]); inner != "" {
					return name + "." + inner
				}
			}
		}
	}
	return ""
}
