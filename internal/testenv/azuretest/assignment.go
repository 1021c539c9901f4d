package azuretest

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// assignment is a plain role assignment.
type assignment struct {
	name, scope, principal, kind, role, description, condition string
	created, removed                                           time.Time
}

const (
	// longestDescription is how long a description can be, in bytes.
	longestDescription = 2 << 10
	// mostAssignments is how many a subscription takes: https://learn.microsoft.com/azure/role-based-access-control/troubleshoot-limits
	mostAssignments = 4000
)

func (a *assignment) json() map[string]any {
	properties := map[string]any{
		"roleDefinitionId": provider + "roleDefinitions/" + a.role, "principalId": a.principal, "principalType": a.kind, "scope": a.scope,
		"description": a.description, "createdOn": a.created.UTC().Format(time.RFC3339Nano), "updatedOn": a.created.UTC().Format(time.RFC3339Nano),
	}
	if a.condition != "" {
		properties["condition"] = a.condition
	}
	return map[string]any{"id": a.scope + provider + "roleAssignments/" + a.name, "name": a.name, "type": "Microsoft.Authorization/roleAssignments", "properties": properties}
}

// seen reports whether a list that is behind has what was made and removed at these times.
func (s *Server) seen(created, removed time.Time) bool {
	at := s.now().Add(-s.Lag)
	return !created.After(at) && (removed.IsZero() || removed.After(at))
}

func (s *Server) listAssignments(scope, filter string) []any {
	var all []any
	for _, a := range s.plain {
		if selects(filter, scope, a.scope) && s.seen(a.created, a.removed) {
			all = append(all, a.json())
		}
	}
	for _, c := range s.schedules { // PIM makes an assignment for as long as a schedule is active
		if selects(filter, scope, c.scope) && s.seen(c.created, c.removed) && c.holds(s.now()) && !c.pending {
			a := assignment{name: c.name, scope: c.scope, principal: c.principal, kind: c.kind, role: c.role, created: c.created}
			all = append(all, a.json())
		}
	}
	return all
}

func (s *Server) putAssignment(r *http.Request, scope, name string) (int, any, *failure) {
	var body struct {
		Properties struct {
			RoleDefinitionID string `json:"roleDefinitionId"`
			PrincipalID      string `json:"principalId"`
			PrincipalType    string `json:"principalType"`
			Description      string `json:"description"`
			Condition        string `json:"condition"`
		} `json:"properties"`
	}
	if failed := read(r, &body); failed != nil {
		return 0, nil, failed
	}
	p := body.Properties
	role, kind, failed := s.known(p.PrincipalID, p.RoleDefinitionID)
	switch {
	case failed != nil:
		return 0, nil, failed
	case !guid.MatchString(name):
		return 0, nil, bad("InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", name)
	case p.PrincipalType == "":
		return 0, nil, bad("InvalidPrincipalType", "The principal type is missing.")
	case p.PrincipalType != kind:
		return 0, nil, bad("UnmatchedPrincipalType", "The PrincipalId '%s' has type '%s', which is different from specified PrinciaplType '%s'.", p.PrincipalID, kind, p.PrincipalType)
	case len(p.Description) > longestDescription:
		return 0, nil, bad("InvalidRoleAssignmentDescription", "The description is too long.")
	}
	count := 0
	for _, a := range s.plain {
		if !a.removed.IsZero() {
			continue
		}
		count++
		same := a.principal == p.PrincipalID && a.role == role && strings.EqualFold(a.scope, scope)
		switch {
		case a.name == name && !same:
			return 0, nil, &failure{http.StatusConflict, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."}
		case a.name == name:
			a.description, a.condition = p.Description, p.Condition
			return http.StatusOK, a.json(), nil
		case same:
			return 0, nil, &failure{http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is " + strings.ReplaceAll(a.name, "-", "") + "."}
		}
	}
	if s.scheduled(p.PrincipalID, role, scope) != nil {
		return 0, nil, &failure{http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists."}
	}
	if count >= mostAssignments {
		return 0, nil, bad("RoleAssignmentLimitExceeded", "The number of role assignments has reached the limit of %d.", mostAssignments)
	}
	a := &assignment{name: name, scope: scope, principal: p.PrincipalID, kind: kind, role: role, description: p.Description, condition: p.Condition, created: s.now()}
	s.plain = append(s.plain, a)
	return http.StatusCreated, a.json(), nil
}

func (s *Server) deleteAssignment(scope, name string) (int, any, *failure) {
	for _, a := range s.plain {
		if a.name == name && strings.EqualFold(a.scope, scope) && a.removed.IsZero() {
			a.removed = s.now()
			return http.StatusOK, a.json(), nil
		}
	}
	return http.StatusNoContent, nil, nil
}

// Assign makes a plain assignment, as somebody else would; the description is theirs.
func (s *Server) Assign(name, principal, role, scope, description string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plain = append(s.plain, &assignment{name: name, scope: scope, principal: principal, kind: s.principals[principal].kind, role: role, description: description, created: s.now()})
}

// Describe writes the description of a plain assignment, as whoever may write assignments and not delete them can.
func (s *Server) Describe(name, description string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.plain {
		if a.name == name {
			a.description = description
		}
	}
}

// Unassign removes the plain assignments whose description has the text, as an outsider would. It returns how many there were.
func (s *Server) Unassign(has string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.plain {
		if a.removed.IsZero() && strings.Contains(a.description, has) {
			a.removed, n = s.now(), n+1
		}
	}
	return n
}

// Dump writes down every assignment, schedule and request that selected selects by its text, with all that tells of a write.
func (s *Server) Dump(selected func(text string) bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, a := range s.plain {
		if a.removed.IsZero() && selected(a.description) {
			fmt.Fprintf(&b, "%+v\n", *a)
		}
	}
	for _, c := range s.schedules {
		if c.removed.IsZero() && c.end.After(s.now()) && selected(c.text) {
			fmt.Fprintf(&b, "%+v\n", *c)
		}
	}
	for _, r := range s.requests {
		if selected(r.Properties.Justification) {
			fmt.Fprintf(&b, "%s %+v\n", r.name, r.Properties)
		}
	}
	return b.String()
}

// Restrict adds a condition to the assignments whose description has the text, as an outsider would.
func (s *Server) Restrict(has, condition string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.plain {
		if a.removed.IsZero() && strings.Contains(a.description, has) {
			a.condition = condition
		}
	}
}
