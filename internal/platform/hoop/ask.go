package hoop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// With approval = "hoop", a grant is one session whose review is left to the reviewers of the connection. Its name has
// no window, because the window begins with their approval.

const (
	pending  = "PENDING"
	rejected = "REJECTED"

	askPrefix = "jit-ask:"
)

// askName is the correlation id of the session that asks for a grant.
func askName(m jit.Marker) string { return askPrefix + m.Owner + ":" + string(m.ID) }

// parseAskName reads only what [askName] wrote.
func parseAskName(name string) (m jit.Marker, ok bool) {
	rest, _ := strings.CutPrefix(name, askPrefix)
	owner, id, _ := strings.Cut(rest, ":")
	parsed, err := jit.ParseID(id)
	m = jit.Marker{Owner: owner, ID: parsed}
	return m, err == nil && jit.CheckOwner(owner) == nil && askName(m) == name
}

// asked returns the marker of the grant that the session asks for, with the window that its approval made: the review
// ends in its last second. ok is false for every other session. Any user can give a session this name, so a review that
// is longer than a grant can be is none.
func (s *session) asked() (m jit.Marker, ok bool) {
	m, ok = parseAskName(s.CorrelationID)
	if !ok || s.Review == nil || s.Review.RevokeAt == nil || s.Review.Lasts > maxTTL {
		return jit.Marker{}, false
	}
	end := jit.Second(s.Review.RevokeAt.UTC()).Add(time.Second)
	m.Window = jit.Window{Start: end.Add(-time.Second - s.Review.Lasts), End: end}
	return m, true
}

// Asks reports whether the reviewers of the connections decide in hoop.
func (p *Platform) Asks() bool { return p.cfg.Mode == modeReview && p.cfg.Approval == approvalHoop }

// whoDecides notes who must approve a grant of the connection.
func (p *Platform) whoDecides(conn *connection) []jit.Note {
	if !p.Asks() {
		return nil
	}
	return []jit.Note{{Summary: "Reviewers decide in hoop", Text: fmt.Sprintf(
		"The apply asks %s on the gateway at %s for a review. The grant begins with their approval. "+
			"A request that nobody decides on waits until a `jit sweep` or an apply takes it back after its time: "+
			"let a sweep run.", strings.Join(conn.Reviewers, ", "), p.base.Host)}}
}

// requests returns the sessions that ask for a grant, the oldest first.
func (p *Platform) requests(ctx context.Context, a jit.Access) ([]session, error) {
	name := askName(a.Marker)
	found, err := p.sessions(ctx, url.Values{"correlation_id": {name}}, time.Time{})
	kept := slices.DeleteFunc(found, func(s session) bool {
		return s.CorrelationID != name || s.Connection != a.Binding.Scope || s.UserEmail != a.Binding.Principal ||
			s.Review == nil || s.Review.Type != timed || s.Review.Lasts > maxTTL
	})
	slices.SortFunc(kept, func(a, b session) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID)) })
	return kept, err
}

// Ask leaves a review of the grant to the reviewers of its connection, unless there is one, and returns their decision.
func (p *Platform) Ask(ctx context.Context, a jit.Access) (jit.Decision, error) {
	if _, err := p.approver(ctx); err != nil {
		return jit.Decision{}, err
	}
	found, err := p.current(ctx, a)
	if err == nil && len(found) == 0 {
		if err = p.request(ctx, a); err == nil || unsure(err) {
			found, err = p.awaitRequest(ctx, a, err)
		}
	}
	if err != nil {
		return jit.Decision{}, err
	}
	return p.decision(ctx, found)
}

// request makes the session that asks for a grant.
func (p *Platform) request(ctx context.Context, a jit.Access) error {
	b := a.Binding
	g, err := p.gate(ctx, b.Scope)
	if err != nil {
		return err
	}
	if err := p.mayGrant(g.conn, b.Scope, a); err != nil {
		return err
	}
	if _, err := p.mayConnect(ctx, b.Principal, g.conn, g.rule); err != nil {
		return err
	}
	ended := p.lostAsks.send(lostRequest{scope: b.Scope, marker: a.Marker})
	made, err := p.provision(ctx, b.Principal, b.Scope, askName(a.Marker), int64(lasts(a)/time.Second),
		p.metadata("the reviewers of the connection, in hoop"), true)
	ended(made, p.now(), err)
	return err
}

// lasts is how long the review of a grant must last. The approval comes within a second, and the review must end within
// the window that begins with that second.
func lasts(a jit.Access) time.Duration { return a.Marker.Window.Length() - time.Second }

// current returns the sessions that ask for the grant in its present length. It rejects others that wait. While one of
// another length is approved and not over, it refuses the grant: nobody asks for access of that length.
func (p *Platform) current(ctx context.Context, a jit.Access) (kept []session, err error) {
	found, err := p.requests(ctx, a)
	for _, s := range found {
		switch {
		case s.Review.Lasts == lasts(a):
			kept = append(kept, s)
		case s.Review.Status == pending:
			err = errors.Join(err, p.reject(ctx, s.ID))
		case s.Review.Status == approved && s.Review.RevokeAt != nil && p.gatewayNow().Before(*s.Review.RevokeAt):
			err = errors.Join(err, s.anotherLength(a))
		}
	}
	return kept, err
}

// anotherLength is the error for a request whose review was approved for another length than the grant has now.
func (s *session) anotherLength(a jit.Access) error {
	return problem("have that review revoked in hoop, and apply again; or remove the grant, which revokes it too",
		"the review of session %s lets %s in on %s for %s, until %s; %s approved it, and grant %s asks for %s",
		s.ID, s.UserEmail, s.Connection, jit.FormatDuration(s.Review.Lasts+time.Second),
		jit.FormatTime(*s.Review.RevokeAt), s.decider(), a.Marker.ID, jit.FormatDuration(a.Marker.Window.Length()))
}

// poll calls look until it is done or fails, with growing pauses. late: listPatience ended first.
func (p *Platform) poll(ctx context.Context, look func() (done bool, err error)) (late bool, err error) {
	began := p.now()
	for try := 0; ; try++ {
		if done, err := look(); done || err != nil {
			return false, err
		}
		if p.now().Sub(began) > p.patience {
			return true, nil
		}
		if err := backoff.Wait(ctx, try, firstPause, longestPause); err != nil {
			return false, err
		}
	}
}

// awaitRequest waits until the list shows a session that asks for the grant. lost is the error of making it, whose
// outcome is unknown.
func (p *Platform) awaitRequest(ctx context.Context, a jit.Access, lost error) (found []session, err error) {
	late, err := p.poll(ctx, func() (bool, error) {
		found, err = p.current(ctx, a)
		return len(found) > 0, err
	})
	if late {
		err = cmp.Or(lost, error(problem("apply again",
			"the gateway at %s does not show the session that asks for the grant", p.base.Host)))
	}
	return found, err
}

// decision reads the decision on the sessions that ask for one grant, the oldest first. Two that ask at once may have
// made two sessions: it rejects all that wait beside the approved one, or beside the oldest.
func (p *Platform) decision(ctx context.Context, found []session) (jit.Decision, error) {
	first := func(status string) int {
		return slices.IndexFunc(found, func(s session) bool { return s.Review.Status == status })
	}
	chosen := first(approved)
	if chosen < 0 {
		chosen = first(pending)
	}
	for i, s := range found {
		if i != chosen && s.Review.Status == pending {
			if err := p.reject(ctx, s.ID); err != nil {
				return jit.Decision{}, err
			}
		}
	}
	if chosen < 0 {
		return denial(found), nil
	}
	s := found[chosen]
	if s.Review.Status == pending {
		return jit.Decision{}, nil
	}
	m, _ := s.asked()
	return jit.Decision{Window: m.Window, By: s.decider()}, nil
}

// denial returns the last decision on sessions of which none is approved or waits.
func denial(found []session) (d jit.Decision) {
	for _, s := range found {
		d.By = s.decider()
		verb, why := "revoked", ""
		if s.Review.Status == rejected {
			verb, why = "rejected", strings.Join(strings.Fields(s.Review.Reason), " ")
		}
		d.Denied = fmt.Sprintf("%s %s the review of session %s", d.By, verb, s.ID)
		if why != "" {
			d.Denied += ": " + why
		}
	}
	return d
}

// decider names those who gave the review of a session its status.
func (s *session) decider() string {
	var names []string
	for _, g := range s.Review.Groups {
		if g.Status == s.Review.Status && g.ReviewedBy != nil {
			if name := cmp.Or(g.ReviewedBy.Email, g.ReviewedBy.Name); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return cmp.Or(strings.Join(names, ", "), "somebody")
}

// findWaiting returns the names of the sessions on the connection that wait for a decision. A target that does not ask
// may have asked before, and what it asked for is taken back too. A target that asks gets nil: it looks up each request
// by its name.
func (a *application) findWaiting(ctx context.Context) (names map[string]bool, err error) {
	if a.Asks() || len(removals(a.jobs)) == 0 {
		return nil, nil
	}
	found, err := a.sessions(ctx, url.Values{"connection": {a.scope}, "review.status": {pending}}, time.Time{})
	names = map[string]bool{}
	for _, s := range found {
		names[s.CorrelationID] = true
	}
	return names, err
}

// withdraw takes back undecided requests for removed grants. If somebody approves one meanwhile, it is revoked.
func (a *application) withdraw(ctx context.Context, removals []*job) {
	each(len(removals), func(i int) {
		j := removals[i]
		if j.err = a.unknown; a.unknown == nil && (a.Asks() || a.waiting[askName(j.access.Marker)]) {
			access := j.access
			access.Binding.Scope = a.scope
			j.err = a.withdrawOne(ctx, access)
		}
	})
}

func (a *application) withdrawOne(ctx context.Context, access jit.Access) error {
	var last error
	late, err := a.poll(ctx, func() (bool, error) {
		found, err := a.requests(ctx, access)
		if err != nil {
			return false, err
		}
		open := false
		for _, s := range found {
			switch s.Review.Status {
			case pending:
				open, last = true, a.reject(ctx, s.ID)
			case approved:
				open = true
				_, last = a.revoke(ctx, s.ID)
			}
			if last != nil && !unsure(last) {
				return false, last
			}
		}
		return !open, nil
	})
	if late {
		return errors.Join(last, fmt.Errorf("the gateway at %s still lists a review of grant %s that is not taken back",
			a.base.Host, access.Marker.ID))
	}
	return err
}

// changed is the error for an approved review that differs from the grant. Only reviewers change what they approved.
func (r *review) changed(m jit.Marker) error {
	return problem("revoke the grant, or have the review revoked in hoop; set another renewal to ask anew",
		"%s approved the review of session %s until %s, and the grant ends at %s; only reviewers can change that",
		r.approver, r.session, jit.FormatTime(r.end), jit.FormatTime(m.Window.End))
}

// notApproved is the error for a grant that reviewers have not approved, or whose review was revoked.
func notApproved(a jit.Access) error {
	return problem("revoke the grant, and set another renewal to ask anew",
		"no reviewer's approval of grant %s lets %s in on %s: it was revoked in hoop, or never given",
		a.Marker.ID, a.Binding.Principal, a.Binding.Scope)
}
