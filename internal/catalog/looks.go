package catalog

import "strings"

// accessWords are the words of a type's name that speak of access. A phrase of several has to stand in the name as it
// is.
var accessWords = []string{
	"acl", "acls", "access_entry", "access_grant", "access_key", "access_keys", "access_level", "access_package",
	"access_policy", "account_key", "admin", "administrator", "admins", "api_key", "api_keys", "app_role",
	"assignment", "assignments", "auth_token", "authorization", "authorization_rule", "authorized",
	"collaborator", "collaborators", "credential", "credentials", "customer_secret_key", "deploy_key",
	"entitlement", "entitlements", "grant", "grants", "iam", "invitation", "key_pair", "login", "member",
	"members", "membership", "memberships", "owner", "owners", "password", "permission", "permissions",
	"policy_attachment", "policy_attachments", "principal", "principals", "project_policy",
	"rbac", "resource_policy", "resource_share", "role", "role_binding", "roles",
	"sas", "secret_id", "ssh_key", "sso", "ssh_public_key", "token", "tokens", "user", "users", "usergroup",
}

// looksLikeAccess says whether the name of a type speaks of access.
func looksLikeAccess(resourceType string) bool {
	name := "_" + strings.ToLower(resourceType) + "_"
	for _, word := range accessWords {
		if strings.Contains(name, "_"+word+"_") {
			return true
		}
	}
	return false
}
