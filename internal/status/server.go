// Package status shows who has temporary access: a page for people, metrics for Prometheus, health checks for
// supervisors, and a report of a period in one file.
package status

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Server serves the page, the metrics and the health checks.
type Server struct {
	Access  Access
	Source  Source
	Metrics *Metrics
	// Interval is how often, at least, the watcher polls.
	Interval time.Duration
	// Log receives the errors of connections and answers.
	Log *slog.Logger
}

// The limits of a request.
const (
	headerTimeout = 5 * time.Second
	readTime      = 10 * time.Second
	answerTimeout = time.Minute
	// idleTimeout exceeds the usual pause between two scrapes.
	idleTimeout = 90 * time.Second
	maxHeader   = 16 << 10
	stopTimeout = 5 * time.Second
)

// Listen opens the address, so that nothing begins if it is unavailable.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	address, err := s.Access.Check()
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, unavailable(address, err)
	}
	return listener, nil
}

// unavailable is the error of an address that cannot be listened on. It is [jit.ErrInvalid] only if waiting does not
// help: a port may become free, and an interface may come up after the machine has started.
func unavailable(address string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return jit.Invalid("listen", "write an address with a port above 1023", "cannot listen on %s: %v", address, err)
	}
	return &jit.Error{
		Attribute: "listen", Problem: fmt.Sprintf("cannot listen on %s: %v", address, err),
		Hint: "stop what listens there, or write another address", Err: err,
	}
}

// Serve answers until ctx ends, then closes the listener. It holds at most [maxConnections] connections.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	listener = &limited{Listener: listener, most: maxConnections}
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTime, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelError),
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err := server.Shutdown(bounded)
		if errors.Is(err, context.DeadlineExceeded) { // a request is still being sent
			err = server.Close()
		}
		stopped <- err
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	}
	return <-stopped
}

func (s *Server) handler() http.Handler {
	guarded := http.NewServeMux()
	guarded.HandleFunc("GET /{$}", s.page)
	guarded.HandleFunc("GET /grants/{id}", s.grant)
	guarded.HandleFunc("GET /policies", s.policies)
	guarded.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelError),
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("/", s.Access.guard(guarded))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// healthz answers whether the watcher still runs: it has polled lately, successfully or not. A supervisor restarts the
// program if it has not.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	state, now := s.Source.State(), s.Source.Now()
	problem := ""
	if quiet := min(now.Sub(state.Started), now.Sub(state.LastPoll)); quiet > 3*s.Interval+time.Minute {
		problem = "stalled"
	}
	answer(w, problem)
}

// readyz answers whether the watcher does its work: the ledger answers, and due work has been claimed once.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	problem := ""
	switch state := s.Source.State(); {
	case state.LedgerError != nil:
		problem = "ledger"
	case state.Due.At.IsZero():
		problem = "starting"
	}
	answer(w, problem)
}

// answer writes "ok" or the problem.
func answer(w http.ResponseWriter, problem string) {
	if problem != "" {
		http.Error(w, problem, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // the client may be gone
}
