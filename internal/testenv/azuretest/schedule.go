package azuretest

import (
	"net/http"
	"time"
)

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

// scheduled returns the schedule of a principal, role and scope, or nil.
func (s *Server) scheduled(principal, role, scope string) *schedule {
	for _, c := range s.schedules {
		if c.is(principal, role, scope) && c.exists(s.now()) {
			return c
		}
	}
	return nil
}

// began is when the access began, or will begin.
func (c *schedule) began() time.Time {
	if c.start.After(c.created) {
		return c.start
	}
	return c.created
}

func (s *Server) scheduleJSON(c *schedule) map[string]any {
	status := "Provisioned"
	if c.start.After(s.now()) {
		status = granted
	}
	p := c.binding.json(map[string]any{
		"status": status, "assignmentType": "Assigned", "memberType": "Direct",
		"startDateTime":                   c.start.UTC().Format(time.RFC3339Nano),
		"createdOn":                       c.created.UTC().Format(time.RFC3339Nano),
		"roleAssignmentScheduleRequestId": c.scope + provider + "RoleAssignmentScheduleRequests/" + c.name,
	})
	if !c.end.Equal(never) {
		p["endDateTime"] = c.end.UTC().Format(time.RFC3339Nano)
	}
	return map[string]any{"id": c.scope + provider + "roleAssignmentSchedules/" + c.name, "name": c.name,
		"properties": p}
}

// scheduleJSON describes a plain assignment, which the list of schedules shows too.
func (a *assignment) scheduleJSON() map[string]any {
	at := a.created.UTC().Format(time.RFC3339Nano)
	p := a.binding.json(map[string]any{"status": "Provisioned", "assignmentType": "Assigned", "startDateTime": at,
		"createdOn": at})
	return map[string]any{"id": a.scope + provider + "roleAssignmentSchedules/" + a.name, "name": a.name,
		"properties": p}
}

func (s *Server) listSchedules(scope, filter string) []any {
	var all []any
	for _, c := range s.schedules {
		if selects(filter, scope, c.scope) && s.seen(c.created, c.removed) && c.end.After(s.now().Add(-s.Lag)) {
			all = append(all, s.scheduleJSON(c))
		}
	}
	for _, a := range s.plain {
		if selects(filter, scope, a.scope) && s.seen(a.created, a.removed) {
			all = append(all, a.scheduleJSON())
		}
	}
	return all
}

// getSchedule answers with a schedule, which the list may still lack.
func (s *Server) getSchedule(name string) (int, any, *failure) {
	for _, c := range s.schedules {
		if c.name == name && !c.pending && c.exists(s.now()) {
			return http.StatusOK, s.scheduleJSON(c), nil
		}
	}
	return 0, nil, &failure{http.StatusNotFound, "RoleAssignmentScheduleNotFound",
		"The role assignment schedule is not found."}
}
