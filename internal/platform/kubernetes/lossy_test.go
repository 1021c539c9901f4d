package kubernetes

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The answers to writes get lost: the suite runs without every third one. No suite runs with reads that lag: a list or
// get without a resourceVersion shows all writes before it, on every API server of a cluster
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list). The fake cluster knows
// nothing of what it is asked for with one.
func TestConformanceWithLostAnswers(t *testing.T) {
	conform(t, func(t *testing.T) *site {
		s := fakeSite(t)
		lose := everyThirdWrite()
		s.fake.mu.Lock()
		defer s.fake.mu.Unlock()
		s.loses, s.fake.loses = true, lose
		return s
	})
}

func TestConformanceOnARealClusterWithLostAnswers(t *testing.T) {
	testenv.Acceptance(t)
	conform(t, func(t *testing.T) *site {
		s := realSite(t)
		s.loseAnswers(t, everyThirdWrite())
		return s
	})
}

// everyThirdWrite says of which requests the answers are lost; those of the tests are not.
func everyThirdWrite() func(r *http.Request) bool {
	var writes atomic.Int64
	return func(r *http.Request) bool {
		return strings.HasPrefix(r.UserAgent(), "terraform-provider-jit") && r.Method != http.MethodGet &&
			writes.Add(1)%3 == 0
	}
}

// A read whose answer is lost is repeated, also where one connection carries many requests.
func TestAReadThatGetsNoAnswerIsRepeated(t *testing.T) {
	s := realSite(t)
	var lost atomic.Int64
	s.loseAnswers(t, func(r *http.Request) bool { return r.Method == http.MethodGet && lost.Add(1) == 1 })
	p := s.open(t)
	if _, err := p.Read(t.Context(), "cluster"); err != nil || lost.Load() < 2 {
		t.Errorf("%v after %d requests", err, lost.Load())
	}
}

// loseAnswers puts a proxy before a real cluster that carries requests out and loses answers.
func (s *site) loseAnswers(t *testing.T, lose func(r *http.Request) bool) {
	t.Helper()
	s.loses = true
	loading := clientcmd.ClientConfigLoadingRules{ExplicitPath: s.cfg.Kubeconfig}
	operator, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&loading, nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := rest.TransportFor(operator)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.real.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Transport: upstream, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.Out.Header.Del("Authorization")
	}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !lose(r) {
			forward.ServeHTTP(w, r)
			return
		}
		forward.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	server.EnableHTTP2 = true // as API servers do: a lost answer ends its stream, not the connection
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	s.cfg = Config{Host: server.URL, Token: "of-the-proxy", ClusterCACertificate: string(ca)}
}
