package hooptest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// review is what a session has to have to go ahead.
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

// group is a group that has to approve.
type group struct {
	id, name, status string
	by               *actor
	at               time.Time
}

func (v *review) json() map[string]any {
	groups := []any{}
	for _, g := range v.groups {
		body := map[string]any{"id": g.id, "group": g.name, "status": g.status, "reviewed_by": nil, "review_date": nil, "forced_review": false}
		if g.by != nil {
			body["reviewed_by"] = map[string]string{"id": g.by.id, "name": g.by.name, "email": g.by.name, "slack_id": ""}
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

// reviewed finds the session with a review of that id, or of that session's id.
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
	s.write(x, v)
	return answer{http.StatusOK, x.review.json()}
}

// write puts a review that was decided on in the place of the one that is there, whatever that has become meanwhile.
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

// decide changes the status of v, which is the review of x, as who, at a time. An approval begins its time anew, also of
// one that is over.
func (s *Server) decide(who actor, x *session, v *review, status string, at time.Time) *answer {
	refuse := func(code int, text string) *answer {
		a := say(code, "%s", text)
		return &a
	}
	switch {
	case s.connections[x.connection] == nil:
		return refuse(http.StatusInternalServerError, "failed updating review status: failed fetching connection for review")
	case status != approved && status != rejected && status != revoked:
		return refuse(http.StatusInternalServerError, "failed updating review status: unknown status")
	case v.status != pending && v.status != approved, status == revoked && v.status != approved:
		return refuse(http.StatusBadRequest, "review is in wrong state")
	case status == approved && x.user.ID == who.id && !who.admin():
		return refuse(http.StatusBadRequest, "unable to self approve review")
	case status == revoked && v.kind != timed:
		return refuse(http.StatusInternalServerError, "failed updating review status: review not found")
	}
	eligible, open := false, false
	for _, g := range v.groups {
		if slices.Contains(who.groups, g.name) {
			eligible = true
			g.status, g.by, g.at = status, &who, at
		}
		open = open || g.status != approved
	}
	if !eligible {
		if x.user.ID != who.id && !who.admin() {
			return refuse(http.StatusBadRequest, "not eligible for review")
		}
		if status != approved {
			v.groups = append(v.groups, &group{id: uuid(), name: admin, status: status, by: &who, at: at})
		}
	}
	switch {
	case status != approved:
		v.status = status
	case !open:
		v.status = approved
	}
	if v.status == approved {
		ends := at.Add(time.Duration(v.seconds) * time.Second)
		v.ends = &ends
	}
	return nil
}
