package hoop

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	approved = "APPROVED"
	timed    = "jit"

	// early is how long before the end of its window a review may end: it lasts whole seconds from a moment that lies
	// within one, and it must never last longer.
	early = 2 * time.Second
)

// review is an approved review with a time: it lets a user connect until it ends. The latest one of a user and a
// connection decides, also when it is over and another is not.
type review struct {
	session  string
	email    string
	created  time.Time
	end      time.Time // zero when it has none, and then it lets nobody in
	metadata map[string]any
	// approver is who has approved it beside the API key, or again after it; empty when nobody has. mine: the API key
	// alone has, so nobody else has made up what its session is called, or moved its end.
	approver string
	mine     bool
	// asked: reviewers approved it because a grant asked them to.
	asked bool
	// marker is what the session is called; marked is false when that is no marker.
	marker jit.Marker
	marked bool
}

// ours reports whether the review is that of a grant.
func (r *review) ours() bool { return r.mine && r.marked }

// of reports whether the review is that of the grant with the owner and id. Who asks for a review gives the session its
// name, so one that reviewers approved is only that of the grant's own user.
func (r *review) of(a jit.Access) bool {
	return r.ours() && sameGrant(r.marker, a.Marker) && (!r.asked || r.email == a.Binding.Principal)
}

// taken reports whether the review lets the user of a grant in at now, bears the marker of the grant, and is not ours
// any more: a person has approved it again, which began its time anew, or has approved one that the user asked for with
// that marker. It is theirs, and is left alone.
func (r *review) taken(a jit.Access, now time.Time) bool {
	return r.claims() && sameGrant(r.marker, a.Marker) && r.live(now) &&
		(a.Binding.Principal == "" || a.Binding.Principal == r.email)
}

// claims reports whether the review bears a marker and somebody else than the API key has approved it.
func (r *review) claims() bool { return r.marked && !r.mine && r.approver != "" }

// detail says where the review was found, by whom it was approved and until when.
func (r *review) detail() string {
	if r.claims() {
		return fmt.Sprintf("the review of session %s bears the marker of grant %s and was approved again by %s until %s", r.session, r.marker.ID, r.approver, jit.FormatTime(r.end))
	}
	return "the review of session " + r.session + ", until " + jit.FormatTime(r.end)
}

// right reports whether the review is what the grant has to have.
func (r *review) right(a jit.Access) bool {
	return r.of(a) && r.marker.Window.Equal(a.Marker.Window) && r.ending().Equal(a.Marker.Window.End)
}

// ending is the end in whole seconds: that of the window where the review ends with it. A part of a second beyond that
// counts as a whole one, and so does none: the gateway leaves out what is less than a millisecond.
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

// live reports whether the review lets its user in at now, if it is the latest one.
func (r *review) live(now time.Time) bool { return now.Before(r.end) }

// since is from when on sessions are listed whose reviews can let somebody in.
func (p *Platform) since() time.Time {
	if p.Asks() {
		return p.gatewayNow().Add(-askLookBack)
	}
	return p.gatewayNow().Add(-lookBack)
}

// reviews lists the approved reviews of one connection, or of all with an empty name, by their connections, which can
// be others too, the latest first. filter narrows that down further.
func (p *Platform) reviews(ctx context.Context, me holder, connection string, filter url.Values, since time.Time) (map[string][]review, error) {
	query := url.Values{"review.status": {approved}}
	if connection != "" {
		query.Set("connection", connection)
	}
	for name, values := range filter {
		query[name] = values
	}
	sessions, err := p.sessions(ctx, query, since)
	if err != nil {
		return nil, err
	}
	found := map[string][]review{}
	for _, s := range sessions {
		if s.Review == nil || s.Review.Status != approved || s.Review.Type != timed {
			continue
		}
		r := review{session: s.ID, email: s.UserEmail, created: s.Review.Created, metadata: s.Metadata}
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
		found[s.Connection] = append(found[s.Connection], r)
	}
	for _, all := range found {
		slices.SortStableFunc(all, func(a, b review) int { return b.created.Compare(a.created) })
	}
	return found, nil
}

// readReviews returns the grants of a connection. Standing are reviews of others that no grant that begins now can
// outlast.
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
	snap := jit.Snapshot{Notes: append(conn.notes(), p.whoDecides(conn)...)}
	all := found[scope]
	latest := latestOf(all)
	holders := map[string]bool{}
	for _, r := range all {
		switch {
		case r.ours() && r.asked == p.Asks(): // the others are, if at all, of the target of this gateway where others approve
			o := jit.Observed{Marker: r.marker, Principal: r.email, Role: connect, End: r.ending()}
			if top := latest[r.email]; r.live(now) && !top.live(now) {
				o.Damage = "hidden by the later review of session " + top.session + ", which is over"
			}
			snap.Ours = append(snap.Ours, o)
			holders[r.email] = true
		case r.claims() && r.live(now):
			snap.Standing = append(snap.Standing, jit.Standing{Principal: r.email, Role: connect, Detail: r.detail(), End: jit.Second(r.end.Add(time.Second)), Marker: r.marker})
		case r.live(now.Add(maxTTL - time.Minute)):
			snap.Standing = append(snap.Standing, jit.Standing{Principal: r.email, Role: connect, Detail: r.detail()})
		}
	}
	ungated, err := p.ungated(ctx, conn, holders)
	if err != nil {
		return jit.Snapshot{}, err
	}
	snap.Standing = append(snap.Standing, ungated...)
	snap.Clock = p.lastClock().Remote
	return snap, nil
}

// latestOf returns the review of each user that decides.
func latestOf(all []review) map[string]review {
	latest := map[string]review{}
	for _, r := range all {
		if _, later := latest[r.email]; !later {
			latest[r.email] = r
		}
	}
	return latest
}

// reviewScopes lists the connections with grants.
func (p *Platform) reviewScopes(ctx context.Context) ([]string, error) {
	me, err := p.approver(ctx)
	if err != nil {
		return nil, err
	}
	found, err := p.reviews(ctx, me, "", nil, p.since())
	if err != nil {
		return nil, err
	}
	var scopes []string
	for name, all := range found {
		if slices.ContainsFunc(all, func(r review) bool { return r.ours() && r.asked == p.Asks() }) {
			scopes = append(scopes, name)
		}
	}
	slices.SortFunc(scopes, strings.Compare)
	return scopes, nil
}
