package azure

import (
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// shortest is the shortest active assignment, and the time for which one cannot be taken back:
	// https://learn.microsoft.com/azure/role-based-access-control/role-assignments-eligible-activate
	shortest = 5 * time.Minute
	// longest is the longest grant with PIM: a request is kept for 45 days, and it bears the marker.
	// https://learn.microsoft.com/rest/api/authorization/role-assignment-schedule-requests
	longest = 44 * 24 * time.Hour
	// effect is how long a change of assignments can take to have effect:
	// https://learn.microsoft.com/azure/role-based-access-control/troubleshooting
	effect = 10 * time.Minute
	// longestRole is the most characters that the name of a role has:
	// https://learn.microsoft.com/azure/role-based-access-control/custom-roles
	longestRole = 512
	// longestName is the most characters between two slashes of an id:
	// https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
	longestName = 260
)

var (
	guidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	// nameForm is what stands between the slashes of an id of the Resource Manager.
	nameForm = regexp.MustCompile(`^[\p{L}\p{N}._()-]+$`)
)

// principalTypes are the types of principals by the word that grants use.
var principalTypes = map[string]armauthorization.PrincipalType{
	"user": armauthorization.PrincipalTypeUser, "group": armauthorization.PrincipalTypeGroup, "servicePrincipal": armauthorization.PrincipalTypeServicePrincipal,
}

const definitions = "/providers/Microsoft.Authorization/roleDefinitions/"

// Check accepts user:<object id>, group:<object id> or servicePrincipal:<object id>; the name or the id of a role;
// and the id of a management group, subscription, resource group or resource.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	who, err := parsePrincipal(b.Principal)
	if err != nil {
		return b, jit.Traits{}, err
	}
	role, err := parseRole(b.Role)
	if err != nil {
		return b, jit.Traits{}, err
	}
	scope, err := parseScope(b.Scope)
	if err != nil {
		return b, jit.Traits{}, err
	}
	b.Principal, b.Role, b.Scope = who.String(), role, scope
	if isID(role) {
		p.mu.Lock()
		p.written[role] = true
		p.mu.Unlock()
	}
	if p.cfg.Assignment == rbacAssignment {
		return b, jit.Traits{Enforcement: jit.Sweeper, SessionTail: effect}, nil
	}
	return b, jit.Traits{Enforcement: jit.Native, NativeStart: true, SessionTail: effect, MinTTL: shortest, MaxTTL: longest}, nil
}

// principal is who an assignment is for.
type principal struct {
	kind string // a key of principalTypes
	id   string // object id, lower case
}

// String writes the principal in canonical form.
func (p principal) String() string { return p.kind + ":" + p.id }

func parsePrincipal(s string) (principal, error) {
	const hint = "write for example \"user:3f2b8c1e-0000-4000-8000-000000000000\"; `az ad user show --id alice@example.com --query id` tells the object id"
	if err := jit.CheckText("principal", s); err != nil {
		return principal{}, err
	}
	kind, id, _ := strings.Cut(s, ":")
	if _, ok := principalTypes[kind]; !ok {
		return principal{}, jit.Invalid("principal", hint, "%q is not a principal; it begins with user:, group: or servicePrincipal:", s)
	}
	id = strings.ToLower(id)
	if !guidForm.MatchString(id) {
		return principal{}, jit.Invalid("principal", hint, "%q does not name an object id", s)
	}
	return principal{kind, id}, nil
}

// principalOf is a principal as Azure has it.
func principalOf(id *string, kind *armauthorization.PrincipalType) principal {
	is := value(kind)
	for word, t := range principalTypes {
		if t == is {
			return principal{word, strings.ToLower(value(id))}
		}
	}
	return principal{string(is), strings.ToLower(value(id))}
}

// parseRole brings a role into its canonical form: its name as it was written, or its id alone.
func parseRole(s string) (string, error) {
	const hint = `write its name, for example role = "Reader", or its id`
	if err := jit.CheckText("role", s); err != nil {
		return "", err
	}
	id := strings.ToLower(s)
	if i := strings.LastIndex(id, strings.ToLower(definitions)); i >= 0 {
		id = id[i+len(definitions):]
		if !guidForm.MatchString(id) {
			return "", jit.Invalid("role", hint, "%q is not the id of a role definition", s)
		}
	}
	switch {
	case guidForm.MatchString(id):
		return id, nil
	case s == "" || s != strings.TrimSpace(s):
		return "", jit.Invalid("role", hint, "%q is empty, or has a blank at an end", s)
	case strings.HasPrefix(s, "/"):
		return "", jit.Invalid("role", hint, "%q is not the id of a role definition; it ends in %s<id>", s, definitions)
	case utf8.RuneCountInString(s) > longestRole:
		return "", jit.Invalid("role", hint, "the name has %d characters; at most %d are possible", utf8.RuneCountInString(s), longestRole)
	}
	return s, nil
}

// isID reports whether a role in canonical form is an id.
func isID(role string) bool { return guidForm.MatchString(role) }

const managementGroups = "/providers/Microsoft.Management/managementGroups/"

// parseScope brings a scope into its canonical form. Azure takes ids in any case, so all that is a name is in lower
// case.
func parseScope(s string) (string, error) {
	const hint = `write for example scope = "/subscriptions/3f2b8c1e-0000-4000-8000-000000000000", with /resourceGroups/payments or a resource after it, or "` + managementGroups + `payments"`
	refuse := func(format string, args ...any) (string, error) {
		return "", jit.Invalid("scope", hint, format, args...)
	}
	if s == "" {
		return refuse("the scope is missing; a target has no default one")
	}
	if err := jit.CheckText("scope", s); err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(strings.TrimSuffix(s, "/"), "/")
	parts := strings.Split(rest, "/")
	if !ok {
		return refuse("%q is not a scope; it begins with /subscriptions/ or %s", s, managementGroups)
	}
	for _, part := range parts {
		if !nameForm.MatchString(part) || utf8.RuneCountInString(part) > longestName || part == "." || part == ".." {
			return refuse("%q is not a scope: %q is not a name", s, part)
		}
	}
	if group, ok := cutPrefixFold("/"+rest, managementGroups); ok && len(parts) == 4 {
		return managementGroups + strings.ToLower(group), nil
	}
	if !strings.EqualFold(parts[0], "subscriptions") || len(parts) < 2 || !guidForm.MatchString(strings.ToLower(parts[1])) {
		return refuse("%q is not a scope; it begins with /subscriptions/<id> or %s<name>", s, managementGroups)
	}
	for i := range parts {
		parts[i] = strings.ToLower(parts[i])
	}
	tail := parts[2:]
	if len(tail) >= 2 && strings.EqualFold(tail[0], "resourceGroups") {
		tail[0] = "resourceGroups"
		tail = tail[2:]
	}
	if len(tail) > 0 {
		if !strings.EqualFold(tail[0], "providers") || len(tail) < 4 || len(tail)%2 != 0 {
			return refuse("%q is not a scope; a resource is …/providers/<namespace>/<type>/<name>", s)
		}
		tail[0] = "providers"
	}
	return "/" + strings.Join(parts, "/"), nil
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// value is what a pointer of the SDK points to, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var none T
		return none
	}
	return *p
}
