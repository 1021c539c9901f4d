package hoop

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// killPatience is how long killed sessions are waited for.
const killPatience = 5 * time.Second

// endSessions ends the live sessions of removed grants that ask for it, of users who have no other review that lets
// them in: those may go on.
func (a *application) endSessions(ctx context.Context) {
	ending := map[string][]*job{}
	for _, j := range a.jobs {
		if email := j.access.Binding.Principal; j.op == jit.Remove && j.access.TerminateSessions && j.err == nil && email != "" {
			ending[email] = append(ending[email], j)
		}
	}
	if len(ending) == 0 {
		return
	}
	failed := func(err error) {
		for _, jobs := range ending {
			for _, j := range jobs {
				j.err = err
			}
		}
	}
	found, err := a.reviews(ctx, a.me, a.scope, nil, a.since)
	if err != nil {
		failed(err)
		return
	}
	for _, r := range found[a.scope] {
		if r.live(a.gatewayNow()) {
			delete(ending, r.email)
		}
	}
	sessions, err := a.sessions(ctx, url.Values{"connection": {a.scope}}, a.since)
	if err != nil {
		failed(err)
		return
	}
	open := map[string]*job{}
	for _, s := range sessions {
		if s.Connection != a.scope || s.Verb != connect || s.over() {
			continue
		}
		for _, j := range ending[s.UserEmail] {
			if !s.Start.Before(j.access.Marker.Window.Start) { // an earlier one was let in by somebody else's review
				open[s.ID] = j
			}
		}
	}
	a.kill(ctx, open)
}

// over reports whether a session has ended.
func (s *session) over() bool { return s.End != nil || s.Status != "open" }

// kill ends sessions and makes sure that they are over. Only the replica of the gateway that holds a session can end
// it; any other one answers with success too. So each try uses new connections, which may lead to another replica.
func (a *application) kill(ctx context.Context, open map[string]*job) {
	began := a.now()
	for try := 0; len(open) > 0; try++ {
		for id := range open {
			if err := a.client.kill(ctx, id); err != nil {
				open[id].err = errors.Join(open[id].err, err)
				delete(open, id)
			}
		}
		err := backoff.Wait(ctx, try, firstPause, longestPause)
		for id, j := range open {
			s, unread := a.session(ctx, id)
			switch {
			case err != nil || unread != nil:
				j.err = errors.Join(j.err, err, unread)
				delete(open, id)
			case s == nil || s.over():
				delete(open, id)
			case a.now().Sub(began) > killPatience:
				j.err = errors.Join(j.err, &jit.Error{
					Problem: fmt.Sprintf("session %s of %s on %s is still open, although the gateway at %s answered that it was killed", id, s.UserEmail, a.scope, a.base.Host),
					Hint:    "with several replicas of the gateway only the one that holds the session can end it: end it there, or apply again or sweep, which tries again",
				})
				delete(open, id)
			}
		}
		a.disconnect()
	}
}
