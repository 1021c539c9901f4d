// Package buckettest is an object store for tests that speaks the protocols of S3, Google Cloud Storage and Azure Blob
// Storage. It is stricter than the services: a list may lag, an answer may be lost after the object was created, and
// nothing but the requests of package bucket is permitted.
package buckettest

import (
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Bucket is the name of the only bucket.
const Bucket = "ledger-bucket"

// Fault is what the server does instead of answering a request.
type Fault struct {
	// Status and Code are a refusal; nothing is done.
	Status int
	Code   string
	// Lose does what the request asks for and then closes the connection without an answer.
	Lose bool
	// Drop closes the connection and does nothing.
	Drop bool
	// Then is called after that, before the connection is closed.
	Then func()
	// Ignore creates an object even if there is one.
	Ignore bool
	// Hold does what the request asks for, and answers only when the channel is closed or the client has gone.
	Hold <-chan struct{}
}

// Server is one store. It is safe for concurrent use.
type Server struct {
	URL string

	mu        sync.Mutex
	lag, page int
	fault     func(operation, key string) Fault
	objects   map[string][]byte
	kept      map[string]Kept
	locked    bool
	order     []string // keys in the order of their creation
	counts    map[string]int
}

// New starts a server with an empty bucket. It ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{page: 1000, objects: map[string][]byte{}, kept: map[string]Kept{}, counts: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Lag sets the number of newest objects that a list leaves out.
func (s *Server) Lag(objects int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = objects
}

// Page sets the most keys in one answer to a list.
func (s *Server) Page(keys int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.page = keys
}

// Decide sets what decides about each request: its operation ("create", "get" or "list") and the key or prefix. With
// nil there are no faults.
func (s *Server) Decide(fault func(operation, key string) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Setenv makes keys of the server the only credentials in the test's environment.
func Setenv(t testing.TB) {
	t.Helper()
	for name, value := range map[string]string{ //nolint:gosec // they are of no account
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
		"AZURE_STORAGE_SAS_TOKEN": "?sv=2023-11-03&sig=signed", "AZURE_STORAGE_ACCOUNT": "",
	} {
		t.Setenv(name, value)
	}
}

// Ledger returns the URL of a ledger below a prefix, by the protocol of S3.
func (s *Server) Ledger(prefix string) string { return s.LedgerBy("s3", prefix) }

// LedgerBy returns the URL of a ledger below a prefix, by the protocol of a scheme.
func (s *Server) LedgerBy(scheme, prefix string) string {
	text := scheme + "://" + Bucket + "/" + prefix + "?endpoint=" + url.QueryEscape(s.URL)
	if scheme == "s3" {
		text += "&path_style=true"
	}
	return text
}

// Keys lists all objects in order.
func (s *Server) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// Object returns an object; nil if there is none.
func (s *Server) Object(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key]
}

// Put replaces an object, or removes it if body is nil, as an attacker or a restore would.
func (s *Server) Put(key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if body == nil {
		delete(s.objects, key)
		s.order = slices.DeleteFunc(s.order, func(k string) bool { return k == key })
		return
	}
	s.put(key, body)
}

func (s *Server) put(key string, body []byte) {
	if s.objects[key] == nil {
		s.order = append(s.order, key)
	}
	s.objects[key] = body
}

// Kept is what keeps an object from being replaced: a mode in the words of the protocol, and until when.
type Kept struct {
	Mode  string
	Until time.Time
}

// Keep sets what keeps an object. The server itself replaces it all the same, by Put.
func (s *Server) Keep(key string, k Kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[key] = k
}

// KeepAll says that a policy of the whole container keeps its objects, of which Azure tells no date.
func (s *Server) KeepAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = true
}

// Count returns how many requests of an operation there were.
func (s *Server) Count(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[operation]
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	p := protocolOf(r)
	q := p.read(r, body)
	switch {
	case q.wrong != "":
		p.refuse(w, http.StatusBadRequest, q.wrong)
		return
	case q.operation == "":
		p.refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
		return
	}
	s.mu.Lock()
	decide := s.fault
	s.counts[q.operation]++
	s.mu.Unlock()
	var fault Fault
	if decide != nil {
		fault = decide(q.operation, q.key)
	}
	if fault.Status != 0 {
		p.refuse(w, fault.Status, fault.Code)
		return
	}
	if fault.Lose || fault.Drop {
		if fault.Lose {
			s.answer(httptest.NewRecorder(), p, q, fault)
		}
		if fault.Then != nil {
			fault.Then()
		}
		panic(http.ErrAbortHandler) // closes the connection
	}
	if fault.Hold != nil {
		late := httptest.NewRecorder()
		s.answer(late, p, q, fault)
		select {
		case <-fault.Hold:
		case <-r.Context().Done():
			return
		}
		maps.Copy(w.Header(), late.Header())
		w.WriteHeader(late.Code)
		_, _ = w.Write(late.Body.Bytes())
		return
	}
	s.answer(w, p, q, fault)
}

// answer does what a request asks for.
func (s *Server) answer(w http.ResponseWriter, p protocol, q request, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch body := s.objects[q.key]; {
	case q.operation == "list":
		keys, more := s.list(q.key, q.after)
		all := make([]listed, len(keys))
		for i, key := range keys {
			all[i] = listed{key, s.kept[key]}
		}
		p.listing(w, all, more, q.detailed)
	case q.operation == "properties":
		w.Header().Set("x-ms-has-immutability-policy", strconv.FormatBool(s.locked))
		w.Header().Set("x-ms-has-legal-hold", "false")
	case q.operation == "retention":
		s.answerRetention(w, q.key)
	case q.operation == "get" && body == nil:
		p.refuse(w, http.StatusNotFound, "NoSuchKey")
	case q.operation == "get":
		_, _ = w.Write(body)
	case body != nil && !fault.Ignore:
		p.refuse(w, p.exists, p.code)
	default:
		s.put(q.key, q.body)
		w.Header().Set("Content-Type", "application/json") // Google's client reads the answer
		w.WriteHeader(created[p.code])
		_, _ = w.Write([]byte("{}"))
	}
}

// answerRetention follows https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html; an object that has
// none is answered as in https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
func (s *Server) answerRetention(w http.ResponseWriter, key string) {
	k, ok := s.kept[key]
	switch {
	case s.objects[key] == nil:
		amazon.refuse(w, http.StatusNotFound, "NoSuchKey")
	case !ok:
		amazon.refuse(w, http.StatusNotFound, "NoSuchObjectLockConfiguration")
	default:
		writeXML(w, struct {
			XMLName         xml.Name `xml:"Retention"`
			Mode            string
			RetainUntilDate time.Time
		}{Mode: k.Mode, RetainUntilDate: k.Until})
	}
}

// created are the statuses of a creation, by the protocol.
var created = map[string]int{amazon.code: http.StatusOK, gcs.code: http.StatusOK, azure.code: http.StatusCreated}

// list returns a page of keys. The newest objects are not in it.
func (s *Server) list(prefix, after string) (keys []string, more bool) {
	for _, key := range slices.Sorted(slices.Values(s.order[:max(0, len(s.order)-s.lag)])) {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		if len(keys) == s.page {
			return keys, true
		}
		keys = append(keys, key)
	}
	return keys, false
}
