package gcptest

import (
	"net/http"
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

	kind *Kind
}

// Write reports whether the request writes.
func (r Request) Write() bool { return r.Verb == setIamPolicy }

// permission is the permission that the caller needs.
func (r Request) permission() string { return r.kind.Permission + "." + r.Verb }

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

// parse reads a request. One that no API has is without a verb.
func parse(r *http.Request) Request {
	if r.URL.Path == "/storage/v1/b" && r.Method == http.MethodGet {
		return Request{Scope: Bucket, Verb: list, kind: kindOf(Bucket + "any")}
	}
	// https://cloud.google.com/resource-manager/reference/rest/v3
	kind, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v3/"), ":"+search)
	if ok && r.Method == http.MethodGet && kindOf(kind+"/any") != nil {
		return Request{Scope: kind + "/", Verb: search, kind: kindOf(kind + "/any")}
	}
	for _, k := range Kinds {
		if request, ok := k.request(r); ok {
			return request
		}
	}
	return Request{}
}
