package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Apply reads the scope and makes the writes that the changes need, several at a time and few for each principal and
// role. If another writer may have interfered, it reads the scope again and repairs it.
//
// It refuses a grant of access that the principal already has from an assignment that is not ours to end.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	a, release, err := p.begin(ctx, scope)
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	defer release()
	for _, c := range changes {
		a.jobs = append(a.jobs, p.job(a.scope, c))
	}
	if slices.ContainsFunc(a.jobs, (*job).open) {
		a.run(ctx, a.client.assigner())
	}
	var errs []error
	for _, j := range a.jobs {
		errs = append(errs, j.err)
	}
	return errs
}

// begin waits for its turn on the scope, which release ends.
func (p *Platform) begin(ctx context.Context, scope string) (a *application, release func(), err error) {
	if scope, err = parseScope(scope); err != nil {
		return nil, nil, err
	}
	c, err := p.client()
	if err != nil {
		return nil, nil, err
	}
	release, err = p.hold(ctx, scope)
	return &application{client: c, scope: scope}, release, err
}

// job is one change in Azure's terms.
type job struct {
	op     jit.Op
	claim  claim
	who    principal
	role   string // as the grant wrote it
	roleID string
	// touched holds the slots that were written for it.
	touched map[key]bool
	// err is why it was not done yet, and last why not in the round before; failed means that it will not be tried
	// again.
	err, last error
	failed    bool
	// held is [jit.Change].Held; waited means that another process was given the time to finish.
	held, waited bool
	// sole is [jit.Change].Sole.
	sole func() bool
}

func (j *job) open() bool { return !j.failed }

// fail gives up on the job. The first error counts.
func (j *job) fail(err error) {
	if j.open() {
		j.err, j.failed = err, true
	}
}

// key is the key of an Ensure.
func (j *job) key() key { return key{j.who.id, j.roleID} }

// leaves reports whether the job must take its claim off a slot. That includes slots where it has done so before,
// because the write may have removed a claim that another writer has added.
func (j *job) leaves(s *slot) bool {
	if j.op == jit.Ensure && s.key == j.key() {
		return false
	}
	return j.touched[s.key] || holds(s.kept(), j.claim.marker)
}

// job makes the job of a change and refuses an Ensure that could never succeed.
func (p *Platform) job(scope string, c jit.Change) *job {
	j := &job{op: c.Op, claim: claim{marker: c.Access.Marker}, held: c.Held, sole: c.Sole, touched: map[key]bool{}}
	b := c.Access.Binding
	b.Scope = scope
	b, traits, err := p.Check(b)
	if err == nil {
		j.who, err = parsePrincipal(b.Principal)
	}
	j.role, j.claim.byID = b.Role, isID(b.Role)
	if c.Op == jit.Remove {
		return j // the marker suffices
	}
	// Azure's latest answer may be old, so this machine's clock counts; [application.run] compares the two.
	ahead := j.claim.marker.Window.End.Sub(p.now())
	if err == nil && traits.MaxAhead > 0 && ahead > traits.MaxAhead+jit.MaxSkew+leeway {
		err = jit.Invalid("expires_at", "ask nearer to its beginning", "the grant would end %s from now; "+
			"PIM forgets whose an assignment is, so a grant ends at most %s from now",
			jit.FormatDuration(ahead), jit.FormatDuration(traits.MaxAhead))
	}
	if err != nil {
		j.fail(err)
	}
	return j
}

// application is one call of Apply.
type application struct {
	client *client
	scope  string
	jobs   []*job
	rounds int // in which Azure was asked to write
}

// fail gives up on the jobs of the operations.
func (a *application) fail(err error, ops ...jit.Op) {
	for _, j := range a.jobs {
		if slices.Contains(ops, j.op) {
			j.fail(err)
		}
	}
}

// mostWrites is how often one Apply writes, also if each write was accepted and a read shows the state before it.
const mostWrites = 12

// run reads and writes until the scope is as asked for, or patience ends.
func (a *application) run(ctx context.Context, m assigner) {
	pace := a.client.platform.pace
	end := time.Now().Add(pace.patience)
	for try := 0; ; try++ {
		v, err := m.read(ctx, a.scope)
		if isGone(err) {
			a.fail(noSuchScope(a.scope, err), jit.Ensure) // a removal has nothing to do
			return
		}
		if err != nil {
			a.fail(err, jit.Ensure, jit.Remove)
			return
		}
		if skew := a.client.platform.clock.Latest().Skew(); skew != nil {
			a.fail(skew, jit.Ensure)
		}
		a.resolve(ctx)
		a.seek(ctx, m, v)
		if a.mayComeBack(v) {
			if err := backoff.Sleep(ctx, pace.recheck); err != nil {
				a.fail(err, jit.Ensure, jit.Remove)
				return
			}
			continue
		}
		todo := a.plan(m, v)
		if a.rounds >= mostWrites || try > 0 && time.Now().After(end) {
			a.giveUp(todo)
			return
		}
		outcome := a.write(ctx, m, todo)
		if outcome == done {
			return
		}
		var pause time.Duration
		if outcome == unsure {
			pause = m.recheckAfter()
		}
		if outcome == again || try > 0 {
			pause += backoff.Pause(try, pace.tick/10, pace.tick)
		}
		if err := backoff.Sleep(ctx, pause); err != nil {
			a.fail(err, jit.Ensure, jit.Remove)
			return
		}
	}
}

// giveUp fails the jobs that still need a write.
func (a *application) giveUp(todo []*task) {
	for _, t := range todo {
		for _, j := range t.jobs {
			j.fail(cmp.Or(j.last, error(&jit.Error{
				Problem: fmt.Sprintf("after %d writes Azure still shows the assignment of %s to %s on %s as it was",
					a.rounds, t.slot.role, t.slot.who, a.scope),
				Hint: "apply again in some minutes; the next sweep tries too",
			})))
		}
	}
}

// resolve looks up the roles of the jobs.
func (a *application) resolve(ctx context.Context) {
	for _, j := range a.jobs {
		if j.failed || j.op != jit.Ensure || j.roleID != "" {
			continue
		}
		var err error
		if j.roleID, err = a.client.roleID(ctx, a.scope, j.role); err != nil {
			j.fail(err)
		}
	}
}

// seek looks for the claims of removals that the read lacks: Azure's lists may not show them yet.
func (a *application) seek(ctx context.Context, m assigner, v *view) {
	for _, j := range a.jobs {
		if j.op == jit.Remove && len(j.touched) == 0 && j.claim.marker.Window.End.After(v.now) && !v.holds(j.claim) {
			if err := m.seek(ctx, v, j); err != nil {
				j.fail(err)
			}
		}
	}
}

// mayComeBack reports whether a removal finds its claim only in a request that somebody else cancelled: another process
// that changes the assignment cancels it and asks again. It does so once for each removal.
func (a *application) mayComeBack(v *view) (wait bool) {
	for _, j := range a.jobs {
		if j.failed || j.op != jit.Remove || !j.held || j.waited || len(j.touched) > 0 {
			continue
		}
		for _, s := range v.slots {
			if holds(s.cancelled, j.claim.marker) && j.claim.marker.Window.End.After(v.now) {
				j.waited, wait = true, true
			}
		}
	}
	return wait
}

// task is the content that a slot must get, and the jobs that need it.
type task struct {
	slot *slot
	want []claim
	jobs []*job
}

type tasks map[key]*task

// of returns the task of a slot, which at first keeps the slot as it is.
func (all tasks) of(s *slot) *task {
	if all[s.key] == nil {
		all[s.key] = &task{slot: s, want: s.kept()}
	}
	return all[s.key]
}

// plan returns the tasks of the jobs that need a write.
func (a *application) plan(m assigner, v *view) []*task {
	all := tasks{}
	for _, j := range a.jobs {
		if j.failed {
			continue
		}
		j.last, j.err = j.err, nil
		for _, s := range v.slots {
			if j.leaves(s) {
				t := all.of(s)
				t.want, t.jobs = drop(t.want, j.claim.marker), append(t.jobs, j)
			}
		}
		if j.op == jit.Ensure {
			a.addClaim(m, v, j, all)
		}
	}
	var todo []*task
	for _, t := range all {
		foreign := t.slot.there && len(t.slot.claims) == 0
		if len(t.jobs) == 0 || foreign || !m.differs(t.slot, t.want) {
			continue
		}
		todo = append(todo, t)
		for _, j := range t.jobs {
			j.touched[t.slot.key] = true
		}
	}
	return todo
}

// addClaim adds the claim of an Ensure to its slot, or refuses it.
func (a *application) addClaim(m assigner, v *view, j *job, all tasks) {
	s := v.at(j.key(), j.who)
	other := v.otherKind(j.who)
	switch {
	case s.there && len(s.claims) == 0:
		j.fail(s.heldAlready(a.scope))
		return
	case s.there && s.gone:
		j.fail(noSuchPrincipal(j.who, ""))
		return
	case other != nil:
		j.fail(other)
		return
	}
	s.who = j.who
	t := all.of(s)
	want := put(t.want, j.claim)
	if err := m.fits(want); err != nil && len(without([]claim{j.claim}, s.claims)) > 0 {
		j.fail(err)
		return
	}
	t.want, t.jobs = want, append(t.jobs, j)
}

// outcome is what is known after the writes of one round; of several, the worst.
type outcome int

const (
	done   outcome = iota
	unsure         // another writer may have interfered
	again          // another writer was faster, or one of several jobs has failed
)

// write carries out the tasks.
func (a *application) write(ctx context.Context, m assigner, todo []*task) outcome {
	var mu sync.Mutex
	worst, asked := done, false
	var writes errgroup.Group
	writes.SetLimit(parallel)
	for _, t := range todo {
		writes.Go(func() error {
			sure, err := m.write(ctx, a.scope, t.slot, t.want)
			mu.Lock()
			defer mu.Unlock()
			asked = asked || !errors.Is(err, errOld)
			worst = max(worst, a.judge(ctx, t, sure, err))
			return nil
		})
	}
	_ = writes.Wait() // the jobs have the errors
	if asked {
		a.rounds++
	}
	return worst
}

// judge gives the error of a write to the jobs of its task.
func (a *application) judge(ctx context.Context, t *task, sure bool, err error) outcome {
	switch {
	case err == nil && sure:
		return done
	case err == nil:
		return unsure
	}
	lost := errors.Is(err, errRace)
	err = a.client.explainWrite(ctx, a.scope, t, err)
	if lost {
		for _, j := range t.jobs {
			j.err = err
		}
		return again
	}
	if j := t.longest(); j != nil && len(t.jobs) > 1 && ctx.Err() == nil {
		j.fail(err) // it may have asked for too much; the others try without it
		return again
	}
	for _, j := range t.jobs {
		j.fail(err)
	}
	return done
}

// longest returns the open Ensure with the latest end, or nil.
func (t *task) longest() *job {
	var longest *job
	for _, j := range t.jobs {
		if j.op == jit.Ensure && j.open() &&
			(longest == nil || j.claim.marker.Window.End.After(longest.claim.marker.Window.End)) {
			longest = j
		}
	}
	return longest
}
