package azuretest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// kept is the time for which a request can be read:
// https://learn.microsoft.com/rest/api/authorization/role-assignment-schedule-requests
const kept = 45 * 24 * time.Hour

// request is a request of PIM.
type request struct {
	binding
	name, status string
	created      time.Time
	looks, gets  int
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

func (r *request) json(now time.Time) map[string]any {
	p := map[string]any{
		"principalId": r.Properties.PrincipalID, "principalType": r.kind,
		"roleDefinitionId": r.Properties.RoleDefinitionID, "requestType": r.Properties.RequestType,
		"scope": r.scope, "status": r.state(now), "requestorId": "00000000-0000-4000-8000-0000000000ff",
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

// granted is the status of a request whose access has not begun. Such a request can only be cancelled:
// https://learn.microsoft.com/graph/api/unifiedroleassignmentschedulerequest-cancel describes the same of directory
// roles.
const granted = "Granted"

// state is the status of a request at a time: PIM begins the access that it has granted.
func (r *request) state(now time.Time) string {
	if r.status == granted && !r.schedule.start.After(now) {
		return "Provisioned"
	}
	return r.status
}

// cancel takes back a request that PIM has not begun to carry out.
func (s *Server) cancel(name string) (int, any, *failure) {
	for _, r := range s.requests {
		if r.name != name || s.now().Sub(r.created) >= kept {
			continue
		}
		if r.state(s.now()) != granted {
			return 0, nil, bad("RequestCannotBeCancelled", "Request is not in cancellable state.")
		}
		r.status, r.schedule.removed = "Canceled", s.now()
		return http.StatusOK, nil, nil
	}
	return 0, nil, notFound()
}

func notFound() *failure {
	return &failure{http.StatusNotFound, "RoleAssignmentScheduleRequestNotFound",
		"The role assignment schedule request is not found."}
}

func (s *Server) listRequests(scope, filter string) []any {
	var all []any
	for _, r := range s.requests {
		// On a clock that stands still, a request is dated some microseconds ahead.
		age := max(s.now().Sub(r.created), 0)
		if selects(filter, scope, r.scope) && age < kept && age >= s.RequestLag {
			s.look(r)
			all = append(all, r.json(s.now()))
		}
	}
	return all
}

func (s *Server) getRequest(name string) (int, any, *failure) {
	for _, r := range s.requests {
		if r.name == name && s.now().Sub(r.created) < kept {
			if r.gets++; r.gets <= s.Unfound {
				break
			}
			s.look(r)
			return http.StatusOK, r.json(s.now()), nil
		}
	}
	return 0, nil, notFound()
}

// look counts a read of a request, by its name or in a list. A request is carried out after [Server.Looks] reads.
func (s *Server) look(r *request) {
	if r.looks++; r.looks >= s.Looks {
		s.carryOut(r)
	}
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
	r.Properties.RoleDefinitionID = definitionID(scope, role)
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
	return http.StatusCreated, r.json(s.now()), nil
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
	case there == nil || there.start.After(s.now()):
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
	if s.now().Sub(r.schedule.began()) < s.Active {
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
	case !end.After(s.now()) || start.Before(s.now().Add(-kept)), r.schedule != nil && start.After(s.now()):
		failed = bad("InvalidRoleAssignmentRequestSchedule", "The schedule of the Role assignment request is invalid.")
	case end.Sub(start) < s.Active:
		failed = s.tooShort()
	case limited && end.Sub(start) > longest:
		failed = bad(violation, `The following policy rules failed: ["ExpirationRule"]`)
	}
	if end = end.Add(s.Moved); start.After(s.now()) {
		start = start.Add(s.Moved)
		i.StartDateTime = &start
	}
	i.Expiration.EndDateTime = &end
	return start, end, failed
}

// carryOut gives a request its effect.
func (s *Server) carryOut(r *request) {
	if r.status != "PendingProvisioning" || s.Stuck != "" {
		r.status = cmp.Or(s.Stuck, r.status)
		return
	}
	r.status = "Provisioned"
	switch r.Properties.RequestType {
	case "AdminAssign":
		r.schedule.pending = false
		if r.schedule.start.After(s.now()) {
			r.status = granted
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
