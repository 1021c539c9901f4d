package azuretest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// kept is the time for which a request can be read:
// https://learn.microsoft.com/rest/api/authorization/role-assignment-schedule-requests
const kept = 45 * 24 * time.Hour

// schedule is an assignment of PIM.
type schedule struct {
	binding
	name             string
	text             string // the justification of the request that made it
	start, end       time.Time
	created, removed time.Time
	pending          bool
}

// never is the end of an assignment without one.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// holds reports whether the time is inside the schedule.
func (c *schedule) holds(at time.Time) bool { return !at.Before(c.start) && at.Before(c.end) }

// exists reports whether the schedule has neither ended nor been removed.
func (c *schedule) exists(now time.Time) bool { return c.removed.IsZero() && c.end.After(now) }

// request is a request of PIM.
type request struct {
	binding
	name, status string
	created      time.Time
	looks        int
	schedule     *schedule
	Properties   properties
}

// properties holds the content of a request.
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

// String writes the properties as text.
func (p properties) String() string {
	return strings.Join(
		[]string{p.RequestType, p.PrincipalID, p.RoleDefinitionID, p.Justification, p.ScheduleInfo.text()}, " ")
}

func (r *request) json() map[string]any {
	p := map[string]any{
		"principalId": r.Properties.PrincipalID, "principalType": r.kind,
		"roleDefinitionId": r.Properties.RoleDefinitionID, "requestType": r.Properties.RequestType,
		"scope": r.scope, "status": r.status, "requestorId": "00000000-0000-4000-8000-0000000000ff",
		"createdOn":     r.created.UTC().Format("2006-01-02T15:04:05.0000000Z07:00"),
		"justification": r.Properties.Justification,
	}
	if r.Properties.ScheduleInfo != nil {
		p["scheduleInfo"] = r.Properties.ScheduleInfo
	}
	if r.schedule != nil {
		p["targetRoleAssignmentScheduleId"] = r.schedule.name
	}
	return map[string]any{"id": r.scope + provider + "roleAssignmentScheduleRequests/" + r.name, "name": r.name,
		"type": "Microsoft.Authorization/RoleAssignmentScheduleRequests", "properties": p}
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
	return 0, nil, &failure{http.StatusNotFound, "RoleAssignmentScheduleRequestNotFound",
		"The role assignment schedule request is not found."}
}

// look counts a read of a request, by its name or in a list. A request is carried out after [Server.Looks] reads.
func (s *Server) look(r *request) {
	if r.looks++; r.looks >= s.Looks {
		s.carryOut(r)
	}
}

// scheduled returns the schedule of a principal, role and scope, or nil.
func (s *Server) scheduled(principal, role, scope string) *schedule {
	for _, c := range s.schedules {
		if c.is(principal, role, scope) && c.exists(s.now()) {
			return c
		}
	}
	return nil
}

func (c *schedule) json(moved time.Duration) map[string]any {
	p := c.binding.json(map[string]any{
		"status": "Provisioned", "assignmentType": "Assigned", "memberType": "Direct",
		"startDateTime":                   c.start.UTC().Format(time.RFC3339Nano),
		"roleAssignmentScheduleRequestId": c.scope + provider + "RoleAssignmentScheduleRequests/" + c.name,
	})
	if !c.end.Equal(never) {
		p["endDateTime"] = c.end.Add(moved).UTC().Format(time.RFC3339Nano)
	}
	return map[string]any{"id": c.scope + provider + "roleAssignmentSchedules/" + c.name, "name": c.name,
		"properties": p}
}

// scheduleJSON describes a plain assignment, which the list of schedules shows too.
func (a *assignment) scheduleJSON() map[string]any {
	p := a.binding.json(map[string]any{"status": "Provisioned", "assignmentType": "Assigned",
		"startDateTime": a.created.UTC().Format(time.RFC3339Nano)})
	return map[string]any{"id": a.scope + provider + "roleAssignmentSchedules/" + a.name, "name": a.name,
		"properties": p}
}

func (s *Server) listSchedules(scope, filter string) []any {
	var all []any
	for _, c := range s.schedules {
		if selects(filter, scope, c.scope) && s.seen(c.created, c.removed) && c.end.After(s.now().Add(-s.Lag)) {
			all = append(all, c.json(s.Moved))
		}
	}
	for _, a := range s.plain {
		if selects(filter, scope, a.scope) && s.seen(a.created, a.removed) {
			all = append(all, a.scheduleJSON())
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
		return 0, nil, bad("AadPremiumLicenseRequired",
			"The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID Governance license.")
	}
	role, kind, failed := s.known(p.PrincipalID, p.RoleDefinitionID)
	if failed != nil {
		return 0, nil, failed
	}
	r := &request{binding: binding{scope, p.PrincipalID, kind, role}, name: name, Properties: p,
		status: "PendingProvisioning",
		// No two requests are made at the same time.
		created: s.now().Add(time.Duration(len(s.requests)) * time.Microsecond)}
	r.Properties.RoleDefinitionID = provider + "roleDefinitions/" + role
	if failed = s.checkRequest(r); failed == nil {
		failed = s.begin(r)
	}
	if failed != nil {
		return 0, nil, failed
	}
	s.requests = append(s.requests, r)
	if s.Looks == 0 {
		s.carryOut(r)
	}
	return http.StatusCreated, r.json(), nil
}

// checkRequest refuses a request without a new name or a reason, or while another one is pending.
func (s *Server) checkRequest(r *request) *failure {
	if !guid.MatchString(r.name) {
		return bad("InvalidRoleAssignmentScheduleRequestName", "The name must be a GUID.")
	}
	for _, other := range s.requests {
		if other.name == r.name {
			return bad("RoleAssignmentRequestExists", "The Role assignment request already exists.")
		}
		if other.status == "PendingProvisioning" && other.is(r.principal, r.role, r.scope) {
			return bad("PendingRoleAssignmentRequest", "There is already an existing pending Role assignment request.")
		}
	}
	if r.Properties.Justification == "" {
		return bad(violation, `The following policy rules failed: ["JustificationRule"]`)
	}
	return nil
}

// violation is the error code of a request that the role's PIM settings forbid.
const violation = "RoleAssignmentRequestPolicyValidationFailed"

// begin refuses a request, or finds or makes its schedule.
func (s *Server) begin(r *request) *failure {
	there := s.scheduled(r.principal, r.role, r.scope)
	kind := r.Properties.RequestType
	switch {
	case kind == "AdminAssign" && there == nil:
		return s.beginAssign(r)
	case kind == "AdminAssign":
		return bad("RoleAssignmentExists", "The Role assignment already exists.")
	case kind != "AdminUpdate" && kind != "AdminRemove":
		return bad("InvalidRoleAssignmentRequestType", "The request type %q is not for administrators.", kind)
	case there == nil:
		return bad("RoleAssignmentDoesNotExist", "The Role assignment does not exist.")
	}
	r.schedule = there
	if kind == "AdminRemove" {
		return s.beginRemove(r)
	}
	_, _, failed := s.window(r)
	return failed
}

func (s *Server) beginAssign(r *request) *failure {
	if slices.ContainsFunc(s.live(), func(a *assignment) bool { return a.is(r.principal, r.role, r.scope) }) {
		return bad("RoleAssignmentExists", "The Role assignment already exists.")
	}
	start, end, failed := s.window(r)
	if failed == nil {
		r.schedule = &schedule{binding: r.binding, name: r.name, text: r.Properties.Justification, start: start,
			end:     end,
			created: s.now(), pending: true}
		s.schedules = append(s.schedules, r.schedule)
	}
	return failed
}

func (s *Server) beginRemove(r *request) *failure {
	if r.Properties.ScheduleInfo != nil {
		return bad("InvalidRoleAssignmentRequestSchedule", "A removal has no schedule.")
	}
	if !s.now().Before(r.schedule.start) && s.now().Sub(r.schedule.created) < s.Active {
		return s.tooShort()
	}
	return nil
}

func (s *Server) tooShort() *failure {
	return bad("ActiveDurationTooShort", "The Active duration is too short. Miniumum Required is %d minutes.",
		int(s.Active.Minutes()))
}

// window is the time of access that a request asks for.
func (s *Server) window(r *request) (start, end time.Time, failed *failure) {
	i := r.Properties.ScheduleInfo
	if i == nil || i.Expiration.Type != "AfterDateTime" || i.Expiration.EndDateTime == nil {
		return start, end, bad(violation, `The following policy rules failed: ["ExpirationRule"]`)
	}
	start, end = s.now(), *i.Expiration.EndDateTime
	if i.StartDateTime != nil {
		start = *i.StartDateTime
	} else if r.schedule != nil {
		start = r.schedule.start
	}
	longest, limited := s.settings[r.role]
	switch {
	case !end.After(s.now()) || start.Before(s.now().Add(-kept)):
		failed = bad("InvalidRoleAssignmentRequestSchedule", "The schedule of the Role assignment request is invalid.")
	case end.Sub(start) < s.Active:
		failed = s.tooShort()
	case limited && end.Sub(start) > longest:
		failed = bad(violation, `The following policy rules failed: ["ExpirationRule"]`)
	}
	return start, end, failed
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

// Revoke removes the assignment of a principal, role and scope, as an administrator would with PIM.
func (s *Server) Revoke(principal, role, scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.scheduled(principal, role, scope)
	r := s.outsider(c, "AdminRemove")
	r.status, r.Properties.ScheduleInfo, c.removed = "Revoked", nil, s.now()
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
		Properties: properties{PrincipalID: c.principal, RoleDefinitionID: provider + "roleDefinitions/" + c.role,
			RequestType: kind, Justification: "because I can", ScheduleInfo: &info{}},
	}
	s.requests = append(s.requests, r)
	return r
}
