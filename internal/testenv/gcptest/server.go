// Package gcptest serves Google Cloud's policies for tests: those of all [Kinds] of resources, over their REST APIs. It refuses the same requests as the service and decides who has access at a time. Where the
// documentation leaves a choice, it takes the stricter one.
package gcptest

import (
	"cmp"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
)

// Server is one world of resources, accounts and roles. It is safe for concurrent use.
type Server struct {
	// URL is the address of all APIs, on loopback.
	URL string

	mu        sync.Mutex
	resources map[string]*resource
	accounts  map[string]bool
	groups    map[string][]string
	deleted   map[string]bool
	roles     map[string][]string
	etags     int
	env       *cel.Env
	programs  map[string]program

	key       *rsa.PrivateKey
	tokens    map[string]bool // nil: requests need no token
	payer     string          // the quota project that requests must name; empty: none
	accountID map[string]bool // service accounts that may be impersonated
	may       func(permission string) bool
	grantable []string // nil: every role
	fault     func(Request) Fault
	latency   time.Duration
	lag       time.Duration
	offset    time.Duration
	reads     int
	writes    int
	blind     int
	conflicts int
}

// resource is one of one of the [Kinds].
type resource struct {
	scope, parent string
	kind          *Kind
	state         string
	uniform       bool // of a bucket: uniform bucket-level access
	policy        Policy
	past          []past
}

// New starts a server for the test, with a few predefined roles and without resources and accounts.
func New(t testing.TB) *Server {
	t.Helper()
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		env: env, programs: map[string]program{},
		resources: map[string]*resource{}, accounts: map[string]bool{}, groups: map[string][]string{},
		deleted: map[string]bool{},
		may:     func(string) bool { return true }, accountID: map[string]bool{},
		roles: map[string][]string{
			"roles/owner": {"*"}, "roles/editor": {"*"}, "roles/viewer": {"resourcemanager.projects.get"},
			"roles/cloudsql.client":      {"cloudsql.instances.connect"},
			"roles/logging.viewer":       {"logging.logEntries.list"},
			"roles/storage.objectViewer": {"storage.objects.get", "storage.objects.list"},
			"roles/storage.objectAdmin": {
				"storage.objects.get", "storage.objects.list", "storage.objects.create", "storage.objects.delete",
			},
		},
	}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

// Bucket starts the scope of a bucket.
const Bucket = "//storage.googleapis.com/projects/_/buckets/"

// Add makes a resource, named as grants name it, under a parent, which may be empty.
func (s *Server) Add(scope, parent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources[scope] = &resource{
		scope: scope, parent: parent, kind: kindOf(scope), state: "ACTIVE", uniform: true, policy: Policy{Etag: s.etag()},
	}
}

// Delete deletes a resource.
func (s *Server) Delete(scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.resources, scope)
}

// FineGrained turns off a bucket's uniform bucket-level access.
func (s *Server) FineGrained(scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources[scope].uniform = false
}

// AddAccounts makes accounts, named as members of policies.
func (s *Server) AddAccounts(members ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range members {
		s.accounts[m] = true
	}
}

// AddGroup makes a group of accounts.
func (s *Server) AddGroup(group string, members ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[group] = true
	s.groups[group] = members
}

// AddRole makes a role.
func (s *Server) AddRole(name string, permissions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[name] = permissions
}

// Deny takes permissions from the caller. Without arguments it restores all.
func (s *Server) Deny(permissions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.may = func(p string) bool { return !slices.Contains(permissions, p) }
}

// Permit leaves the caller only these permissions.
func (s *Server) Permit(permissions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.may = func(p string) bool { return slices.Contains(permissions, p) }
}

// Grantable lets the caller grant and revoke only these roles, like a condition on api.getAttribute(
// "iam.googleapis.com/modifiedGrantsByRole") (https://cloud.google.com/iam/docs/setting-limits-on-granting-roles).
func (s *Server) Grantable(roles ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grantable = roles
}

// SetLatency delays every answer.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// SetLag makes reads show policies as they were so long ago.
func (s *Server) SetLag(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = d
}

// SetClock moves the server's clock forward.
func (s *Server) SetClock(offset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = offset
}

// Calls counts the reading requests so far, including searches, and the writing ones.
func (s *Server) Calls() (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, s.writes
}

// Blind counts the writes so far without an etag.
func (s *Server) Blind() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blind
}

// Conflicts counts the writes so far that lost a race.
func (s *Server) Conflicts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conflicts
}

// failure is an error of the API.
type failure struct {
	code    int
	status  string
	message string
}

func refuse(code int, status, format string, args ...any) *failure {
	return &failure{code, status, fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *failure {
	return refuse(http.StatusBadRequest, "INVALID_ARGUMENT", format, args...)
}

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if s.authenticate(w, r) {
		return
	}
	request := parse(r)
	s.mu.Lock()
	fault, latency := s.fault, s.latency
	if request.Verb == setIamPolicy {
		s.writes++
	} else {
		s.reads++
	}
	request.Number = s.reads + s.writes
	s.mu.Unlock()
	time.Sleep(latency)
	var f Fault
	if fault != nil {
		f = fault(request)
	}
	if f.Lost && !f.After {
		hangUp(w)
		return
	}
	if f.Status != 0 {
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		s.answer(w, request, nil, refuse(f.Status, cmp.Or(f.Reason, http.StatusText(f.Status)), "%s", f.Message))
		return
	}
	answer, failed := s.handle(request, r, f)
	if f.Lost {
		hangUp(w)
		return
	}
	s.answer(w, request, answer, failed)
}

func hangUp(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			_ = conn.Close()
		}
	}
}

// answer writes the answer with the server's own time.
func (s *Server) answer(w http.ResponseWriter, request Request, body any, failed *failure) {
	s.mu.Lock()
	now := time.Now().Add(s.offset)
	s.mu.Unlock()
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json")
	if failed != nil {
		said := map[string]any{"code": failed.code, "message": failed.message, "status": failed.status}
		if request.kind != nil && request.kind.Precondition {
			said["errors"] = []map[string]string{
				{"message": failed.message, "domain": "global", "reason": failed.status},
			}
		}
		body = map[string]any{"error": said}
		w.WriteHeader(failed.code)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // access entries are shown as they were written
	_ = e.Encode(body)
}

// handle carries out a request.
func (s *Server) handle(request Request, r *http.Request, f Fault) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch request.Verb {
	case search:
		return s.search(request, r)
	case list:
		return s.list(r)
	case getIamPolicy, setIamPolicy:
	default:
		return nil, refuse(http.StatusNotFound, "NOT_FOUND", "Method not found.")
	}
	permission := request.permission()
	at, there := s.resources[request.Scope]
	if request.kind.dataset() && !there {
		at = s.anyCase(request.Scope)
		there = at != nil
	}
	switch {
	case !s.may(permission) && request.kind.storage():
		return nil, refuse(http.StatusForbidden, "forbidden", "caller does not have %s access to the Google Cloud "+
			"Storage bucket. Permission '%[1]s' denied on resource (or it may not exist).", permission)
	case !s.may(permission), !there && request.kind.Name == "projects/{}":
		// The service does not reveal whether a project exists
		// (https://cloud.google.com/resource-manager/reference/rest/v3/projects/getIamPolicy).
		return nil, refuse(http.StatusForbidden, "PERMISSION_DENIED", "The caller does not have permission")
	case !there:
		return nil, refuse(http.StatusNotFound, "NOT_FOUND", "The specified resource does not exist.")
	case request.kind.dataset() && !s.may("bigquery.datasets."+map[string]string{
		getIamPolicy: "get", setIamPolicy: "update"}[request.Verb]):
		return nil, refuse(http.StatusForbidden, "accessDenied", "Access Denied: Dataset %s", request.Scope)
	case request.Verb == getIamPolicy:
		return s.getPolicy(at, r)
	}
	return s.setPolicy(at, r, f.Downgrade)
}

// pageSize is small, so that lists have several pages.
const pageSize = 2

// search lists the projects, folders or organizations.
func (s *Server) search(request Request, r *http.Request) (any, *failure) {
	kind := strings.TrimSuffix(request.Scope, "/")
	var found []any
	for _, scope := range s.scopes(request.kind) {
		if !s.may("resourcemanager." + kind + ".get") {
			continue // a search shows only what the caller may see
		}
		one := map[string]string{"name": scope, "state": s.resources[scope].state}
		if kind == "projects" {
			one["projectId"] = strings.TrimPrefix(scope, request.Scope)
			one["name"] = fmt.Sprintf("projects/%d", 100000+len(found))
		}
		found = append(found, one)
	}
	return page(r, kind, found)
}

// list lists the buckets of a project.
func (s *Server) list(r *http.Request) (any, *failure) {
	project := "projects/" + r.URL.Query().Get("project")
	if !s.may("storage.buckets.list") || s.resources[project] == nil {
		return nil, refuse(http.StatusForbidden, "forbidden",
			"caller does not have storage.buckets.list access to the Google Cloud project.")
	}
	var found []any
	for _, scope := range s.scopes(kindOf(Bucket + "any")) {
		if s.resources[scope].parent == project {
			found = append(found, map[string]string{"name": strings.TrimPrefix(scope, Bucket)})
		}
	}
	return page(r, "items", found)
}

func (s *Server) scopes(of *Kind) []string {
	var all []string
	for scope, at := range s.resources {
		if at.kind == of {
			all = append(all, scope)
		}
	}
	slices.Sort(all)
	return all
}

func page(r *http.Request, name string, all []any) (any, *failure) {
	from := 0
	if token := r.URL.Query().Get("pageToken"); token != "" {
		if _, err := fmt.Sscanf(token, "from-%d", &from); err != nil || from > len(all) {
			return nil, invalid("Invalid page token.")
		}
	}
	to := min(from+pageSize, len(all))
	answer := map[string]any{name: all[from:to]}
	if to < len(all) {
		answer["nextPageToken"] = fmt.Sprintf("from-%d", to)
	}
	return answer, nil
}
