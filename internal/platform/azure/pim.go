package azure

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// lag is how long lists of schedules and assignments may show the state before a request. Lists of requests are
	// current: https://learn.microsoft.com/azure/role-based-access-control/troubleshooting
	lag = 10 * time.Minute
	// moved is how far Azure may move an end while it provides the assignment.
	moved = time.Minute
	// together is how many claims one request bears.
	together = 5
)

// pim assigns roles through Privileged Identity Management. Nothing can be written on an assignment. Requests make,
// change and end it; nobody can alter a request afterwards, and Azure keeps it for 45 days. The justification of each
// request bears the claims that it adds and those that it gives up, so the requests in their order give the claims.
type pim struct{ *client }

var _ assigner = pim{}

// refused holds the states of a request that has changed nothing.
var refused = map[armauthorization.Status]bool{
	armauthorization.StatusFailed: true, armauthorization.StatusFailedAsResourceIsLocked: true,
	armauthorization.StatusDenied: true, armauthorization.StatusAdminDenied: true,
	armauthorization.StatusCanceled: true, armauthorization.StatusInvalid: true, armauthorization.StatusTimedOut: true,
	armauthorization.StatusPendingApproval: true, armauthorization.StatusPendingAdminDecision: true,
}

// history is the state of a slot by its requests.
type history struct {
	*slot
	last   time.Time // of the latest request
	listed bool      // a list has its schedule
}

// recent reports whether lists may still lack the latest change.
func (h *history) recent(now time.Time) bool {
	return now.Sub(h.last) < lag || !h.there && !h.end.IsZero() && now.Sub(h.end) < lag
}

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
	histories := v.replay(m.platform.withSent(scope, requests, v.now))
	scheduled := v.addSchedules(schedules, histories)
	for _, h := range histories {
		v.conclude(h)
	}
	v.addPlain(assignments, histories, scheduled)
	return v, nil
}

// replay follows the requests in their order.
func (v *view) replay(requests []*request) map[key]*history {
	slices.SortStableFunc(requests, func(a, b *request) int {
		return cmp.Or(value(a.Properties.CreatedOn).Compare(value(b.Properties.CreatedOn)),
			cmp.Compare(value(a.Name), value(b.Name)))
	})
	histories := map[key]*history{}
	for _, r := range requests {
		p := r.Properties
		if !v.on(p.Scope) || refused[value(p.Status)] {
			continue
		}
		who, k := holder(p.PrincipalID, p.PrincipalType, p.RoleDefinitionID)
		if histories[k] == nil {
			histories[k] = &history{slot: v.at(k, who)}
		}
		histories[k].follow(r, v.now)
	}
	for _, h := range histories {
		if h.there && !h.end.IsZero() && !h.end.After(v.now) {
			h.there, h.claims = false, nil
		}
	}
	return histories
}

// follow applies one request.
func (h *history) follow(r *request, now time.Time) {
	p := r.Properties
	said := parseText(value(p.Justification))
	switch value(p.RequestType) {
	case armauthorization.RequestTypeAdminAssign:
		h.claims, h.orphans, h.start, h.end = nil, nil, time.Time{}, time.Time{}
		h.there, h.since = true, value(p.CreatedOn)
	case armauthorization.RequestTypeAdminUpdate, armauthorization.RequestTypeAdminExtend,
		armauthorization.RequestTypeAdminRenew:
	case armauthorization.RequestTypeAdminRemove:
		h.remove(said.ended)
		h.last = value(p.CreatedOn)
		return
	default:
		return // users activate what they are eligible for
	}
	for _, c := range said.claims {
		h.claims = put(h.claims, c)
	}
	for _, m := range said.ended {
		h.claims = drop(h.claims, m)
	}
	h.last, h.detail = value(p.CreatedOn), "request "+value(r.Name)+" of PIM"
	if p.ScheduleInfo == nil {
		return
	}
	if start := p.ScheduleInfo.StartDateTime; start != nil {
		if h.start = jit.Second(*start); !start.After(now) {
			h.start = time.Time{}
		}
	}
	if e := p.ScheduleInfo.Expiration; e != nil {
		begins := later(value(p.ScheduleInfo.StartDateTime), value(p.CreatedOn))
		h.expire(e.EndDateTime, value(e.Type), value(e.Duration), begins)
	}
}

// remove ends the assignment. Claims that our removal did not name become orphans; others' removals name none.
func (h *history) remove(ended []jit.Marker) {
	left := h.claims
	for _, m := range ended {
		left = drop(left, m)
	}
	if len(ended) == 0 {
		left = nil
	}
	h.there, h.claims, h.orphans, h.start, h.end = false, nil, left, time.Time{}, time.Time{}
}

// expire applies the end of a request whose access begins at from. An unreadable end counts as none.
func (h *history) expire(at *time.Time, kind armauthorization.Type, duration string, from time.Time) {
	switch lasts, ok := parseDuration(duration); {
	case kind == armauthorization.TypeAfterDuration && ok:
		h.end = jit.Second(from.Add(lasts))
	case kind == armauthorization.TypeAfterDuration, kind == armauthorization.TypeNoExpiration:
		h.end = time.Time{}
	case at != nil:
		h.end = jit.Second(*at)
	}
}

// placed is a key on any scope.
type placed struct {
	scope string // lower case
	key
}

func placeOf(scope *string, k key) placed { return placed{strings.ToLower(value(scope)), k} }

// addSchedules adds schedules that no request explains, and corrects the histories where the lists are current. It
// returns the keys that have a schedule.
func (v *view) addSchedules(schedules []*schedule, histories map[key]*history) map[placed]bool {
	scheduled := map[placed]bool{}
	for _, s := range schedules {
		p := s.Properties
		if refused[value(p.Status)] || value(p.Status) == armauthorization.StatusRevoked {
			continue
		}
		who, k := holder(p.PrincipalID, p.PrincipalType, p.RoleDefinitionID)
		scheduled[placeOf(p.Scope, k)] = true
		h := histories[k]
		if !v.on(p.Scope) {
			h = nil // the requests of this scope do not explain it
		}
		end := jit.Second(value(p.EndDateTime))
		switch {
		case h != nil && h.there:
			v.confirm(h, who, end)
		case h != nil && h.recent(v.now), !end.IsZero() && !end.After(v.now):
			// It has just ended.
		default:
			detail := fmt.Sprintf("schedule %s of PIM on %s", value(s.Name), value(p.Scope))
			v.addForeign(p.Scope, who, k, jit.Standing{Detail: detail, End: end})
		}
	}
	return scheduled
}

// confirm compares a history with its schedule. Without a claim the assignment is standing access.
func (v *view) confirm(h *history, who principal, end time.Time) {
	h.listed = true
	if !h.recent(v.now) && (end.IsZero() != h.end.IsZero() || end.Sub(h.end).Abs() > moved) {
		h.end = end
	}
	if len(h.claims) == 0 {
		v.standing = append(v.standing, h.standing(who, end))
	}
}

func (h *history) standing(who principal, end time.Time) jit.Standing {
	return jit.Standing{Principal: who.String(), Role: h.role, Detail: h.detail, End: end}
}

// conclude decides what the requests and the schedules of a key mean together.
func (v *view) conclude(h *history) {
	if h.there && !h.listed && !h.recent(v.now) && !h.start.After(v.now) {
		h.there, h.claims = false, nil // ended without a request
	}
	if h.there && len(h.claims) == 0 && !h.listed {
		v.standing = append(v.standing, h.standing(h.who, h.end))
	}
	if still := live(h.claims, v.now); len(still) > 0 && h.end.Equal(lastEnd(still)) {
		h.claims = still
	}
	h.orphans = live(h.orphans, v.now)
}

// addPlain adds the role assignments that neither a schedule nor a recent request explains.
func (v *view) addPlain(assignments []*assignment, histories map[key]*history, scheduled map[placed]bool) {
	for _, a := range assignments {
		p := a.Properties
		who, k := holder(p.PrincipalID, p.PrincipalType, p.RoleDefinitionID)
		h := histories[k]
		if scheduled[placeOf(p.Scope, k)] || v.on(p.Scope) && h != nil && (h.there || h.recent(v.now)) {
			continue
		}
		v.addForeign(p.Scope, who, k, jit.Standing{Detail: v.describe(a.Name, p.Scope)})
	}
}

// recheckAfter is zero: the list of requests has a concurrent request at once.
func (pim) recheckAfter() time.Duration { return 0 }

func (pim) differs(s *slot, want []claim) bool {
	if len(want) == 0 || !s.there {
		return s.there != (len(want) > 0)
	}
	return !equal(want, s.claims) || !s.end.Equal(lastEnd(want)) ||
		!s.start.IsZero() && !s.start.Equal(firstStart(want))
}

func (pim) fits(want []claim) error {
	if !gap(want) {
		return nil
	}
	return &jit.Error{Attribute: "starts_at", Hint: "let the windows meet, or ask when the other grant has ended",
		Problem: "another grant of this role to this principal on this scope is live, and " +
			"there is a time between the two windows; " +
			"PIM holds one assignment for both, which would give access in between"}
}
