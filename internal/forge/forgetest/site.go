// Package forgetest serves a pull request as GitHub and GitLab do. It is stricter than the services: it refuses what
// they refuse, and pages its lists by two.
package forgetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// Object is JSON.
type Object = map[string]any

// Site is a forge that answers from fixed pages.
type Site struct {
	*httptest.Server
	// Objects are answers by path; an []any is a list. Change it between calls only.
	Objects map[string]any
	// Fail holds a handler for each of the first calls.
	Fail []http.HandlerFunc
	// Paths are the paths of all calls.
	Paths []string

	mu sync.Mutex
	// allowed checks the headers that every call must have.
	allowed func(http.Header) (status int, message string)
}

func newSite(t testing.TB, allowed func(http.Header) (int, string), objects map[string]any) *Site {
	t.Helper()
	s := &Site{Objects: objects, allowed: allowed}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP answers a call.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := r.URL.EscapedPath()
	s.Paths = append(s.Paths, path)
	if len(s.Fail) > 0 {
		fail := s.Fail[0]
		s.Fail = s.Fail[1:]
		fail(w, r)
		return
	}
	if status, message := s.allowed(r.Header); status != 0 {
		refuse(w, status, message)
		return
	}
	object, ok := s.Objects[path]
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
func (s *Site) page(w http.ResponseWriter, r *http.Request, list []any) []any {
	const size = 2
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	n = max(n, 1)
	from, to := min((n-1)*size, len(list)), min(n*size, len(list))
	if to < len(list) {
		q := r.URL.Query()
		q.Set("page", strconv.Itoa(n+1))
		at := s.URL + r.URL.EscapedPath()
		w.Header().Set("Link", fmt.Sprintf(`<%s?page=1>; rel="first", <%s?%s>; rel="next"`, at, at, q.Encode()))
	}
	return append([]any{}, list[from:to]...)
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message}) // the client notices
}
