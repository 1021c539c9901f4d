package awsiam

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The names of roles that only AWS can change, whatever their path:
// https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/using-service-linked-roles.html
const (
	ssoRole     = "AWSReservedSSO_"
	serviceRole = "AWSServiceRoleFor"
)

// The actions with which a caller chooses the name of a session, or its source identity, and the keys that a trust
// policy binds them with: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
var (
	naming      = choice{"sts:RoleSessionName", []string{assumeRole, "sts:AssumeRoleWithWebIdentity"}}
	identifying = choice{"sts:SourceIdentity", []string{"sts:SetSourceIdentity"}}
)

// choice is what a caller chooses: its condition key, and the actions that let them.
type choice struct {
	key     string
	actions []string
}

// parseSession reads a session of a role as a principal. The path of its role is unknown.
func parseSession(s string) (of arn, name string, err error) {
	session, ok := jit.ParseSession(s)
	switch {
	case !ok:
		return of, "", jit.Invalid("principal",
			`write for example "arn:aws:sts::123456789012:assumed-role/developer/alice@example.com"`,
			"%q is not the ARN of a session of a role", s)
	case strings.HasPrefix(session.Role, serviceRole):
		return of, "", jit.Invalid("principal", "name a session of a role of your own",
			"the role of %q belongs to an AWS service and cannot be changed", s)
	}
	return arn{text: s, partition: session.Partition, account: session.Account, kind: role, name: session.Role},
		session.Name, nil
}

// reserved reports whether the principal is a session of a role of IAM Identity Center, on which nobody can write a
// policy.
func (a access) reserved() bool {
	return a.session != "" && strings.HasPrefix(a.principal.name, ssoRole)
}

// who returns the principal as a binding names it.
func (a access) who() string {
	if a.session == "" {
		return a.principal.text
	}
	return jit.Session{Partition: a.principal.partition, Account: a.principal.account, Role: a.principal.name,
		Name: a.session}.String()
}

// in completes the access to a session with what the account knows of its role: the ARN and the id. Another account does
// not tell the id, but its trust is in the ARN of the session.
func (a access) in(of *account, scope string) access {
	if a.session == "" || a.principal.account != scope {
		return a
	}
	if e := of.role(a.principal.name); e != nil {
		a.principal, a.terms.userID = e.arn, e.id+":"+a.session
	}
	return a
}

// role returns the role of that name; nil if there is none. A name belongs to only one role of an account.
func (a *account) role(name string) *entity {
	for _, e := range a.entities {
		if e.kind == role && e.name == name {
			return e
		}
	}
	return nil
}

// find returns the entity that a principal is, or is a session of; nil if the account has none.
func (a *account) find(principal string) *entity {
	if e := a.entities[principal]; e != nil {
		return e
	}
	if s, ok := jit.ParseSession(principal); ok && s.Account == a.id {
		return a.role(s.Role)
	}
	return nil
}

// who returns the principal that a user id limits the access on a role to; empty if that is nobody, since the id is that
// of a role of the same name that was deleted.
func (e *entity) who(userID string) string {
	id, name, limited := strings.Cut(userID, ":")
	switch {
	case !limited:
		return e.text
	case id != e.id:
		return ""
	}
	return e.sessions() + name
}

// sessions begins the ARNs of a role's sessions.
func (e *entity) sessions() string {
	return jit.Session{Partition: e.partition, Account: e.account, Role: e.name}.Prefix()
}

// impostor says how somebody else can have the session that the access is limited to, or its source identity; empty if
// nobody can. Only an identity provider, or a condition in the trust policy of the role, binds a name to a person.
func (e *entity) impostor(a access) string {
	if a.session == "" {
		return ""
	}
	if identity := a.terms.identity(); identity != "" && !e.chosen(identifying, identity) {
		return ""
	}
	if !e.chosen(naming, a.session) {
		return ""
	}
	return fmt.Sprintf("the trust policy of %s lets callers choose the name of their session, so another one can have "+
		"the name %q", e.text, a.session)
}

const impostorHint = `permit only the caller's own name there, as in "sts:RoleSessionName": "${aws:username}", or ` +
	"grant to a user or a role"

// chosen reports whether the trust policy lets a caller choose a value freely. A policy that cannot be read does.
func (e *entity) chosen(what choice, value string) bool {
	_, all, err := parseStatements(e.trust)
	return err != nil || slices.ContainsFunc(all, func(s statement) bool {
		return s["Effect"] == "Allow" && choosing(s) && !binds(s, what.key, value) &&
			slices.ContainsFunc(what.actions, func(action string) bool { return permits(s, action) })
	})
}

// choosing reports whether a statement trusts somebody who names their own session: anybody but AWS services and SAML
// providers, which assert the name.
func choosing(s statement) bool {
	principals, ok := s["Principal"].(map[string]any)
	if !ok {
		return true // everybody, or everybody but some
	}
	for kind := range principals {
		asserts := func(name string) bool {
			return kind == "Service" || kind == "Federated" && strings.Contains(name, ":saml-provider/")
		}
		names := texts(principals[kind])
		if len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return !asserts(name) }) {
			return true
		}
	}
	return false
}

// binds reports whether a condition of a statement leaves no choice: the value comes from a variable, or is written out
// for one user.
func binds(s statement, key, value string) bool {
	conditions, _ := s["Condition"].(map[string]any)
	open := func(pattern string) bool {
		if strings.ContainsAny(variable.ReplaceAllString(pattern, ""), "*?") {
			return covers(variable.ReplaceAllString(pattern, anything), value)
		}
		return pattern == value && !trustsOneUser(s)
	}
	for _, operator := range []string{"StringEquals", "StringLike"} {
		of, _ := conditions[operator].(map[string]any)
		for name, values := range of {
			if strings.EqualFold(name, key) && !slices.ContainsFunc(texts(values), open) {
				return true
			}
		}
	}
	return false
}

// trustsOneUser reports whether a statement of a trust policy trusts a single user or session, and nobody else.
func trustsOneUser(s statement) bool {
	principals, _ := s["Principal"].(map[string]any)
	names := texts(principals["AWS"])
	if len(principals) != 1 || len(names) != 1 {
		return false
	}
	named, _ := parseARN(names[0])
	_, session := jit.ParseSession(names[0])
	return session || named.kind == user
}
