// Package hooptest is a hoop gateway in memory, for tests. It has the part of the API that gives access to connections,
// with the real gateway's answers, including odd ones, and decides who may connect where. It is stricter than the real
// one: it refuses fields and query parameters that the gateway would ignore, with status 400.
//
// It follows the gateway's API description (https://hoop.dev/docs/api-reference) and its source
// (https://github.com/hoophq/hoop, folders gateway/api and gateway/models).
package hooptest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Key is the API key of an administrator.
const Key = "hpk_test-of-an-administrator"

// The groups admin and auditor may see everything; admin may change it. They are also roles. Everybody else has the
// role standard.
const (
	admin    = "admin"
	auditor  = "auditor"
	standard = "standard"
)

// Server is one gateway. It is safe for concurrent use.
type Server struct {
	// URL is the gateway's address.
	URL string

	now func() time.Time

	mu            sync.Mutex
	actors        map[string]actor // by their token
	users         map[string]*User // by their e-mail
	groups        map[string]bool
	connections   map[string]*Connection
	accessControl bool
	sessions      []*session // in the order of their creation
	attributes    map[string]*Attribute
	// before are earlier attributes, the oldest first. idle: the gateway answers that it has deleted one, and has not.
	before        []former
	idle          bool
	rules         []*Rule
	last          time.Time
	reads, writes int
	cut           func(r *http.Request) Cut
	// lag is the delay of the lists of sessions and attributes. stranded are the sessions that another replica holds.
	lag      time.Duration
	stranded map[string]bool
	// between is called between the check and the write of a decision.
	between func(r *http.Request)
}

// actor is the user or key that makes a request.
type actor struct {
	id, name string
	groups   []string
	key      bool // an API key, not a user
}

func (a actor) admin() bool   { return slices.Contains(a.groups, admin) }
func (a actor) seesAll() bool { return a.admin() || slices.Contains(a.groups, auditor) }

// role returns the gateway's role of the actor.
func (a actor) role() string {
	switch {
	case a.admin():
		return admin
	case slices.Contains(a.groups, auditor):
		return auditor
	}
	return standard
}

// New starts a gateway on loopback, with access control and one API key, [Key]; it ends with the test. now is its
// clock; nil means time.Now.
func New(t testing.TB, now func() time.Time) *Server {
	t.Helper()
	if now == nil {
		now = time.Now
	}
	s := &Server{
		now: now, actors: map[string]actor{}, users: map[string]*User{},
		groups: map[string]bool{admin: true, auditor: true}, connections: map[string]*Connection{}, accessControl: true,
		attributes: map[string]*Attribute{}, stranded: map[string]bool{},
	}
	s.AddKey(Key, "jit", admin)
	web := httptest.NewServer(s.handler())
	t.Cleanup(web.Close)
	s.URL = web.URL
	return s
}

// Cut says how a request fails.
type Cut int

// The ways in which a request can fail.
const (
	// Through means that it does not fail.
	Through Cut = iota
	// Lost means that the request does not arrive, so it is not carried out.
	Lost
	// Unanswered means that it is carried out and its answer is lost.
	Unanswered
	// Unavailable means that a proxy answers with 503 and it is not carried out.
	Unavailable
	// Failing means that the gateway answers with 500 and does not carry it out.
	Failing
	// Busy means that the gateway answers with 429 and a Retry-After of a second, and does not carry it out.
	Busy
	// Late means that its connection is cut and it is carried out [Delay] later.
	Late
)

// Delay is the time until a [Late] request is carried out.
const Delay = 400 * time.Millisecond

// Interrupt calls cut for each request from now on. nil stops that.
func (s *Server) Interrupt(cut func(r *http.Request) Cut) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = cut
}

// Lag makes the lists of sessions and attributes show an earlier state, as a replica of a database may.
func (s *Server) Lag(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = d
}

// Idle makes the gateway answer that it has deleted an attribute, or revoked a review, and do nothing.
func (s *Server) Idle(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = on
}

// Between calls f, which may use the gateway, between the check and the write of each decision on a review; nil ends
// that. The gateway reads a review, checks its status and writes it, without a lock
// (gateway/api/review/review.go, DoReview).
func (s *Server) Between(f func(r *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.between = f
}

// Calls counts the requests so far: those with GET, and the others.
func (s *Server) Calls() (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, s.writes
}

// request is one request with its actor.
type request struct {
	*http.Request
	actor
}

// answer is a status and a body, written as JSON unless it is nil.
type answer struct {
	status int
	body   any
}

func say(status int, format string, args ...any) answer {
	return answer{status, map[string]string{"message": fmt.Sprintf(format, args...)}}
}

// route is one endpoint: the roles that may use it and which query parameters it takes.
type route struct {
	pattern string
	handle  func(*request) answer
	roles   []string
	keys    bool // API keys only
	query   []string
}

// The roles of routes. A route without roles is for everybody except auditors (gateway/api/apiroutes/roles.go).
var (
	anyone    = []string{standard, auditor}
	overseers = []string{auditor}
	admins    = []string{admin}
)

// refuse returns the status of a refusal, 0 for none.
func (r route) refuse(a actor) int {
	role := a.role()
	switch {
	case role != admin && !slices.Contains(r.roles, role) && (role == auditor || len(r.roles) > 0):
		return http.StatusForbidden
	case r.keys && !a.key:
		return http.StatusUnauthorized
	}
	return 0
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range []route{
		{pattern: "GET /api/userinfo", handle: s.getUserInfo, roles: anyone},
		{pattern: "GET /api/users", handle: s.getUsers, roles: anyone},
		{pattern: "GET /api/users/groups", handle: s.getGroups, roles: anyone},
		{pattern: "GET /api/users/{user}", handle: s.getUser, roles: anyone},
		{pattern: "GET /api/connections/{name}", handle: s.getConnection, roles: anyone},
		{pattern: "GET /api/plugins/access_control", handle: s.getAccessControl, roles: anyone},
		{pattern: "GET /api/access-requests/rules", handle: s.listRules, roles: overseers,
			query: []string{"page", "page_size"}},
		{pattern: "GET /api/sessions", handle: s.listSessions, roles: anyone,
			query: []string{"user", "connection", "review.status", "correlation_id", "start_date", "end_date", "limit",
				"offset", "count"}},
		{pattern: "GET /api/sessions/{id}", handle: s.getSession, roles: anyone},
		{pattern: "POST /api/sessions/provision", handle: s.provision, keys: true},
		{pattern: "POST /api/sessions/{id}/kill", handle: s.kill},
		{pattern: "GET /api/reviews/{id}", handle: s.getReview, roles: anyone},
		{pattern: "PUT /api/reviews/{id}", handle: s.putReview},
		{pattern: "GET /api/attributes", handle: s.listAttributes, roles: anyone,
			query: []string{"search", "page", "page_size"}},
		{pattern: "GET /api/attributes/{name}", handle: s.getAttribute, roles: overseers},
		{pattern: "POST /api/attributes", handle: s.postAttribute, roles: admins},
		{pattern: "PUT /api/attributes/{name}", handle: s.putAttribute, roles: admins},
		{pattern: "DELETE /api/attributes/{name}", handle: s.deleteAttribute, roles: admins},
	} {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, q *http.Request) { s.serve(w, q, r) })
	}
	mux.HandleFunc("/api/", http.NotFound)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html") // the web application answers
		_, _ = w.Write([]byte("<!DOCTYPE html><title>Hoop</title>"))
	})
	return mux
}

// serve carries out one request at a time, as the gateway's database does.
func (s *Server) serve(w http.ResponseWriter, q *http.Request, r route) {
	var a answer
	way := s.wayOf(q)
	switch way {
	case Lost:
		panic(http.ErrAbortHandler)
	case Unavailable:
		a = answer{status: http.StatusServiceUnavailable}
	case Failing:
		a = say(http.StatusInternalServerError, "internal server error")
	case Busy:
		w.Header().Set("Retry-After", "1")
		a = say(http.StatusTooManyRequests, "too many requests")
	case Late:
		s.carryOutLate(q, r)
		panic(http.ErrAbortHandler)
	case Through, Unanswered:
		s.mu.Lock()
		a = s.answer(q, r)
		s.mu.Unlock()
	}
	if way == Unanswered {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	if a.body != nil {
		_ = json.NewEncoder(w).Encode(a.body)
	}
}

// wayOf returns how a request fails.
func (s *Server) wayOf(q *http.Request) Cut {
	s.mu.Lock()
	cut := s.cut
	s.mu.Unlock()
	if cut == nil {
		return Through
	}
	return cut(q)
}

// carryOutLate carries out a request after [Delay], although its client is gone.
func (s *Server) carryOutLate(q *http.Request, r route) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		fail("read a request: %v", err)
	}
	late := q.Clone(context.WithoutCancel(q.Context()))
	late.Body = io.NopCloser(bytes.NewReader(body))
	time.AfterFunc(Delay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answer(late, r)
	})
}

func (s *Server) answer(q *http.Request, r route) answer {
	if q.Method == http.MethodGet {
		s.reads++
	} else {
		s.writes++
	}
	s.expire()
	token, bearer := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
	if old := q.Header.Get("Api-Key"); strings.HasPrefix(old, "xapi-") { // an older key has its own header
		token, bearer = old, true
	} else if strings.HasPrefix(token, "xapi-") {
		bearer = false
	}
	who, known := s.actors[token]
	if !bearer || !known {
		return say(http.StatusUnauthorized, "access denied")
	}
	if status := r.refuse(who); status != 0 {
		return say(status, "access denied")
	}
	// Like the gateway, it ignores a parameter that cannot be read.
	for name := range q.URL.Query() {
		if !slices.Contains(r.query, name) {
			return say(http.StatusBadRequest, "%s does not take %q", r.pattern, name)
		}
	}
	return r.handle(&request{q, who})
}

// read reads the body as JSON. It refuses other text, and fields that the endpoint does not know.
func read[T any](r *request) (in T, refused *answer) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		a := say(http.StatusBadRequest, "%v", err)
		return in, &a
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		a := say(http.StatusBadRequest, "it is not JSON")
		return in, &a
	}
	return in, nil
}

// stamp returns the time in microseconds, and never the same time twice.
func (s *Server) stamp() time.Time {
	at := s.now().UTC().Truncate(time.Microsecond)
	if !at.After(s.last) {
		at = s.last.Add(time.Microsecond)
	}
	s.last = at
	return at
}

// uuid makes a random id.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
