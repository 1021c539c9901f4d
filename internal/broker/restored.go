package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// countsAsEnded says why a grant counts as ended that [Broker.Gone] returned.
const countsAsEnded = "its record is older than the last `jit ledger accept`, so it counts as ended"

// mayGive refuses to put grants on a place while the ledger has gone back in time, and those that are [Broker.Gone] or
// may be. Those that are gone it ends.
func (b *Broker) mayGive(ctx context.Context, at jit.Place, grants []jit.Grant) []error {
	err := b.Ledger.Recall(ctx)
	var gone, unsure map[jit.ID]bool
	if err == nil {
		gone, unsure, err = b.Gone(ctx, at, grants)
	}
	if err != nil {
		return slices.Repeat([]error{err}, len(grants))
	}
	errs := make([]error, len(grants))
	for i, g := range grants {
		switch {
		case gone[g.ID]:
			errs[i] = errors.Join(errGone(g), b.endGone(ctx, g))
		case unsure[g.ID]:
			errs[i] = fmt.Errorf("grant %s is older than the last `jit ledger accept`, and a read of target %q may miss a "+
				"write of the last minute; repeat this in a minute", g.ID, g.Target)
		}
	}
	return errs
}

// Gone returns the grants that may have been revoked in the time that a restored ledger has lost: their records are
// older than the restore, and the place has nothing of them. Those whose last write the read may miss are unsure. It
// calls the target only after a restore.
func (b *Broker) Gone(
	ctx context.Context, at jit.Place, grants []jit.Grant,
) (gone, unsure map[jit.ID]bool, err error) {
	older, err := b.olderThanRestore(ctx, grants)
	if err != nil || len(older) == 0 {
		return nil, nil, err
	}
	s, err := b.readPlace(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	var missing []jit.ID
	for _, g := range older {
		if g.Drift(s) == jit.Missing {
			missing = append(missing, g.ID)
		}
	}
	if unsure, err = b.Unsettled(ctx, at.Target, missing); err != nil {
		return nil, nil, err
	}
	gone = map[jit.ID]bool{}
	for _, id := range missing {
		gone[id] = !unsure[id]
	}
	return gone, unsure, nil
}

// olderThanRestore returns the grants that were recorded before the last restore and that no target has confirmed
// since.
func (b *Broker) olderThanRestore(ctx context.Context, grants []jit.Grant) ([]jit.Grant, error) {
	if !slices.ContainsFunc(b.Ledger.Heads(""), func(h jit.Head) bool { return h.Epoch != "" }) {
		return nil, nil
	}
	restores, err := b.Ledger.Restores(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]jit.ID, len(grants))
	for i, g := range grants {
		ids[i] = g.ID
	}
	began := jit.EpochBegan(restores)
	known, since := map[jit.ID]bool{}, map[jit.ID]bool{}
	for e, err := range b.Ledger.EventsOf(ctx, ids) {
		if err != nil {
			return nil, err
		}
		confirmed := e.Kind == jit.EventRequested || e.Kind == jit.EventGranted ||
			e.Kind == jit.EventRepaired && e.Detail["done"] == ""
		if e.Follows(began) && (confirmed || !known[e.Grant]) {
			since[e.Grant] = true
		}
		known[e.Grant] = true
	}
	return slices.DeleteFunc(slices.Clone(grants), func(g jit.Grant) bool { return since[g.ID] || !known[g.ID] }), nil
}

// errGone refuses a grant that is [Broker.Gone].
func errGone(g jit.Grant) error {
	return jit.Errorf(jit.ErrOver, "", renew(g), "grant %s is not on target %q, and %s", g.ID, g.Target, countsAsEnded)
}

// endGone records that a grant that is [Broker.Gone] has ended.
func (b *Broker) endGone(ctx context.Context, g jit.Grant) error {
	return b.Execute(ctx, []reconcile.Step{GoneStep(g)})[0]
}

// GoneStep returns the step that ends a grant that is [Broker.Gone].
func GoneStep(g jit.Grant) reconcile.Step {
	s := reconcile.Drifted(reconcile.Revoke, g.Place(), g, jit.DriftMissing, jit.Missing+"; "+countsAsEnded)
	s.Idle = true
	return s
}
