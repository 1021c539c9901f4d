package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// roleOn is a role, as a binding has it, on a scope.
type roleOn struct{ scope, role string }

// roleID returns the id of a role in canonical form, looked up once for each scope.
func (c *client) roleID(ctx context.Context, scope, role string) (id string, err error) {
	on := roleOn{scope, role}
	if known, ok := c.platform.roleIDs.Load(on); ok {
		return known.(string), nil
	}
	if id = role; isID(role) {
		_, err = c.lookUpName(ctx, scope, id)
	} else {
		id, err = c.lookUpID(ctx, scope, role)
	}
	if err == nil {
		c.platform.roleIDs.Store(on, id)
	}
	return id, err
}

// lookUpID finds a role by its name. Names are unique in a tenant. Azure matches them in any case, but a grant must
// spell them as Azure does.
func (c *client) lookUpID(ctx context.Context, scope, role string) (string, error) {
	found, err := all(ctx, c.definitions.NewListPager(scope, &armauthorization.RoleDefinitionsClientListOptions{
		Filter: new(fmt.Sprintf("roleName eq '%s'", strings.ReplaceAll(role, "'", "''")))}),
		func(page armauthorization.RoleDefinitionsClientListResponse) []*armauthorization.RoleDefinition {
			return page.Value
		})
	if err != nil {
		return "", explain(ctx, "look for the role "+role, err)
	}
	for _, d := range found {
		name := nameOf(d)
		if name == role {
			id := baseName(d.ID)
			c.platform.roleNames.Store(id, role)
			return id, nil
		}
		if strings.EqualFold(name, role) {
			return "", noSuchRole(scope, role, fmt.Sprintf("write role = %q", name), nil)
		}
	}
	return "", noSuchRole(scope, role, "", nil)
}

// lookUpName returns the name of the role definition with an id; the id itself if it has no name.
func (c *client) lookUpName(ctx context.Context, scope, id string) (string, error) {
	found, err := c.definitions.Get(ctx, scope, id, nil)
	if codeOf(err) == roleDefinitionMissing {
		return "", noSuchRole(scope, id, "", err)
	}
	if err != nil {
		return "", explain(ctx, "look for the role "+id, err)
	}
	name := cmp.Or(nameOf(&found.RoleDefinition), id)
	c.platform.roleNames.Store(id, name)
	return name, nil
}

// roleName returns the name of a role; its id if the role no longer exists.
func (c *client) roleName(ctx context.Context, scope, id string) (string, error) {
	if known, ok := c.platform.roleNames.Load(id); ok {
		return known.(string), nil
	}
	name, err := c.lookUpName(ctx, scope, id)
	if errors.Is(err, jit.ErrUnknown) {
		return id, nil
	}
	return name, err
}

func nameOf(d *armauthorization.RoleDefinition) string {
	if d.Properties == nil {
		return ""
	}
	return value(d.Properties.RoleName)
}

// noSuchRole says that a role cannot be assigned on the scope. An empty hint says how to list those that can.
func noSuchRole(scope, role, hint string, err error) error {
	return &jit.Error{
		Attribute: "role", Problem: fmt.Sprintf("there is no role %q that can be assigned on %s", role, scope),
		Hint: cmp.Or(hint, "list the roles with `az role definition list --scope "+scope+"`"),
		Err:  errors.Join(jit.ErrUnknown, err),
	}
}

// definitionID writes the id of a role definition as assignments on the scope refer to it.
func definitionID(scope, role string) *string {
	id := definitions + role
	if rest, ok := strings.CutPrefix(scope, subscriptions); ok {
		subscription, _, _ := strings.Cut(rest, "/")
		id = subscriptions + subscription + id
	}
	return &id
}

// advise warns of a principal that Azure has shown to be of another kind.
func (v *view) advise(b jit.Binding) []jit.Advice {
	who, err := parsePrincipal(b.Principal)
	var other *jit.Error
	if v == nil || err != nil || !errors.As(v.otherKind(who), &other) {
		return nil
	}
	return []jit.Advice{{
		Attribute: "principal", Title: "The principal is of another kind",
		Text: fmt.Sprintf("%s; %s. The apply fails.", other.Problem, other.Hint),
	}}
}

// advise warns if the role of a binding cannot be assigned on its scope. It does not look up the principal: the
// operator may not be allowed to read the directory.
func (p *Platform) advise(ctx context.Context, b jit.Binding) []jit.Advice {
	c, err := p.client()
	if err != nil {
		return nil
	}
	var missing *jit.Error
	if _, err = c.roleID(ctx, b.Scope, b.Role); !errors.As(err, &missing) || missing.Attribute != "role" {
		return nil
	}
	return []jit.Advice{{
		Attribute: "role", Title: "The role does not exist",
		Text: fmt.Sprintf("%s; %s. Until it exists the apply fails.", missing.Problem, missing.Hint),
	}}
}
