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
	// longest is the limit of a review.
	longest = 48 * time.Hour
	// page is the largest page of the list of sessions, and deep the largest offset.
	page, deep = 100, 10000
	// killing is the time that a killed session takes to end.
	killing = 20 * time.Millisecond
)

// session is a running or future connection or command of a user.
type session struct {
	id, connection string
	user           *User
	correlation    string
	metadata       map[string]any
	verb, status   string
	created        time.Time
	ended          *time.Time
	review         *review
	// until is when the gateway ends a live session.
	until time.Time
	// before are the earlier versions of the session, the oldest first.
	before []version
}

// version is the state of a session until a time.
type version struct {
	until time.Time
	session
}

// keep stores the session before it changes at a time.
func (x *session) keep(at time.Time) {
	old := *x
	old.before = nil
	if x.review != nil {
		old.review = x.review.clone()
	}
	x.before = append(x.before, version{at, old})
}

// asOf returns the session's state at a time; nil if it did not exist.
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
	Seconds       int64             `json:"access_duration_sec"`
	Metadata      map[string]any    `json:"metadata"`
	ClientArgs    []string          `json:"client_args"`
	CorrelationID string            `json:"correlation_id"`
}

func (s *Server) provision(r *request) answer {
	in, refused := read[provisioning](r)
	if refused == nil {
		refused = in.check()
	}
	if refused != nil {
		return *refused
	}
	who, conn := s.users[in.UserEmail], s.connection(in.Connection)
	if who == nil {
		return say(http.StatusBadRequest, "user %v not found for exec", r.name)
	}
	if conn == nil || !r.seesAll() && !s.admits(r.groups, conn) {
		return say(http.StatusBadRequest, "connection %v not found", in.Connection)
	}
	if i := slices.IndexFunc(conn.Mandatory, in.lacks); i >= 0 {
		return say(http.StatusUnprocessableEntity, "missing required metadata field: %s", conn.Mandatory[i])
	}
	made := &session{id: uuid(), connection: conn.Name, user: who, correlation: in.CorrelationID, metadata: in.Metadata,
		verb: "exec", status: "open", created: s.stamp()}
	s.add(made)
	lasts := time.Duration(in.Seconds) * time.Second
	if lasts > longest { // the session stays, without a review
		return say(http.StatusInternalServerError, "failed creating review")
	}
	made.review = s.newReview(conn, lasts, func(group string) *actor {
		if in.Reviewers == nil || len(conn.Reviewers) == 0 || slices.Contains(in.Reviewers, group) {
			return &r.actor
		}
		return nil
	})
	if lasts > 0 {
		made.verb = "connect"
		ends := made.review.created.Add(lasts)
		made.review.ends = &ends
	}
	if made.review.status == approved {
		made.status = "ready"
	}
	return answer{http.StatusAccepted, map[string]any{
		"session_id": made.id, "user_email": who.Email, "has_review": made.review.status != approved,
	}}
}

func (in *provisioning) lacks(field string) bool {
	return in.Metadata[field] == nil || in.Metadata[field] == ""
}

// check refuses a request that no gateway accepts.
func (in *provisioning) check() *answer {
	refuse := func(status int, text string) *answer {
		a := say(status, "%s", text)
		return &a
	}
	switch {
	case in.UserEmail == "" || in.Connection == "":
		return refuse(http.StatusBadRequest, "Error:Field validation failed on the 'required' tag")
	case len(in.Metadata) > 20:
		return refuse(http.StatusUnprocessableEntity, "metadata field must have less than 10 fields")
	case len(in.CorrelationID) > 255:
		return refuse(http.StatusUnprocessableEntity, "correlation_id must not exceed 255 characters")
	case strings.ContainsFunc(in.CorrelationID, func(c rune) bool { return c < ' ' || c > '~' }):
		return refuse(http.StatusUnprocessableEntity, "correlation_id must contain only printable ASCII characters")
	}
	return nil
}

// add adds a new session.
func (s *Server) add(x *session) {
	x.before = []version{{until: s.now()}}
	s.sessions = append(s.sessions, x)
}

// listing holds the parameters of a request for the list of sessions.
type listing struct {
	url.Values
	limit, offset int
	start, end    time.Time
}

// parseListing reads the parameters of a request. wrong names an unreadable one.
func (s *Server) parseListing(q url.Values) (l listing, wrong string) {
	l = listing{Values: q, limit: page}
	for name, into := range map[string]*int{"limit": &l.limit, "offset": &l.offset} {
		if q.Has(name) {
			n, err := strconv.Atoi(q.Get(name))
			if err != nil {
				return l, name
			}
			*into = n
		}
	}
	if l.limit < 1 || l.offset < 0 || l.offset > deep {
		return l, "offset"
	}
	for name, into := range map[string]*time.Time{"start_date": &l.start, "end_date": &l.end} {
		if q.Has(name) {
			at, err := time.Parse(time.RFC3339, q.Get(name))
			if err != nil {
				return l, name
			}
			*into = at
		}
	}
	if !l.start.IsZero() && l.end.IsZero() {
		l.end = s.now().UTC().Truncate(time.Second) // the current second is left out
	}
	return l, ""
}

// matches reports whether the list has a session.
func (l listing) matches(x *session) bool {
	if !l.start.IsZero() && (x.created.Before(l.start) || x.created.After(l.end)) {
		return false
	}
	status := ""
	if x.review != nil {
		status = x.review.status
	}
	id := l.Get("correlation_id") // the only exact filter
	return l.fits("user", x.user.ID) && l.fits("connection", x.connection) && l.fits("review.status", status) &&
		(id == "" || id == x.correlation)
}

func (s *Server) listSessions(r *request) answer {
	l, wrong := s.parseListing(r.URL.Query())
	if wrong != "" {
		return say(http.StatusUnprocessableEntity, "failed listing sessions, invalid %q option", wrong)
	}
	var found []*session
	for _, x := range slices.Backward(s.sessions) {
		if s.lag > 0 {
			x = x.asOf(s.now().Add(-s.lag))
		}
		if x != nil && r.mayList(x) && l.matches(x) {
			found = append(found, x)
		}
	}
	from := min(l.offset, len(found))
	to := min(from+min(l.limit, page), len(found))
	data := []any{}
	for _, x := range found[from:to] {
		data = append(data, x.json())
	}
	return answer{http.StatusOK, map[string]any{
		"data": data, "total": nil, "total_is_capped": false, "has_next_page": to < len(found),
	}}
}

// mayList reports whether the actor's list has a session. Users see their own and those that they may review. A key
// is no user, so one that is neither an administrator's nor an auditor's sees none (gateway/models/session.go,
// sessionListVisibilityCondition).
func (a actor) mayList(x *session) bool {
	if a.seesAll() || x.user.ID == a.id {
		return true
	}
	return !a.key && x.review != nil && a.reviews(x.review)
}

// fits compares a text with a parameter in the form of SQL's LIKE. A missing parameter fits every text.
func (l listing) fits(name, value string) bool { return !l.Has(name) || like(l.Get(name), value) }

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

// expire ends the live sessions whose time has passed.
func (s *Server) expire() {
	for _, x := range s.sessions {
		if x.ended == nil && !x.until.IsZero() && !s.now().Before(x.until) {
			at := x.until
			x.keep(at)
			x.ended, x.status = &at, "done"
		}
	}
}

// session finds a session by its id.
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
	// The replica that holds the session ends it in the background. Any other finds nothing to end and gives the same
	// answer (gateway/transport/system/session.go).
	if x.ended == nil && x.status == "open" && !s.stranded[x.id] {
		x.until = s.now().UTC().Add(killing)
	}
	return answer{status: http.StatusNoContent}
}

// milli formats a review's time as the gateway does.
func milli(t time.Time) string { return t.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano) }

func (x *session) json() map[string]any {
	body := map[string]any{
		"id": x.id, "user": x.user.Email, "user_id": x.user.ID, "connection": x.connection, "metadata": x.metadata,
		"verb": x.verb, "status": x.status, "start_date": x.created.Format(time.RFC3339Nano), "end_date": x.ended,
		"review": nil,
	}
	if x.correlation != "" {
		body["correlation_id"] = x.correlation
	}
	if x.review != nil {
		body["review"] = x.review.json()
	}
	return body
}

// fail reports a mistake in the test itself.
func fail(format string, args ...any) { panic(fmt.Sprintf("hooptest: "+format, args...)) }
