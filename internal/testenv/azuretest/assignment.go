package azuretest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// binding holds who has which role where. The role is the id of its definition.
type binding struct{ scope, principal, kind, role string }

// is reports whether the binding gives the principal the role on exactly this scope.
func (b binding) is(principal, role, scope string) bool {
	return b.principal == principal && b.role == role && strings.EqualFold(b.scope, scope)
}

// gives reports whether the binding gives the principal the role on a scope, which may be below its own.
func (b binding) gives(principal, role, scope string) bool {
	return b.principal == principal && b.role == role && above(b.scope, scope)
}

// json returns the properties of a binding, with further ones.
func (b binding) json(more map[string]any) map[string]any {
	properties := map[string]any{"principalId": b.principal, "principalType": b.kind,
		"roleDefinitionId": definitionID(b.scope, b.role), "scope": b.scope}
	maps.Copy(properties, more)
	return properties
}

// assignment is a plain role assignment.
type assignment struct {
	binding
	name, description, condition string
	created, removed             time.Time
	// edits are the descriptions that were replaced, which a lagging list still shows.
	edits []edit
}

// edit is a description until it was replaced.
type edit struct {
	description string
	until       time.Time
}

// asOf returns the assignment as a list shows it that has the state of a time.
func (a *assignment) asOf(at time.Time) *assignment {
	old := *a
	for _, e := range slices.Backward(a.edits) {
		if e.until.After(at) {
			old.description = e.description
		}
	}
	return &old
}

const (
	// longestDescription is the largest length of a description, in bytes.
	longestDescription = 2 << 10
	// mostAssignments is the largest number of assignments in a subscription:
	// https://learn.microsoft.com/azure/role-based-access-control/troubleshoot-limits
	mostAssignments = 4000
)

func (a *assignment) json() map[string]any {
	at := a.created.UTC().Format(time.RFC3339Nano)
	properties := a.binding.json(map[string]any{"description": a.description, "createdOn": at, "updatedOn": at})
	if a.condition != "" {
		properties["condition"] = a.condition
	}
	return map[string]any{"id": a.scope + provider + "roleAssignments/" + a.name, "name": a.name,
		"type": "Microsoft.Authorization/roleAssignments", "properties": properties}
}

// seen reports whether a lagging list shows an entry that was made and removed at these times.
func (s *Server) seen(created, removed time.Time) bool {
	at := s.now().Add(-s.Lag)
	return !created.After(at) && (removed.IsZero() || removed.After(at))
}

// live returns the plain assignments that exist.
func (s *Server) live() []*assignment {
	return slices.DeleteFunc(slices.Clone(s.plain), func(a *assignment) bool { return !a.removed.IsZero() })
}

func (s *Server) listAssignments(scope, filter string) []any {
	all := slices.Clone(s.plain)
	for _, c := range s.schedules { // PIM keeps an assignment while a schedule is active
		if c.holds(s.now()) && !c.pending {
			all = append(all, &assignment{binding: c.binding, name: c.name, created: c.began(), removed: c.removed})
		}
	}
	var listed []any
	for _, a := range all {
		if selects(filter, scope, a.scope) && s.seen(a.created, a.removed) {
			listed = append(listed, a.asOf(s.now().Add(-s.Lag)).json())
		}
	}
	return listed
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
		return 0, nil, bad("InvalidRoleAssignmentId",
			"The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", name)
	case p.PrincipalType == "":
		return 0, nil, bad("InvalidPrincipalType", "The principal type is missing.")
	case p.PrincipalType != kind:
		return 0, nil, bad("UnmatchedPrincipalType", "The PrincipalId '%s' has type '%s', which is different from "+
			"specified PrinciaplType '%s'.", p.PrincipalID, kind, p.PrincipalType)
	case len(p.Description) > longestDescription:
		return 0, nil, bad("InvalidRoleAssignmentDescription", "The description is too long.")
	}
	return s.assign(assignment{binding: binding{scope, p.PrincipalID, kind, role}, name: name,
		description: p.Description, condition: p.Condition, created: s.now()})
}

// assign makes an assignment, or updates the description and condition of the one with its name.
func (s *Server) assign(wanted assignment) (int, any, *failure) {
	for _, a := range s.live() {
		same := a.is(wanted.principal, wanted.role, wanted.scope)
		switch {
		case a.name == wanted.name && !same:
			return 0, nil, &failure{http.StatusConflict, "RoleAssignmentUpdateNotPermitted",
				"Tenant ID, application ID, principal ID, and scope are not allowed to be updated."}
		case a.name == wanted.name:
			a.edits = append(a.edits, edit{a.description, s.now()})
			a.description, a.condition = wanted.description, wanted.condition
			return http.StatusOK, a.json(), nil
		case same:
			return 0, nil, &failure{http.StatusConflict, "RoleAssignmentExists",
				"The role assignment already exists. " +
					"The ID of the existing role assignment is " + strings.ReplaceAll(a.name, "-", "") + "."}
		}
	}
	if s.scheduled(wanted.principal, wanted.role, wanted.scope) != nil {
		return 0, nil, &failure{http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists."}
	}
	if len(s.live()) >= mostAssignments {
		return 0, nil, bad("RoleAssignmentLimitExceeded",
			"The number of role assignments has reached the limit of %d.", mostAssignments)
	}
	s.plain = append(s.plain, &wanted)
	return http.StatusCreated, wanted.json(), nil
}

// getAssignment answers with an assignment, which the list may still lack.
func (s *Server) getAssignment(scope, name string) (int, any, *failure) {
	for _, a := range s.live() {
		if a.name == name && strings.EqualFold(a.scope, scope) {
			return http.StatusOK, a.json(), nil
		}
	}
	return 0, nil, &failure{http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment is not found."}
}

func (s *Server) deleteAssignment(scope, name string) (int, any, *failure) {
	for _, a := range s.live() {
		if a.name == name && strings.EqualFold(a.scope, scope) {
			a.removed = s.now()
			return http.StatusOK, a.json(), nil
		}
	}
	return http.StatusNoContent, nil, nil
}

// described calls do with each plain assignment whose description contains the text, and returns their number.
func (s *Server) described(text string, do func(*assignment)) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.live() {
		if strings.Contains(a.description, text) {
			do(a)
			n++
		}
	}
	return n
}

// Assign makes a plain assignment with the description, as somebody else would.
func (s *Server) Assign(name, principal, role, scope, description string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plain = append(s.plain, &assignment{binding: binding{scope, principal, s.principals[principal].kind, role},
		name: name, description: description, created: s.now()})
}

// Describe changes the description of a plain assignment, as anyone who may write assignments but not delete them can.
func (s *Server) Describe(name, description string) {
	s.described("", func(a *assignment) {
		if a.name == name {
			a.description = description
		}
	})
}

// Unassign removes the plain assignments whose description contains the text, as an outsider would. It returns their
// number.
func (s *Server) Unassign(text string) int {
	return s.described(text, func(a *assignment) { a.removed = s.now() })
}

// Restrict adds a condition to the assignments whose description contains the text, as an outsider would.
func (s *Server) Restrict(text, condition string) {
	s.described(text, func(a *assignment) { a.condition = condition })
}

// Dump describes every assignment, schedule and request whose text is selected, with every fact that a write changes.
func (s *Server) Dump(selected func(text string) bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	add := func(text string, entry any) {
		if selected(text) {
			fmt.Fprintf(&b, "%+v\n", entry)
		}
	}
	for _, a := range s.live() {
		add(a.description, *a)
	}
	for _, c := range s.schedules {
		if c.exists(s.now()) {
			add(c.text, *c)
		}
	}
	for _, r := range s.requests {
		add(r.Properties.Justification, []any{r.name, r.Properties})
	}
	return b.String()
}
