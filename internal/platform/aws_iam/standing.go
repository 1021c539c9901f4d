package awsiam

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// administrator ends the ARN of AWS's policy that permits everything.
	administrator = ":iam::aws:policy/AdministratorAccess"
	// everyGranted begins every role that can be granted: ARNs and lists of actions.
	everyGranted = "a"
	// everyRole is the pattern of all roles.
	everyRole = "arn:*:iam::*:role/*"
	anything  = "*"
	// everyAction is another form of all actions.
	everyAction = "*:*"
)

// permitted adds the standing access that somebody else's policy gives its entity: to do everything, and to assume
// roles.
func (e *entity) permitted(text, detail string, snap *jit.Snapshot) {
	for _, s := range e.statements(text, detail, snap) {
		if s["Effect"] == "Allow" {
			snap.Standing = append(snap.Standing, e.standing(s, detail)...)
		}
	}
}

// inlinePermitted is [entity.permitted] for an inline policy, and also lists its actions, statement by statement: such
// a policy has no name by which it could be granted. Those that include assuming roles are told as roles.
func (e *entity) inlinePermitted(text, detail string, snap *jit.Snapshot) {
	e.permitted(text, detail, snap)
	_, all, _ := parseStatements(text)
	for _, s := range all {
		list, resources := actionsIn(s)
		list = slices.DeleteFunc(canonicalActions(list),
			func(action string) bool { return permits(statement{"Action": action}, assumeRole) })
		if s["Effect"] != "Allow" || len(list) == 0 || s["NotResource"] != nil {
			continue
		}
		slices.Sort(resources)
		found := jit.Standing{Principal: e.text, Role: roleText(actionsText(list), resources),
			Detail: detail + conditions(s), End: ends(s)}
		if len(resources) == 0 {
			found.Covers = found.Role + jit.On
		}
		snap.Standing = append(snap.Standing, found)
	}
}

// statements reads the statements of a policy of the entity. It reports one that cannot be read as unseen.
func (e *entity) statements(text, detail string, snap *jit.Snapshot) []statement {
	_, all, err := parseStatements(text)
	if err != nil {
		snap.Unseen = append(snap.Unseen, detail+" of "+e.text+" cannot be read: "+err.Error())
	}
	return all
}

// standing describes the standing access that an Allow statement gives its entity.
func (e *entity) standing(s statement, detail string) []jit.Standing {
	found := jit.Standing{Principal: e.text, Detail: detail + conditions(s), End: ends(s)}
	resources := texts(s["Resource"])
	if s["NotResource"] != nil {
		resources = []string{anything}
	}
	if permits(s, anything) && slices.Contains(resources, anything) {
		found.Role, found.Covers = anything, everyGranted
		return []jit.Standing{found}
	}
	if !permits(s, assumeRole) {
		return nil
	}
	var all []jit.Standing
	for _, r := range resources {
		if overlap(r, everyRole) {
			found.Role, found.Covers = e.assumable(r)
			all = append(all, found)
		}
	}
	return all
}

// assumable writes a pattern of roles as a role, with the prefix of the roles that it matches, or "" if there is none.
func (e *entity) assumable(pattern string) (role, covers string) {
	if pattern == anything {
		return everyRole, "arn:" + e.partition + ":iam::" + e.account + ":role/"
	}
	if prefix, ok := strings.CutSuffix(pattern, anything); ok && !strings.ContainsAny(prefix, "*?$") {
		return pattern, prefix
	}
	return pattern, ""
}

// permits reports whether an Allow statement includes an action, by name or as "*".
func permits(s statement, action string) bool {
	includes := func(pattern string) bool { return covers(strings.ToLower(pattern), strings.ToLower(action)) }
	if slices.Contains(texts(s["Action"]), everyAction) {
		return true
	}
	if s["NotAction"] != nil {
		return action != anything && !slices.ContainsFunc(texts(s["NotAction"]), includes)
	}
	return slices.ContainsFunc(texts(s["Action"]), includes)
}

// ends is when AWS ends what an Allow statement gives; zero for never.
func ends(s statement) time.Time {
	var first time.Time
	for _, operator := range []string{before, before + ifExists, before + "Equals", before + "Equals" + ifExists} {
		if end := bound(s, operator); !end.IsZero() && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first
}

// conditions names, for people, the keys other than the time that a statement depends on.
func conditions(s statement) string {
	keys := map[string]bool{}
	operators, _ := s["Condition"].(map[string]any)
	for _, of := range operators {
		of, _ := of.(map[string]any)
		for key := range of {
			if !strings.EqualFold(key, currentTime) {
				keys[key] = true
			}
		}
	}
	if len(keys) == 0 {
		return ""
	}
	return ", with a condition on " + strings.Join(slices.Sorted(maps.Keys(keys)), ", ")
}

// trusted returns the principals that an Allow statement of a trust policy names: users, roles and accounts by ARN, or
// "*" for everybody.
func trusted(s statement) []string {
	if s["Effect"] != "Allow" {
		return nil
	}
	if s["NotPrincipal"] != nil || s["Principal"] == anything {
		return []string{anything}
	}
	principals, _ := s["Principal"].(map[string]any)
	return texts(principals["AWS"])
}
