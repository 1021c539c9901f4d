// Package azuretest serves the part of the Azure Resource Manager that assigns roles, on loopback: role assignments,
// the requests and schedules of Privileged Identity Management, role definitions and subscriptions. It decides who has
// access. It is stricter than Azure: it refuses unknown properties and plain assignments without a principal type.
//
// It follows https://learn.microsoft.com/rest/api/authorization and
// https://learn.microsoft.com/azure/role-based-access-control/troubleshooting.
package azuretest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is one tenant. Its fields are set before use, and its methods change it in use.
type Server struct {
	URL string
	// Clock returns the time; nil means this machine's clock.
	Clock func() time.Time
	// Active is the shortest duration of an assignment with PIM. During that time it cannot be removed.
	Active time.Duration
	// Looks is the number of reads before a request is carried out.
	Looks int
	// Lag is the delay of the lists of assignments and schedules, and RequestLag that of the list of requests.
	Lag, RequestLag time.Duration
	// Stuck, if set, is the status that requests stay in.
	Stuck string
	// Unfound is the number of reads of a new request by its name that find nothing.
	Unfound int
	// Moved is the time by which the service moves an end, or a beginning that is still to come, while it provisions
	// the assignment.
	Moved time.Duration
	// Lose is the number of writes of which the last is carried out and answered with a fault, again and again; 0 loses
	// no answer.
	Lose int
	// PageSize is the number of entries in a page of a list.
	PageSize int

	mu          sync.Mutex
	offset      time.Duration
	scopes      map[string]bool
	principals  map[string]*person
	definitions map[string]string // name by id
	plain       []*assignment
	schedules   []*schedule
	requests    []*request
	settings    map[string]time.Duration // by role id: the longest assignment
	unlicensed  bool
	denied      map[string]bool // actions that the caller may not do
	done        map[string]bool // actions that the caller did
	faults      []Fault
	reads       int
	writes      int
}

type person struct {
	kind  string
	since time.Time // when the authorization service learns of the principal
}

// Fault replaces the next answer.
type Fault struct {
	Status int
	Code   string
	// RetryAfter is the header of that name, in seconds; empty for none.
	RetryAfter string
	// Lost carries the request out before answering with this fault.
	Lost bool
	// Method is the only method that the fault applies to; empty for all.
	Method string
}

// New starts a server that ends with the test, with the built-in roles Reader and Contributor.
func New(t *testing.T) *Server {
	t.Helper()
	s := &Server{
		Active: 5 * time.Minute, PageSize: 100,
		scopes: map[string]bool{}, principals: map[string]*person{}, settings: map[string]time.Duration{},
		denied: map[string]bool{}, done: map[string]bool{},
		definitions: map[string]string{Reader: "Reader", Contributor: "Contributor"},
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// The ids of two built-in roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
const (
	Reader      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	Contributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"
)

// failure is an error answer.
type failure struct {
	status        int
	code, message string
}

func bad(code, format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// provider separates the scope from the kind of object in a path.
const provider = "/providers/Microsoft.Authorization/"

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet {
		s.reads++
	} else {
		s.writes++
	}
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	fault := s.fault(r.Method)
	if fault == nil && s.Lose > 0 && r.Method != http.MethodGet && s.writes%s.Lose == 0 {
		fault = &Fault{Status: http.StatusGatewayTimeout, Code: "GatewayTimeout", Lost: true}
	}
	if fault != nil && !fault.Lost {
		answerFault(w, fault)
		return
	}
	status, body, failed := s.answer(r)
	switch {
	case fault != nil:
		answerFault(w, fault)
	case failed != nil:
		answer(w, failed.status, map[string]any{"error": map[string]string{"code": failed.code,
			"message": failed.message}})
	default:
		answer(w, status, body)
	}
}

// fault takes the next fault for a method.
func (s *Server) fault(method string) *Fault {
	for i, f := range s.faults {
		if f.Method == "" || f.Method == method {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			return &f
		}
	}
	return nil
}

func answerFault(w http.ResponseWriter, f *Fault) {
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	answer(w, f.Status, map[string]any{"error": map[string]string{"code": f.Code, "message": "not now"}})
}

func answer(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

// answer checks a request and routes it.
func (s *Server) answer(r *http.Request) (int, any, *failure) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok || token == "" {
		return 0, nil, &failure{http.StatusUnauthorized, "AuthenticationFailed",
			"Authentication failed. The 'Authorization' header is missing."}
	}
	if r.URL.Query().Get("api-version") == "" {
		return 0, nil, bad("MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all requests.")
	}
	if r.URL.Path == "/subscriptions" {
		return s.listed(r, s.subscriptions())
	}
	i := strings.LastIndex(r.URL.Path, provider)
	if i < 0 {
		return 0, nil, &failure{http.StatusNotFound, "ResourceNotFound", "The resource was not found."}
	}
	scope := "/" + strings.TrimLeft(r.URL.Path[:i], "/")
	kind, name, _ := strings.Cut(r.URL.Path[i+len(provider):], "/")
	verb := map[string]string{http.MethodGet: "read", http.MethodPut: "write", http.MethodDelete: "delete",
		http.MethodPost: "cancel/action"}[r.Method]
	action := "Microsoft.Authorization/" + kind + "/" + verb
	s.done[action] = true
	if s.denied[action] {
		return 0, nil, &failure{http.StatusForbidden, "AuthorizationFailed",
			fmt.Sprintf("The client 'jit-operator' does "+
				"not have authorization to perform action '%s' over scope '%s' or the scope is invalid.", action,
				scope)}
	}
	if !s.scopes[strings.ToLower(scope)] {
		return 0, nil, &failure{http.StatusNotFound, "ResourceGroupNotFound",
			fmt.Sprintf("'%s' could not be found.", scope)}
	}
	return s.route(r, scope, kind, name)
}

// route answers a request about an object or a list of them on a scope.
func (s *Server) route(r *http.Request, scope, kind, name string) (int, any, *failure) {
	filter := r.URL.Query().Get("$filter")
	switch r.Method + " " + kind {
	case "GET roleDefinitions":
		return s.roleDefinitions(r, scope, name)
	case "GET roleAssignments":
		if name != "" {
			return s.getAssignment(scope, name)
		}
		return s.listed(r, s.listAssignments(scope, filter))
	case "PUT roleAssignments":
		return s.putAssignment(r, scope, name)
	case "DELETE roleAssignments":
		return s.deleteAssignment(scope, name)
	case "GET roleAssignmentSchedules":
		if name != "" {
			return s.getSchedule(name)
		}
		return s.listed(r, s.listSchedules(scope, filter))
	case "GET roleAssignmentScheduleRequests":
		if name != "" {
			return s.getRequest(name)
		}
		return s.listed(r, s.listRequests(scope, filter))
	case "PUT roleAssignmentScheduleRequests":
		return s.putRequest(r, scope, name)
	case "POST roleAssignmentScheduleRequests":
		if name, ok := strings.CutSuffix(name, "/cancel"); ok {
			return s.cancel(name)
		}
	}
	return 0, nil, &failure{http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method + " is not served"}
}

// listed answers with one page of a list.
func (s *Server) listed(r *http.Request, all []any) (int, any, *failure) {
	var from int
	if token := r.URL.Query().Get("$skipToken"); token != "" {
		if _, err := fmt.Sscanf(token, "%d", &from); err != nil || from > len(all) {
			return 0, nil, bad("InvalidSkipToken", "The skip token is invalid.")
		}
	}
	to := min(from+s.PageSize, len(all))
	page := map[string]any{"value": append([]any{}, all[from:to]...)}
	if to < len(all) {
		next := *r.URL
		q := next.Query()
		q.Set("$skipToken", fmt.Sprint(to))
		next.RawQuery = q.Encode()
		page["nextLink"] = s.URL + next.String()
	}
	return http.StatusOK, page, nil
}

// read decodes a body. It refuses unknown properties.
func read(r *http.Request, into any) *failure {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return bad("InvalidRequestContent", "The request content was invalid: %v", err)
	}
	return nil
}
