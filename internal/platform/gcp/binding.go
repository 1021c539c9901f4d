package gcp

import (
	"net/mail"
	"regexp"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Check accepts a principal as policies write it (user:, group:, serviceAccount:, domain:, principal://,
// principalSet://); a predefined or custom role, optionally followed by "if <condition>"; and a resource of one of
// the [kinds]. The service refuses each request after the end, whatever session it belongs to. Some bindings take no
// condition, so the sweeper ends that access.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	principal, err := parsePrincipal(b.Principal)
	if err != nil {
		return b, jit.Traits{}, err
	}
	r, err := parseRole(b.Role)
	if err != nil {
		return b, jit.Traits{}, err
	}
	at, err := parseScope(b.Scope)
	if err != nil {
		return b, jit.Traits{}, err
	}
	if err := r.fits(at); err != nil {
		return b, jit.Traits{}, err
	}
	b.Principal, b.Role, b.Scope = principal, r.String(), at.String()
	if at.unconditional(principal, r) {
		if r.when != "" {
			return b, jit.Traits{}, jit.Invalid("role", "leave the condition out, or grant a predefined role to "+
				"somebody on a resource that takes conditions, such as the project",
				"%s for %s on %s can carry no condition, so it cannot be narrowed to %q", r.name, principal, at, r.when)
		}
		return b, jit.Traits{Enforcement: jit.Sweeper, Remembered: true}, nil
	}
	return b, jit.Traits{Enforcement: jit.Native, NativeStart: true, StrippedTo: r.name}, nil
}

const (
	principalHint = `write for example "user:alice@example.com", "group:oncall@example.com", ` +
		`"serviceAccount:deploy@payments-prod.iam.gserviceaccount.com" or "principal://iam.googleapis.com/…"`
	poolHint = `write for example ` +
		`"principal://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/ci/subject/main"`
)

var (
	domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// Identities of pools, and all service accounts of a project, folder or organization
	// (https://cloud.google.com/iam/docs/principal-identifiers).
	poolForm = regexp.MustCompile(`^principal(Set)?://iam\.googleapis\.com/[^ ]*[^ /]$|` +
		`^principalSet://cloudresourcemanager\.googleapis\.com/(projects|folders|organizations)/[0-9]+` +
		`/type/Service(Account|Agent)$`)
	// denied begins what only deny policies know.
	denied = regexp.MustCompile(`^principal(Set)?://(goog/|iam\.googleapis\.com/projects/-/)`)
	// clusterForm is a Kubernetes service account under the older name of its pool.
	clusterForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]*\.svc\.id\.goog\[[a-z0-9-]+/[a-z0-9.-]+\]$`)
)

// parsePrincipal returns the canonical form of a principal. The service ignores case after the kind, except in
// identities of pools.
func parsePrincipal(s string) (string, error) {
	if s == "" {
		return wrongPrincipal(principalHint, "the principal is empty")
	}
	if err := jit.CheckText("principal", s); err != nil {
		return "", err
	}
	kind, name, _ := strings.Cut(s, ":")
	switch name = strings.ToLower(name); kind {
	case "user", "group", "serviceAccount":
		if kind == "serviceAccount" && clusterForm.MatchString(name) {
			return kind + ":" + name, nil
		}
		if a, err := mail.ParseAddress(name); err != nil || a.Address != name || len(name) > 254 {
			return wrongPrincipal(principalHint, "%q is not the address of a %s", name, kind)
		}
		return kind + ":" + name, nil
	case "domain":
		if !domainForm.MatchString(name) {
			return wrongPrincipal(`write for example "domain:example.com"`, "%q is not a domain", name)
		}
		return kind + ":" + name, nil
	}
	return parseExactPrincipal(kind, s)
}

// parseExactPrincipal accepts principals that have only one form.
func parseExactPrincipal(kind, s string) (string, error) {
	switch kind {
	case "principal", "principalSet":
		if denied.MatchString(s) {
			return wrongPrincipal(`write for example "user:alice@example.com", "group:oncall@example.com" or `+
				`"serviceAccount:…"`, "only deny policies know %q", s)
		}
		if !poolForm.MatchString(s) {
			return wrongPrincipal(poolHint, "%q is not the identity of a pool", s)
		}
		return s, nil
	case "allUsers", "allAuthenticatedUsers":
		if s != kind {
			return wrongPrincipal(principalHint, "%q is not a principal; %s stands alone", s, kind)
		}
		return s, nil
	case "deleted":
		return wrongPrincipal("grant to a principal that exists", "%q has been deleted", s)
	case "projectOwner", "projectEditor", "projectViewer":
		return wrongPrincipal("name the person or group that needs the access",
			"%q stands for everybody with a basic role, which no grant can end", s)
	}
	return wrongPrincipal(principalHint, "%q is not a principal; it begins with user:, group:, serviceAccount:, "+
		"domain:, principal:// or principalSet://", s)
}

func wrongPrincipal(hint, format string, args ...any) (string, error) {
	return "", jit.Invalid("principal", hint, format, args...)
}

// sameMember reports whether a member of a policy is the principal, which is canonical.
func sameMember(member, principal string) bool {
	if member == principal {
		return true
	}
	kind, _, _ := strings.Cut(principal, ":")
	return kind != "principal" && kind != "principalSet" && strings.EqualFold(member, principal) &&
		strings.HasPrefix(member, kind+":")
}

// canonicalMember writes a member of a policy as a principal if it can be one, or else as found.
func canonicalMember(member string) string {
	if principal, err := parsePrincipal(member); err == nil {
		return principal
	}
	return member
}

// deletedPrefix begins a member whose account was deleted: deleted:user:alice@example.com?uid=123.
const deletedPrefix = "deleted:"

// undeleted returns the name that a deleted member had before. Any other member stays as it is.
func undeleted(member string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(member, deletedPrefix), "?uid=")
	return name
}
