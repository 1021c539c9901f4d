package hooptest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// review is the approval that a session needs.
type review struct {
	id, kind, status string
	seconds          int64
	connection       string // the id of the connection, which outlives its name
	created          time.Time
	ends             *time.Time
	groups           []*group
}

func (v *review) clone() *review {
	c := *v
	c.groups = make([]*group, len(v.groups))
	for i, g := range v.groups {
		one := *g
		c.groups[i] = &one
	}
	return &c
}

// group is a group that must approve.
type group struct {
	id, name, status string
	by               *actor
	at               time.Time
}

func (v *review) json() map[string]any {
	groups := []any{}
	for _, g := range v.groups {
		body := map[string]any{"id": g.id, "group": g.name, "status": g.status, "reviewed_by": nil, "review_date": nil,
			"forced_review": false}
		if by := g.by; by != nil {
			body["reviewed_by"] = map[string]string{"id": by.id, "name": by.name, "email": by.name, "slack_id": ""}
			body["review_date"] = milli(g.at)
		}
		groups = append(groups, body)
	}
	body := map[string]any{
		"id": v.id, "type": v.kind, "access_duration": v.seconds * int64(time.Second), "status": v.status,
		"created_at": milli(v.created), "revoke_at": nil, "review_groups_data": groups, "rejection_reason": nil,
	}
	if v.ends != nil {
		body["revoke_at"] = milli(*v.ends)
	}
	return body
}

func (s *Server) getReview(r *request) answer {
	x := s.reviewed(r.PathValue("id"))
	if x == nil {
		return say(http.StatusNotFound, "not found")
	}
	return answer{http.StatusOK, x.review.json()}
}

// reviewed finds a session by its id or its review's id.
func (s *Server) reviewed(id string) *session {
	for _, x := range s.sessions {
		if x.review != nil && (x.id == id || x.review.id == id) {
			return x
		}
	}
	return nil
}

func (s *Server) putReview(r *request) answer {
	in, refused := read[struct {
		Status string `json:"status"`
	}](r)
	if refused != nil {
		return *refused
	}
	x := s.reviewed(r.PathValue("id"))
	if x == nil {
		return say(http.StatusInternalServerError, "failed updating review status: review not found")
	}
	v := x.review.clone()
	if refused := s.decide(r.actor, x, v, strings.ToUpper(in.Status), s.now().UTC()); refused != nil {
		return *refused
	}
	if between := s.between; between != nil {
		s.mu.Unlock()
		between(r.Request)
		s.mu.Lock()
	}
	if !s.idle {
		s.write(x, v)
	}
	return answer{http.StatusOK, v.json()}
}

// write stores a decided review and overwrites any change since the check.
func (s *Server) write(x *session, v *review) {
	x.keep(s.now())
	x.review = v
	switch v.status {
	case approved:
		x.status = "ready"
	case rejected, revoked:
		x.status = "done"
	}
}

// newReview makes the review of a session. by returns who approves it for a group at once, or nil.
func (s *Server) newReview(c *Connection, lasts time.Duration, by func(group string) *actor) *review {
	v := &review{id: uuid(), kind: onetime, status: approved, seconds: int64(lasts / time.Second), connection: c.ID,
		created: s.stamp()}
	reviewers := c.Reviewers
	if len(reviewers) == 0 {
		reviewers = []string{admin}
	}
	for _, name := range reviewers {
		g := &group{id: uuid(), name: name, status: pending}
		if g.by = by(name); g.by != nil {
			g.status, g.at = approved, v.created
		} else {
			v.status = pending
		}
		v.groups = append(v.groups, g)
	}
	if lasts > 0 {
		v.kind = timed
	}
	return v
}

// decide changes the status of v, the review of x, as who, at a time. An approval restarts its time, even if that has
// passed.
func (s *Server) decide(who actor, x *session, v *review, status string, at time.Time) *answer {
	if refused := s.refuseDecision(who, x, v, status); refused != nil {
		return refused
	}
	eligible, open := false, false
	for _, g := range v.groups {
		if slices.Contains(who.groups, g.name) {
			eligible = true
			g.status, g.by, g.at = status, &who, at
		}
		open = open || g.status != approved
	}
	if !eligible && status != approved {
		v.groups = append(v.groups, &group{id: uuid(), name: admin, status: status, by: &who, at: at})
	}
	if status != approved || !open {
		v.status = status
	}
	if v.status == approved {
		ends := at.Add(time.Duration(v.seconds) * time.Second)
		v.ends = &ends
	}
	return nil
}

// reviews reports whether the actor is in a group that must approve.
func (a actor) reviews(v *review) bool {
	return slices.ContainsFunc(v.groups, func(g *group) bool { return slices.Contains(a.groups, g.name) })
}

// refuseDecision returns the answer to a decision that the gateway refuses, nil if it does not.
func (s *Server) refuseDecision(who actor, x *session, v *review, status string) *answer {
	const failed = "failed updating review status: "
	refuse := func(code int, text string) *answer {
		a := say(code, "%s", text)
		return &a
	}
	mine := x.user.ID == who.id
	switch {
	case s.connections[x.connection] == nil:
		return refuse(http.StatusInternalServerError, failed+"failed fetching connection for review")
	case !slices.Contains([]string{approved, rejected, revoked}, status):
		return refuse(http.StatusInternalServerError, failed+"unknown status")
	case v.status != approved && (v.status != pending || status == revoked):
		return refuse(http.StatusBadRequest, "review is in wrong state")
	case status == approved && mine && !who.admin():
		return refuse(http.StatusBadRequest, "unable to self approve review")
	case status == revoked && v.kind != timed:
		return refuse(http.StatusInternalServerError, failed+"review not found")
	case !mine && !who.admin() && !who.reviews(v):
		return refuse(http.StatusBadRequest, "not eligible for review")
	}
	return nil
}
