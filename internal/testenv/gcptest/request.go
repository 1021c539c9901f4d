package gcptest

import (
	"net/http"
	"net/url"
	"strings"
)

// The verbs of requests.
const (
	getIamPolicy = "getIamPolicy"
	setIamPolicy = "setIamPolicy"
	search       = "search"
	list         = "list"
)

// Request describes a request to the function of [Server.Inject].
type Request struct {
	// Scope is the resource as grants name it, or only the kind of a search ("projects/").
	Scope string
	// Verb is getIamPolicy, setIamPolicy, search or list.
	Verb string
	// Number counts requests from 1.
	Number int
}

// Write reports whether the request writes.
func (r Request) Write() bool { return r.Verb == setIamPolicy }

// permission is the permission that the caller needs.
func (r Request) permission() string {
	if strings.HasPrefix(r.Scope, Bucket) {
		return "storage.buckets." + r.Verb
	}
	kind, _, _ := strings.Cut(r.Scope, "/")
	return "resourcemanager." + kind + "." + r.Verb
}

// Fault is the fault of one request. The zero value is no fault.
type Fault struct {
	// Status refuses the request with that code, a message, a reason and perhaps a Retry-After.
	Status          int
	Message, Reason string
	RetryAfter      string
	// Downgrade makes a write one in version 1, like a proxy that knows no other.
	Downgrade bool
	// Lost breaks the connection instead of answering, before the request is carried out or, with After, afterwards.
	Lost, After bool
}

// Inject calls f before each request, which may write policies. nil stops that.
func (s *Server) Inject(f func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// parse reads a request (https://cloud.google.com/resource-manager/reference/rest/v3 and
// https://cloud.google.com/storage/docs/json_api/v1). A request of neither API has no verb.
func parse(r *http.Request) Request {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v3/"); ok {
		return parseResource(r.Method, rest)
	}
	if r.URL.Path == "/storage/v1/b" && r.Method == http.MethodGet {
		return Request{Scope: Bucket, Verb: list}
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/storage/v1/b/")
	escaped, iam := strings.CutSuffix(rest, "/iam")
	name, err := url.PathUnescape(escaped)
	verb := map[string]string{http.MethodGet: getIamPolicy, http.MethodPut: setIamPolicy}[r.Method]
	if !ok || !iam || err != nil || verb == "" {
		return Request{}
	}
	return Request{Scope: Bucket + name, Verb: verb}
}

// parseResource reads a request about a project, folder or organization.
func parseResource(method, rest string) Request {
	scope, verb, _ := strings.Cut(rest, ":")
	switch {
	case verb == search && method == http.MethodGet && !strings.Contains(scope, "/"):
		return Request{Scope: scope + "/", Verb: verb}
	case (verb == getIamPolicy || verb == setIamPolicy) && method == http.MethodPost:
		return Request{Scope: scope, Verb: verb}
	}
	return Request{}
}
