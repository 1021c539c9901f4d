package awsiam

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The longest sessions of a role, and of a role that another role assumed:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use.html
const (
	longestSession = 12 * time.Hour
	chainedSession = time.Hour
)

// entityKind is the kind of an ARN. Principals are users, roles and groups.
type entityKind string

const (
	user  entityKind = "user"
	group entityKind = "group"
	role  entityKind = "role"
	// policy can be the role of a binding.
	policy entityKind = "policy"
)

// arn is the parsed ARN of an entity or a managed policy.
type arn struct {
	text      string
	partition string
	account   string // 12 digits, or "aws" of a managed policy of AWS
	kind      entityKind
	path      string // without slashes at the ends
	name      string
}

// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
var arnForm = regexp.MustCompile(`^arn:(aws(?:-[a-z]+)*):iam::([0-9]{12}|aws):(user|role|group|policy)/` +
	`(?:([!-.0-~]+(?:/[!-.0-~]+)*)/)?([\w+=,.@-]{1,128})$`)

func parseARN(s string) (arn, bool) {
	m := arnForm.FindStringSubmatch(s)
	if m == nil {
		return arn{}, false
	}
	a := arn{text: s, partition: m[1], account: m[2], kind: entityKind(m[3]), path: m[4], name: m[5]}
	if (a.kind == user || a.kind == role) && len(a.name) > 64 || a.account == "aws" && a.kind != policy {
		return arn{}, false
	}
	return a, true
}

// access is a parsed binding.
type access struct {
	principal arn
	// session is the name of the session of the principal, a role, that the access is for; empty for the whole principal.
	// The role's ARN lacks its path until the account is known.
	session string
	// terms restrict the access further.
	terms terms
	// role is a managed policy to copy, or a role to assume. A role that lists actions has a kind and a text only.
	role arn
	// actions are those that the role lists.
	actions []string
	// resources narrow the copy or the actions. Without any it is complete.
	resources []string
	// trusting is the role in whose trust policy the access is written; zero if it is written on the principal.
	trusting arn
}

// narrowing restricts a managed policy to resources.
func narrowing(resources []string) jit.Narrowing {
	return jit.Narrowing{Word: jit.On, Parts: resources}
}

// roleText writes role and resources in canonical form.
func roleText(role string, resources []string) string { return role + narrowing(resources).Text() }

// Check accepts the ARN of a user, role or group as principal; as role the ARN of a managed policy or a list of
// actions, optionally followed by " on " and resource ARNs, or the ARN of a role; and the account's id as scope. AWS
// itself begins and ends the access. A session of an assumed role can last up to 12 hours, or one hour if a role
// assumed it, unless it is ended.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	a, err := p.parse(&b)
	if err != nil {
		return b, jit.Traits{}, err
	}
	traits := jit.Traits{Enforcement: jit.Native, NativeStart: true}
	if a.assumes() {
		traits.SessionTail = longestSession
		if a.principal.kind == role {
			traits.SessionTail = chainedSession
		}
		traits.CanTerminate = a.role.kind == role && a.role.account == b.Scope
	}
	return b, traits, nil
}

// parse parses a binding and brings it into canonical form.
func (p *Platform) parse(b *jit.Binding) (access, error) {
	var a access
	var err error
	if a.principal, a.session, err = parsePrincipal(b.Principal); err != nil {
		return a, err
	}
	if err = a.parseRole(b.Role); err != nil {
		return a, err
	}
	if a.terms.identity() != "" && a.principal.kind != role {
		return a, jit.Invalid("role", "leave the condition out, or grant to a role or a session of one",
			"%q has no source identity; only sessions of roles have one", a.principal.text)
	}
	b.Role = roleText(a.role.text, a.resources) + a.terms.text()
	if b.Scope, err = p.parseScope(b.Scope); err != nil {
		return a, err
	}
	if a.role.kind == role {
		return a, a.route(b.Scope, p.cfg.TrustPolicy)
	}
	return a, a.checkGiven(b.Scope)
}

// parseScope returns the id of the account, which is the target's if the binding names none.
func (p *Platform) parseScope(s string) (string, error) {
	own := p.cfg.AccountID
	s = cmp.Or(s, own)
	if s == "" {
		return "", jit.Invalid("scope", `write the id of the account as scope = "123456789012", or once on the target `+
			"as account_id", "the scope is missing")
	}
	if err := awsconfig.CheckAccount("scope", s); err != nil {
		return "", err
	}
	if own != "" && s != own {
		return "", jit.Invalid("scope", fmt.Sprintf("leave it out, or grant on a target of the account %s", s),
			"the target is the account %s, not %s", own, s)
	}
	return s, nil
}

// checkGiven refuses a managed policy or actions that cannot be given to the principal.
func (a *access) checkGiven(scope string) error {
	copied := a.role.kind == policy
	switch {
	case a.reserved():
		return jit.Invalid("principal", "grant permission to assume a role, or grant on a target of the platform "+
			"aws_identity_center", "the role of %q belongs to IAM Identity Center, which overwrites changes to it",
			a.principal.text)
	case copied && a.principal.partition != a.role.partition:
		return a.acrossPartitions()
	case a.principal.account != scope:
		return jit.Invalid("principal",
			"name a principal of that account, or grant with the ARN of a role there as the role",
			"%q is not in the account %s; a policy's permissions are given in the principal's own account",
			a.principal.text, scope)
	case copied && a.role.account != "aws" && a.role.account != scope:
		return jit.Invalid("role", "name a policy of that account, or one of AWS's own", "%q is not in the account %s",
			a.role.text, scope)
	}
	return nil
}

// route decides where the permission to assume a role is written, and refuses it where it cannot be.
func (a *access) route(scope string, trust bool) error {
	switch {
	case a.principal.partition != a.role.partition:
		return a.acrossPartitions()
	case a.principal.account != scope && a.role.account != scope:
		return jit.Invalid("scope", fmt.Sprintf("write scope = %q for the principal's side, or scope = %q for the "+
			"role's trust policy, each on a target of that account", a.principal.account, a.role.account),
			"neither %q nor %q is of the account %s", a.principal.text, a.role.text, scope)
	}
	if a.role.account != scope && a.reserved() {
		return jit.Invalid("scope", fmt.Sprintf("write scope = %q, on a target of that account", a.role.account),
			"the role of %q belongs to IAM Identity Center, so only the trust policy of %q can be changed",
			a.principal.text, a.role.text)
	}
	if a.role.account != scope || a.principal.account == scope && !trust && !a.reserved() {
		return nil
	}
	if a.principal.kind == group {
		return jit.Invalid("principal", "name a user or a role", "%q is a group, and a trust policy takes no groups",
			a.principal.text)
	}
	a.trusting = a.role
	return nil
}

func (a *access) acrossPartitions() error {
	return jit.Invalid("role", "all of one grant lies in one partition of AWS",
		"%q and the principal %q belong to different partitions", a.role.text, a.principal.text)
}

// parsePrincipal reads the principal: a user, a role, a group, or a session of a role.
func parsePrincipal(s string) (a arn, session string, err error) {
	const hint = `write for example "arn:aws:iam::123456789012:user/alice"`
	if err := jit.CheckText("principal", s); err != nil {
		return a, "", err
	}
	if strings.Contains(s, ":assumed-role/") {
		return parseSession(s)
	}
	a, ok := parseARN(s)
	switch {
	case strings.HasSuffix(s, ":root"):
		err = jit.Invalid("principal", hint,
			"%q is a whole account; access is given to a user, a role or a group", s)
	case !ok || a.kind == policy:
		err = jit.Invalid("principal", hint, "%q is not the ARN of a user, a role or a group", s)
	case a.kind == role && strings.HasPrefix(a.path, "aws-reserved/"):
		err = jit.Invalid("principal", "grant on a target of the platform aws_identity_center",
			"%q belongs to IAM Identity Center, which overwrites changes to it", s)
	case a.kind == role && strings.HasPrefix(a.path, "aws-service-role"):
		err = jit.Invalid("principal", hint, "%q belongs to an AWS service and cannot be changed", s)
	}
	return a, "", err
}

const roleHint = `write for example "arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws:iam::aws:policy/` +
	`AmazonS3ReadOnlyAccess on arn:aws:s3:::bucket arn:aws:s3:::bucket/*", "actions:s3:GetObject,s3:ListBucket" or ` +
	`"arn:aws:iam::123456789012:role/deployer"`

// parseRole reads the role: a managed policy or actions, which resources may narrow, or a role; each with or without
// conditions.
func (a *access) parseRole(s string) (err error) {
	if err := jit.CheckText("role", s); err != nil {
		return err
	}
	unconditional, conditions, conditional := strings.Cut(s, jit.If)
	if conditional {
		if a.terms.named, err = jit.ParseConditions(conditions); err != nil {
			return err
		}
		unconditional = strings.TrimRight(unconditional, " ")
	}
	name, list, narrowed := strings.Cut(unconditional, jit.On)
	if narrowed {
		if a.resources, err = parseResources(list); err != nil {
			return err
		}
	}
	if strings.HasPrefix(name, jit.Actions) {
		a.role = arn{kind: actions, text: name}
		a.actions, err = parseActions(name, narrowing(a.resources).Text()+a.terms.text())
		return err
	}
	named, ok := parseARN(name)
	a.role = named
	switch {
	case !ok || named.kind == user || named.kind == group:
		return jit.Invalid("role", roleHint, "%q is not the ARN of a managed policy or of a role", name)
	case narrowed && named.kind == role:
		return jit.Invalid("role", "leave out what follows the ARN",
			"%q is a role, which cannot be narrowed; only the copy of a managed policy and actions can", name)
	}
	return nil
}

// resourceForm is an ARN with a partition, a service and a resource.
var resourceForm = regexp.MustCompile(`^arn:[^:$"\\]+:[^:$"\\]+:[^:$"\\]*:[^:$"\\]*:[^$"\\]+$`)

// parseResources returns the resources in order, without repetition.
func parseResources(list string) ([]string, error) {
	resources := strings.Fields(list)
	for _, r := range resources {
		if !resourceForm.MatchString(r) {
			return nil, jit.Invalid("role", roleHint, "%q is not the ARN of a resource", r)
		}
	}
	if len(resources) == 0 {
		return nil, jit.Invalid("role", roleHint, "no resource follows the word on")
	}
	slices.Sort(resources)
	return slices.Compact(resources), nil
}
