package awsidentitycenter

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// chain are the writes of one permission set, one after the other, what is to be made first.
type chain struct {
	steps []step
	// held is how many assignments the set has on the account: with the first its role is made there, and with the last removed.
	held int
}

// step is one write.
type step struct {
	operation operation
	object    object
	is        presence // before
}

// act makes the writes that the marks ask for, different permission sets side by side.
func (a *application) act(ctx context.Context) {
	chains := map[string]*chain{}
	for _, o := range a.view.objects(a.jobs) {
		if task := a.view.task(o); task != 0 {
			if chains[o.set] == nil {
				chains[o.set] = &chain{held: a.view.held(o.set)}
			}
			chains[o.set].steps = append(chains[o.set].steps, step{task, o, a.view.there[o]})
		}
	}
	var mu sync.Mutex
	var writes errgroup.Group
	writes.SetLimit(outstanding)
	for _, c := range chains {
		slices.SortFunc(c.steps, func(a, b step) int { return int(a.operation - b.operation) })
		writes.Go(func() error {
			for _, s := range c.steps {
				is, err := a.write(ctx, s, c.held)
				switch is {
				case made:
					c.held++
				case gone:
					c.held--
				case unlisted, listed:
				}
				mu.Lock()
				a.view.wrote(s.object, is, err)
				mu.Unlock()
			}
			return nil
		})
	}
	_ = writes.Wait() // the outcome of each is in the view
	a.blame(ctx)
}

// write makes one write and returns what is known of the object then.
func (a *application) write(ctx context.Context, s step, held int) (presence, error) {
	if s.operation == creation && held == 0 || s.operation == deletion && held <= 1 {
		if err := take(ctx, a.on.provisioning); err != nil {
			return s.is, err
		}
		defer func() { <-a.on.provisioning }()
	}
	done := map[operation]presence{creation: made, deletion: gone}[s.operation]
	err := a.client.write(ctx, a.on, s.operation, s.object)
	if err == nil {
		return done, nil
	}
	if !answered(err) {
		return s.is, err
	}
	// What it says that it could not do may have been done before.
	there, e := a.client.assignments(ctx, a.on.id, s.object.set)
	switch {
	case e != nil:
		return s.is, err
	case there[s.object] == (s.operation == creation):
		return done, nil
	case there[s.object]:
		return listed, err
	}
	return unlisted, err
}

// blame gives the errors of the latest writes to the jobs that asked for them.
func (a *application) blame(ctx context.Context) {
	for _, j := range a.jobs {
		j.failed = nil
		if j.err != nil {
			continue
		}
		for o, err := range a.view.failed {
			name := o.String()
			switch {
			case j.op == jit.Ensure && o == j.object:
				j.failed = explain(ctx, a.on.id, creation, o, err)
			case slices.ContainsFunc(a.view.marks, func(m jit.Claim) bool { return m.Object == name && m.Ending && j.owns(m) }):
				j.failed = explain(ctx, a.on.id, deletion, o, err)
			}
		}
	}
}
