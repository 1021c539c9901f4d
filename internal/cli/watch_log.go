package cli

import (
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// watchLog returns the daemon's log: text on standard error, or JSON lines on standard output.
func (p *program) watchLog() *slog.Logger {
	// The program's clock agrees with the record; that of the machine may not.
	stamp := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.String(slog.TimeKey, jit.FormatTime(p.Now()))
		}
		return a
	}
	o := &slog.HandlerOptions{ReplaceAttr: stamp}
	if p.json {
		return slog.New(slog.NewJSONHandler(jsonLines{p.out}, o))
	}
	return slog.New(slog.NewTextHandler(p.err, o))
}

// stepLog logs the steps of the daemon and passes them on to an observer. It is safe for concurrent use.
type stepLog struct {
	sweeper.Observer
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	logged map[string]time.Time // findings, and when they were logged
}

// logAgain is how often the log repeats a finding. Every check of a target finds it again.
const logAgain = time.Hour

// Stepped logs a step and passes it on.
func (l *stepLog) Stepped(r sweeper.Result, lag time.Duration) {
	l.write(r)
	l.Observer.Stepped(r, lag)
}

// write logs a step.
func (l *stepLog) write(r sweeper.Result) {
	facts := []any{
		"grant", string(r.Grant.ID), "target", r.Target, "scope", r.Scope, "principal", r.Grant.Principal,
		"role", r.Grant.Role, "why", r.Reason,
	}
	switch {
	case r.Remains() && r.Grant.CleanupOpen(): // logged when the access ended
	case r.Remains():
		l.log.Warn(string(r.Kind)+", with the clean-up open", append(facts, "remains", r.Err.Error())...)
	case r.Err != nil:
		l.log.Error(string(r.Kind)+" failed", append(facts, "error", r.Err.Error())...)
	case r.Kind == reconcile.Report:
		if l.due(fmt.Sprintf("%q", facts)) {
			l.log.Warn("needs attention", facts...)
		}
	default:
		l.log.Info(string(r.Kind), facts...)
	}
}

// due reports whether a finding was not logged in the last hour, and marks it as logged now.
func (l *stepLog) due(finding string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	maps.DeleteFunc(l.logged, func(_ string, at time.Time) bool { return now.Sub(at).Abs() >= logAgain })
	if _, logged := l.logged[finding]; logged {
		return false
	}
	l.logged[finding] = now
	return true
}

// problem is a fault in the daemon's state. target is set if another daemon may take over the check of that target,
// which this daemon checked last at checked.
type problem struct {
	text, target string
	checked      time.Time
}

// problemsOf returns the problems of a state by the thing that has them.
func problemsOf(state sweeper.State) map[string]problem {
	all := map[string]problem{}
	if state.LedgerError != nil {
		all["the ledger"] = problem{text: state.LedgerError.Error()}
	}
	if state.ClockError != nil {
		all["the clock"] = problem{text: state.ClockError.Error()}
	}
	if state.Behind != nil {
		all["the past of the ledger"] = problem{text: state.Behind.Error()}
	}
	for _, u := range state.Unread {
		with := strings.TrimSpace(u.Scope + " of target " + u.Target)
		all[with] = problem{u.Err.Error(), u.Target, state.Drift[u.Target].At}
	}
	for target, p := range state.Drift {
		if p.Held > 0 {
			all["the cap on unplanned removals of target "+target] = problem{
				fmt.Sprintf("%d held back by --max-unplanned: check them with jit sweep --dry-run, then allow more",
					p.Held),
				target, p.At,
			}
		}
	}
	return all
}

// logProblems logs problems of the daemon when they begin and when they end.
func logProblems(log *slog.Logger, w *sweeper.Watcher, stopped <-chan struct{}) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	before := map[string]problem{}
	for {
		select {
		case <-stopped:
			return
		case <-tick.C:
		}
		state := w.State()
		now := problemsOf(state)
		logChanges(log, before, now, state)
		before = now
	}
}

// logChanges logs the problems that have begun, and those that have ended.
func logChanges(log *slog.Logger, before, now map[string]problem, state sweeper.State) {
	for with, p := range now {
		if _, known := before[with]; !known {
			log.Error("problem", "with", with, "error", p.text)
		}
	}
	for with, p := range before {
		switch _, open := now[with]; {
		case open:
		case !p.checked.IsZero() && state.Drift[p.target].At.IsZero():
			log.Info("problem left to the daemon that checks the target now", "with", with)
		default:
			log.Info("problem solved", "with", with)
		}
	}
}

// logNotice logs a notice that was not delivered.
func logNotice(log *slog.Logger, receiver string, r notice.Result, err error) {
	switch r {
	case notice.Failed:
		log.Warn("notice not delivered", "receiver", receiver, "error", err.Error())
	case notice.PassedOver:
		log.Error("notice given up", "receiver", receiver, "error", err.Error())
	}
}
