package azuretest

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// kept is how long a request can be read: https://learn.microsoft.com/rest/api/authorization/role-assignment-schedule-requests
const kept = 45 * 24 * time.Hour

// schedule is an assignment of PIM.
type schedule struct {
	name, scope, principal, kind, role string
	text                               string // the justification of the request that made it
	start, end                         time.Time
	created, removed                   time.Time
	pending                            bool
}

// never is the end of an assignment without one.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *schedule) holds(at time.Time) bool { return !at.Before(c.start) && at.Before(c.end) }

// request is a request of PIM.
type request struct {
	name, scope, kind, status string
	created                   time.Time
	looks                     int
	schedule                  *schedule
	Properties                properties
}

// properties are what a request says.
type properties struct {
	PrincipalID      string `json:"principalId"`
	RoleDefinitionID string `json:"roleDefinitionId"`
	RequestType      string `json:"requestType"`
	Justification    string `json:"justification,omitempty"`
	ScheduleInfo     *info  `json:"scheduleInfo,omitempty"`
}

type info struct {
	StartDateTime *time.Time `json:"startDateTime,omitempty"`
	Expiration    struct {
		Type        string     `json:"type"`
		EndDateTime *time.Time `json:"endDateTime,omitempty"`
		Duration    *string    `json:"duration,omitempty"`
	} `json:"expiration"`
}

func (i *info) text() string {
	if i == nil {
		return "no schedule"
	}
	return fmt.Sprintf("%v to %v (%s)", i.StartDateTime, i.Expiration.EndDateTime, i.Expiration.Type)
}

// String writes the properties down.
func (p properties) String() string {
	return strings.Join([]string{p.RequestType, p.PrincipalID, p.RoleDefinitionID, p.Justification, p.ScheduleInfo.text()}, " ")
}

func (r *request) json() map[string]any {
	p := map[string]any{
		"principalId": r.Properties.PrincipalID, "principalType": r.kind, "roleDefinitionId": r.Properties.RoleDefinitionID, "requestType": r.Properties.RequestType,
		"scope": r.scope, "status": r.status, "createdOn": r.created.UTC().Format("2006-01-02T15:04:05.0000000Z07:00"), "requestorId": "00000000-0000-4000-8000-0000000000ff",
		"justification": r.Properties.Justification,
	}
	if r.Properties.ScheduleInfo != nil {
		p["scheduleInfo"] = r.Properties.ScheduleInfo
	}
	if r.schedule != nil {
		p["targetRoleAssignmentScheduleId"] = r.schedule.name
	}
	return map[string]any{"id": r.scope + provider + "roleAssignmentScheduleRequests/" + r.name, "name": r.name, "type": "Microsoft.Authorization/RoleAssignmentScheduleRequests", "properties": p}
}

func (s *Server) listRequests(scope, filter string) []any {
	var all []any
	for _, r := range s.requests {
		if selects(filter, scope, r.scope) && s.now().Sub(r.created) < kept {
			s.look(r)
			all = append(all, r.json())
		}
	}
	return all
}

func (s *Server) getRequest(name string) (int, any, *failure) {
	for _, r := range s.requests {
		if r.name == name && s.now().Sub(r.created) < kept {
			s.look(r)
			return http.StatusOK, r.json(), nil
		}
	}
	return 0, nil, &failure{http.StatusNotFound, "RoleAssignmentScheduleRequestNotFound", "The role assignment schedule request is not found."}
}

// look is one look at a request, by its name or in a list: that is how time passes for it.
func (s *Server) look(r *request) {
	if r.looks++; r.looks >= s.Looks {
		s.carryOut(r)
	}
}

// scheduled is the schedule that there is of a principal, role and scope.
func (s *Server) scheduled(principal, role, scope string) *schedule {
	for _, c := range s.schedules {
		if c.principal == principal && c.role == role && strings.EqualFold(c.scope, scope) && c.removed.IsZero() && c.end.After(s.now()) {
			return c
		}
	}
	return nil
}

func (s *Server) listSchedules(scope, filter string) []any {
	var all []any
	for _, c := range s.schedules {
		if !selects(filter, scope, c.scope) || !s.seen(c.created, c.removed) || !c.end.After(s.now().Add(-s.Lag)) {
			continue
		}
		p := map[string]any{
			"principalId": c.principal, "principalType": c.kind, "roleDefinitionId": provider + "roleDefinitions/" + c.role, "scope": c.scope, "status": "Provisioned",
			"assignmentType": "Assigned", "memberType": "Direct", "startDateTime": c.start.UTC().Format(time.RFC3339Nano), "roleAssignmentScheduleRequestId": c.scope + provider + "RoleAssignmentScheduleRequests/" + c.name,
		}
		if !c.end.Equal(never) {
			p["endDateTime"] = c.end.Add(s.Moved).UTC().Format(time.RFC3339Nano)
		}
		all = append(all, map[string]any{"id": c.scope + provider + "roleAssignmentSchedules/" + c.name, "name": c.name, "properties": p})
	}
	for _, a := range s.plain {
		if selects(filter, scope, a.scope) && s.seen(a.created, a.removed) {
			all = append(all, map[string]any{"id": a.scope + provider + "roleAssignmentSchedules/" + a.name, "name": a.name, "properties": map[string]any{
				"principalId": a.principal, "principalType": a.kind, "roleDefinitionId": provider + "roleDefinitions/" + a.role, "scope": a.scope, "status": "Provisioned", "assignmentType": "Assigned",
				"startDateTime": a.created.UTC().Format(time.RFC3339Nano),
			}})
		}
	}
	return all
}

func (s *Server) putRequest(hr *http.Request, scope, name string) (int, any, *failure) {
	var body struct {
		Properties properties `json:"properties"`
	}
	if failed := read(hr, &body); failed != nil {
		return 0, nil, failed
	}
	p := body.Properties
	if s.unlicensed {
		return 0, nil, bad("AadPremiumLicenseRequired", "The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID Governance license.")
	}
	role, kind, failed := s.known(p.PrincipalID, p.RoleDefinitionID)
	if failed != nil {
		return 0, nil, failed
	}
	if !guid.MatchString(name) {
		return 0, nil, bad("InvalidRoleAssignmentScheduleRequestName", "The name must be a GUID.")
	}
	for _, r := range s.requests {
		if r.name == name {
			return 0, nil, bad("RoleAssignmentRequestExists", "The Role assignment request already exists.")
		}
		if r.pendingFor(p.PrincipalID, role, scope) {
			return 0, nil, bad("PendingRoleAssignmentRequest", "There is already an existing pending Role assignment request.")
		}
	}
	// No two are made at the same time.
	r := &request{name: name, scope: scope, kind: kind, created: s.now().Add(time.Duration(len(s.requests)) * time.Microsecond), Properties: p, status: "PendingProvisioning"}
	r.Properties.RoleDefinitionID = provider + "roleDefinitions/" + role
	if failed := s.begin(r, role); failed != nil {
		return 0, nil, failed
	}
	s.requests = append(s.requests, r)
	if s.Looks == 0 {
		s.carryOut(r)
	}
	return http.StatusCreated, r.json(), nil
}

func (r *request) pendingFor(principal, role, scope string) bool {
	return r.status == "PendingProvisioning" && r.Properties.PrincipalID == principal && strings.HasSuffix(r.Properties.RoleDefinitionID, role) && strings.EqualFold(r.scope, scope)
}

// begin refuses a request, or finds or makes its schedule.
func (s *Server) begin(r *request, role string) *failure {
	p := r.Properties
	there := s.scheduled(p.PrincipalID, role, r.scope)
	if p.Justification == "" {
		return bad("RoleAssignmentRequestPolicyValidationFailed", `The following policy rules failed: ["JustificationRule"]`)
	}
	switch p.RequestType {
	case "AdminAssign":
		for _, a := range s.plain {
			if a.removed.IsZero() && a.principal == p.PrincipalID && a.role == role && strings.EqualFold(a.scope, r.scope) {
				return bad("RoleAssignmentExists", "The Role assignment already exists.")
			}
		}
		if there != nil {
			return bad("RoleAssignmentExists", "The Role assignment already exists.")
		}
		start, end, failed := s.window(r, role)
		if failed != nil {
			return failed
		}
		r.schedule = &schedule{name: r.name, scope: r.scope, principal: p.PrincipalID, kind: r.kind, role: role, text: p.Justification, start: start, end: end, created: s.now(), pending: true}
		s.schedules = append(s.schedules, r.schedule)
		return nil
	case "AdminUpdate", "AdminRemove":
		if there == nil {
			return bad("RoleAssignmentDoesNotExist", "The Role assignment does not exist.")
		}
		r.schedule = there
		if p.RequestType == "AdminRemove" {
			if p.ScheduleInfo != nil {
				return bad("InvalidRoleAssignmentRequestSchedule", "A removal has no schedule.")
			}
			if !s.now().Before(there.start) && s.now().Sub(there.created) < s.Active {
				return bad("ActiveDurationTooShort", "The Active duration is too short. Miniumum Required is %d minutes.", int(s.Active.Minutes()))
			}
			return nil
		}
		_, _, failed := s.window(r, role)
		return failed
	}
	return bad("InvalidRoleAssignmentRequestType", "The request type %q is not for administrators.", p.RequestType)
}

// window is the time of access that a request asks for.
func (s *Server) window(r *request, role string) (start, end time.Time, failed *failure) {
	i := r.Properties.ScheduleInfo
	if i == nil || i.Expiration.Type != "AfterDateTime" || i.Expiration.EndDateTime == nil {
		return start, end, bad("RoleAssignmentRequestPolicyValidationFailed", `The following policy rules failed: ["ExpirationRule"]`)
	}
	start, end = s.now(), *i.Expiration.EndDateTime
	if i.StartDateTime != nil {
		start = *i.StartDateTime
	} else if r.schedule != nil {
		start = r.schedule.start
	}
	if !end.After(s.now()) || start.Before(s.now().Add(-kept)) {
		return start, end, bad("InvalidRoleAssignmentRequestSchedule", "The schedule of the Role assignment request is invalid.")
	}
	if end.Sub(start) < s.Active {
		return start, end, bad("ActiveDurationTooShort", "The Active duration is too short. Miniumum Required is %d minutes.", int(s.Active.Minutes()))
	}
	if longest, ok := s.settings[role]; ok && end.Sub(start) > longest {
		return start, end, bad("RoleAssignmentRequestPolicyValidationFailed", `The following policy rules failed: ["ExpirationRule"]`)
	}
	return start, end, nil
}

// carryOut gives a request its effect.
func (s *Server) carryOut(r *request) {
	if r.status != "PendingProvisioning" {
		return
	}
	r.status = "Provisioned"
	switch r.Properties.RequestType {
	case "AdminAssign":
		r.schedule.pending = false
		if r.schedule.start.After(s.now()) {
			r.status = "ScheduleCreated"
		}
	case "AdminUpdate":
		if i := r.Properties.ScheduleInfo; i != nil {
			r.schedule.end = *i.Expiration.EndDateTime
			if i.StartDateTime != nil {
				r.schedule.start = *i.StartDateTime
			}
		}
	case "AdminRemove":
		r.status = "Revoked"
		r.schedule.removed = s.now()
	}
}

// Admit assigns a role with PIM, as an administrator would, with a justification of theirs and until end; zero is for ever.
func (s *Server) Admit(principal, role, scope, justification string, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := s.principals[principal].kind
	c := &schedule{name: fmt.Sprintf("%08x-0000-4000-8000-0000000000ad", len(s.requests)), scope: scope, principal: principal, kind: kind, role: role,
		text: justification, start: s.now(), end: end, created: s.now()}
	r := s.outsider(c, "AdminAssign")
	r.Properties.Justification = justification
	r.Properties.ScheduleInfo.Expiration.Type, r.Properties.ScheduleInfo.Expiration.EndDateTime = "AfterDateTime", &end
	if end.IsZero() {
		c.end, r.Properties.ScheduleInfo.Expiration.Type, r.Properties.ScheduleInfo.Expiration.EndDateTime = never, "NoExpiration", nil
	}
	s.schedules = append(s.schedules, c)
}

// Move gives the schedule of a principal, role and scope another end, as an administrator would with PIM; zero is none.
func (s *Server) Move(principal, role, scope string, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.scheduled(principal, role, scope)
	r := s.outsider(c, "AdminUpdate")
	if end.IsZero() {
		end, r.Properties.ScheduleInfo.Expiration.Type = never, "NoExpiration"
	} else {
		r.Properties.ScheduleInfo.Expiration.Type, r.Properties.ScheduleInfo.Expiration.EndDateTime = "AfterDateTime", &end
	}
	c.end = end
}

// Revoke takes the assignment of a principal, role and scope back, as an administrator would with PIM.
func (s *Server) Revoke(principal, role, scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.scheduled(principal, role, scope)
	r := s.outsider(c, "AdminRemove")
	r.status, r.Properties.ScheduleInfo, c.removed = "Revoked", nil, s.now()
}

// Unschedule removes the assignment of a principal, role and scope without a request, as it goes when somebody deletes
// the role assignment behind it.
func (s *Server) Unschedule(principal, role, scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scheduled(principal, role, scope).removed = s.now()
}

// outsider notes a request of an administrator.
func (s *Server) outsider(c *schedule, kind string) *request {
	r := &request{
		name: strings.Replace(c.name, c.name[:8], fmt.Sprintf("%08x", len(s.requests)), 1), scope: c.scope, kind: c.kind, created: s.now(), schedule: c, status: "Provisioned",
		Properties: properties{PrincipalID: c.principal, RoleDefinitionID: provider + "roleDefinitions/" + c.role, RequestType: kind, Justification: "because I can", ScheduleInfo: &info{}},
	}
	s.requests = append(s.requests, r)
	return r
}
