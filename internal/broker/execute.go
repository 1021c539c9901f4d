package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// ErrChanged is the error of a revocation because of drift if the grant has changed since the drift was found.
var ErrChanged = errors.New("the grant changed meanwhile and stays as it is; the next pass compares it again")

// recordGrace is how long recording the outcomes of a call may take after its context has ended.
const recordGrace = 10 * time.Second

// action is how [Broker.Execute] carries out the steps of one kind.
type action struct {
	// verb names the action in errors and failpoints.
	verb string
	// op is the operation on the platform; zero changes nothing there.
	op jit.Op
	// allowed refuses a task that may not be carried out now. It may bring the task's grant up to date, or close the
	// task.
	allowed func(context.Context, *task) error
	// intent returns the entry to record before the platform is called; an entry without events records nothing.
	intent func(*task) jit.Entry
	// outcome updates the record after success and returns the events to record; none leaves the record as it is.
	// It may be called again with a newer record.
	outcome func(*jit.Grant, *task) []jit.Event
	// failure returns the event to record when the platform fails.
	failure func(*task) jit.Event
}

// action returns the action for steps of a kind.
func (b *Broker) action(kind reconcile.Kind) action {
	return map[reconcile.Kind]action{
		reconcile.End:    {"revoke", jit.Remove, b.mayEnd, nil, b.ended, b.revokeFailed},
		reconcile.Start:  {"start", jit.Ensure, b.mayStart, nil, b.started, b.startFailed},
		reconcile.Repair: {"repair", jit.Ensure, b.mayRepair, b.repairIntent, b.repaired, b.repairFailed},
		reconcile.Revoke: {"revoke", jit.Remove, b.mayRevoke, b.revokeIntent, b.ended, b.revokeFailed},
		reconcile.Remove: {"remove", jit.Remove, b.mayRemove, b.removeIntent, b.removed, b.removeFailed},
		reconcile.Report: {verb: "report", intent: b.reported},
	}[kind]
}

// task is one step in progress.
type task struct {
	reconcile.Step
	// closed: nothing more is done.
	closed bool
	// recorded: the ledger has accepted the intent.
	recorded bool
	// err is the refusal or the platform's error, ledger the errors of recording the intent and the outcome.
	err, ledger error
}

// failed reports whether the platform has not carried out the task. A stray fails also with remains.
func (t *task) failed() bool { return failed(t.err) || t.err != nil && t.Kind == reconcile.Remove }

// failed reports whether an error of the platform means that access may be in force: remains give none.
func failed(err error) bool { return err != nil && !errors.Is(err, jit.ErrRemains) }

// Execute carries out steps in order and returns an error for each. Consecutive steps of a kind on one place share one
// call on the platform and one write of their outcomes; no call has two changes for one grant. [jit.ErrRemains] says
// that access has ended, which is recorded, and that something remains to be cleaned up.
func (b *Broker) Execute(ctx context.Context, steps []reconcile.Step) []error {
	var errs []error
	for len(steps) > 0 {
		n := batchLength(steps)
		errs = append(errs, b.executeBatch(ctx, steps[:n])...)
		steps = steps[n:]
	}
	return errs
}

// batchLength counts the leading steps that are of one kind, on one place and for different grants.
func batchLength(steps []reconcile.Step) int {
	seen := make(map[jit.ID]bool, len(steps))
	for i, s := range steps {
		if s.Kind != steps[0].Kind || s.Place != steps[0].Place || seen[s.Grant.ID] {
			return i
		}
		seen[s.Grant.ID] = true
	}
	return len(steps)
}

func (b *Broker) executeBatch(ctx context.Context, steps []reconcile.Step) []error {
	a := b.action(steps[0].Kind)
	tasks := make([]task, len(steps))
	for i, s := range steps {
		tasks[i].Step = s
	}
	b.admit(ctx, a, tasks)
	b.recordIntents(ctx, a, tasks)
	if a.op != 0 {
		failpoint.Hit(a.verb + ".after-intent")
		b.applyTasks(ctx, steps[0].Place, a, tasks)
		failpoint.Hit(a.verb + ".after-platform")
		b.recordOutcomes(ctx, a, tasks)
		failpoint.Hit(a.verb + ".after-outcome")
	}
	b.endAnother(ctx, tasks)
	errs := make([]error, len(tasks))
	for i := range tasks {
		errs[i] = errors.Join(tasks[i].err, tasks[i].ledger)
	}
	return errs
}

// endAnother ends the grants whose repair failed with [jit.ErrAnother]: no later repair can succeed.
func (b *Broker) endAnother(ctx context.Context, tasks []task) {
	var which []int
	var steps []reconcile.Step
	for i, t := range tasks {
		var told *jit.Error
		if t.Kind == reconcile.Repair && errors.Is(t.err, jit.ErrAnother) && errors.As(t.err, &told) {
			which = append(which, i)
			steps = append(steps, reconcile.Drifted(reconcile.Revoke, t.Place, t.Grant, t.Drift, told.Problem))
		}
	}
	if len(steps) == 0 {
		return
	}
	for n, err := range b.executeBatch(ctx, steps) {
		t := &tasks[which[n]]
		if err != nil {
			t.err = errors.Join(t.err, err)
			continue
		}
		t.err = jit.Errorf(jit.ErrOver, "", renew(t.Grant), "grant %s has been ended: %s", t.Grant.ID, steps[n].Reason)
	}
}

// admit closes the tasks that may not be carried out.
func (b *Broker) admit(ctx context.Context, a action, tasks []task) {
	if a.op == jit.Ensure {
		grants := make([]jit.Grant, len(tasks))
		for i, t := range tasks {
			grants[i] = t.Grant
		}
		for i, err := range b.mayGive(ctx, tasks[0].Place, grants) {
			tasks[i].err = err
		}
		for i, err := range b.checkAltered(ctx, grants) {
			tasks[i].err = cmp.Or(tasks[i].err, err)
		}
	}
	b.refuseUnapproved(ctx, tasks)
	if slices.ContainsFunc(tasks, byTheClock) && !b.ledgerDecides() {
		_ = b.askClock(ctx, tasks[0].Place) // what is over ends even if the target cannot be read
	}
	for i := range tasks {
		t := &tasks[i]
		if t.err == nil && a.op == jit.Ensure {
			t.err = b.mayBegin(ctx, t.Place)
		}
		if t.err == nil && a.allowed != nil {
			t.err = a.allowed(ctx, t)
		}
		t.closed = t.closed || t.err != nil
	}
}

// byTheClock reports whether a task ends a grant because of its window.
func byTheClock(t task) bool {
	return t.Kind == reconcile.End && t.Grant.RevokedAt.IsZero() && t.Grant.EndedAt.IsZero()
}

// recordIntents records what is about to be done. Access is taken away even if that cannot be recorded, but never
// given.
func (b *Broker) recordIntents(ctx context.Context, a action, tasks []task) {
	var w writes
	for i := range tasks {
		if t := &tasks[i]; !t.closed && a.intent != nil {
			w.add(t, a.intent(t))
		}
	}
	w.write(ctx, b.Ledger, func(t *task, e jit.Entry, err error) { b.intentRecorded(ctx, t, e, err) })
}

// intentRecorded brings a task up to date after the write of its intent, and closes it if it may not go on.
func (b *Broker) intentRecorded(ctx context.Context, t *task, e jit.Entry, err error) {
	switch {
	case errors.Is(err, jit.ErrStale):
		t.closed, t.err = true, b.overtaken(ctx, t)
	case err != nil:
		t.ledger = err
		t.closed = t.Kind == reconcile.Revoke || t.Severity == jit.Info
	case e.Grant != nil:
		t.Grant = *e.Grant
		t.Grant.Version++
	}
	t.recorded = err == nil
}

// overtaken returns the error for a task whose grant somebody else has changed. They finish a repair; a revocation must
// not look done.
func (b *Broker) overtaken(ctx context.Context, t *task) error {
	if t.Kind != reconcile.Revoke {
		return nil
	}
	g, known, err := b.Find(ctx, t.Grant.ID)
	if err == nil && known && !g.Live(b.Now()) {
		return nil
	}
	return errors.Join(ErrChanged, err)
}

// applyTasks makes the changes of the open tasks with one call.
func (b *Broker) applyTasks(ctx context.Context, at jit.Place, a action, tasks []task) {
	var open []*task
	var grants []jit.Grant
	for i := range tasks {
		if t := &tasks[i]; !t.closed {
			open, grants = append(open, t), append(grants, t.Grant)
		}
	}
	if len(open) == 0 {
		return
	}
	for i, err := range b.apply(ctx, at, a.op, grants) {
		if g := grants[i]; err != nil {
			open[i].err = fmt.Errorf("%s grant %s (%s for %s on target %q): %w",
				a.verb, g.ID, g.Role, g.Principal, at.Target, err)
		}
	}
}

// recordOutcomes writes the outcomes of all open tasks together, even after the context of the call has ended.
func (b *Broker) recordOutcomes(call context.Context, a action, tasks []task) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(call))
	defer cancel()
	defer context.AfterFunc(call, func() { time.AfterFunc(recordGrace, cancel) })()
	var w writes
	for i := range tasks {
		if t := &tasks[i]; !t.closed {
			w.add(t, b.outcome(call, a, t))
		}
	}
	w.write(ctx, b.Ledger, func(t *task, _ jit.Entry, err error) { b.outcomeRecorded(ctx, a, t, err) })
}

// outcomeRecorded completes a task after the write of its outcome.
func (b *Broker) outcomeRecorded(ctx context.Context, a action, t *task, err error) {
	if err != nil && t.failed() {
		b.failures.forget(t.Grant.ID) // the failure is not recorded
	}
	if errors.Is(err, jit.ErrStale) {
		err = b.recordAgain(ctx, a, t)
	}
	if err != nil && errors.Is(t.err, jit.ErrRemains) {
		t.err = nil // the end of the access is not recorded
	}
	t.ledger = errors.Join(t.ledger, err)
}

// outcome returns the entry for what a task has achieved, or for its failure. An interrupted task records nothing.
func (b *Broker) outcome(call context.Context, a action, t *task) jit.Entry {
	if !t.failed() {
		b.failures.forget(t.Grant.ID)
		next := t.Grant
		return t.entry(&next, a.outcome(&next, t))
	}
	if call.Err() != nil || !b.recordsFailure(t) {
		return jit.Entry{}
	}
	e := a.failure(t)
	if !b.failures.isNew(t.Grant.ID, e.Kind, b.Now()) {
		return jit.Entry{}
	}
	return jit.Entry{Events: []jit.Event{e}, Owner: t.Grant.Owner}
}

// recordAgain records an outcome whose record has changed meanwhile with the newer record. Access given to a grant that
// has ended meanwhile is taken back.
func (b *Broker) recordAgain(ctx context.Context, a action, t *task) error {
	g, err := b.update(ctx, t.Grant, func(g *jit.Grant) ([]jit.Event, bool) {
		events := a.outcome(g, t)
		return events, len(events) > 0
	})
	if err == nil && a.op == jit.Ensure {
		_, err = b.followRecord(ctx, t.Grant.Access(), g)
	}
	return err
}

// recordsFailure reports whether this process records the failure of a task. If several sweepers find the same stray,
// the one that recorded the intent does.
func (b *Broker) recordsFailure(t *task) bool {
	return t.Kind != reconcile.Remove ||
		t.Dedup.Name != "" && (t.recorded || b.failures.isLast(t.Grant.ID, jit.EventRevokeFailed))
}

// entry returns the entry that records the outcome of a task: the new record with its events, or the events alone for a
// stray, which has no record.
func (t *task) entry(next *jit.Grant, events []jit.Event) jit.Entry {
	switch {
	case len(events) == 0:
		return jit.Entry{}
	case t.Kind == reconcile.Remove:
		key := t.Dedup
		key.Name += "/done"
		return jit.Entry{Events: events, Owner: t.Grant.Owner, Dedup: key}
	}
	return jit.Rewrite(t.Grant, *next, events...)
}

// writes collects the entries of tasks for one write.
type writes struct {
	entries []jit.Entry
	tasks   []*task
}

// add adds an entry that has events.
func (w *writes) add(t *task, e jit.Entry) {
	if len(e.Events) > 0 {
		w.entries, w.tasks = append(w.entries, e), append(w.tasks, t)
	}
}

// write writes the entries and calls then for each with its error, except for duplicates: their events are recorded.
func (w *writes) write(ctx context.Context, ledger jit.Ledger, then func(*task, jit.Entry, error)) {
	if len(w.entries) == 0 {
		return
	}
	for i, err := range ledger.Write(ctx, w.entries) {
		if !errors.Is(err, jit.ErrDuplicate) {
			then(w.tasks[i], w.entries[i], err)
		}
	}
}
