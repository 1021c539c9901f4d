package hooptest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// User is a person who can connect.
type User struct {
	ID, Email, Status string
	Groups            []string
}

// Connection is a resource to connect to. With nothing but a name it has no review gate and admits only administrators.
type Connection struct {
	ID, Name string
	// Reviewers are the groups of the legacy review gate. JIT is an access request rule of that type for everybody.
	Reviewers []string
	JIT       bool
	// JITDuration and MaxDuration limit a review, in seconds; 0 means no limit.
	JITDuration, MaxDuration int
	Mandatory                []string
	// With Disabled, nobody can connect. With ExecDisabled, nobody can run single commands.
	Disabled, ExecDisabled bool
	// Groups may connect, as its access control says.
	Groups []string
	// Old means that the gateway is too old to report its active features.
	Old bool
}

// AddKey adds an API key, or changes the name and groups of an existing one.
func (s *Server) AddKey(key, name string, groups ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := actor{id: uuid(), name: name, groups: groups, key: true}
	if before, known := s.actors[key]; known {
		a.id = before.id
	}
	s.actors[key] = a
}

// AddUser adds an active user in these groups, and returns the user's token.
func (s *Server) AddUser(email string, groups ...string) (token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &User{ID: uuid(), Email: email, Status: "active", Groups: groups}
	s.users[email] = u
	for _, g := range groups {
		s.groups[g] = true
	}
	token = "token-" + uuid()
	s.actors[token] = actor{id: u.ID, name: email, groups: groups}
	return token
}

// SetStatus makes a user active, inactive or reviewing.
func (s *Server) SetStatus(email, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[email].Status = status
}

// AddGroup adds a group.
func (s *Server) AddGroup(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups[name] = true
}

// Put adds a connection, or replaces the one with its name. Like an update without attributes, it detaches every
// attribute.
func (s *Server) Put(c Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ID = uuid()
	if before := s.connections[c.Name]; before != nil {
		c.ID = before.ID
	}
	s.connections[c.Name] = &c
	s.detach(c.Name)
	s.dropRule(c.Name)
	if c.JIT {
		s.putRule(Rule{Name: c.Name, Type: timed, Connections: []string{c.Name}, Reviewers: []string{admin},
			MaxDuration: c.JITDuration})
	}
}

// DeleteConnection deletes a connection.
func (s *Server) DeleteConnection(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.connections, name)
	s.detach(name)
}

func (s *Server) detach(name string) {
	for _, a := range s.attributes {
		a.Connections = slices.DeleteFunc(a.Connections, func(c string) bool { return c == name })
	}
}

// SetAccessControl turns the access control on or off. Without it, everybody may connect to everything.
func (s *Server) SetAccessControl(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accessControl = on
}

func (s *Server) getUserInfo(r *request) answer {
	return answer{http.StatusOK, map[string]any{"id": r.id, "name": r.name, "email": r.name, "status": "active",
		"groups": r.groups, "role": r.role(), "is_admin": r.admin()}}
}

func (s *Server) getUsers(*request) answer {
	all := []any{}
	for _, email := range slices.Sorted(maps.Keys(s.users)) {
		all = append(all, s.users[email].json())
	}
	return answer{http.StatusOK, all}
}

// json is the gateway's answer about a user. It has no role for auditors (gateway/api/user/user.go, toRole).
func (u *User) json() map[string]any {
	role := standard
	if slices.Contains(u.Groups, admin) {
		role = admin
	}
	return map[string]any{"id": u.ID, "email": u.Email, "status": u.Status, "groups": u.Groups, "role": role}
}

func (s *Server) getUser(r *request) answer {
	asked := r.PathValue("user")
	for _, u := range s.users {
		if u.Email == asked || !strings.Contains(asked, "@") && u.ID == asked {
			return answer{http.StatusOK, u.json()}
		}
	}
	return say(http.StatusNotFound, "user %s not found", asked)
}

func (s *Server) getGroups(*request) answer {
	return answer{http.StatusOK, slices.Sorted(maps.Keys(s.groups))}
}

func (s *Server) getConnection(r *request) answer {
	c := s.connection(r.PathValue("name"))
	if c == nil || !r.seesAll() && !s.admits(r.groups, c) {
		return say(http.StatusNotFound, "not found")
	}
	attributes := []string{}
	for _, a := range s.sorted() {
		if slices.Contains(a.Connections, c.Name) {
			attributes = append(attributes, a.Name)
		}
	}
	body := map[string]any{
		"id": c.ID, "name": c.Name, "reviewers": c.Reviewers,
		"access_mode_connect": mode(c.Disabled), "access_mode_exec": mode(c.ExecDisabled),
		"mandatory_metadata_fields": c.Mandatory, "attributes": attributes,
	}
	if c.MaxDuration != 0 {
		body["access_max_duration"] = c.MaxDuration
	}
	jit := s.rule(c, timed)
	if jit != nil && jit.MaxDuration != 0 {
		body["jit_access_duration_sec"] = jit.MaxDuration
	}
	if !c.Old {
		body["effective_features"] = map[string]any{"access_request": map[string]bool{
			"command": s.rule(c, command) != nil, "jit": jit != nil, "legacy_reviewers": len(c.Reviewers) > 0,
		}}
	}
	return answer{http.StatusOK, body}
}

func mode(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

// connection finds a connection by its name or id.
func (s *Server) connection(nameOrID string) *Connection {
	if c := s.connections[nameOrID]; c != nil {
		return c
	}
	for _, c := range s.connections {
		if c.ID == nameOrID {
			return c
		}
	}
	return nil
}

func (s *Server) getAccessControl(*request) answer {
	if !s.accessControl {
		return say(http.StatusNotFound, "not found")
	}
	var all []map[string]any
	for _, name := range slices.Sorted(maps.Keys(s.connections)) {
		if c := s.connections[name]; len(c.Groups) > 0 {
			all = append(all, map[string]any{"id": c.ID, "name": name, "config": c.Groups})
		}
	}
	return answer{http.StatusOK, map[string]any{"id": uuid(), "name": "access_control", "connections": all}}
}

// admits reports whether the access control lets members of these groups see a connection.
func (s *Server) admits(groups []string, c *Connection) bool {
	if !s.accessControl || slices.Contains(groups, admin) || slices.Contains(groups, auditor) {
		return true
	}
	visible := slices.Clone(c.Groups)
	for _, a := range s.attributes {
		if slices.Contains(a.Connections, c.Name) {
			visible = append(visible, a.Groups...)
		}
	}
	return slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(visible, g) })
}
