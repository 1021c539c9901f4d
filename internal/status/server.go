// Package status shows how temporary access stands: a page for people, metrics for Prometheus, health for whoever restarts programs,
// and a report of a period in one file.
package status

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// Access says where the server listens and who may look.
type Access struct {
	// Listen is an address such as "127.0.0.1:8085", "localhost:8085" or ":8085", which is loopback too. "0.0.0.0:8085" is every interface.
	Listen string
	// Token, if set, is what a request has to bear: Authorization: Bearer <token>. It is a secret.
	Token string
	// ProxyHeader, if set, is a header that a request has to bear, set by one of Proxies, which has found out who asks.
	ProxyHeader string
	Proxies     []netip.Prefix
}

// minToken is the shortest token, in characters.
const minToken = 16

// Check refuses what would let anybody look, or nobody. It returns the address to listen on.
func (a Access) Check() (address string, err error) {
	host, port, err := net.SplitHostPort(a.Listen)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", port) // in a file of this machine, or none
	}
	if err != nil {
		return "", jit.Invalid("listen", `write for example listen = "127.0.0.1:8085"`, "%q is not an address with a port", a.Listen)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	switch {
	case a.Token != "" && len(a.Token) < minToken:
		return "", jit.Invalid("listen_token", "make one with: openssl rand -hex 32", "the token has %d characters; it takes at least %d", len(a.Token), minToken)
	case strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", jit.Invalid("listen_token", "make one with: openssl rand -hex 32", "the token has a character that a header cannot bear")
	case a.ProxyHeader != "" && len(a.Proxies) == 0:
		return "", jit.Invalid("listen_proxy", `write for example listen_proxy = { header = "X-Forwarded-User", from = ["10.0.0.7/32"] }`, "anybody could set the header %q; it takes the addresses of the proxies that may", a.ProxyHeader)
	case !loopback(host) && a.Token == "" && a.ProxyHeader == "":
		return "", jit.Invalid("listen", `listen on 127.0.0.1, or set listen_token or listen_proxy`, "%s can be reached from elsewhere, and anybody could look at who has access to what", a.Listen)
	}
	return net.JoinHostPort(host, port), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Server serves the page, the metrics and the health.
type Server struct {
	Access  Access
	Page    http.Handler
	Metrics *Metrics
	// State is that of the watcher, Interval how often it looks at least.
	State    func() sweeper.State
	Interval time.Duration
	Now      func() time.Time
	// Log takes what goes wrong with connections and answers; it may be nil.
	Log *slog.Logger
}

// The bounds of a request.
const (
	headerTimeout = 5 * time.Second
	readTime      = 10 * time.Second
	answerTimeout = time.Minute
	// idleTimeout is longer than the pause between two scrapes usually is.
	idleTimeout = 90 * time.Second
	maxHeader   = 16 << 10
	stopTimeout = 5 * time.Second
)

// Listen takes the address, so that nothing begins where it is not to be had.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	address, err := s.Access.Check()
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, notHad(address, err)
	}
	return listener, nil
}

// notHad is the error of an address that is not to be had. It is [jit.ErrInvalid] only where waiting does not help: what is taken may be
// let go of, and what is not there yet when a machine starts may come.
func notHad(address string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return jit.Invalid("listen", "write an address with a port above 1023", "cannot listen on %s: %v", address, err)
	}
	return &jit.Error{Attribute: "listen", Problem: fmt.Sprintf("cannot listen on %s: %v", address, err), Hint: "stop what listens there, or write another address", Err: err}
}

// Serve answers until ctx ends, and closes the listener. It holds [maxConnections] at most.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	listener = &limited{Listener: listener, most: maxConnections}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTime, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader}
	if s.Log != nil {
		server.ErrorLog = slog.NewLogLogger(s.Log.Handler(), slog.LevelError)
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err := server.Shutdown(bounded)
		if errors.Is(err, context.DeadlineExceeded) { // somebody has not finished asking
			err = server.Close()
		}
		stopped <- err
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	}
	return <-stopped
}

// handler answers requests.
func (s *Server) handler() http.Handler {
	guarded := http.NewServeMux()
	guarded.Handle("GET /{$}", s.Page)
	guarded.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics.registry, promhttp.HandlerOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", http.HandlerFunc(s.healthz))
	mux.Handle("GET /readyz", http.HandlerFunc(s.readyz))
	mux.Handle("/", s.guard(guarded))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}
