package hoop

import (
	"context"
	"errors"
	"time"
)

// making is a review that this Apply has made.
type making struct {
	email string
	job   *job
	// from and to are the times between which the gateway made it.
	from, to time.Time
}

// track notes a review that was made. Nothing more is made for its user before the list shows it.
func (a *application) track(session string, c creation, from time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made[session] = &making{email: c.email, job: c.job, from: from, to: a.now()}
}

// forget notes that the list need not show a review any more.
func (a *application) forget(session string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.made, session)
}

// findMade looks for the reviews that were made in the list, and learns the gateway's time from them. It returns the
// users of whom one is missing. It does not wait for a review that somebody has ended meanwhile.
func (a *application) findMade(ctx context.Context) (awaited map[string]bool, err error) {
	for _, r := range a.listed {
		if m := a.made[r.session]; m != nil {
			a.narrow(r.created.Sub(m.to), r.created.Add(time.Millisecond).Sub(m.from))
			a.arrived(m.from, r.created)
			delete(a.made, r.session)
		}
	}
	awaited = map[string]bool{}
	for session, m := range a.made {
		found, err := a.session(ctx, session)
		if err != nil {
			return nil, err
		}
		if found != nil && found.Review != nil && found.Review.Status != approved {
			delete(a.made, session)
		} else {
			awaited[m.email] = true
		}
	}
	return awaited, nil
}

// takeBack revokes the reviews that were made and that the gateway does not list: nobody would find them again. cause
// says why they are not listed; it may be nil. takeBack has time of its own, because the caller's may be over.
func (a *application) takeBack(ctx context.Context, cause error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer stop()
	for session, m := range a.made {
		told := problem("check that the API key has the group admin, and apply again",
			"the gateway at %s does not show the review of session %s, which was just approved for %s; it was revoked",
			a.base.Host, session, m.email)
		if _, err := a.revoke(ctx, session); err != nil {
			told = problem("revoke the review of that session in hoop",
				"the gateway at %s does not show the review of session %s, which admits %s and could not be revoked: %v",
				a.base.Host, session, m.email, err)
		}
		told.Err = cause
		m.job.fail(told)
		delete(a.made, session)
	}
}

// fail ends a job with an error, beside those that have ended it before.
func (j *job) fail(err error) {
	if !j.refused {
		j.err = nil // what went wrong before has been tried again
	}
	j.err, j.done, j.refused = errors.Join(j.err, err), false, true
}
