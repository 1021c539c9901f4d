package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/status"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// watchOptions are the flags of jit sweep --watch.
type watchOptions struct {
	watch                   bool
	interval, driftInterval string
	listen                  string
}

// check refuses flags that do not fit together: some are for one pass, some for the daemon.
func (o watchOptions) check(s sweeper.Sweeper, timeout bool) error {
	switch {
	case !o.watch && o.interval+o.driftInterval+o.listen != "":
		return jit.Invalid("--watch", "write jit sweep --watch, or leave out the others",
			"--interval, --drift-interval and --listen are for the daemon")
	case !o.watch:
		return nil
	case s.DryRun, s.DueOnly, s.MarkersOnly:
		return jit.Invalid("--watch", "leave out one of the two",
			"--dry-run, --due and --markers-only are for one pass")
	case timeout:
		return jit.Invalid("--timeout", "leave it out", "--watch runs until you stop it")
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
	defer func() { _ = rt.Close() }() // every write is durable already
	w, err := newWatcher(rt, s, o)
	if err != nil {
		return err
	}
	access, err := accessOf(rt, o.listen)
	if err != nil {
		return err
	}
	if len(rt.Targets) == 0 {
		return jit.Invalid("targets", "name the targets to sweep in the settings", "there is nothing to watch")
	}
	lock, err := rt.Ledger.LockDaemon()
	if err != nil {
		return err
	}
	defer lock.Release()
	return p.runDaemon(ctx, rt, w, lock, access, metrics)
}

// runDaemon runs the watcher and all that belongs to it, until ctx ends or the daemon must stop.
func (p *program) runDaemon(ctx context.Context, rt *config.Runtime, w *sweeper.Watcher, lock *ledger.DaemonLock,
	access status.Access, metrics *status.Metrics) error {
	log := p.watchLog()
	w.Observer = &stepLog{Observer: metrics, log: log, now: p.Now, logged: map[string]time.Time{}}
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
	log.Info("watching", "owners", w.Owners.String(), "targets", len(rt.Targets),
		"interval", w.Interval.String(), "drift_interval", w.DriftInterval.String(), "holder", w.Holder)
	stopped := make(chan struct{})
	var tasks sync.WaitGroup
	tasks.Go(func() { logProblems(log, w, stopped) })
	tasks.Go(func() { keepLock(ctx, stop, lock, log) })
	if len(rt.Receivers) > 0 {
		sender := p.sender(rt, w.Holder)
		sender.Tried = func(receiver string, r notice.Result, err error) {
			metrics.Noticed(receiver, r)
			logNotice(log, receiver, r, err)
		}
		tasks.Go(func() { sender.Run(ctx) })
		tasks.Go(func() { announce(ctx, log, rt) })
	}
	w.Run(ctx)
	close(stopped)
	tasks.Wait()
	log.Info("stopped")
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// checkEvery is how often the daemon checks its own state and its hold on the ledger.
const checkEvery = time.Second

// keepLock stops this daemon when another one has locked the ledger. It returns when ctx ends.
func keepLock(ctx context.Context, stop context.CancelCauseFunc, lock *ledger.DaemonLock, log *slog.Logger) {
	for backoff.Sleep(ctx, checkEvery) == nil {
		if err := lock.Keep(); errors.Is(err, jit.ErrInvalid) {
			log.Error("another daemon has locked the ledger", "error", err.Error())
			stop(err)
			return
		}
	}
}

// uniqueHolder names this process, and no other, in leases.
func uniqueHolder() string { return fmt.Sprintf("%s/%d/%s", holder(), os.Getpid(), rand.Text()[:8]) }

// newWatcher returns a watcher with the settings and the flags. Flags override settings.
func newWatcher(rt *config.Runtime, s sweeper.Sweeper, o watchOptions) (*sweeper.Watcher, error) {
	s = withSettings(s, rt)
	s.Holder = uniqueHolder()
	w := &sweeper.Watcher{Sweeper: s, Leases: rt.Ledger.Leases(), Interval: rt.Interval,
		DriftInterval: rt.DriftInterval}
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

// announce records the grants that end soon. It returns when ctx ends.
func announce(ctx context.Context, log *slog.Logger, rt *config.Runtime) {
	if rt.NoticeBefore == 0 {
		return
	}
	for {
		if _, err := rt.Broker.Announce(ctx, rt.NoticeBefore); err != nil && ctx.Err() == nil {
			log.Error("grants that end soon cannot be announced", "error", err.Error())
		}
		if backoff.Sleep(ctx, announceEvery) != nil {
			return
		}
	}
}
