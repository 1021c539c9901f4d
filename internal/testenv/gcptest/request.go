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

// Request is what a fault is decided by.
type Request struct {
	// Scope is the resource as grants name it; of a search it is only the kind ("projects/").
	Scope string
	// Verb is getIamPolicy, setIamPolicy, search or list.
	Verb string
	// Number counts requests from 1.
	Number int
}

// Write reports whether it is one.
func (r Request) Write() bool { return r.Verb == setIamPolicy }

// permission is what the caller has to have.
func (r Request) permission() string {
	if strings.HasPrefix(r.Scope, Bucket) {
		return "storage.buckets." + r.Verb
	}
	kind, _, _ := strings.Cut(r.Scope, "/")
	return "resourcemanager." + kind + "." + r.Verb
}

// Fault is what goes wrong with a request; the zero value is nothing.
type Fault struct {
	// Status refuses it with that code, a message, a reason and perhaps a Retry-After.
	Status          int
	Message, Reason string
	RetryAfter      string
	// Downgrade makes a write one in version 1, as something between does that knows no other.
	Downgrade bool
	// Lost breaks the connection instead of an answer: before anything was done, or after all was.
	Lost, After bool
}

// Inject asks f before each request; nil ends it. It may write policies meanwhile.
func (s *Server) Inject(f func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// parse reads what is asked for (https://cloud.google.com/resource-manager/reference/rest/v3 and
// https://cloud.google.com/storage/docs/json_api/v1). What is neither has no verb.
func parse(r *http.Request) Request {
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/v3/"); ok {
		scope, verb, _ := strings.Cut(rest, ":")
		switch {
		case verb == search && r.Method == http.MethodGet && !strings.Contains(scope, "/"):
			return Request{Scope: scope + "/", Verb: verb}
		case (verb == getIamPolicy || verb == setIamPolicy) && r.Method == http.MethodPost:
			return Request{Scope: scope, Verb: verb}
		}
	}
	if path == "/storage/v1/b" && r.Method == http.MethodGet {
		return Request{Scope: Bucket, Verb: list}
	}
	if rest, ok := strings.CutPrefix(path, "/storage/v1/b/"); ok && strings.HasSuffix(rest, "/iam") {
		name, err := url.PathUnescape(strings.TrimSuffix(rest, "/iam"))
		switch {
		case err != nil:
		case r.Method == http.MethodGet:
			return Request{Scope: Bucket + name, Verb: getIamPolicy}
		case r.Method == http.MethodPut:
			return Request{Scope: Bucket + name, Verb: setIamPolicy}
		}
	}
	return Request{}
}
