package hoop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// making is a review that was made in this Apply.
type making struct {
	email string
	job   *job
	// from and to are the times between which the gateway made it.
	from, to time.Time
}

// track notes a review that was made: it has to appear in the list before anything more is made for its user.
func (a *application) track(session string, c creation, from time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made[session] = &making{email: c.email, job: c.job, from: from, to: a.now()}
}

// forget notes that a review is not to appear in the list any more.
func (a *application) forget(session string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.made, session)
}

// findMade compares the reviews that were made with those that are listed. It learns the gateway's time from what is
// listed, and returns the users of whom something is missing. A review that somebody has ended meanwhile is not waited
// for.
func (a *application) findMade(ctx context.Context, all []review) (awaited map[string]bool, err error) {
	awaited = map[string]bool{}
	listed := map[string]review{}
	for _, r := range all {
		listed[r.session] = r
	}
	for session, m := range a.made {
		if r, there := listed[session]; there {
			a.narrow(r.created.Sub(m.to), r.created.Add(time.Millisecond).Sub(m.from))
			a.arrived(m.from, r.created)
			delete(a.made, session)
			continue
		}
		found, err := a.session(ctx, session)
		switch {
		case err != nil:
			return nil, err
		case found != nil && found.Review != nil && found.Review.Status != approved:
			delete(a.made, session)
		default:
			awaited[m.email] = true
		}
	}
	return awaited, nil
}

// takeBack revokes by their sessions the reviews that were made and that the gateway does not list: nobody would find
// them again. cause says why they are not listed; it may be nil. It has time of its own: the caller's may be over.
func (a *application) takeBack(ctx context.Context, cause error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer stop()
	for session, m := range a.made {
		problem := fmt.Sprintf("the gateway at %s does not show the review of session %s, which was just approved for %s", a.base.Host, session, m.email)
		hint := "check that the API key has the group admin, and apply again"
		if _, err := a.revoke(ctx, session); err == nil {
			problem += "; it was revoked"
		} else {
			problem += fmt.Sprintf(", and it could not be revoked (%v): %s may be let in", err, m.email)
			hint = "revoke the review of that session in hoop"
		}
		a.fail(m.job, &jit.Error{Problem: problem, Hint: hint, Err: cause})
		delete(a.made, session)
	}
}

// fail ends a job with an error, beside those that have ended it before.
func (a *application) fail(j *job, err error) {
	if !j.refused {
		j.err = nil // what went wrong before has been tried again
	}
	j.err, j.done, j.refused = errors.Join(j.err, err), false, true
}
