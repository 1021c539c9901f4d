package azuretest

import (
	"fmt"
	"strings"
	"time"
)

// Admit assigns a role with PIM until end, with the administrator's justification. A zero end means no end.
func (s *Server) Admit(principal, role, scope, justification string, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &schedule{binding: binding{scope, principal, s.principals[principal].kind, role},
		name: fmt.Sprintf("%08x-0000-4000-8000-0000000000ad", len(s.requests)),
		text: justification, start: s.now(), created: s.now()}
	r := s.outsider(c, "AdminAssign")
	r.Properties.Justification = justification
	r.until(end)
	s.schedules = append(s.schedules, c)
}

// Move changes the end of the schedule of a principal, role and scope, as an administrator would with PIM; zero removes
// it.
func (s *Server) Move(principal, role, scope string, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outsider(s.scheduled(principal, role, scope), "AdminUpdate").until(end)
}

// until sets the end that a request asks for, and that of its schedule; zero is none.
func (r *request) until(end time.Time) {
	expiration := &r.Properties.ScheduleInfo.Expiration
	if end.IsZero() {
		r.schedule.end, expiration.Type = never, "NoExpiration"
	} else {
		r.schedule.end, expiration.Type, expiration.EndDateTime = end, "AfterDateTime", &end
	}
}

// Extend makes the assignment of a principal, role and scope last for a duration from now, such as PT24H, as an
// administrator would with PIM.
func (s *Server) Extend(principal, role, scope, written string, lasts time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.outsider(s.scheduled(principal, role, scope), "AdminExtend")
	r.schedule.end = s.now().Add(lasts)
	r.Properties.ScheduleInfo.Expiration.Type, r.Properties.ScheduleInfo.Expiration.Duration = "AfterDuration", &written
}

// Revoke removes the assignment of a principal, role and scope, as an administrator would with PIM.
func (s *Server) Revoke(principal, role, scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.scheduled(principal, role, scope)
	if c.start.After(s.now()) {
		_, _, _ = s.cancel(c.name) // it has the name of its request
		return
	}
	r := s.outsider(c, "AdminRemove")
	r.status, r.Properties.ScheduleInfo, c.removed = "Revoked", nil, s.now()
}

// DeletePrincipal deletes a principal from the directory. Its assignments stay, and lists name its type Unknown:
// https://learn.microsoft.com/azure/role-based-access-control/troubleshooting
func (s *Server) DeletePrincipal(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.principals, id)
	forget := func(b *binding) {
		if b.principal == id {
			b.kind = "Unknown"
		}
	}
	for _, a := range s.plain {
		forget(&a.binding)
	}
	for _, c := range s.schedules {
		forget(&c.binding)
	}
	for _, r := range s.requests {
		forget(&r.binding)
	}
}

// Unschedule removes the assignment of a principal, role and scope without a request, as happens when somebody deletes
// the role assignment behind it.
func (s *Server) Unschedule(principal, role, scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scheduled(principal, role, scope).removed = s.now()
}

// outsider adds a request of an administrator.
func (s *Server) outsider(c *schedule, kind string) *request {
	r := &request{
		binding: c.binding, name: strings.Replace(c.name, c.name[:8], fmt.Sprintf("%08x", len(s.requests)), 1),
		created: s.now(), schedule: c, status: "Provisioned",
		Properties: properties{PrincipalID: c.principal, RoleDefinitionID: definitionID(c.scope, c.role),
			RequestType: kind, Justification: "because I can", ScheduleInfo: &info{}},
	}
	s.requests = append(s.requests, r)
	return r
}
