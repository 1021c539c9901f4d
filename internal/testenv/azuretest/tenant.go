package azuretest

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

var guid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// now returns the server's time. The caller holds the lock.
func (s *Server) now() time.Time {
	if s.Clock != nil {
		return s.Clock().Add(s.offset)
	}
	return time.Now().Add(s.offset)
}

// Now returns the server's time.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// Advance lets time pass on the server.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
}

// AddScope makes subscriptions, resource groups, resources or management groups.
func (s *Server) AddScope(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, scope := range scopes {
		s.scopes[strings.ToLower(scope)] = true
	}
}

// AddPrincipal makes a User, Group or ServicePrincipal. The authorization service knows it after the delay.
func (s *Server) AddPrincipal(kind, id string, after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.principals[id] = &person{kind, s.now().Add(after)}
}

// AddRole makes a role of the tenant's own.
func (s *Server) AddRole(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.definitions[id] = name
}

// Limit sets the longest assignment that the PIM settings of a role permit.
func (s *Server) Limit(role string, longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings[role] = longest
}

// Unlicense removes the licence for PIM.
func (s *Server) Unlicense() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlicensed = true
}

// Deny takes an action from the caller, such as Microsoft.Authorization/roleAssignments/write.
func (s *Server) Deny(action string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[action] = true
}

// Done returns the actions that the caller did or tried, sorted.
func (s *Server) Done() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.done))
}

// Fail replaces the next answers with faults.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

// Calls counts the requests so far.
func (s *Server) Calls() (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, s.writes
}

// above reports whether an assignment on one scope applies on another, at or below it.
func above(assigned, on string) bool {
	assigned, on = strings.ToLower(assigned), strings.ToLower(on)
	return assigned == on || strings.HasPrefix(on, assigned+"/")
}

// selects reports whether a list for a scope, with a filter, includes an entry on another scope.
func selects(filter, scope, on string) bool {
	if filter == "atScope()" {
		return above(on, scope)
	}
	return filter == "" && (above(on, scope) || above(scope, on))
}

// Allowed reports whether a principal has a role on a scope at a time, even if the lists lag behind. An assignment with
// a condition gives nothing, because the server judges no conditions.
func (s *Server) Allowed(principal, role, scope string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.live(), func(a *assignment) bool {
		return a.condition == "" && a.gives(principal, role, scope)
	}) || slices.ContainsFunc(s.schedules, func(c *schedule) bool {
		return c.removed.IsZero() && !c.pending && c.holds(at) && c.gives(principal, role, scope)
	})
}

func (s *Server) subscriptions() []any {
	var all []any
	for _, scope := range slices.Sorted(maps.Keys(s.scopes)) {
		if strings.HasPrefix(scope, "/subscriptions/") && strings.Count(scope, "/") == 2 {
			all = append(all, map[string]any{"id": scope,
				"subscriptionId": strings.TrimPrefix(scope, "/subscriptions/"), "state": "Enabled"})
		}
	}
	return all
}

// definitionID is the id of a role definition as answers about a scope write it: with the scope's subscription.
func definitionID(scope, role string) string {
	if parts := strings.Split(scope, "/"); len(parts) > 2 && strings.EqualFold(parts[1], "subscriptions") {
		return "/subscriptions/" + parts[2] + provider + "roleDefinitions/" + role
	}
	return provider + "roleDefinitions/" + role
}

func (s *Server) definition(scope, id string) map[string]any {
	return map[string]any{
		"id": definitionID(scope, id), "name": id, "type": "Microsoft.Authorization/roleDefinitions",
		"properties": map[string]any{"roleName": s.definitions[id], "type": "BuiltInRole"},
	}
}

func (s *Server) roleDefinitions(r *http.Request, scope, id string) (int, any, *failure) {
	if id != "" {
		if s.definitions[id] == "" {
			return 0, nil, &failure{http.StatusNotFound, "RoleDefinitionDoesNotExist",
				"The specified role definition with ID '" + id + "' does not exist."}
		}
		return http.StatusOK, s.definition(scope, id), nil
	}
	wanted := strings.TrimSuffix(strings.TrimPrefix(r.URL.Query().Get("$filter"), "roleName eq '"), "'")
	var all []any
	for _, id := range slices.Sorted(maps.Keys(s.definitions)) {
		if strings.EqualFold(s.definitions[id], strings.ReplaceAll(wanted, "''", "'")) {
			all = append(all, s.definition(scope, id))
		}
	}
	return s.listed(r, all)
}

// known refuses a principal or a role that does not exist. It returns the id of the role.
func (s *Server) known(principal, definition string) (role string, kind string, failed *failure) {
	role = strings.ToLower(definition[strings.LastIndexByte(definition, '/')+1:])
	if !strings.Contains(strings.ToLower(definition), "/providers/microsoft.authorization/roledefinitions/") ||
		s.definitions[role] == "" {
		return "", "", bad("RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.",
			role)
	}
	who := s.principals[principal]
	if who == nil || s.now().Before(who.since) {
		return "", "", bad("PrincipalNotFound", "Principal %s does not exist in the directory.", principal)
	}
	return role, who.kind, nil
}
