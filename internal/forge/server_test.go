package forge_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// site is a forge that answers from fixed pages. It is stricter than the services: it refuses what they refuse, pages
// lists by two, and fails its first answers as fail says.
type site struct {
	*httptest.Server
	mu sync.Mutex
	// objects are answers by path; a []any is a list.
	objects map[string]any
	// fail holds a handler for each of the first calls.
	fail []http.HandlerFunc
	// allowed checks the headers that every call must have.
	allowed func(http.Header) (status int, message string)
	paths   []string
}

func newSite(t *testing.T, allowed func(http.Header) (int, string), objects map[string]any) *site {
	t.Helper()
	s := &site{objects: objects, allowed: allowed}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := r.URL.EscapedPath()
	s.paths = append(s.paths, path)
	if len(s.fail) > 0 {
		fail := s.fail[0]
		s.fail = s.fail[1:]
		fail(w, r)
		return
	}
	if status, message := s.allowed(r.Header); status != 0 {
		refuse(w, status, message)
		return
	}
	object, ok := s.objects[path]
	if !ok || r.Method != http.MethodGet {
		refuse(w, http.StatusNotFound, "Not Found")
		return
	}
	if list, ok := object.([]any); ok {
		object = s.page(w, r, list)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object) // the client notices
}

// page returns two elements of a list, and points to the next page as RFC 8288 says.
func (s *site) page(w http.ResponseWriter, r *http.Request, list []any) []any {
	const size = 2
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	n = max(n, 1)
	from, to := min((n-1)*size, len(list)), min(n*size, len(list))
	if to < len(list) {
		q := r.URL.Query()
		q.Set("page", strconv.Itoa(n+1))
		w.Header().
			Set("Link", fmt.Sprintf(`<%s%s?page=1>; rel="first", <%s%s?%s>; rel="next"`, s.URL, r.URL.EscapedPath(), s.URL, r.URL.EscapedPath(), q.Encode()))
	}
	return append([]any{}, list[from:to]...)
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message}) // the client notices
}

// answer returns a handler that refuses with these headers.
func answer(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		refuse(w, status, "no")
	}
}

type object = map[string]any
