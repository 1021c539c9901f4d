package azure

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// shortest is the shortest active assignment. PIM also refuses to take one back during that time:
	// https://learn.microsoft.com/azure/role-based-access-control/role-assignments-eligible-activate
	shortest = 5 * time.Minute
	// longest is the longest grant with PIM, and the longest time from its request to its end: requests bear the
	// markers, and Azure keeps them for 45 days.
	// https://learn.microsoft.com/rest/api/authorization/role-assignment-schedule-requests
	longest = 44 * 24 * time.Hour
	// leeway is the time by which the end of the longest grant may be further ahead when it is asked for.
	leeway = 5 * time.Minute
	// effect is how long a change of assignments can take to have effect:
	// https://learn.microsoft.com/azure/role-based-access-control/troubleshooting
	effect = 10 * time.Minute
	// longestRole is the longest name of a role, in characters:
	// https://learn.microsoft.com/azure/role-based-access-control/custom-roles
	longestRole = 512
	// longestName is the longest name between two slashes of an id, in characters:
	// https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
	longestName = 260
)

// The fixed parts of ids, as Azure writes them.
const (
	subscriptions    = "/subscriptions/"
	resourceGroups   = "/resourceGroups/"
	managementGroups = "/providers/Microsoft.Management/managementGroups/"
	definitions      = "/providers/Microsoft.Authorization/roleDefinitions/"
)

const (
	guidPattern = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
	namePattern = `[\p{L}\p{N}._()-]+`
)

var (
	// plainName is a name that a command line takes as it is.
	plainName = regexp.MustCompile(`^[\p{L}\p{N}._@+-]+$`)

	guidForm = regexp.MustCompile(`^` + guidPattern + `$`)
	// scopeForm captures a management group; or a subscription, a resource group and a resource, all in lower case.
	scopeForm = regexp.MustCompile(strings.NewReplacer("GUID", guidPattern, "NAME", namePattern).Replace(
		`^(?:/providers/microsoft\.management/managementgroups/(NAME)|` +
			`/subscriptions/(GUID)(?:/resourcegroups/(NAME))?(/providers/NAME(?:/NAME/NAME)+)?)$`))
)

// principalTypes holds Azure's type for each kind of principal in a grant.
var principalTypes = map[string]armauthorization.PrincipalType{
	"user": armauthorization.PrincipalTypeUser, "group": armauthorization.PrincipalTypeGroup,
	"servicePrincipal": armauthorization.PrincipalTypeServicePrincipal,
}

// unknownType is the type of a principal that was deleted, or made just now:
// https://learn.microsoft.com/azure/role-based-access-control/troubleshooting
const unknownType = "Unknown"

// lookUps holds the command that prints the object id of a name, for each kind of principal.
var lookUps = map[string]string{
	"user": "az ad user show --query id --id", "group": "az ad group show --query id --group",
	"servicePrincipal": "az ad sp show --query id --id",
}

// Check accepts user:<object id>, group:<object id> or servicePrincipal:<object id>; the name or the id of a role;
// and the id of a management group, subscription, resource group or resource.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	who, badPrincipal := parsePrincipal(b.Principal)
	role, badRole := parseRole(b.Role)
	scope, badScope := parseScope(b.Scope)
	if err := cmp.Or(badPrincipal, badRole, badScope); err != nil {
		return b, jit.Traits{}, err
	}
	b.Principal, b.Role, b.Scope = who.String(), role, scope
	if isID(role) {
		p.written.Store(role, true)
	}
	if p.cfg.Assignment == rbacAssignment {
		return b, jit.Traits{Enforcement: jit.Sweeper, SessionTail: effect}, nil
	}
	return b, jit.Traits{
		Enforcement: jit.Native, NativeStart: true, SessionTail: effect, MinTTL: shortest, MaxTTL: longest,
		MaxAhead: longest,
	}, nil
}

// principal is the holder of an assignment.
type principal struct {
	kind string // a key of principalTypes
	id   string // object id, lower case
}

// String writes the principal in canonical form.
func (p principal) String() string { return p.kind + ":" + p.id }

func parsePrincipal(s string) (principal, error) {
	const hint = "write for example \"user:3f2b8c1e-0000-4000-8000-000000000000\"; " +
		"print the object id with `az ad user show --id alice@example.com --query id`"
	if err := jit.CheckText("principal", s); err != nil {
		return principal{}, err
	}
	kind, id, _ := strings.Cut(s, ":")
	if _, ok := principalTypes[kind]; !ok {
		return principal{}, jit.Invalid("principal", hint,
			"%q is not a principal; it begins with user:, group: or servicePrincipal:", s)
	}
	id = strings.ToLower(id)
	if !isID(id) {
		name := "NAME"
		if plainName.MatchString(id) {
			name = id
		}
		return principal{}, jit.Invalid("principal",
			fmt.Sprintf("write \"%s:<object id>\"; print the object id with `%s %s`", kind, lookUps[kind], name),
			"%q has no object id, and Azure gives roles to object ids only", s)
	}
	return principal{kind, id}, nil
}

// principalOf converts a principal from Azure's form.
func principalOf(id *string, kind *armauthorization.PrincipalType) principal {
	for word, t := range principalTypes {
		if t == value(kind) {
			return principal{word, strings.ToLower(value(id))}
		}
	}
	return principal{string(value(kind)), strings.ToLower(value(id))}
}

// parseRole returns the canonical form of a role: its name as written, or the id alone.
func parseRole(s string) (string, error) {
	refuse := func(format string, args ...any) (string, error) {
		return "", jit.Invalid("role", `write its name, for example role = "Reader", or its id`, format, args...)
	}
	if err := jit.CheckText("role", s); err != nil {
		return "", err
	}
	id := strings.ToLower(s)
	path := strings.LastIndex(id, strings.ToLower(definitions))
	if path >= 0 {
		id = id[path+len(definitions):]
	}
	switch {
	case isID(id):
		return id, nil
	case strings.Contains(s, jit.If):
		return refuse("%q has a condition, and a grant on Azure has none", s)
	case s == "" || s != strings.TrimSpace(s):
		return refuse("%q is empty, or has a blank at an end", s)
	case path >= 0 || strings.HasPrefix(s, "/"):
		return refuse("%q is not the id of a role definition; it ends in %s<id>", s, definitions)
	case utf8.RuneCountInString(s) > longestRole:
		return refuse("the name has %d characters; at most %d are possible", utf8.RuneCountInString(s), longestRole)
	}
	return s, nil
}

// isID reports whether a text in lower case is the id of a principal, a role or a subscription.
func isID(s string) bool { return guidForm.MatchString(s) }

// parseScope returns the canonical form of a scope. Azure's ids are case-insensitive, so all names are in lower case.
func parseScope(s string) (string, error) {
	const hint = `write for example scope = "/subscriptions/3f2b8c1e-0000-4000-8000-000000000000", ` +
		`with /resourceGroups/payments or a resource after it, or "` + managementGroups + `payments"`
	if s == "" {
		return "", jit.Invalid("scope", hint, "the scope is missing; a target has no default scope")
	}
	if err := jit.CheckText("scope", s); err != nil {
		return "", err
	}
	lower := strings.ToLower(strings.TrimSuffix(s, "/"))
	for part := range strings.SplitSeq(lower, "/") {
		if part == "." || part == ".." || utf8.RuneCountInString(part) > longestName {
			return "", jit.Invalid("scope", hint, "%q is not a scope: %q is not a name", s, part)
		}
	}
	m := scopeForm.FindStringSubmatch(lower)
	switch {
	case m == nil:
		return "", jit.Invalid("scope", hint, "%q is not a scope; it is %s<name>, or %s<id>, with %s<name>, "+
			"/providers/<namespace>/<type>/<name> or both after it", s, managementGroups, subscriptions, resourceGroups)
	case m[1] != "":
		return managementGroups + m[1], nil
	case m[3] != "":
		return subscriptions + m[2] + resourceGroups + m[3] + m[4], nil
	}
	return subscriptions + m[2] + m[4], nil
}

// value returns what a pointer of the SDK points to, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		p = new(T)
	}
	return *p
}
