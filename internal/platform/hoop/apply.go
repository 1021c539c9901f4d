package hoop

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// rounds bounds how often one Apply looks at what is there and puts it right. A round that follows one without an
	// answer comes after a pause.
	rounds       = 6
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

// application is one Apply in review mode.
type application struct {
	*Platform
	scope string
	jobs  []*job
	// since is from when on reviews are looked for.
	since time.Time

	mu sync.Mutex
	// made are the sessions that were made, with the times between which the gateway has made them.
	made map[string][2]time.Time
	// again: somebody else was at it at the same time. silent: some request got no answer.
	again, silent bool
}

// applyReviews makes changes in review mode. Nothing is written for a grant that would be refused or give nothing.
func (p *Platform) applyReviews(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	a := &application{Platform: p, scope: scope, made: map[string][2]time.Time{}}
	conn, err := p.connection(ctx, scope)
	all := make([]*job, len(changes))
	for i, c := range changes {
		j := &job{op: c.Op, access: c.Access, err: err}
		all[i] = j
		switch {
		case err != nil || c.Op == jit.Remove && conn == nil: // with the connection all access is gone
		case c.Op == jit.Ensure:
			if j.err = p.mayGrant(conn, scope, c.Access); j.err == nil {
				a.jobs = append(a.jobs, j)
			}
		default:
			a.jobs = append(a.jobs, j)
		}
	}
	a.checkUsers(ctx)
	a.since = p.gatewayNow().Add(-lookBack)
	a.run(ctx)
	a.endSessions(ctx)
	for i, j := range all {
		errs[i] = j.err
	}
	return errs
}

// checkUsers refuses the jobs of users who cannot connect.
func (a *application) checkUsers(ctx context.Context) {
	wrong := map[string]*error{}
	var lookups errgroup.Group
	lookups.SetLimit(parallel)
	for _, j := range a.jobs {
		email := j.access.Binding.Principal
		if wrong[email] != nil || j.op != jit.Ensure {
			continue
		}
		why := new(error)
		wrong[email] = why
		lookups.Go(func() error {
			found, err := a.user(ctx, email)
			if err == nil {
				err = a.mayConnect(email, found)
			}
			*why = err
			return nil
		})
	}
	_ = lookups.Wait() // each has noted its own error
	a.jobs = slices.DeleteFunc(a.jobs, func(j *job) bool {
		if j.op == jit.Ensure {
			j.err = *wrong[j.access.Binding.Principal]
		}
		return j.err != nil
	})
}

// run looks and writes until nothing is left to do.
func (a *application) run(ctx context.Context) {
	for round := range rounds {
		if len(a.jobs) == 0 || a.silent && backoff.Wait(ctx, round, firstPause, longestPause) != nil {
			return
		}
		all, err := a.look(ctx)
		if err != nil {
			for _, j := range a.jobs {
				if !j.done {
					j.err = err
				}
			}
			return
		}
		creations, revocations := plan(a.gatewayNow(), all, a.jobs)
		if len(creations)+len(revocations) == 0 {
			return
		}
		a.again, a.silent = len(creations) > 0, false
		a.write(ctx, creations, revocations)
		if !a.again && !a.silent {
			return
		}
	}
	for _, j := range a.jobs {
		if !j.done && j.err == nil {
			j.err = fmt.Errorf("%s %s of %s on %s: others keep changing it", j.op, j.access.Marker.ID, j.access.Binding.Principal, a.scope)
		}
	}
}

// look lists the reviews of the connection, those of removed grants however old they are, and learns the gateway's time
// from those that were made.
func (a *application) look(ctx context.Context) ([]review, error) {
	found, err := a.reviews(ctx, a.scope, nil, a.since)
	if err != nil {
		return nil, err
	}
	all := found[a.scope]
	for _, j := range a.jobs {
		start := j.access.Marker.Window.Start
		listed := slices.ContainsFunc(all, func(r review) bool { return r.of(j.access.Marker) })
		if j.op != jit.Remove || j.done || listed || start.IsZero() || start.After(a.since) {
			continue
		}
		// It was approved again after its time, or is one that nobody has ended so far.
		old, err := a.reviews(ctx, a.scope, url.Values{"correlation_id": {j.access.Marker.String()}}, time.Time{})
		if err != nil {
			return nil, err
		}
		for _, r := range old[a.scope] {
			if r.of(j.access.Marker) {
				all = append(all, r)
			}
		}
	}
	for _, r := range all {
		if between, mine := a.made[r.session]; mine {
			a.narrow(r.created.Sub(between[1]), r.created.Add(time.Millisecond).Sub(between[0]))
			a.arrived(between[0], r.created)
		}
	}
	return all, nil
}

// write makes and ends reviews: users side by side, and of one user first what is made, in its order.
func (a *application) write(ctx context.Context, creations []creation, revocations []revocation) {
	users := map[string]bool{}
	for _, c := range creations {
		users[c.email] = true
	}
	for _, v := range revocations {
		users[v.email] = true
	}
	var writes errgroup.Group
	writes.SetLimit(parallel)
	for email := range users {
		writes.Go(func() error {
			failed := map[*job]bool{}
			for _, c := range creations {
				if c.email == email && !a.create(ctx, c) {
					failed[c.job] = true
				}
			}
			var ends errgroup.Group
			ends.SetLimit(parallel)
			for _, v := range revocations {
				if v.email == email && !failed[v.job] {
					ends.Go(func() error { a.end(ctx, v); return nil })
				}
			}
			return ends.Wait()
		})
	}
	_ = writes.Wait() // each has noted its own error
}

// create makes one review, and reports whether that was answered with success. One that takes the place of another is
// taken back if somebody has ended that one meanwhile: then the grant is over, or was made again by somebody else.
func (a *application) create(ctx context.Context, c creation) bool {
	metadata := c.metadata
	if c.replaces == "" {
		metadata = make(map[string]any, len(a.cfg.Metadata))
		for name, value := range a.cfg.Metadata {
			metadata[name] = value
		}
	}
	seconds, err := a.seconds(ctx, c.marker.Window.End)
	if err != nil {
		a.note(c.job, err)
		return false
	}
	sent := a.now()
	made, err := a.provision(ctx, c.email, a.scope, c.marker.String(), seconds, metadata)
	if err == nil {
		a.mu.Lock()
		a.made[made] = [2]time.Time{sent, a.now()}
		a.mu.Unlock()
		if c.replaces == "" {
			return true
		}
		var first bool
		if first, err = a.revoke(ctx, c.replaces); err == nil && !first {
			_, err = a.revoke(ctx, made)
		}
	}
	a.note(c.job, err)
	return err == nil
}

// seconds is how long a review has to last that is made now, to end in the last second before end.
func (c *client) seconds(ctx context.Context, end time.Time) (int64, error) {
	now := c.arrival()
	if rest := now.Truncate(time.Second).Add(time.Second).Sub(now); rest < 200*time.Millisecond {
		// The request could arrive in the next second, and the review would end beyond the window.
		if err := backoff.Sleep(ctx, rest); err != nil {
			return 0, err
		}
		now = c.arrival()
	}
	left := int64(end.Sub(now.Truncate(time.Second))/time.Second) - 1
	if left < 1 {
		return 0, jit.Invalid("expires_at", "ask for longer", "the grant ends at %s, which is too soon for a review", jit.FormatTime(end))
	}
	return left, nil
}

// end revokes one review. If somebody else was faster, that may have been to make it again, so it is looked for again.
func (a *application) end(ctx context.Context, v revocation) {
	first, err := a.revoke(ctx, v.session)
	a.note(v.job, err)
	if !first {
		a.mu.Lock()
		a.again = true
		a.mu.Unlock()
	}
}

// note keeps what went wrong with a job.
func (a *application) note(j *job, err error) {
	if err == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	j.err, j.done = err, false
	if unsure(err) {
		a.silent = true
	} else {
		a.again, j.refused = true, true
	}
}
