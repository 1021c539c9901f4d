package hoop

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// rounds limits how often one Apply makes or ends reviews that it has not dealt with before. Rounds that only wait
	// for the list are limited by listPatience.
	rounds = 8
	// listPatience is how long an Apply waits until the list of sessions shows what it has done, and how late a lost
	// request may take effect.
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
	// since is the time from which reviews are listed.
	since time.Time
	// listed are the reviews in the latest list.
	listed []review

	mu sync.Mutex
	// made are the reviews that were made and not listed yet, by their sessions.
	made map[string]*making
	// ended are the sessions whose reviews the gateway has answered to have revoked.
	ended map[string]bool
	// silent: a request got no answer.
	silent bool

	// waiting are the sessions that waited for a decision before the Apply; unknown says why they are not known.
	waiting map[string]bool
	unknown error
}

// applyReviews makes changes in review mode. It writes nothing for a grant that would be refused or give nothing.
func (p *Platform) applyReviews(ctx context.Context, scope string, changes []jit.Change) []error {
	a := &application{Platform: p, scope: scope, made: map[string]*making{}, ended: map[string]bool{}}
	all := make([]*job, len(changes))
	for i, c := range changes {
		all[i] = &job{op: c.Op, access: c.Access}
	}
	if err := a.accept(ctx, all); err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	a.waiting, a.unknown = a.findWaiting(ctx) // before the run, which revokes what is approved by then
	a.run(ctx)
	a.finish(ctx, nil)
	errs := make([]error, len(changes))
	for i, j := range all {
		if j.err == nil && j.op == jit.Remove && j.taken != nil {
			j.err = j.taken.left() // nothing of ours is left, and the user is let in all the same
		}
		errs[i] = j.err
	}
	return errs
}

// accept refuses grants that cannot be made. The others become the jobs of the Apply.
func (a *application) accept(ctx context.Context, all []*job) (err error) {
	if a.me, err = a.approver(ctx); err != nil {
		return err
	}
	a.since = a.Platform.since()
	conn, err := a.connection(ctx, a.scope)
	if err != nil {
		return err
	}
	for _, j := range all {
		if j.op == jit.Ensure {
			j.err = a.mayGrant(conn, a.scope, j.access)
		} else if conn == nil {
			continue // all access went with the connection
		}
		if j.err == nil {
			a.jobs = append(a.jobs, j)
		}
	}
	a.checkUsers(ctx, conn)
	return nil
}

// checkUsers refuses the jobs of users who cannot connect, or who can without a review.
func (a *application) checkUsers(ctx context.Context, conn *connection) {
	byUser := map[string][]*job{}
	for _, j := range a.jobs {
		if email := j.access.Binding.Principal; j.op == jit.Ensure {
			byUser[email] = append(byUser[email], j)
		}
	}
	if len(byUser) == 0 {
		return
	}
	rule, unknown := a.ruleOf(ctx, conn)
	users := slices.Collect(maps.Keys(byUser))
	each(len(users), func(i int) {
		var found *user
		err := unknown
		if err == nil {
			found, err = a.mayConnect(ctx, users[i], conn, rule)
		}
		for _, j := range byUser[users[i]] {
			if j.err = err; err == nil {
				j.user = found.ID
			}
		}
	})
	a.jobs = slices.DeleteFunc(a.jobs, func(j *job) bool { return j.err != nil })
}

// run lists and writes until the list shows what the jobs want. The gateway has no lock, and its answer to a revocation
// proves nothing: when two revoke at once, both may be answered with success, and somebody may have copied the review
// meanwhile. So a job is done only when the list says so. Only the jobs of lost requests wait for what these may do.
func (a *application) run(ctx context.Context) {
	began := a.now()
	for round, writes := 0, 0; len(a.jobs) > 0; round++ {
		if (round > 1 || a.silent) && backoff.Wait(ctx, round, firstPause, longestPause) != nil {
			a.stop(ctx.Err())
			return
		}
		asked := a.now()
		awaited, err := a.list(ctx)
		if err != nil {
			if answered(err, http.StatusUnauthorized, http.StatusForbidden) {
				a.takeBack(ctx, err) // the key has lost its groups, so nobody would find what was just made
			}
			a.stop(err)
			return
		}
		w := a.plan(awaited)
		if open := a.awaitLost(asked); w.none() && len(awaited) == 0 {
			a.finish(ctx, open)
		}
		fresh := a.fresh(w)
		if fresh {
			writes++
		}
		if writes > rounds || !fresh && asked.Sub(began) > a.patience {
			a.takeBack(ctx, nil)
			a.giveUp(w.revocations)
			return
		}
		a.silent = false
		a.write(ctx, w)
		if fresh {
			began = a.now() // the list has had no time to follow these writes
		}
	}
}

// finish takes back requests for removed grants and ends their sessions. The jobs of lost requests stay open, and are
// finished again when these are found or ruled out.
func (a *application) finish(ctx context.Context, open []*job) {
	todo := slices.DeleteFunc(slices.Clone(a.jobs), func(j *job) bool {
		return j.finished && slices.Contains(open, j)
	})
	a.withdraw(ctx, removals(todo))
	a.endSessions(ctx, removals(todo))
	for _, j := range todo {
		j.finished = true
	}
	a.jobs = open
}

// fresh reports whether there is more to do than to wait for the list.
func (a *application) fresh(w work) bool {
	isNew := func(v revocation) bool { return !a.ended[v.session] }
	return len(w.creations) > 0 || slices.ContainsFunc(w.revocations, isNew)
}

// stop ends the jobs that are not done with an error.
func (a *application) stop(err error) {
	for _, j := range a.jobs {
		if !j.done && !j.refused {
			j.err = err
		}
	}
}

// giveUp ends the jobs that are not done, and says what the gateway still lists.
func (a *application) giveUp(left []revocation) {
	for _, j := range a.jobs {
		if j.done || j.err != nil {
			continue
		}
		i := slices.IndexFunc(left, func(v revocation) bool { return v.job == j })
		if i < 0 {
			j.err = fmt.Errorf("%s %s of %s on %s: others keep changing it", j.op, j.access.Marker.ID,
				j.access.Binding.Principal, a.scope)
			continue
		}
		j.err = problem(
			"look at the session in hoop: somebody may keep approving it, or the gateway's database may be behind",
			"the gateway at %s still lists the review of session %s, of %s on %s, as approved after it was revoked",
			a.base.Host, left[i].session, left[i].email, a.scope)
	}
}

// list reads the reviews of the connection, and those of removed grants however old they are. It returns the users of
// whom a review is missing that was just made.
func (a *application) list(ctx context.Context) (awaited map[string]bool, err error) {
	found, err := a.reviews(ctx, a.me, a.scope, nil, a.since)
	if err != nil {
		return nil, err
	}
	a.listed = found[a.scope]
	for _, j := range a.jobs {
		listed := slices.ContainsFunc(a.listed, func(r review) bool { return r.concerns(j.access, a.gatewayNow()) })
		if j.op == jit.Remove && !j.done && !listed {
			old, err := a.unlisted(ctx, j.access)
			if err != nil {
				return nil, err
			}
			a.listed = append(a.listed, old...)
		}
	}
	return a.findMade(ctx)
}

// unlisted returns reviews of a grant that are older than the list: somebody approved them again after their time, or
// nobody has ended them. A request for a review is older than the window, by as long as reviewers took.
func (a *application) unlisted(ctx context.Context, access jit.Access) (all []review, err error) {
	m := access.Marker
	for name, began := range map[string]time.Time{m.String(): m.Window.Start, askName(m): m.Window.Start.Add(-maxTTL)} {
		if m.Window.Start.IsZero() || began.After(a.since) {
			continue
		}
		found, err := a.reviews(ctx, a.me, a.scope, url.Values{"correlation_id": {name}}, time.Time{})
		if err != nil {
			return nil, err
		}
		for _, r := range found[a.scope] {
			if r.concerns(access, a.gatewayNow()) {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// write makes and ends reviews: users side by side, and for each user first the creations, in their order.
func (a *application) write(ctx context.Context, w work) {
	byUser := map[string]work{}
	for _, c := range w.creations {
		of := byUser[c.email]
		of.creations = append(of.creations, c)
		byUser[c.email] = of
	}
	for _, v := range w.revocations {
		of := byUser[v.email]
		of.revocations = append(of.revocations, v)
		byUser[v.email] = of
	}
	users := slices.Collect(maps.Values(byUser))
	each(len(users), func(i int) {
		failed := map[*job]bool{}
		for _, c := range users[i].creations {
			err := a.create(ctx, c)
			failed[c.job] = failed[c.job] || err != nil
			a.note(c.job, err)
		}
		ends := slices.DeleteFunc(users[i].revocations, func(v revocation) bool { return failed[v.job] })
		each(len(ends), func(k int) { a.end(ctx, ends[k]) })
	})
}

// metadata is written on a session: that of the target, and who approved it. hoop's own record names the groups of
// reviewers as those who did.
func (p *Platform) metadata(approvedBy string) map[string]any {
	all := map[string]any{approvedByField: approvedBy}
	for name, value := range p.cfg.Metadata {
		all[name] = value
	}
	return all
}

// create makes one review.
func (a *application) create(ctx context.Context, c creation) error {
	metadata := c.metadata
	if c.replaces == "" {
		metadata = a.metadata(fmt.Sprintf(
			"terraform-provider-jit, with the API key %q; the reviewers of the connection did not decide", a.me.Email))
	}
	seconds, err := a.seconds(ctx, c.marker.Window.End)
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	others := map[string]bool{}
	for _, r := range a.listed {
		others[r.session] = true
	}
	sent := a.now()
	ended := a.lost.send(
		lostRequest{scope: a.scope, marker: c.marker, because: c.job.access.Marker, others: others})
	made, err := a.provision(ctx, c.email, a.scope, c.marker.String(), seconds, metadata, false)
	ended(made, a.now(), err)
	if err != nil {
		return err
	}
	a.track(made, c, sent)
	if c.replaces == "" {
		return nil
	}
	return a.replace(ctx, c.replaces, made)
}

// replace revokes a review that a new one stands in for. If somebody has ended it meanwhile, the new one goes too: the
// grant is over, or somebody else has made it again.
func (a *application) replace(ctx context.Context, old, made string) error {
	first, err := a.revoke(ctx, old)
	if err != nil || first {
		return err
	}
	if _, err = a.revoke(ctx, made); err == nil {
		a.forget(made)
	}
	return err
}

// seconds is how long a review that is made now must last to end in the last second before end.
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
		return 0, jit.Invalid("expires_at", "ask for longer", "the grant ends at %s, which is too soon for a review",
			jit.FormatTime(end))
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

// note keeps the error of a job, if there is one.
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
