package hooptest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The statuses of reviews.
const (
	pending  = "PENDING"
	approved = "APPROVED"
	revoked  = "REVOKED"
	rejected = "REJECTED"
)

const (
	timed   = "jit"
	onetime = "onetime"
	// longest is the most that a review may last.
	longest = 48 * time.Hour
	// page and deep are the most that the list of sessions gives at once, and the largest offset.
	page, deep = 100, 10000
	// killing is how long it takes until a session is over that somebody kills.
	killing = 20 * time.Millisecond
)

// session is something that a user does, or may do.
type session struct {
	id, connection string
	user           *User
	correlation    string
	metadata       map[string]any
	verb, status   string
	created        time.Time
	ended          *time.Time
	review         *review
	// until is when the gateway ends a live one.
	until time.Time
	// before is how the session was, the oldest first, each until the time that it bears.
	before []version
}

// version is how a session was until a time.
type version struct {
	until time.Time
	session
}

// keep notes how the session is before it changes at a time.
func (x *session) keep(at time.Time) {
	old := *x
	old.before = nil
	if x.review != nil {
		old.review = x.review.clone()
	}
	x.before = append(x.before, version{at, old})
}

// asOf is the session as it was at a time; nil when there was none.
func (x *session) asOf(at time.Time) *session {
	for i := range x.before {
		if v := &x.before[i]; at.Before(v.until) {
			if v.id == "" {
				return nil
			}
			return &v.session
		}
	}
	return x
}

type provisioning struct {
	UserEmail     string            `json:"user_email"`
	Script        string            `json:"script"`
	Connection    string            `json:"connection"`
	Reviewers     []string          `json:"approved_reviewers"`
	EnvVars       map[string]string `json:"env_vars"`
	Seconds       *int64            `json:"access_duration_sec"`
	Metadata      map[string]any    `json:"metadata"`
	ClientArgs    []string          `json:"client_args"`
	CorrelationID string            `json:"correlation_id"`
}

func (s *Server) provision(r *request) answer {
	in, refused := read[provisioning](r)
	if refused != nil {
		return *refused
	}
	switch {
	case in.UserEmail == "" || in.Connection == "":
		return say(http.StatusBadRequest, "Error:Field validation failed on the 'required' tag")
	case len(in.Metadata) > 20:
		return say(http.StatusUnprocessableEntity, "metadata field must have less than 10 fields")
	case len(in.CorrelationID) > 255:
		return say(http.StatusUnprocessableEntity, "correlation_id must not exceed 255 characters")
	case strings.ContainsFunc(in.CorrelationID, func(c rune) bool { return c < ' ' || c > '~' }):
		return say(http.StatusUnprocessableEntity, "correlation_id must contain only printable ASCII characters")
	}
	who := s.users[in.UserEmail]
	if who == nil {
		return say(http.StatusBadRequest, "user %v not found for exec", r.name)
	}
	conn := s.connection(in.Connection)
	if conn == nil || !r.seesAll() && !s.admits(r.groups, conn) {
		return say(http.StatusBadRequest, "connection %v not found", in.Connection)
	}
	for _, field := range conn.Mandatory {
		if v := in.Metadata[field]; v == nil || v == "" {
			return say(http.StatusUnprocessableEntity, "missing required metadata field: %s", field)
		}
	}
	made := &session{id: uuid(), connection: conn.Name, user: who, correlation: in.CorrelationID, metadata: in.Metadata, verb: "exec", status: "open", created: s.stamp()}
	s.add(made)
	var lasts time.Duration
	if in.Seconds != nil {
		lasts = time.Duration(*in.Seconds) * time.Second
	}
	if lasts > longest { // the session stays, without a review
		return say(http.StatusInternalServerError, "failed creating review")
	}
	made.review = &review{id: uuid(), kind: onetime, status: approved, seconds: int64(lasts / time.Second), connection: conn.ID, created: s.stamp()}
	if lasts > 0 {
		made.verb, made.review.kind = "connect", timed
		ends := made.review.created.Add(lasts)
		made.review.ends = &ends
	}
	reviewers := conn.Reviewers
	if len(reviewers) == 0 {
		reviewers, in.Reviewers = []string{admin}, []string{admin}
	}
	for _, name := range reviewers {
		g := &group{id: uuid(), name: name, status: pending}
		if in.Reviewers == nil || slices.Contains(in.Reviewers, name) {
			g.status, g.by, g.at = approved, &r.actor, made.review.created
		} else {
			made.review.status = pending
		}
		made.review.groups = append(made.review.groups, g)
	}
	if made.review.status == approved {
		made.status = "ready"
	}
	return answer{http.StatusAccepted, map[string]any{"session_id": made.id, "user_email": who.Email, "has_review": made.review.status != approved}}
}

// add adds a session that is made now.
func (s *Server) add(x *session) {
	x.before = []version{{until: s.now()}}
	s.sessions = append(s.sessions, x)
}

func (s *Server) listSessions(r *request) answer {
	q := r.URL.Query()
	wrong := func(name, why string) answer {
		return say(http.StatusUnprocessableEntity, "failed listing sessions, invalid %q option: %s", name, why)
	}
	limit, offset := page, 0
	for name, into := range map[string]*int{"limit": &limit, "offset": &offset} {
		if text, given := get(q, name); given {
			n, err := strconv.Atoi(text)
			if err != nil {
				return wrong(name, "it is not a number")
			}
			*into = n
		}
	}
	if limit < 1 || offset < 0 || offset > deep {
		return wrong("offset", "out of range")
	}
	limit = min(limit, page)
	var start, end time.Time
	for name, into := range map[string]*time.Time{"start_date": &start, "end_date": &end} {
		if text, given := get(q, name); given {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return wrong(name, "start_date or end_date in wrong format")
			}
			*into = at
		}
	}
	if !start.IsZero() && end.IsZero() {
		end = s.now().UTC().Truncate(time.Second) // what is of this second is left out
	}
	var found []*session
	for _, x := range slices.Backward(s.sessions) {
		if s.lag > 0 {
			if x = x.asOf(s.now().Add(-s.lag)); x == nil {
				continue
			}
		}
		if !r.mayList(x) || !start.IsZero() && (x.created.Before(start) || x.created.After(end)) {
			continue
		}
		status := ""
		if x.review != nil {
			status = x.review.status
		}
		if fits(q, "user", x.user.ID) && fits(q, "connection", x.connection) && fits(q, "review.status", status) && same(q, "correlation_id", x.correlation) {
			found = append(found, x)
		}
	}
	from := min(offset, len(found))
	to := min(from+limit, len(found))
	data := []any{}
	for _, x := range found[from:to] {
		data = append(data, x.json())
	}
	return answer{http.StatusOK, map[string]any{"data": data, "total": nil, "total_is_capped": false, "has_next_page": to < len(found)}}
}

// mayList reports whether the list of sessions has one for the actor: users see their own and those that they may
// review, and an API key that is neither an administrator's nor an auditor's sees none, for it is no user
// (gateway/models/session.go, sessionListVisibilityCondition).
func (a actor) mayList(x *session) bool {
	if a.seesAll() || x.user.ID == a.id {
		return true
	}
	return !a.key && x.review != nil && slices.ContainsFunc(x.review.groups, func(g *group) bool { return slices.Contains(a.groups, g.name) })
}

// get returns the first value of a query parameter.
func get(q url.Values, name string) (value string, given bool) {
	values := q[name]
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

// same compares with a parameter that is an exact filter, unless it is not given or empty.
func same(q url.Values, name, value string) bool {
	want, given := get(q, name)
	return !given || want == "" || want == value
}

// fits compares with a parameter that is a pattern of SQL's LIKE, unless it is not given.
func fits(q url.Values, name, value string) bool {
	pattern, given := get(q, name)
	return !given || like(pattern, value)
}

func like(pattern, value string) bool {
	switch {
	case pattern == "":
		return value == ""
	case pattern[0] == '%':
		return like(pattern[1:], value) || value != "" && like(pattern, value[1:])
	case value == "" || pattern[0] != '_' && pattern[0] != value[0]:
		return false
	}
	return like(pattern[1:], value[1:])
}

// expire ends the live sessions whose time is over.
func (s *Server) expire() {
	for _, x := range s.sessions {
		if x.ended == nil && !x.until.IsZero() && !s.now().Before(x.until) {
			at := x.until
			x.keep(at)
			x.ended, x.status = &at, "done"
		}
	}
}

// session finds one by its id.
func (s *Server) session(id string) *session {
	for _, x := range s.sessions {
		if x.id == id {
			return x
		}
	}
	return nil
}

func (s *Server) getSession(r *request) answer {
	x := s.session(r.PathValue("id"))
	switch {
	case x == nil:
		return say(http.StatusNotFound, "not found")
	case x.user.ID != r.id && !r.seesAll():
		return say(http.StatusForbidden, "user is not allowed to access this session")
	}
	return answer{http.StatusOK, x.json()}
}

func (s *Server) kill(r *request) answer {
	x := s.session(r.PathValue("id"))
	if x == nil || x.user.ID != r.id && !r.admin() {
		return say(http.StatusNotFound, "session not found")
	}
	// The replica that holds the session ends it in the background. Any other one finds nothing to end and says the
	// same (gateway/transport/system/session.go).
	if x.ended == nil && x.status == "open" && !s.stranded[x.id] {
		x.until = s.now().UTC().Add(killing)
	}
	return answer{status: http.StatusNoContent}
}

// milli is how the gateway writes the times of a review.
func milli(t time.Time) string { return t.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano) }

func (x *session) json() map[string]any {
	body := map[string]any{
		"id": x.id, "user": x.user.Email, "user_id": x.user.ID, "connection": x.connection, "metadata": x.metadata,
		"verb": x.verb, "status": x.status, "start_date": x.created.Format(time.RFC3339Nano), "end_date": x.ended, "review": nil,
	}
	if x.correlation != "" {
		body["correlation_id"] = x.correlation
	}
	if x.review != nil {
		body["review"] = x.review.json()
	}
	return body
}

// fail is for what a test gets wrong itself.
func fail(format string, args ...any) { panic(fmt.Sprintf("hooptest: "+format, args...)) }
