package azure

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// lag is how long lists of schedules and assignments mostly show the state before a request:
	// https://learn.microsoft.com/azure/role-based-access-control/troubleshooting
	lag = 10 * time.Minute
	// moved is how far Azure may move an end while it provides the assignment.
	moved = time.Minute
	// together is how many claims one request bears.
	together = 5
)

// pim assigns roles through Privileged Identity Management. Nothing can be written on an assignment. Requests make,
// change and end it; nobody can alter a request afterwards, and Azure keeps it for 45 days. The justification of each
// request bears the claims that it adds and those that it gives up, so the requests in their order give the claims.
//
// A request whose access has not begun can only be cancelled: a change cancels it and asks again.
type pim struct {
	*client
	// owed holds a slot with orphans for each key whose request was cancelled and not replaced yet.
	owed *sync.Map
}

var _ assigner = pim{}

func (m pim) read(ctx context.Context, scope string) (*view, error) {
	var schedules []*schedule
	var assignments []*assignment
	lists, listing := errgroup.WithContext(ctx)
	lists.Go(func() (err error) { schedules, err = m.listSchedules(listing, scope); return err })
	lists.Go(func() (err error) { assignments, err = m.listAssignments(listing, scope, new(here)); return err })
	if err := lists.Wait(); err != nil {
		return nil, err
	}
	// The requests come last. Otherwise another process could add a request and its schedule after the list of
	// requests, and the assignment would look like somebody else's.
	requests, err := m.listRequests(ctx, scope, new(here))
	if err != nil {
		return nil, err
	}
	v := newView(scope, m.platform.serviceNow())
	histories, cancelled := v.replay(m.platform.withSent(scope, requests, v.now))
	scheduled := v.addSchedules(schedules, histories, cancelled)
	v.addPlain(assignments, histories, scheduled)
	for _, h := range histories {
		if err := m.lookFor(ctx, v, h); err != nil {
			return nil, err
		}
		v.conclude(h)
	}
	m.owed.Range(func(_, left any) bool {
		o := left.(*slot)
		s := v.at(o.key, o.who)
		s.orphans = append(s.orphans, live(without(o.orphans, s.orphans), v.now)...)
		return true
	})
	return v.name(), nil
}

// placed is a key on any scope.
type placed struct {
	scope string // lower case
	key
}

func placeOf(scope *string, k key) placed { return placed{strings.ToLower(value(scope)), k} }

// addSchedules adds schedules that no request explains, and corrects the histories where the lists are current. It
// returns the keys that have a schedule.
func (v *view) addSchedules(
	schedules []*schedule, histories map[key]*history, cancelled map[string]bool,
) map[placed]bool {
	scheduled := map[placed]bool{}
	for _, s := range schedules {
		p := s.Properties
		if refused[value(p.Status)] || value(p.Status) == armauthorization.StatusRevoked {
			continue
		}
		made := later(value(p.CreatedOn), value(p.StartDateTime))
		if cancelled[baseName(p.RoleAssignmentScheduleRequestID)] && v.now.Sub(value(p.StartDateTime)) < lag {
			continue // the list still has what was cancelled before it began
		}
		who, k := v.holder(p.PrincipalID, p.PrincipalType, p.RoleDefinitionID)
		scheduled[placeOf(p.Scope, k)] = true
		h := histories[k]
		if !v.on(p.Scope) {
			h = nil // the requests of this scope do not explain it
		}
		end := jit.Second(value(p.EndDateTime))
		switch {
		case h != nil && h.explains(made, v.now):
			v.confirm(h, who, end)
		case !end.IsZero() && !end.After(v.now): // It has just ended.
		default:
			detail := fmt.Sprintf("schedule %s of PIM on %s", value(s.Name), value(p.Scope))
			v.addForeign(p.Scope, who, k, jit.Standing{Detail: detail, End: end}, h)
		}
	}
	return scheduled
}

// confirm compares a history with its schedule. Without a claim the assignment is standing access.
func (v *view) confirm(h *history, who principal, end time.Time) {
	if !h.there {
		return // the list still has what was removed
	}
	h.listed = true
	if !h.recent(v.now) && (end.IsZero() != h.end.IsZero() || !end.IsZero() && !near(end, h.end)) {
		h.end = end
	}
	if len(h.claims) == 0 && !h.over(v.now) {
		v.standing = append(v.standing, h.standing(who, end))
	}
}

func (h *history) standing(who principal, end time.Time) jit.Standing {
	return jit.Standing{Principal: who.String(), Role: h.role, Detail: h.detail, End: end}
}

// lookFor asks for the schedule of an assignment that should be there and that no list has. Lists may lag for longer
// than expected, so only the answer that there is no such schedule shows that it ended without a request.
func (m pim) lookFor(ctx context.Context, v *view, h *history) error {
	if !h.there || h.listed || h.over(v.now) || h.recent(v.now) || h.target == "" {
		return nil
	}
	found, err := m.schedules.Get(ctx, v.scope, h.target, nil)
	switch {
	case isGone(err):
		h.there, h.claims = false, nil
	case err != nil:
		return explain(ctx, "look for the schedule "+h.target, err)
	case found.Properties != nil:
		v.confirm(h, h.who, jit.Second(value(found.Properties.EndDateTime)))
	}
	return nil
}

// conclude decides what the requests and the lists of a key mean together.
func (v *view) conclude(h *history) {
	if h.over(v.now) {
		h.there, h.claims = false, nil
	}
	if h.there && len(h.claims) == 0 && !h.listed {
		v.standing = append(v.standing, h.standing(h.who, h.end))
	}
	h.settle(v.now)
	if still := live(h.claims, v.now); len(still) > 0 && h.end.Equal(lastEnd(still)) {
		h.claims = still
	}
	h.orphans = live(h.orphans, v.now)
}

// addPlain adds the role assignments that neither a schedule nor the requests explain.
func (v *view) addPlain(assignments []*assignment, histories map[key]*history, scheduled map[placed]bool) {
	for _, a := range assignments {
		p := a.Properties
		who, k := v.holder(p.PrincipalID, p.PrincipalType, p.RoleDefinitionID)
		h := histories[k]
		if !v.on(p.Scope) {
			h = nil
		}
		switch {
		case scheduled[placeOf(p.Scope, k)]:
		case h != nil && h.explains(value(p.CreatedOn), v.now):
			h.listed = h.listed || h.there && len(h.claims) > 0
		default:
			v.addForeign(p.Scope, who, k, jit.Standing{Detail: v.describe(a.Name, p.Scope)}, h)
		}
	}
}

// seek doubts that access is gone that the record has and no request mentions: Azure's list may lack the request, or
// have lost it.
func (pim) seek(_ context.Context, v *view, j *job) error {
	if j.held && !v.mentioned[named(j.claim.marker)] {
		return unmentioned(j.who, v.scope, "no request of PIM that can be read bears")
	}
	return nil
}

// recheckAfter is zero: the list of requests mostly has a concurrent request at once.
func (pim) recheckAfter() time.Duration { return 0 }

func (pim) differs(s *slot, want []claim) bool {
	if len(want) == 0 || !s.there {
		return s.there != (len(want) > 0)
	}
	return !equal(want, s.claims) || !s.end.Equal(lastEnd(want)) ||
		!s.start.IsZero() && !s.start.Equal(firstStart(want))
}

func (m pim) fits(want []claim) error {
	switch {
	case len(want) > together && firstStart(want).After(m.platform.serviceNow()):
		return &jit.Error{Attribute: "starts_at", Hint: "ask when one of them has begun, or has ended",
			Problem: fmt.Sprintf("%d grants of this role to this principal on this scope wait to begin; "+
				"PIM holds one assignment for all, with room for no more until it begins", together)}
	case !gap(want):
		return nil
	}
	return &jit.Error{Attribute: "starts_at", Hint: "let the windows meet, or ask when the other grant has ended",
		Problem: "another grant of this role to this principal on this scope is live, and " +
			"there is a time between the two windows; " +
			"PIM holds one assignment for both, which would give access in between"}
}
