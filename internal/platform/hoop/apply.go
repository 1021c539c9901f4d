package hoop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// rounds bounds how often one Apply makes or ends reviews that it has not dealt with before. Rounds in which it
	// only waits for the list to follow are bounded by listPatience.
	rounds       = 8
	listPatience = 15 * time.Second
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

// application is one Apply in review mode.
type application struct {
	*Platform
	scope string
	me    holder
	jobs  []*job
	// since is from when on reviews are looked for.
	since time.Time

	mu sync.Mutex
	// made are the reviews that were made and that have not been listed yet, by their sessions.
	made map[string]*making
	// ended are the sessions whose reviews the gateway says are revoked.
	ended map[string]bool
	// listed are the reviews that the latest list shows.
	listed []review
	// silent: some request got no answer.
	silent bool
}

// applyReviews makes changes in review mode. Nothing is written for a grant that would be refused or give nothing.
func (p *Platform) applyReviews(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	a := &application{Platform: p, scope: scope, made: map[string]*making{}, ended: map[string]bool{}}
	var conn *connection
	var err error
	if a.me, err = p.approver(ctx); err == nil {
		conn, err = p.connection(ctx, scope)
	}
	all := make([]*job, len(changes))
	for i, c := range changes {
		j := &job{op: c.Op, access: c.Access, err: err}
		all[i] = j
		switch {
		case err != nil || c.Op == jit.Remove && conn == nil: // with the connection all access is gone
		case c.Op == jit.Ensure:
			j.asked = p.Asks()
			if j.err = p.mayGrant(conn, scope, c.Access); j.err == nil {
				a.jobs = append(a.jobs, j)
			}
		default:
			a.jobs = append(a.jobs, j)
		}
	}
	a.checkUsers(ctx, conn)
	a.since = p.since()
	waiting, unknown := a.waiting(ctx) // before the run, which revokes what is approved by then
	a.run(ctx)
	a.withdraw(ctx, waiting, unknown)
	a.endSessions(ctx)
	for i, j := range all {
		if j.err == nil && j.op == jit.Remove && j.taken != nil {
			j.err = j.taken.left() // nothing of ours is left, and the user is let in all the same
		}
		errs[i] = j.err
	}
	return errs
}

// checkUsers refuses the jobs of users who cannot connect, or who can without a review.
func (a *application) checkUsers(ctx context.Context, conn *connection) {
	if !slices.ContainsFunc(a.jobs, func(j *job) bool { return j.op == jit.Ensure }) {
		return
	}
	gated, unknown := a.ruleOf(ctx, conn)
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
			if err = errors.Join(unknown, err); err == nil {
				err = a.mayConnect(email, found, conn, gated)
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

// run looks and writes until the list shows what the jobs want. The gateway has no lock, and its answer to a revocation
// is none: two that revoke at once may both be answered with success, and somebody may have made a copy of the review
// meanwhile. So nothing is done before the list says so.
func (a *application) run(ctx context.Context) {
	began := a.now()
	for look, writes := 0, 0; len(a.jobs) > 0; look++ {
		started := a.now()
		if (look > 1 || a.silent) && backoff.Wait(ctx, look, firstPause, longestPause) != nil {
			a.stop(ctx.Err())
			return
		}
		all, err := a.list(ctx)
		var awaited map[string]bool
		if err == nil {
			awaited, err = a.findMade(ctx, all)
		}
		if err != nil {
			if answered(err, http.StatusUnauthorized, http.StatusForbidden) {
				a.takeBack(ctx, err) // the key has lost its groups: what was just made would not be found again
			}
			a.stop(err)
			return
		}
		creations, revocations := plan(a.gatewayNow(), all, a.jobs, awaited)
		if open := a.awaitLost(all, started); len(creations)+len(revocations)+len(awaited) == 0 && !open {
			return
		}
		fresh := len(creations) > 0 || slices.ContainsFunc(revocations, func(v revocation) bool { return !a.ended[v.session] })
		if fresh {
			writes++
		}
		if writes > rounds || !fresh && started.Sub(began) > a.patience {
			a.takeBack(ctx, nil)
			a.giveUp(revocations)
			return
		}
		a.silent = false
		a.write(ctx, creations, revocations)
		if fresh {
			began = a.now() // the list has had no time to follow these
		}
	}
}

// awaitLost compares lost creations with the reviews in a list that was asked for at a time. The jobs whose users a
// creation may still let in are not done.
func (a *application) awaitLost(all []review, asked time.Time) (open bool) {
	a.listed = all
	for _, r := range all {
		if r.ours() {
			a.lost.listed(r.marker, r.session)
		}
	}
	for _, j := range a.jobs {
		if !j.refused && a.lost.open(a.scope, j.access.Marker, asked.Add(-a.patience)) {
			open, j.done = true, false
		}
	}
	return open
}

// stop ends the jobs that are not done with an error.
func (a *application) stop(err error) {
	for _, j := range a.jobs {
		if !j.done && !j.refused {
			j.err = err
		}
	}
}

// giveUp ends the jobs that are not done and says what the gateway still lists.
func (a *application) giveUp(left []revocation) {
	for _, j := range a.jobs {
		if j.done || j.err != nil {
			continue
		}
		i := slices.IndexFunc(left, func(v revocation) bool { return v.job == j })
		if i < 0 {
			j.err = fmt.Errorf("%s %s of %s on %s: others keep changing it", j.op, j.access.Marker.ID, j.access.Binding.Principal, a.scope)
			continue
		}
		j.err = &jit.Error{
			Problem: fmt.Sprintf("the gateway at %s still lists the review of session %s, of %s on %s, as approved after it was revoked", a.base.Host, left[i].session, left[i].email, a.scope),
			Hint:    "look at the session in hoop: somebody may be approving it again and again, or the gateway reads from a database that is behind",
		}
	}
}

// list returns the reviews of the connection, and those of removed grants however old they are.
func (a *application) list(ctx context.Context) ([]review, error) {
	found, err := a.reviews(ctx, a.me, a.scope, nil, a.since)
	if err != nil {
		return nil, err
	}
	all := found[a.scope]
	for _, j := range a.jobs {
		listed := slices.ContainsFunc(all, func(r review) bool { return r.of(j.access) || r.taken(j.access, a.gatewayNow()) })
		if j.op != jit.Remove || j.done || listed {
			continue
		}
		// It was approved again after its time, or is one that nobody has ended so far.
		for _, name := range a.unlisted(j.access.Marker) {
			old, err := a.reviews(ctx, a.me, a.scope, url.Values{"correlation_id": {name}}, time.Time{})
			if err != nil {
				return nil, err
			}
			for _, r := range old[a.scope] {
				if r.of(j.access) || r.taken(j.access, a.gatewayNow()) {
					all = append(all, r)
				}
			}
		}
	}
	return all, nil
}

// unlisted returns the names of a grant's sessions that may be older than what is listed. One that asks is older than
// the window, by as long as reviewers took.
func (a *application) unlisted(m jit.Marker) (names []string) {
	start := m.Window.Start
	if start.IsZero() {
		return nil
	}
	if !start.After(a.since) {
		names = append(names, m.String())
	}
	if !start.Add(-maxTTL).After(a.since) {
		names = append(names, askName(m))
	}
	return names
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

// metadata is what is written on a session: that of the target, and who approved it, for hoop's record names the groups
// of reviewers as those who did.
func (p *Platform) metadata(approvedBy string) map[string]any {
	all := map[string]any{approvedByField: approvedBy}
	for name, value := range p.cfg.Metadata {
		all[name] = value
	}
	return all
}

// create makes one review, and reports whether that was answered with success. One that takes the place of another is
// taken back if somebody has ended that one meanwhile: then the grant is over, or was made again by somebody else.
func (a *application) create(ctx context.Context, c creation) bool {
	metadata := c.metadata
	if c.replaces == "" {
		metadata = a.metadata(fmt.Sprintf("terraform-provider-jit, with the API key %q; the reviewers of the connection did not decide", a.me.Email))
	}
	seconds, err := a.seconds(ctx, c.marker.Window.End)
	if err = cmp.Or(err, ctx.Err()); err != nil {
		a.note(c.job, err)
		return false
	}
	sent := a.now()
	made, err := a.provision(ctx, c.email, a.scope, c.marker.String(), seconds, metadata, false)
	if err != nil {
		others := map[string]bool{}
		for _, r := range a.listed {
			others[r.session] = true
		}
		a.lost.add(lostRequest{a.scope, c.marker, c.job.access.Marker, a.now(), others}, err)
	}
	if err == nil {
		a.lost.answered(c.marker, made)
		a.track(made, c, sent)
		if c.replaces == "" {
			return true
		}
		var first bool
		if first, err = a.revoke(ctx, c.replaces); err == nil && !first {
			if _, err = a.revoke(ctx, made); err == nil {
				a.forget(made)
			}
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

// end revokes one review.
func (a *application) end(ctx context.Context, v revocation) {
	_, err := a.revoke(ctx, v.session)
	a.note(v.job, err)
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ended[v.session] = true
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
		j.refused = true
	}
}
