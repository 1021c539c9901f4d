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

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// With approval = "hoop" a grant is one session whose review is left to the reviewers of the connection. What it is
// called has no window: that begins with their approval.

const (
	pending  = "PENDING"
	rejected = "REJECTED"

	askPrefix = "jit-ask:"
)

// askName is what the session is called that asks for a grant.
func askName(m jit.Marker) string { return askPrefix + m.Owner + ":" + string(m.ID) }

// asked returns the marker of a grant whose session this is, with the window that its approval made: the review ends in
// its last second. ok is false of every other session. Any user can give a session this name, so a review that is
// longer than a grant can be is none.
func (s *session) asked() (m jit.Marker, ok bool) {
	rest, ok := strings.CutPrefix(s.CorrelationID, askPrefix)
	owner, id, two := strings.Cut(rest, ":")
	parsed, err := jit.ParseID(id)
	if !ok || !two || err != nil || string(parsed) != id || jit.CheckOwner(owner) != nil || s.Review == nil || s.Review.RevokeAt == nil || s.Review.Lasts > maxTTL {
		return jit.Marker{}, false
	}
	end := jit.Second(s.Review.RevokeAt.UTC()).Add(time.Second)
	return jit.Marker{Owner: owner, ID: parsed, Window: jit.Window{Start: end.Add(-time.Second - s.Review.Lasts), End: end}}, true
}

// Asks reports whether the reviewers of the connections decide in hoop.
func (p *Platform) Asks() bool { return p.cfg.Mode == modeReview && p.cfg.Approval == approvalHoop }

// whoDecides notes who has to approve a grant of the connection.
func (p *Platform) whoDecides(conn *connection) []jit.Note {
	if !p.Asks() {
		return nil
	}
	return []jit.Note{{Summary: "Reviewers decide in hoop", Text: fmt.Sprintf(
		"The apply asks %s on the gateway at %s for a review. The grant begins with their approval; until then nothing is given. What nobody decides on waits there until a `jit sweep` or an apply takes it back after its time: let a sweep run.", strings.Join(conn.Reviewers, ", "), p.base.Host)}}
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

// Ask leaves a review of the grant to the reviewers of its connection, unless there is one, and tells what they
// decided.
func (p *Platform) Ask(ctx context.Context, a jit.Access) (jit.Decision, error) {
	if _, err := p.approver(ctx); err != nil {
		return jit.Decision{}, err
	}
	found, err := p.requests(ctx, a)
	if err == nil {
		found, err = p.current(ctx, a, found)
	}
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
	g, err := p.gate(ctx, a.Binding.Scope)
	if err != nil {
		return err
	}
	if err := p.mayGrant(g.conn, a.Binding.Scope, a); err != nil {
		return err
	}
	found, err := p.user(ctx, a.Binding.Principal)
	if err == nil {
		err = p.mayConnect(a.Binding.Principal, found, g.conn, g.rule)
	}
	if err != nil {
		return err
	}
	_, err = p.provision(ctx, a.Binding.Principal, a.Binding.Scope, askName(a.Marker), int64(lasts(a)/time.Second), p.metadata("the reviewers of the connection, in hoop"), true)
	return err
}

// lasts is how long the review of a grant has to last: the approval comes within a second, and the review has to end
// within the window that begins with that second.
func lasts(a jit.Access) time.Duration { return a.Marker.Window.Length() - time.Second }

// current returns the sessions that ask for the length that the grant has by now. It takes back others that wait, and
// refuses the grant while another is approved and not over: that gives access of a length that nobody asks for.
func (p *Platform) current(ctx context.Context, a jit.Access, found []session) (kept []session, err error) {
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

// anotherLength is the error for a session that asked for a grant, and whose review was approved for another length.
func (s *session) anotherLength(a jit.Access) error {
	return &jit.Error{
		Problem: fmt.Sprintf("the review of session %s lets %s in on %s for %s, until %s; %s approved it, and grant %s asks for %s",
			s.ID, s.UserEmail, s.Connection, jit.FormatDuration(s.Review.Lasts+time.Second), jit.FormatTime(*s.Review.RevokeAt), cmp.Or(s.decider(), "somebody"), a.Marker.ID, jit.FormatDuration(a.Marker.Window.Length())),
		Hint: "have the review of that session revoked in hoop, and apply again; or remove the grant, which revokes it too",
	}
}

// awaitRequest waits until the list shows a session that asks for the grant. lost is the error of making it, whose
// outcome is not known.
func (p *Platform) awaitRequest(ctx context.Context, a jit.Access, lost error) ([]session, error) {
	began := p.now()
	for try := 0; ; try++ {
		found, err := p.requests(ctx, a)
		if err == nil {
			found, err = p.current(ctx, a, found)
		}
		if err != nil || len(found) > 0 {
			return found, err
		}
		if p.now().Sub(began) > p.patience {
			return nil, cmp.Or(lost, error(&jit.Error{Problem: "the gateway at " + p.base.Host + " does not show the session that asks for the grant", Hint: "apply again"}))
		}
		if err := backoff.Wait(ctx, try, firstPause, longestPause); err != nil {
			return nil, err
		}
	}
}

// decision reads what was decided on the sessions that ask for one grant, the oldest first. Two that ask at once may
// have made two: what is left of those is taken back, and nothing waits beside one that is approved.
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
	return jit.Decision{Window: m.Window, By: cmp.Or(s.decider(), "somebody")}, nil
}

// denial tells what was decided last on sessions of which none is approved or waits.
func denial(found []session) (d jit.Decision) {
	for _, s := range found {
		d.By = cmp.Or(s.decider(), "somebody")
		did := "revoked"
		if s.Review.Status == rejected {
			did = "rejected"
		}
		d.Denied = fmt.Sprintf("%s %s the review of session %s", d.By, did, s.ID)
		if why := strings.Join(strings.Fields(s.Review.Reason), " "); did == "rejected" && why != "" {
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
	return strings.Join(names, ", ")
}

// waiting returns the names of the sessions on the connection that wait for a decision. A target that asks nobody may
// have asked before: then what it asked for is taken back too. Where it asks, each request is looked up by its name,
// and nil is returned.
func (a *application) waiting(ctx context.Context) (names map[string]bool, err error) {
	if a.Asks() || !slices.ContainsFunc(a.jobs, func(j *job) bool { return j.op == jit.Remove }) {
		return nil, nil
	}
	found, err := a.sessions(ctx, url.Values{"connection": {a.scope}, "review.status": {pending}}, time.Time{})
	names = map[string]bool{}
	for _, s := range found {
		names[s.CorrelationID] = true
	}
	return names, err
}

// withdraw takes back what asks for grants that are removed and that nobody has decided on. Somebody may approve it
// meanwhile: then that is revoked. waiting are the names of those that waited before the removal; unknown says why they
// are not known.
func (a *application) withdraw(ctx context.Context, waiting map[string]bool, unknown error) {
	var lookups errgroup.Group
	lookups.SetLimit(parallel)
	for _, j := range a.jobs {
		if j.op != jit.Remove || j.err != nil {
			continue
		}
		if j.err = unknown; unknown == nil && (a.Asks() || waiting[askName(j.access.Marker)]) {
			lookups.Go(func() error {
				access := j.access
				access.Binding.Scope = a.scope
				j.err = a.withdrawOne(ctx, access)
				return nil
			})
		}
	}
	_ = lookups.Wait() // each has noted its own error
}

func (a *application) withdrawOne(ctx context.Context, access jit.Access) error {
	began := a.now()
	for try := 0; ; try++ {
		found, err := a.requests(ctx, access)
		if err != nil {
			return err
		}
		open := 0
		for _, s := range found {
			switch s.Review.Status {
			case pending:
				open++
				err = a.reject(ctx, s.ID)
			case approved:
				open++
				_, err = a.revoke(ctx, s.ID)
			}
			if err != nil && !unsure(err) {
				return err
			}
		}
		switch {
		case open == 0:
			return nil
		case a.now().Sub(began) > a.patience:
			return errors.Join(err, fmt.Errorf("the gateway at %s still lists a review of grant %s that is not taken back", a.base.Host, access.Marker.ID))
		case try > 0:
			if err := backoff.Wait(ctx, try, firstPause, longestPause); err != nil {
				return err
			}
		}
	}
}

// changed is the error for a review that reviewers approved and that is not what was recorded of it.
func (r *review) changed(m jit.Marker) error {
	return &jit.Error{
		Problem: fmt.Sprintf("the review of session %s was approved by %s until %s, and the grant ends at %s; what reviewers approved is not changed",
			r.session, r.approver, jit.FormatTime(r.end), jit.FormatTime(m.Window.End)),
		Hint: "revoke the grant, or have the review revoked in hoop; set another renewal to ask anew",
	}
}

// notApproved is the error for a grant that reviewers have not approved, or whose review was revoked.
func notApproved(a jit.Access) error {
	return &jit.Error{
		Problem: fmt.Sprintf("no reviewer's approval of grant %s lets %s in on %s: it was revoked in hoop, or never given", a.Marker.ID, a.Binding.Principal, a.Binding.Scope),
		Hint:    "revoke the grant, and set another renewal to ask anew",
	}
}
