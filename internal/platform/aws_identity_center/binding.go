package awsidentitycenter

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// longestSession is the longest session that a permission set can allow:
// https://docs.aws.amazon.com/singlesignon/latest/userguide/howtosessionduration.html
const longestSession = 12 * time.Hour

const (
	userPrefix  = "user:"
	groupPrefix = "group:"
)

// The forms of the API's ResourceId (identitystore), PermissionSetName and PermissionSetArn (ssoadmin).
var (
	idForm = regexp.MustCompile(`^([0-9a-f]{10}-)?[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-` +
		`[0-9a-fA-F]{12}$`)
	setForm    = regexp.MustCompile(`^[\w+=,.@-]{1,32}$`)
	setARNForm = regexp.MustCompile(`^arn:aws(-[a-z]+)*:sso:::permissionSet/(sso)?ins-[a-zA-Z0-9-.]{16}/` +
		`ps-[a-zA-Z0-9-./]{16}$`)
)

// longestName limits the names of users and groups: identitystore, UserName and GroupDisplayName.
var longestName = map[types.PrincipalType]int{types.PrincipalTypeUser: 128, types.PrincipalTypeGroup: 1024}

// Check accepts user:<user name or id> or group:<display name or id>; the name or ARN of a permission set; and the id
// of an account. Names are resolved when the grant is applied. Only a sweeper ends the access, and an open session
// lasts as long as its permission set allows.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	if _, err := parsePrincipal(b.Principal); err != nil {
		return b, jit.Traits{}, err
	}
	if err := checkRole(b.Role); err != nil {
		return b, jit.Traits{}, err
	}
	if err := checkScope(b.Scope); err != nil {
		return b, jit.Traits{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written[b.Principal], p.written[b.Role] = true, true
	return b, jit.Traits{Enforcement: jit.Sweeper, SessionTail: longestSession, Remembered: true}, nil
}

// Describe reads the session duration of the permission set, and whether the account accepts assignments. It does not
// look up the principal.
func (p *Platform) Describe(ctx context.Context, b jit.Binding) (jit.Traits, error) {
	_, traits, err := p.Check(b)
	if err != nil {
		return traits, err
	}
	c, err := p.client(ctx)
	if err != nil {
		return traits, err
	}
	if err := c.ready(ctx, b.Scope); err != nil {
		return traits, err
	}
	arn, err := c.findSet(ctx, b.Role)
	if err != nil {
		return traits, err
	}
	set, err := c.set(ctx, arn)
	if err != nil {
		return traits, awsconfig.Explain(ctx, "look at the permission set "+arn, err)
	}
	if set.session > 0 {
		traits.SessionTail = set.session
	}
	return traits, nil
}

// principal is a user or group, as it was written.
type principal struct {
	kind types.PrincipalType
	name string // user name, display name or id
}

func (p principal) isID() bool { return idForm.MatchString(p.name) }

// String writes the principal in canonical form.
func (p principal) String() string {
	if p.kind == types.PrincipalTypeGroup {
		return groupPrefix + p.name
	}
	return userPrefix + p.name
}

func parsePrincipal(s string) (principal, error) {
	const hint = `write for example "user:alice@example.com" or "group:oncall"`
	if err := jit.CheckText("principal", s); err != nil {
		return principal{}, err
	}
	prefix, name, found := strings.Cut(s, ":")
	kinds := map[string]types.PrincipalType{userPrefix: types.PrincipalTypeUser, groupPrefix: types.PrincipalTypeGroup}
	kind, ok := kinds[prefix+":"]
	switch {
	case !found || !ok:
		return principal{}, jit.Invalid("principal", hint, "%q is not a principal; it begins with user: or group:", s)
	case name == "" || name != strings.TrimSpace(name):
		return principal{}, jit.Invalid("principal", hint, "%q names nobody, or begins or ends with a blank", s)
	}
	if n := utf8.RuneCountInString(name); n > longestName[kind] {
		return principal{}, jit.Invalid("principal", hint, "the name has %d characters; the maximum is %d",
			n, longestName[kind])
	}
	return principal{kind, name}, nil
}

func checkRole(s string) error {
	if err := jit.CheckText("role", s); err != nil {
		return err
	}
	if setForm.MatchString(s) || setARNForm.MatchString(s) {
		return nil
	}
	return jit.Invalid("role", `write the name of a permission set, for example role = "ReadOnlyAccess", or its ARN`,
		"%q is not a permission set; a name has 1 to 32 letters, digits and _+=,.@-, an ARN looks like "+
			"arn:aws:sso:::permissionSet/ssoins-0123456789abcdef/ps-0123456789abcdef", s)
}

func checkScope(s string) error {
	if s == "" {
		return jit.Invalid("scope", `write scope = "123456789012"`, "the scope is missing; it is the id of the account")
	}
	if err := jit.CheckText("scope", s); err != nil {
		return err
	}
	return awsconfig.CheckAccount("scope", s)
}

// object is one assignment on the account.
type object struct {
	kind types.PrincipalType
	id   string // of the user or group
	set  string // ARN of the permission set
}

// String writes the object as claims name it.
func (o object) String() string { return string(o.kind) + "/" + o.id + " " + o.set }

// parseObject reads the name that [object.String] wrote.
func parseObject(name string) (object, error) {
	who, set, found := strings.Cut(name, " ")
	kind, id, ok := strings.Cut(who, "/")
	if !found || !ok || set == "" {
		return object{}, fmt.Errorf("the ledger holds a claim on %q, which is not an account assignment", name)
	}
	return object{types.PrincipalType(kind), id, set}, nil
}
