package sweeper

import (
	"context"
	"errors"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// agreedNow returns the time by which work is due; see [broker.Broker.LedgerTime]. skew can also say that the ledger has
// gone back in time ([jit.ErrBehind]).
func (s *Sweeper) agreedNow(ctx context.Context) (agreed time.Time, skew, err error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	recalled := make(chan error, 1) // both at once: an end must not wait twice for a slow ledger
	go func() { recalled <- s.Broker.Ledger.Recall(ctx) }()
	agreed, skew, err = s.Broker.LedgerTime(ctx)
	behind := <-recalled
	switch {
	case err != nil:
		return agreed, nil, err
	case errors.Is(behind, jit.ErrBehind):
		return agreed, behind, s.noteBehind(ctx)
	}
	return agreed, skew, behind
}

// noteBehind has the ledger record that it has gone back in time, once, so that every other process knows.
func (s *Sweeper) noteBehind(ctx context.Context) error {
	if s.DryRun {
		return nil
	}
	if err := s.Broker.Ledger.Write(ctx, []jit.Entry{{Current: true}})[0]; !errors.Is(err, jit.ErrBehind) {
		return err
	}
	return nil
}

// timeHere returns the time that decides what is over in the scope; see [broker.Broker.TimeOn].
func (v *visit) timeHere(ctx context.Context) (now time.Time, skew, err error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return v.Broker.TimeOn(ctx, v.at.Target)
}

// planned reports whether a step ends or starts a grant by its window.
func planned(s reconcile.Step) bool { return s.Kind == reconcile.End || s.Kind == reconcile.Start }
