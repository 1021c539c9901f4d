package status

import (
	"net/http"
	"time"
)

// healthz tells whether the watcher goes on: it has looked lately, with or without success. Whoever restarts a program that does not go on asks it.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	state := s.State()
	quiet := s.Now().Sub(latest(state.Started, state.LastPoll))
	if quiet > 3*s.Interval+time.Minute {
		http.Error(w, "stalled", http.StatusServiceUnavailable)
		return
	}
	ok(w)
}

// readyz tells whether the watcher does its work: the ledger answers and what was due has been handed out once.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	state := s.State()
	switch {
	case state.LedgerError != nil:
		http.Error(w, "ledger", http.StatusServiceUnavailable)
	case state.Due.At.IsZero():
		http.Error(w, "starting", http.StatusServiceUnavailable)
	default:
		ok(w)
	}
}

func ok(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // who asked may have gone
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
