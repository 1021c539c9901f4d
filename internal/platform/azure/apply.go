package azure

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Apply reads the scope and makes the writes that the changes ask for, several at a time, one or few for each principal
// and role. What somebody else may have interfered with is read and judged again.
//
// A grant of what the principal already has by other means is refused: its assignment is not ours to end.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	a := &application{jobs: make([]*job, len(changes))}
	canonical, err := parseScope(scope)
	if err == nil {
		a.scope = canonical
		a.client, err = p.client()
	}
	var release func()
	if err == nil {
		release, err = p.hold(ctx, canonical)
	}
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	defer release()
	for i, c := range changes {
		a.jobs[i] = p.job(canonical, c)
	}
	if slices.ContainsFunc(a.jobs, (*job).open) {
		a.run(ctx, a.client.assigner())
	}
	for i, j := range a.jobs {
		errs[i] = j.err
	}
	return errs
}

// job is one change in the words of Azure.
type job struct {
	op     jit.Op
	claim  claim
	who    principal
	role   string // as it was written
	roleID string
	// touched are the slots that were written for it.
	touched map[key]bool
	// err is why it was not done; failed says that it will not be tried again.
	err    error
	failed bool
}

func (j *job) open() bool { return !j.failed }

func (j *job) fail(err error) { j.err, j.failed = err, true }

// job refuses what could never be carried out.
func (p *Platform) job(scope string, c jit.Change) *job {
	j := &job{op: c.Op, claim: claim{marker: c.Access.Marker}, touched: map[key]bool{}}
	if c.Op == jit.Remove {
		return j
	}
	b := c.Access.Binding
	b.Scope = scope
	b, _, err := p.Check(b)
	if err != nil {
		j.fail(err)
		return j
	}
	if j.who, err = parsePrincipal(b.Principal); err != nil {
		j.fail(err)
	}
	j.role, j.claim.byID = b.Role, isID(b.Role)
	return j
}

// application is one call of Apply.
type application struct {
	client *client
	scope  string
	jobs   []*job
}

// failAll gives an error to all jobs of an operation, or of both with 0, that have none yet.
func (a *application) failAll(op jit.Op, err error) {
	for _, j := range a.jobs {
		if j.open() && (op == 0 || j.op == op) {
			j.fail(err)
		}
	}
}

// run reads and writes until the scope is as asked for.
func (a *application) run(ctx context.Context, m assigner) {
	end := time.Now().Add(a.client.platform.pace.patience)
	for try := 0; ; try++ {
		v, err := m.read(ctx, a.scope)
		var answered *azcore.ResponseError
		if isGone(err) && errors.As(err, &answered) {
			a.failAll(jit.Ensure, noSuchScope(a.scope, answered))
			return
		}
		if err != nil {
			a.failAll(0, err)
			return
		}
		if skew := a.client.platform.clock.Latest().Skew(); skew != nil {
			a.failAll(jit.Ensure, skew)
		}
		a.resolve(ctx)
		outcome := a.write(ctx, m, a.plan(m, v))
		if outcome == done {
			return
		}
		if time.Now().After(end) {
			return // the jobs have the errors of the last try
		}
		if outcome == unsure {
			err = backoff.Sleep(ctx, m.recheckAfter())
		} else {
			err = backoff.Wait(ctx, try, a.client.platform.pace.tick/10, a.client.platform.pace.tick)
		}
		if err != nil {
			a.failAll(0, err)
			return
		}
	}
}

// resolve looks up the roles of the jobs.
func (a *application) resolve(ctx context.Context) {
	for _, j := range a.jobs {
		if j.open() && j.op == jit.Ensure && j.roleID == "" {
			var err error
			if j.roleID, err = a.client.roleID(ctx, a.scope, j.role); err != nil {
				j.fail(err)
			}
		}
	}
}

// task is what a slot has to hold, and for whose sake.
type task struct {
	slot *slot
	want []claim
	jobs []*job
}

// plan returns what has to be written of the slots that the jobs are about.
func (a *application) plan(m assigner, v *view) []*task {
	tasks := map[key]*task{}
	on := func(s *slot) *task {
		if tasks[s.key] == nil {
			tasks[s.key] = &task{slot: s, want: s.kept()}
		}
		return tasks[s.key]
	}
	for _, j := range a.jobs {
		if !j.open() {
			continue
		}
		j.err = nil
		for _, s := range v.slots {
			if j.op == jit.Ensure && s.key == (key{j.who.id, j.roleID}) {
				continue
			}
			// Of a slot that it was taken off before, others may have lost what is theirs.
			if j.touched[s.key] || slices.ContainsFunc(s.kept(), func(c claim) bool { return c.is(j.claim.marker) }) {
				t := on(s)
				t.want, t.jobs = drop(t.want, j.claim.marker), append(t.jobs, j)
			}
		}
		if j.op == jit.Ensure {
			a.claim(m, v, j, on)
		}
	}
	var todo []*task
	for _, t := range tasks {
		if ours := len(t.slot.claims) > 0 || !t.slot.there; len(t.jobs) > 0 && ours && m.differs(t.slot, t.want) {
			todo = append(todo, t)
			for _, j := range t.jobs {
				j.touched[t.slot.key] = true
			}
		}
	}
	return todo
}

// claim adds the claim of an Ensure to its slot, or refuses it.
func (a *application) claim(m assigner, v *view, j *job, on func(*slot) *task) {
	s := v.at(key{j.who.id, j.roleID}, j.who)
	switch {
	case s.there && len(s.claims) == 0:
		j.fail(s.standing(a.scope))
		return
	case s.there && s.who.kind != j.who.kind:
		j.fail(otherKind(j.who, s.who))
		return
	}
	s.who = j.who
	t := on(s)
	want := put(t.want, j.claim)
	if err := m.fits(want); err != nil && !slices.ContainsFunc(t.slot.claims, func(c claim) bool { return c.String() == j.claim.String() }) {
		j.fail(err)
		return
	}
	t.want, t.jobs = want, append(t.jobs, j)
}

// outcome is what is known after the writes of one round, the worst of all.
type outcome int

const (
	done   outcome = iota
	unsure         // written, and somebody else may have interfered
	again          // another writer was faster, or one job of several is out of the way
)

// write carries out the tasks.
func (a *application) write(ctx context.Context, m assigner, tasks []*task) outcome {
	var mu sync.Mutex
	worst := done
	var writes errgroup.Group
	writes.SetLimit(parallel)
	for _, t := range tasks {
		writes.Go(func() error {
			sure, err := m.write(ctx, a.scope, t.slot, t.want)
			mu.Lock()
			defer mu.Unlock()
			worst = max(worst, a.judge(ctx, t, sure, err))
			return nil
		})
	}
	_ = writes.Wait() // the outcome of each is in its jobs
	return worst
}

// judge gives the error of a write to the jobs that asked for it.
func (a *application) judge(ctx context.Context, t *task, sure bool, err error) outcome {
	if err == nil {
		if sure {
			return done
		}
		return unsure
	}
	lost := errors.Is(err, errRace)
	err = a.client.explainWrite(ctx, a.scope, t.slot, t.want, err)
	if lost {
		for _, j := range t.jobs {
			j.err = err
		}
		return again
	}
	// One of several that asks for too much does not keep the others from what they ask for.
	var ensures []*job
	for _, j := range t.jobs {
		if j.open() && j.op == jit.Ensure {
			ensures = append(ensures, j)
		}
	}
	if ctx.Err() == nil && len(ensures) > 0 && len(t.jobs) > 1 {
		slices.MaxFunc(ensures, func(x, y *job) int { return x.claim.marker.Window.End.Compare(y.claim.marker.Window.End) }).fail(err)
		return again
	}
	for _, j := range t.jobs {
		j.fail(err)
	}
	return done
}
