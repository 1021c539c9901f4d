package hoop

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	approved = "APPROVED"
	timed    = "jit"

	// early is how long before its window a review may end. It lasts whole seconds from a moment within a second, and
	// must never outlast the window.
	early = 2 * time.Second
)

// review is an approved review with a time: it lets a user connect until it ends. The latest one of a user and a
// connection decides, even if it is over and another is not.
type review struct {
	session string
	email   string
	// user is the id of the user, whom the gateway lets in; one made anew under the e-mail has another id.
	user     string
	created  time.Time
	end      time.Time // zero if it has none; then it lets nobody in
	metadata map[string]any
	// approver is who has approved it beside the API key, or again after it; empty if nobody has. mine: the API key
	// alone has, so nobody else has chosen the session's name or moved the end.
	approver string
	mine     bool
	// asked: reviewers approved it because a grant asked them to.
	asked bool
	// marker is the session's name; marked is false if that is no marker.
	marker jit.Marker
	marked bool
}

// ours reports whether the review is that of a grant.
func (r *review) ours() bool { return r.mine && r.marked }

// of reports whether the review is that of the grant with the owner and id. The user who asks for a review names the
// session, so one that reviewers approved counts only for the grant's own user.
func (r *review) of(a jit.Access) bool {
	return r.ours() && r.marker.Key() == a.Marker.Key() && (!r.asked || r.email == a.Binding.Principal)
}

// taken reports whether the review bears the marker of the grant, lets its user in at now, and is somebody else's: a
// person has approved it again, which restarted its time, or has approved a session that the user gave that marker. It
// is left alone.
func (r *review) taken(a jit.Access, now time.Time) bool {
	return r.claims() && r.marker.Key() == a.Marker.Key() && r.live(now) &&
		(a.Binding.Principal == "" || a.Binding.Principal == r.email)
}

// concerns reports whether the review is of the grant or taken from it.
func (r *review) concerns(a jit.Access, now time.Time) bool { return r.of(a) || r.taken(a, now) }

// claims reports whether the review bears a marker and somebody else than the API key has approved it.
func (r *review) claims() bool { return r.marked && !r.mine && r.approver != "" }

// detail says where the review is, who approved it and until when.
func (r *review) detail() string {
	if r.claims() {
		return fmt.Sprintf(
			"the review of session %s bears the marker of grant %s and was approved again by %s until %s",
			r.session, r.marker.ID, r.approver, jit.FormatTime(r.end))
	}
	return "the review of session " + r.session + ", until " + jit.FormatTime(r.end)
}

// copyable reports whether the review can be made again with the same end: it is live, and what reviewers approved is
// not made again.
func (r *review) copyable(now time.Time) bool {
	return r.ours() && !r.asked && r.ending().Equal(r.marker.Window.End) && r.live(now)
}

// left is the error for a review that somebody else has approved again.
func (r *review) left() error {
	return problem("have it revoked in hoop, by them or by an administrator, and apply or sweep again",
		"%s, and lets %s in until then; it is theirs now and is left alone", r.detail(), r.email)
}

// otherwise is the error for a review that was made before the target's approval was changed.
func (r *review) otherwise() error {
	return problem("change approval back until then, or revoke the grant and set another renewal",
		"the review of session %s was made before approval was changed on the target, and is left as it is until the "+
			"grant ends", r.session)
}

// right reports whether the review is as the grant asks.
func (r *review) right(a jit.Access) bool {
	return r.of(a) && r.marker.Window.Equal(a.Marker.Window) && r.ending().Equal(a.Marker.Window.End)
}

// ending is the end in whole seconds, or that of the window if the review ends with it. A part of a second beyond the
// window counts as a whole one. So does an end exactly at the window's: the gateway drops fractions of a millisecond.
func (r *review) ending() time.Time {
	end := r.marker.Window.End
	switch {
	case !r.end.Before(end):
		return jit.Second(r.end.Add(time.Second))
	case r.end.After(end.Add(-early)):
		return end
	}
	return jit.Second(r.end)
}

// isOf reports whether the review is of the user with the id. An old gateway tells no id.
func (r *review) isOf(user string) bool { return r.user == "" || r.user == user }

// anotherUser is the error for a grant whose user was deleted, or has another subject: that is the id of a user.
func (r *review) anotherUser() error {
	return jit.Errorf(jit.ErrOver, "principal", "to grant to the new user, set renewal to the next number",
		"the user %s was deleted or has another subject now, so the grant is over; one made anew under that e-mail "+
			"is another", r.email)
}

// live reports whether the review lets its user in at now, if it is the latest one.
func (r *review) live(now time.Time) bool { return now.Before(r.end) }

// since is the time from which sessions are listed whose reviews can let somebody in.
func (p *Platform) since() time.Time {
	if p.Asks() {
		return p.gatewayNow().Add(-askLookBack)
	}
	return p.gatewayNow().Add(-lookBack)
}

// reviews lists the approved reviews of one connection, or of all if the name is empty, by connection, the latest
// first. There can be other connections too. filter narrows the list.
func (p *Platform) reviews(
	ctx context.Context, me holder, connection string, filter url.Values, since time.Time,
) (map[string][]review, error) {
	query := url.Values{"review.status": {approved}}
	if connection != "" {
		query.Set("connection", connection)
	}
	maps.Copy(query, filter)
	sessions, err := p.sessions(ctx, query, since)
	if err != nil {
		return nil, err
	}
	found := map[string][]review{}
	for _, s := range sessions {
		if s.Review != nil && s.Review.Status == approved && s.Review.Type == timed {
			found[s.Connection] = append(found[s.Connection], s.approved(me))
		}
	}
	for _, all := range found {
		slices.SortStableFunc(all, func(a, b review) int { return b.created.Compare(a.created) })
	}
	return found, nil
}

// approved is the session's approved review, as the holder of the key sees it.
func (s *session) approved(me holder) review {
	r := review{session: s.ID, email: s.UserEmail, user: s.UserID, created: s.Review.Created, metadata: s.Metadata}
	if s.Review.RevokeAt != nil {
		r.end = s.Review.RevokeAt.UTC()
	}
	for _, g := range s.Review.Groups {
		switch {
		case g.Status != approved || g.ReviewedBy == nil:
		case g.ReviewedBy.ID == me.ID:
			r.mine = true
		default:
			r.approver = cmp.Or(g.ReviewedBy.Email, g.ReviewedBy.Name, g.ReviewedBy.ID)
		}
	}
	r.mine = r.mine && r.approver == ""
	r.marker, r.marked = jit.ParseMarker(s.CorrelationID)
	if m, asked := s.asked(); asked {
		r.marker, r.marked, r.mine, r.asked = m, true, true, true
	}
	return r
}

// readReviews returns the grants of a connection. Standing access are reviews of others that no grant that begins now
// can outlast.
func (p *Platform) readReviews(ctx context.Context, scope string) (jit.Snapshot, error) {
	me, err := p.approver(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	conn, err := p.connection(ctx, scope)
	if err != nil {
		return jit.Snapshot{}, err
	}
	if conn == nil {
		return jit.Snapshot{Clock: p.lastClock().Remote}, nil // its reviews let nobody in any more
	}
	now := p.gatewayNow()
	found, err := p.reviews(ctx, me, scope, nil, p.since())
	if err != nil {
		return jit.Snapshot{}, err
	}
	snap, err := p.snapshot(ctx, found[scope], now)
	if err != nil {
		return jit.Snapshot{}, err
	}
	holders := map[string]bool{}
	for _, o := range snap.Ours {
		holders[o.Principal] = true
	}
	ungated, err := p.ungated(ctx, conn, holders)
	if err != nil {
		return jit.Snapshot{}, err
	}
	snap.Standing = append(snap.Standing, ungated...)
	snap.Notes = append(conn.notes(), p.whoDecides(conn)...)
	snap.Clock = p.lastClock().Remote
	return snap, nil
}

// snapshot is what the reviews of a connection, the latest first, give at now.
func (p *Platform) snapshot(ctx context.Context, all []review, now time.Time) (snap jit.Snapshot, err error) {
	users, err := p.holders(ctx, all)
	if err != nil {
		return snap, err
	}
	latest := map[string]review{}
	for _, r := range slices.Backward(all) {
		latest[r.email] = r
	}
	for _, r := range all {
		switch {
		case p.grant(r):
			o := jit.Observed{Marker: r.marker, Principal: r.email, Role: connect, End: r.ending(),
				Gone: !r.isOf(users[r.email])}
			if top := latest[r.email]; r.live(now) && !top.live(now) {
				o.Damage = "hidden by the later review of session " + top.session + ", which is over"
			}
			snap.Ours = append(snap.Ours, o)
		case r.claims() && r.live(now):
			snap.Standing = append(snap.Standing, jit.Standing{Principal: r.email, Role: connect, Detail: r.detail(),
				End: jit.Second(r.end.Add(time.Second)), Marker: r.marker})
		case r.live(now.Add(maxTTL - time.Minute)):
			snap.Standing = append(snap.Standing, jit.Standing{Principal: r.email, Role: connect, Detail: r.detail()})
		}
	}
	return snap, nil
}

// holders returns the ids of users by their e-mails, if there are grants among the reviews. The list may be some seconds
// old, but it is older than no review whose user it lacks: that user may be new.
func (p *Platform) holders(ctx context.Context, all []review) (ids map[string]string, err error) {
	if !slices.ContainsFunc(all, p.grant) {
		return nil, nil
	}
	users, err := p.recentUsers(ctx)
	ids = idsOf(users)
	if err == nil && slices.ContainsFunc(all, func(r review) bool { return p.grant(r) && !r.isOf(ids[r.email]) }) {
		users, err = p.users(ctx)
		ids = idsOf(users)
	}
	return ids, err
}

// recentUsers lists all users, or returns the list of some seconds ago.
func (p *Platform) recentUsers(ctx context.Context) ([]user, error) {
	return p.directory.get("", p.now(), func() ([]user, error) { return p.users(ctx) })
}

// grant reports whether a review is a grant of this target. Those where others approve are, if at all, another
// target's of this gateway.
func (p *Platform) grant(r review) bool { return r.ours() && r.asked == p.Asks() }

// reviewScopes lists the connections with grants.
func (p *Platform) reviewScopes(ctx context.Context) ([]string, error) {
	me, err := p.approver(ctx)
	if err != nil {
		return nil, err
	}
	found, err := p.reviews(ctx, me, "", nil, p.since())
	maps.DeleteFunc(found, func(_ string, all []review) bool { return !slices.ContainsFunc(all, p.grant) })
	return slices.Sorted(maps.Keys(found)), err
}
