package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/status"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// watchOptions are the flags of jit sweep --watch.
type watchOptions struct {
	watch                   bool
	interval, driftInterval string
	listen                  string
}

// check refuses what only one of the two can do: a pass or the daemon.
func (o watchOptions) check(s sweeper.Sweeper, timeout bool) error {
	switch {
	case !o.watch && o.interval+o.driftInterval+o.listen != "":
		return jit.Invalid("--watch", "write jit sweep --watch, or leave the other out", "--interval, --drift-interval and --listen are for the daemon")
	case !o.watch:
		return nil
	case s.DryRun, s.DueOnly, s.MarkersOnly:
		return jit.Invalid("--watch", "leave out one of the two", "--dry-run, --due and --markers-only are for one pass")
	case timeout:
		return jit.Invalid("--timeout", "leave it out", "--watch goes on until it is stopped")
	}
	return nil
}

// watch sweeps until ctx ends.
func (p *program) watch(ctx context.Context, s sweeper.Sweeper, o watchOptions) error {
	metrics := status.NewMetrics(p.Version)
	settings, err := config.Load(p.config)
	if err != nil {
		return err
	}
	rt, err := p.open(ctx, settings, jit.FromSweeper, metrics.Wrap)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close() }() // whatever was written is durable already
	w, err := newWatcher(rt, s, o)
	if err != nil {
		return err
	}
	access, err := accessOf(rt, o.listen)
	if err != nil {
		return err
	}
	if len(rt.Targets) == 0 {
		return jit.Invalid("targets", "name the targets to be swept in the settings", "there is nothing to watch")
	}
	alone, err := rt.Ledger.WatchAlone()
	if err != nil {
		return err
	}
	defer alone.Release()

	log := p.watchLog()
	w.Observer = &stepLog{Observer: metrics, log: log, now: p.Now, said: map[string]time.Time{}}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if access.Listen != "" {
		served, err := p.serve(ctx, stop, rt, w, access, metrics, log)
		if err != nil {
			return err
		}
		defer func() { <-served }()
		defer stop(nil)
	}
	log.Info("watching", "owners", w.Owners.String(), "targets", len(rt.Targets), "interval", w.Interval.String(), "drift_interval", w.DriftInterval.String(), "holder", w.Holder)
	over := make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() { tellState(log, w, over) })
	told.Go(func() { keepAlone(ctx, stop, alone, log) })
	if len(rt.Receivers) > 0 {
		sender := p.sender(rt, w.Holder)
		sender.Told = func(receiver string, r notice.Result, err error) {
			metrics.Noticed(receiver, r)
			logNotice(log, receiver, r, err)
		}
		told.Go(func() { sender.Run(ctx) })
		told.Go(func() { announce(ctx, log, rt) })
	}
	w.Run(ctx)
	close(over)
	told.Wait()
	log.Info("stopped")
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// keepAlone makes sure until ctx ends that no other daemon is at work on the ledger, and stops this one where another is.
func keepAlone(ctx context.Context, stop context.CancelCauseFunc, alone *ledger.Alone, log *slog.Logger) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := alone.Keep(); errors.Is(err, jit.ErrInvalid) {
			log.Error("another daemon has taken the ledger", "error", err.Error())
			stop(err)
			return
		}
	}
}

// accessOf reads where to listen and who may look: the flag counts before the settings. The address is empty where neither names one.
func accessOf(rt *config.Runtime, listen string) (status.Access, error) {
	a := status.Access{Listen: cmp.Or(listen, rt.Listen), Token: rt.ListenToken}
	if p := rt.ListenProxy; p != nil {
		a.ProxyHeader = p.Header
		for _, text := range p.From {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				return a, jit.Invalid("listen_proxy.from", `write for example from = ["10.0.0.7/32"]`, "%q is not a range of addresses", text)
			}
			a.Proxies = append(a.Proxies, prefix)
		}
		if a.ProxyHeader == "" {
			return a, jit.Invalid("listen_proxy.header", `write for example header = "X-Forwarded-User"`, "the header is empty")
		}
	}
	if a.Listen == "" {
		return a, nil
	}
	_, err := a.Check()
	return a, err
}

// serve answers HTTP until ctx ends; what keeps it from that ends the daemon too. The channel is closed when it is over.
func (p *program) serve(ctx context.Context, stop context.CancelCauseFunc, rt *config.Runtime, w *sweeper.Watcher, access status.Access, metrics *status.Metrics, log *slog.Logger) (over chan struct{}, err error) {
	source := status.Source{Ledger: rt.Ledger, OutOfReach: w.OutOfReach, Now: p.Now, State: w.State}
	metrics.Watch(source)
	server := &status.Server{Access: access, Metrics: metrics, State: w.State, Interval: w.Interval, Now: p.Now, Page: status.Page(source), Log: log}
	listener, err := server.Listen(ctx)
	if err != nil {
		return nil, err
	}
	log.Info("listening", "address", listener.Addr().String())
	over = make(chan struct{})
	go func() {
		defer close(over)
		if err := server.Serve(ctx, listener); err != nil {
			stop(err)
		}
	}()
	return over, nil
}

// uniqueHolder names this process in leases, and no other.
func uniqueHolder() string { return fmt.Sprintf("%s/%d/%s", holder(), os.Getpid(), rand.Text()[:8]) }

// newWatcher makes a watcher of what the settings and the flags say, the flags first.
func newWatcher(rt *config.Runtime, s sweeper.Sweeper, o watchOptions) (*sweeper.Watcher, error) {
	s = withSettings(s, rt)
	s.Holder = uniqueHolder()
	w := &sweeper.Watcher{Sweeper: s, Leases: rt.Ledger.Leases(), Interval: rt.Interval, DriftInterval: rt.DriftInterval}
	for _, flag := range []struct {
		name, text string
		into       *time.Duration
		otherwise  time.Duration
	}{
		{"--interval", o.interval, &w.Interval, sweeper.DefaultInterval},
		{"--drift-interval", o.driftInterval, &w.DriftInterval, sweeper.DefaultDriftInterval},
	} {
		*flag.into = cmp.Or(*flag.into, flag.otherwise)
		if flag.text == "" {
			continue
		}
		d, err := config.CheckEvery(flag.name, flag.text)
		if err != nil {
			return nil, err
		}
		*flag.into = d
	}
	return w, nil
}

// announceEvery is how often the daemon looks for grants that end soon.
const announceEvery = 5 * time.Second

// announce records which grants end soon, until ctx ends.
func announce(ctx context.Context, log *slog.Logger, rt *config.Runtime) {
	if rt.NoticeBefore == 0 {
		return
	}
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		if _, err := rt.Broker.Announce(ctx, rt.NoticeBefore); err != nil && ctx.Err() == nil {
			log.Error("ends that come soon cannot be announced", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// logNotice tells of a notice that was not delivered.
func logNotice(log *slog.Logger, receiver string, r notice.Result, err error) {
	switch r {
	case notice.Failed:
		log.Warn("notice not delivered", "receiver", receiver, "error", err.Error())
	case notice.PassedOver:
		log.Error("notice given up", "receiver", receiver, "error", err.Error())
	}
}

// watchLog is where the daemon says what it does: lines for people on standard error, or JSON lines on standard output.
func (p *program) watchLog() *slog.Logger {
	// The clock of the program, not of the machine, so that the lines agree with the record.
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

// stepLog logs the steps of the daemon and passes them on to an observer. It is safe for use by several goroutines.
type stepLog struct {
	sweeper.Observer
	log  *slog.Logger
	now  func() time.Time
	mu   sync.Mutex
	said map[string]time.Time
}

// sayAgain is how often the log repeats what a person has to look at: every look at a target finds it again.
const sayAgain = time.Hour

// Stepped logs a step and passes it on.
func (l *stepLog) Stepped(r sweeper.Result, lag time.Duration) {
	l.write(r)
	l.Observer.Stepped(r, lag)
}

// write logs a step.
func (l *stepLog) write(r sweeper.Result) {
	facts := []any{"grant", string(r.Grant.ID), "target", r.Target, "scope", r.Scope, "principal", r.Grant.Principal, "role", r.Grant.Role, "why", r.Reason}
	switch {
	case r.Remains() && r.Grant.CleanupOpen(): // it was told when the access ended
	case r.Remains():
		l.log.Warn(string(r.Kind)+", and something is left to be cleaned up", append(facts, "remains", r.Err.Error())...)
	case r.Err != nil:
		l.log.Error(string(r.Kind)+" failed", append(facts, "error", r.Err.Error())...)
	case r.Kind == reconcile.Report:
		if l.due(fmt.Sprintf("%q", facts)) {
			l.log.Warn("a person has to look", facts...)
		}
	default:
		l.log.Info(string(r.Kind), facts...)
	}
}

// due reports whether a finding was not logged in the last hour, and notes that it is now.
func (l *stepLog) due(finding string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	maps.DeleteFunc(l.said, func(_ string, at time.Time) bool { return now.Sub(at).Abs() >= sayAgain })
	if _, said := l.said[finding]; said {
		return false
	}
	l.said[finding] = now
	return true
}

// tellEvery is how often the daemon looks whether its own state has something to tell.
const tellEvery = time.Second

// trouble is something that the daemon tells of. Where another daemon may take over to look, target is set, and looked when we did last.
type trouble struct {
	problem, target string
	looked          time.Time
}

// tellState tells of trouble when that begins and when it ends.
func tellState(log *slog.Logger, w *sweeper.Watcher, over <-chan struct{}) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	told := map[string]trouble{}
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		state := w.State()
		now := map[string]trouble{}
		if state.LedgerError != nil {
			now["the ledger"] = trouble{problem: state.LedgerError.Error()}
		}
		if state.ClockError != nil {
			now["the clock"] = trouble{problem: state.ClockError.Error()}
		}
		for _, u := range state.Unread {
			now[strings.TrimSpace(u.Scope+" of target "+u.Target)] = trouble{u.Err.Error(), u.Target, state.Drift[u.Target].At}
		}
		for target, p := range state.Drift {
			if p.Held > 0 {
				now["the cap on unplanned removals of target "+target] = trouble{fmt.Sprintf("%d are held back by --max-unplanned: look at them with jit sweep --dry-run, then allow more", p.Held), target, p.At}
			}
		}
		for what, t := range now {
			if _, before := told[what]; !before {
				log.Error("trouble", "with", what, "error", t.problem)
			}
		}
		for what, t := range told {
			if _, still := now[what]; still {
				continue
			}
			if !t.looked.IsZero() && state.Drift[t.target].At.IsZero() {
				log.Info("trouble is told by whoever looks there now", "with", what)
			} else {
				log.Info("trouble over", "with", what)
			}
		}
		told = now
	}
}
