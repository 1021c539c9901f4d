package sweeper

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

const (
	// watchLease and passLease are how long due work stays with a watcher, or a pass, that may have died.
	watchLease = 30 * time.Second
	passLease  = 2 * time.Minute
	// defaultClaimSize is how many due grants are claimed at once, so that sweepers share what comes due together.
	defaultClaimSize = 1000
	// mostClaims is how many claims' worth of tasks a single pass holds.
	mostClaims = 20
)

// claim claims all that is due at now and puts it into the lanes of its scopes. While the clocks disagree, which skew
// says, nothing begins. left reports that more may be due for which there was no room; room is then signalled.
func (e *engine) claim(ctx context.Context, now time.Time, skew error) (tasks int, left bool, err error) {
	if len(e.Broker.Targets) == 0 {
		return 0, false, nil
	}
	q := jit.DueQuery{Owners: e.served(), Targets: e.targets(), Now: now, Limit: cmp.Or(e.ClaimSize, defaultClaimSize)}
	for {
		if q.Except = e.fullLanes(); len(q.Except) > 0 {
			left = true
		}
		claimed, err := e.acquireDue(ctx, q)
		if err != nil {
			return tasks, left, err
		}
		tasks += e.enqueue(e.dueSteps(now, skew, claimed))
		switch {
		case len(claimed) < q.Limit:
			return tasks, left, nil
		case e.single && e.holds(mostClaims*q.Limit):
			return tasks, true, nil
		}
		q.After = &claimed[len(claimed)-1]
	}
}

// acquireDue makes one claim. A single pass claims everything at one time and under one name: only the next pass of
// that name gets what this one failed to do. A watcher claims under a new name each time, so it gets what is in its
// lanes again only when the lease has ended.
func (e *engine) acquireDue(ctx context.Context, q jit.DueQuery) ([]jit.Grant, error) {
	q.Holder, q.Lease = e.Holder, passLease
	if !e.single {
		q.Holder, q.Lease = e.Holder+"/"+rand.Text(), watchLease
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return e.Broker.Ledger.AcquireDue(ctx, q)
}

// dueSteps returns the steps for grants that are due. While the clocks disagree, nothing begins.
func (e *engine) dueSteps(now time.Time, skew error, grants []jit.Grant) []reconcile.Step {
	steps := reconcile.Plan(now, e.served().Include, grants, nil, nil)
	if skew != nil {
		steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool { return s.Kind == reconcile.Start })
	}
	return steps
}

// dueOf returns the steps of the given grants that are due, by the same clocks as a claim.
func (e *engine) dueOf(ctx context.Context, ids []jit.ID) (map[jit.ID]reconcile.Step, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	now, skew, err := e.agreedNow(ctx)
	if err != nil {
		return nil, err
	}
	recorded, err := collect(e.Broker.Ledger.Grants(ctx, jit.Filter{IDs: ids}))
	if jit.Partial(err, e.served()) {
		err = nil
	}
	steps := make(map[jit.ID]reconcile.Step, len(recorded))
	for _, s := range e.dueSteps(now, skew, recorded) {
		steps[s.Grant.ID] = s
	}
	return steps, err
}

// dueGrants are the grants of a ledger that are due.
type dueGrants struct {
	// reachable are those of the owners that the sweeper serves.
	reachable []jit.Grant
	// unserved are over, and of owners that the sweeper does not serve but may end grants of.
	unserved []jit.Grant
	// outOfReach are overdue, and the sweeper cannot end them.
	outOfReach []reconcile.Step
	// unread says that others of owners that the sweeper does not serve may be over too.
	unread error
}

// allDue reads which grants are due at now, claimed or not.
func (e *engine) allDue(ctx context.Context, now time.Time) (all dueGrants, err error) {
	for g, err := range e.Broker.Ledger.Grants(ctx, jit.Filter{DueBy: now}) {
		if jit.Partial(err, e.served()) {
			if !jit.Partial(err, e.Owners) {
				all.unread = err
			}
			break
		}
		if err != nil {
			return all, err
		}
		over := g.Outstanding(now)
		switch why := e.OutOfReach(g.Owner, g.Target); {
		case !over && !g.DueToStart(now):
		case why != "":
			all.outOfReach = appendOverdue(all.outOfReach, now, g, why)
		case e.served().Include(g.Owner):
			all.reachable = append(all.reachable, g)
		case over:
			all.unserved = append(all.unserved, g)
		}
	}
	return all, nil
}

// appendOverdue appends the end of a grant that is out of reach, if a sweeper that reaches it has had time to pass.
func appendOverdue(steps []reconcile.Step, now time.Time, g jit.Grant, why string) []reconcile.Step {
	if g.Outstanding(now.Add(-broker.SweptWithin)) {
		steps = append(steps, reconcile.Step{Kind: reconcile.End, Place: g.Place(), Grant: g, Reason: why})
	}
	return steps
}
