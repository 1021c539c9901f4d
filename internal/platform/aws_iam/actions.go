package awsiam

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// actions is the kind of a role that lists actions.
const actions entityKind = "actions"

// actionsSid begins the Sid of the statement that permits actions. A digest of them follows.
const actionsSid = sidPrefix + "Actions"

// maxActions bounds the text of a role that lists actions: about what a user's inline policies have room for.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const maxActions = 2048

// actionForm is an action, which may have wildcards behind the colon, or * for all actions. Neither part is
// case-sensitive: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
var actionForm = regexp.MustCompile(`^(?:[A-Za-z0-9-]{1,64}:[A-Za-z0-9*?]{1,128}|\*)$`)

const actionsHint = `write for example "actions:s3:GetObject,s3:ListBucket on arn:aws:s3:::bucket ` +
	`arn:aws:s3:::bucket/*"`

// parseActions returns the actions of a role that lists some. Only their canonical form is accepted: services in lower
// case, in order, and no action that another one includes.
func parseActions(name, on string) ([]string, error) {
	if len(name) > maxActions {
		return nil, jit.Invalid("role", "write two grants, or name a managed policy",
			"the actions have %d characters; at most %d are allowed", len(name), maxActions)
	}
	list := strings.Split(strings.TrimPrefix(name, jit.Actions), ",")
	for i, action := range list {
		list[i] = strings.TrimSpace(action)
		if !actionForm.MatchString(list[i]) {
			return nil, jit.Invalid("role", actionsHint, "%q is not an action", list[i])
		}
		list[i] = wildcards.ReplaceAllStringFunc(list[i], fewestWildcards)
	}
	sorted := canonicalActions(list)
	if text := actionsText(sorted); text != name {
		return nil, jit.Invalid("role", fmt.Sprintf("write %q", text+on),
			"the actions of %q are not in canonical form: services in lower case, in order, no action that another "+
				"one includes, and no wildcard beside another that includes it", name)
	}
	return sorted, nil
}

// wildcards is a run of wildcards.
var wildcards = regexp.MustCompile(`[*?]{2,}`)

// fewestWildcards writes a run of wildcards in its shortest form: a * stands for any number of them.
func fewestWildcards(run string) string {
	if !strings.Contains(run, anything) {
		return run
	}
	return strings.ReplaceAll(run, anything, "") + anything
}

func actionsText(list []string) string { return jit.Actions + strings.Join(list, ",") }

// canonicalActions returns the actions with services in lower case, in order, without those that another one includes.
func canonicalActions(list []string) []string {
	var all []string
	for _, action := range list {
		service, name, named := strings.Cut(action, ":")
		if named {
			action = strings.ToLower(service) + ":" + name
		}
		includes := func(wide, narrow string) bool { return covers(strings.ToLower(wide), strings.ToLower(narrow)) }
		if slices.ContainsFunc(all, func(other string) bool { return includes(other, action) }) {
			continue
		}
		all = append(slices.DeleteFunc(all, func(other string) bool { return includes(action, other) }), action)
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return all
}

// permission is the policy that permits actions under conditions, on all resources if none are named. Its one statement
// holds everything that a marker would.
func permission(list, resources []string, under map[string]any) string {
	s := statement{"Effect": "Allow", "Action": list, "Resource": resources}
	if len(resources) == 0 {
		s["Resource"] = anything
	}
	s["Sid"] = actionsSid + digest([]statement{s})
	s["Condition"] = under
	return encode(statement{"Version": "2012-10-17", "Statement": []statement{s}})
}

// permitsActions reports whether a statement is that of a [permission].
func permitsActions(s statement) bool {
	sid, _ := s["Sid"].(string)
	return s["Effect"] == "Allow" && strings.HasPrefix(sid, actionsSid)
}

// actionsIn returns the actions of a statement, and the resources that narrow them: none if it has all.
func actionsIn(s statement) (list, resources []string) {
	resources = texts(s["Resource"])
	if slices.Contains(resources, anything) {
		resources = nil
	}
	return texts(s["Action"]), resources
}

// plain returns the policy of access that copies no managed policy; empty if it does.
func (a access) plain(w jit.Window) string {
	switch a.role.kind {
	case role:
		return assumption(a.role.text, conditionOf(a.terms.within(w)))
	case actions:
		return permission(a.actions, a.resources, conditionOf(a.terms.within(w)))
	}
	return ""
}

// givesActions describes a role that lists actions. Each of them is judged by itself. All actions include every other
// role, and the action to assume roles includes the roles among its resources.
func (a access) givesActions() jit.Named {
	n := jit.Named{Name: a.role.text}
	for _, action := range a.actions {
		n.Parts = append(n.Parts, jit.Actions+action)
	}
	if slices.Contains(a.actions, anything) {
		n.Covers = []string{anything}
	} else if a.assumes() {
		n.Covers = inPartitions(a.assumed())
	}
	return n
}

// assumes reports whether the role lets its principal assume roles: it is one, or lists the action to.
func (a access) assumes() bool {
	return a.role.kind == role || slices.ContainsFunc(a.actions,
		func(action string) bool { return covers(strings.ToLower(action), strings.ToLower(assumeRole)) })
}

// assumed returns the roles, by ARN or pattern, that the role lets its principal assume, if it assumes any.
func (a access) assumed() []string {
	switch {
	case a.role.kind == role:
		return []string{a.role.text}
	case len(a.resources) == 0:
		return []string{everyRole}
	}
	return slices.DeleteFunc(slices.Clone(a.resources), func(r string) bool { return !overlap(r, everyRole) })
}

// reaches returns the ids, or patterns of ids, of the other accounts into which the access leads.
func (a access) reaches(scope string) []string {
	if !a.assumes() {
		return nil
	}
	var all []string
	for _, named := range a.assumed() {
		if account := strings.SplitN(named, ":", arnParts)[accountPart]; account != scope {
			all = append(all, account)
		}
	}
	return all
}

// The parts of an ARN between its colons, and the place of the account. A role's ARN has as many, so no wildcard of a
// pattern over roles stands for a colon.
const arnParts, accountPart = 6, 4

// inPartitions returns ARNs, and those of other partitions than the commercial one also with the commercial partition,
// which policies are often written with.
func inPartitions(arns []string) []string {
	all := slices.Clone(arns)
	for _, text := range arns {
		if parts := strings.SplitN(text, ":", arnParts); len(parts) == arnParts && parts[1] != commercial {
			parts[1] = commercial
			all = append(all, strings.Join(parts, ":"))
		}
	}
	return all
}

// commercial is the partition that most accounts belong to.
const commercial = "aws"

// readPlain interprets a policy without a marker statement.
func readPlain(text string, statements []statement) writing {
	var found writing
	at := slices.IndexFunc(statements, permitsActions)
	if at >= 0 {
		found.actions, found.resources = actionsIn(statements[at])
	} else {
		at = slices.IndexFunc(statements, func(s statement) bool { return s["Action"] == assumeRole })
	}
	if at < 0 {
		found.damage = append(found.damage, "its marker statement is gone")
		found.end = enforced(statements, before, time.Time{})
		return found
	}
	s := statements[at]
	found.named, _ = s["Resource"].(string)
	if permitsActions(s) {
		found.named = actionsText(found.actions)
	}
	found.terms = termsIn(s)
	found.role = roleText(found.named, found.resources) + found.terms.text()
	found.window = jit.Window{Start: bound(s, notBefore), End: bound(s, before)}
	found.start = enforced(statements, notBefore, found.window.Start)
	found.end = enforced(statements, before, found.window.End)
	if !sameStatement(text, found.plain(found.window)) || permitsActions(s) && !found.separate() {
		found.damage = append(found.damage, "its statements were changed")
	}
	return found
}

// plain is [access.plain] for what was read.
func (found writing) plain(w jit.Window) string { return found.access().plain(w) }

// access is what was read as access.
func (found writing) access() access {
	named := arn{kind: role, text: found.named}
	if strings.HasPrefix(found.named, jit.Actions) {
		named.kind = actions
	}
	return access{role: named, actions: found.actions, resources: found.resources, terms: found.terms}
}

// separate reports whether the role names the actions and resources one by one: none of them is written together with
// another one as a single text, which AWS takes for one name.
func (found writing) separate() bool {
	var again access
	return again.parseRole(found.role) == nil && len(again.actions) == len(found.actions) &&
		len(again.resources) == len(found.resources)
}
