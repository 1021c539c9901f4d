package azure

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// roleID returns the id of a role in canonical form, looked up once for each scope. Names of roles are unique in a
// tenant and match in any case.
func (c *client) roleID(ctx context.Context, scope, role string) (string, error) {
	known := strings.ToLower(scope + "\n" + role)
	if id, ok := c.cachedRole(known); ok {
		return id, nil
	}
	if isID(role) {
		_, err := c.definitions.Get(ctx, scope, role, nil)
		if codeOf(err) == roleDefinitionMissing {
			return "", c.noSuchRole(scope, role, err)
		}
		if err != nil {
			return "", c.explain(ctx, "look for the role "+role, err)
		}
		c.cacheRole(known, role)
		return role, nil
	}
	filter := fmt.Sprintf("roleName eq '%s'", strings.ReplaceAll(role, "'", "''"))
	found, err := all(ctx, c.definitions.NewListPager(scope, &armauthorization.RoleDefinitionsClientListOptions{Filter: &filter}),
		func(page armauthorization.RoleDefinitionsClientListResponse) []*armauthorization.RoleDefinition {
			return page.Value
		})
	if err != nil {
		return "", c.explain(ctx, "look for the role "+role, err)
	}
	for _, d := range found {
		if d.Properties != nil && strings.EqualFold(value(d.Properties.RoleName), role) {
			if real := value(d.Properties.RoleName); real != role {
				return "", &jit.Error{Attribute: "role", Problem: fmt.Sprintf("there is no role %q that can be assigned on %s", role, scope), Hint: fmt.Sprintf("write role = %q", real), Err: jit.ErrUnknown}
			}
			id := baseName(d.ID)
			c.cacheRole(known, id)
			c.cacheRole("\n"+id, role)
			return id, nil
		}
	}
	return "", c.noSuchRole(scope, role, nil)
}

func (c *client) noSuchRole(scope, role string, err error) error {
	return &jit.Error{Attribute: "role", Problem: fmt.Sprintf("there is no role %q that can be assigned on %s", role, scope),
		Hint: "`az role definition list --scope " + scope + "` lists those that there are", Err: errors.Join(jit.ErrUnknown, err)}
}

// roleName returns the name of a role; of one that is not there any more, its id.
func (c *client) roleName(ctx context.Context, scope, id string) (string, error) {
	known := "\n" + id
	if name, ok := c.cachedRole(known); ok {
		return name, nil
	}
	found, err := c.definitions.Get(ctx, scope, id, nil)
	if codeOf(err) == roleDefinitionMissing {
		return id, nil
	}
	if err != nil {
		return "", c.explain(ctx, "look for the role "+id, err)
	}
	name := id
	if found.Properties != nil && value(found.Properties.RoleName) != "" {
		name = *found.Properties.RoleName
	}
	c.cacheRole(known, name)
	return name, nil
}

func (c *client) cachedRole(known string) (string, bool) {
	c.platform.mu.Lock()
	defer c.platform.mu.Unlock()
	s, ok := c.platform.roles[known]
	return s, ok
}

func (c *client) cacheRole(known, is string) {
	c.platform.mu.Lock()
	defer c.platform.mu.Unlock()
	c.platform.roles[known] = is
}

// definitionID writes the id of a role definition as assignments on a scope name it.
func definitionID(scope, role string) *string {
	id := definitions + role
	if parts := strings.Split(scope, "/"); len(parts) > 2 && parts[1] == "subscriptions" {
		id = "/subscriptions/" + parts[2] + id
	}
	return &id
}
