package hoop

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
)

// killPatience is how long the end of killed sessions is awaited.
const killPatience = 5 * time.Second

// endSessions ends the live sessions of removed grants that ask for it. Sessions of users with another review that lets
// them in may continue.
func (a *application) endSessions(ctx context.Context, removals []*job) {
	byUser := map[string][]*job{}
	for _, j := range removals {
		if email := j.access.Binding.Principal; j.access.TerminateSessions && email != "" {
			byUser[email] = append(byUser[email], j)
		}
	}
	if len(byUser) == 0 {
		return
	}
	open, err := a.openSessions(ctx, byUser)
	if err == nil {
		a.kill(ctx, open)
		return
	}
	for _, jobs := range byUser {
		for _, j := range jobs {
			j.err = err
		}
	}
}

// openSessions returns the sessions to kill, with the job for each. It drops users who are still let in.
func (a *application) openSessions(ctx context.Context, byUser map[string][]*job) (map[string]*job, error) {
	found, err := a.reviews(ctx, a.me, a.scope, nil, a.since)
	if err != nil {
		return nil, err
	}
	for _, r := range found[a.scope] {
		if r.live(a.gatewayNow()) {
			delete(byUser, r.email)
		}
	}
	sessions, err := a.sessions(ctx, url.Values{"connection": {a.scope}}, a.since)
	open := map[string]*job{}
	for _, s := range sessions {
		if s.Connection != a.scope || s.Verb != connect || s.over() {
			continue
		}
		for _, j := range byUser[s.UserEmail] {
			if !s.Start.Before(j.access.Marker.Window.Start) { // somebody else's review let an earlier one in
				open[s.ID] = j
			}
		}
	}
	return open, err
}

// over reports whether a session has ended.
func (s *session) over() bool { return s.End != nil || s.Status != "open" }

// kill ends sessions and checks that they are over. Only the replica of the gateway that holds a session can end it;
// any other also answers with success. So each try uses new connections, which may lead to another replica.
func (a *application) kill(ctx context.Context, open map[string]*job) {
	began := a.now()
	for try := 0; len(open) > 0; try++ {
		maps.DeleteFunc(open, func(id string, j *job) bool {
			err := a.client.kill(ctx, id)
			j.err = errors.Join(j.err, err)
			return err != nil
		})
		stop := backoff.Wait(ctx, try, firstPause, longestPause)
		late := a.now().Sub(began) > killPatience
		maps.DeleteFunc(open, func(id string, j *job) bool {
			over, err := a.killed(ctx, id, late)
			err = errors.Join(stop, err)
			j.err = errors.Join(j.err, err)
			return over || err != nil
		})
		a.disconnect()
	}
}

// killed reports whether a session is over. late: a session that is not over is an error.
func (a *application) killed(ctx context.Context, id string, late bool) (bool, error) {
	s, err := a.session(ctx, id)
	switch {
	case err != nil:
		return false, err
	case s == nil || s.over():
		return true, nil
	case late:
		return false, problem(
			"only the replica of the gateway that holds the session can end it: end it there, apply again or sweep",
			"session %s of %s on %s is still open, although the gateway at %s answered that it was killed",
			id, s.UserEmail, a.scope, a.base.Host)
	}
	return false, nil
}
