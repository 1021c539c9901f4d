package gcptest

import (
	"regexp"
	"slices"
	"strings"
)

// The limits of a policy (https://cloud.google.com/iam/quotas).
const (
	limitPrincipals = 1500
	limitGroups     = 250
	limitSame       = 20
	limitOperators  = 12
	limitTitle      = 100
	limitText       = 256
)

var basic = []string{"roles/owner", "roles/editor", "roles/viewer"}

// validate refuses policies that the service refuses.
func (s *Server) validate(at *resource, p Policy) *failure {
	principals, domains, groups := at.policy.exempted(), 0, map[string]bool{}
	type same struct{ role, member string }
	conditions := map[same]map[Condition]bool{}
	for _, b := range p.Bindings {
		if f := s.validateBinding(at, b); f != nil {
			return f
		}
		for _, m := range b.Members {
			principals++
			switch name := strings.TrimPrefix(m, "deleted:"); {
			case strings.HasPrefix(name, "group:"):
				groups[m] = true
			case strings.HasPrefix(name, "domain:"):
				domains++
			}
			of := same{b.Role, m}
			if conditions[of] == nil {
				conditions[of] = map[Condition]bool{}
			}
			conditions[of][b.when()] = true
			if len(conditions[of]) > limitSame {
				return invalid("The policy contains more than %d role bindings with the role %s and the member %s.",
					limitSame, b.Role, m)
			}
		}
	}
	switch {
	case principals > limitPrincipals:
		return invalid("The number of members in the policy (%d) is larger than the maximum allowed size %d.",
			principals, limitPrincipals)
	case domains+len(groups) > limitGroups:
		return invalid(
			"The number of groups and domains in the policy (%d) is larger than the maximum allowed size %d.",
			domains+len(groups), limitGroups)
	}
	return nil
}

func (s *Server) validateBinding(at *resource, b Binding) *failure {
	project, custom := customRole(b.Role)
	elsewhere := custom && at.scope != project && at.parent != project
	if _, known := s.roles[b.Role]; !known || elsewhere {
		return invalid("Role %s is not supported for this resource.", b.Role)
	}
	for _, m := range b.Members {
		if f := s.validateMember(at, m); f != nil {
			return f
		}
	}
	if b.Condition == nil {
		return nil
	}
	return s.validateCondition(at, b)
}

// customRole returns the project of a role that one defines.
func customRole(name string) (project string, custom bool) {
	project, _, custom = strings.Cut(name, "/roles/")
	return project, custom && strings.HasPrefix(name, "projects/")
}

func (s *Server) validateCondition(at *resource, b Binding) *failure {
	public := func(m string) bool { return m == "allUsers" || m == "allAuthenticatedUsers" }
	switch c := b.Condition; {
	case slices.Contains(basic, b.Role):
		return invalid("Conditions can't be set on primitive roles: %s.", b.Role)
	case slices.ContainsFunc(b.Members, public):
		return invalid("Conditions can't be set on public principals.")
	case !at.kind.Conditions:
		return invalid("Conditions are not supported on this resource.")
	case at.kind.storage() && !at.uniform:
		return invalid("Conditions need uniform bucket-level access.")
	case c.Title == "" || len(c.Title) > limitTitle:
		return invalid("The title of a condition has 1 to %d bytes: %q", limitTitle, c.Title)
	case len(c.Description) > limitText:
		return invalid("The description of a condition has at most %d bytes: %q", limitText, c.Description)
	}
	program, err := s.compile(b.Condition.Expression)
	switch {
	case err != nil:
		return invalid("Error in condition expression %q: %v", b.Condition.Expression, err)
	case program.operators > limitOperators:
		return invalid("The condition expression has %d logical operators, at most %d are allowed.",
			program.operators, limitOperators)
	}
	return nil
}

var memberForm = regexp.MustCompile(
	`^(user|group|serviceAccount|domain):[^ ]+$|^principal(Set)?://[^ ]+$|^all(Authenticated)?Users$`)

func (s *Server) validateMember(at *resource, m string) *failure {
	if strings.HasPrefix(m, "deleted:") {
		if !s.deleted[m] {
			return invalid("Invalid deleted member %s.", m)
		}
		return nil
	}
	if !memberForm.MatchString(m) {
		return invalid("Invalid member %q; it has no known type.", m)
	}
	kind, name, _ := strings.Cut(m, ":")
	switch noun := nouns[kind]; {
	case s.accounts[m] || strings.HasPrefix(m, "principal"):
		return nil
	case noun != "":
		return invalid("%s %s does not exist.", noun, name)
	case at.kind.storage():
		return nil // a bucket may be public
	}
	return invalid("Members of type %s are not allowed for this resource.", m)
}

var nouns = map[string]string{
	"user": "User", "group": "Group", "serviceAccount": "Service account", "domain": "Domain name",
}

// DeleteAccount deletes an account. Policies that name it then name it as deleted
// (https://cloud.google.com/iam/docs/principal-identifiers#deleted-principals).
func (s *Server) DeleteAccount(member string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := "deleted:" + member + "?uid=123456789012345678901"
	delete(s.accounts, member)
	s.deleted[gone] = true
	for _, at := range s.resources {
		p := at.policy.Clone()
		for _, b := range p.Bindings {
			for i, m := range b.Members {
				if m == member {
					b.Members[i] = gone
				}
			}
		}
		s.store(at, p)
	}
}
