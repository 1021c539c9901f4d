package hoop

import (
	"context"
	"errors"
	"net/url"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

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
	found, err := a.reviews(ctx, a.scope, nil, a.since)
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
	for _, s := range sessions {
		if s.Connection != a.scope || s.Verb != connect || s.Status != "open" || s.End != nil {
			continue
		}
		for _, j := range ending[s.UserEmail] {
			if s.Start.Before(j.access.Marker.Window.Start) {
				continue // somebody else's review has let it in
			}
			j.err = errors.Join(j.err, a.kill(ctx, s.ID))
		}
	}
}
