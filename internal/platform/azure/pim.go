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
	// lag is how long lists of schedules and assignments may tell of what was before a request. The requests
	// themselves are told at once: https://learn.microsoft.com/azure/role-based-access-control/troubleshooting
	lag = 10 * time.Minute
	// moved is by how much the service may move an end while it provides it.
	moved = time.Minute
	// together is how many claims one request bears.
	together = 5
)

// pim assigns roles through Privileged Identity Management. Nothing can be written on an assignment; it is made,
// changed and ended by requests, which nobody can alter afterwards and which are kept for 45 days. The justification of
// a request bears the claims that it lays and those that it gives up, so the requests tell in their order what is
// claimed.
type pim struct{ *client }

var _ assigner = pim{}

// refused are the states of a request that has changed nothing.
var refused = map[armauthorization.Status]bool{
	armauthorization.StatusFailed: true, armauthorization.StatusFailedAsResourceIsLocked: true, armauthorization.StatusDenied: true, armauthorization.StatusAdminDenied: true,
	armauthorization.StatusCanceled: true, armauthorization.StatusInvalid: true, armauthorization.StatusTimedOut: true,
	armauthorization.StatusPendingApproval: true, armauthorization.StatusPendingAdminDecision: true,
}

// history is what the requests tell of a slot.
type history struct {
	*slot
	last   time.Time // the latest request
	listed bool      // a list has its schedule
}

// recent reports whether lists may not have the latest change yet.
func (h *history) recent(now time.Time) bool {
	return now.Sub(h.last) < lag || !h.there && !h.end.IsZero() && now.Sub(h.end) < lag
}

func (m pim) read(ctx context.Context, scope string) (*view, error) {
	var requests []*armauthorization.RoleAssignmentScheduleRequest
	var schedules []*armauthorization.RoleAssignmentSchedule
	var assignments []*armauthorization.RoleAssignment
	lists, listing := errgroup.WithContext(ctx)
	lists.Go(func() (err error) { schedules, err = m.listSchedules(listing, scope); return err })
	lists.Go(func() (err error) { assignments, err = m.listAssignments(listing, scope, here); return err })
	err := lists.Wait()
	if err == nil {
		// They come last: what another process asks for meanwhile would be taken for somebody else's, if its schedule
		// were seen and its request not.
		requests, err = m.listRequests(ctx, scope, here)
	}
	if err != nil {
		return nil, err
	}
	v := &view{now: m.platform.serviceNow(), slots: map[key]*slot{}}
	told := v.replay(scope, m.platform.withSent(scope, requests, v.now))
	scheduled := v.addSchedules(scope, schedules, told)
	for k, h := range told {
		if h.there && !h.listed && !h.recent(v.now) && !h.start.After(v.now) {
			h.there, h.claims = false, nil // ended by other means than a request
		}
		if h.there && len(h.claims) == 0 && !h.listed {
			v.standing = append(v.standing, access{who: h.who, role: k.role, detail: h.detail, end: h.end})
		}
		if still := live(h.claims, v.now); len(still) > 0 && h.end.Equal(lastEnd(still)) {
			h.claims = still
		}
		h.orphans = live(h.orphans, v.now)
	}
	v.addPlain(scope, assignments, told, scheduled)
	return v, nil
}

// replay follows the requests in their order.
func (v *view) replay(scope string, requests []*armauthorization.RoleAssignmentScheduleRequest) map[key]*history {
	slices.SortStableFunc(requests, func(a, b *armauthorization.RoleAssignmentScheduleRequest) int {
		return cmp.Or(value(a.Properties.CreatedOn).Compare(value(b.Properties.CreatedOn)), cmp.Compare(value(a.Name), value(b.Name)))
	})
	told := map[key]*history{}
	for _, r := range requests {
		p := r.Properties
		if !strings.EqualFold(value(p.Scope), scope) || refused[value(p.Status)] {
			continue
		}
		who := principalOf(p.PrincipalID, p.PrincipalType)
		k := key{who.id, baseName(p.RoleDefinitionID)}
		if told[k] == nil {
			told[k] = &history{slot: v.at(k, who)}
		}
		told[k].follow(r, v.now)
	}
	for _, h := range told {
		if h.there && !h.end.IsZero() && !h.end.After(v.now) {
			h.there, h.claims = false, nil
		}
	}
	return told
}

// follow takes in one request.
func (h *history) follow(r *armauthorization.RoleAssignmentScheduleRequest, now time.Time) {
	p := r.Properties
	said := parseText(value(p.Justification))
	switch value(p.RequestType) {
	case armauthorization.RequestTypeAdminAssign:
		h.claims, h.orphans, h.start, h.end = nil, nil, time.Time{}, time.Time{}
		h.there, h.since = true, value(p.CreatedOn)
	case armauthorization.RequestTypeAdminUpdate, armauthorization.RequestTypeAdminExtend, armauthorization.RequestTypeAdminRenew:
	case armauthorization.RequestTypeAdminRemove:
		left := h.claims
		for _, m := range said.ended {
			left = drop(left, m)
		}
		if h.there, h.claims, h.orphans = false, nil, nil; len(said.ended) > 0 {
			h.orphans = left
		}
		h.start, h.end, h.last = time.Time{}, time.Time{}, value(p.CreatedOn)
		return
	default:
		return // what users do with what they are eligible for
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
		h.expire(e.EndDateTime, value(e.Type), value(e.Duration), later(value(p.ScheduleInfo.StartDateTime), value(p.CreatedOn)))
	}
}

// expire takes in when a request lets the access end, which begins at from. Of an end that cannot be read it is not
// said that there is one.
func (h *history) expire(at *time.Time, kind armauthorization.Type, duration string, from time.Time) {
	switch lasts, ok := parseDuration(duration); {
	case kind == armauthorization.TypeNoExpiration:
		h.end = time.Time{}
	case kind == armauthorization.TypeAfterDuration && ok:
		h.end = jit.Second(from.Add(lasts))
	case kind == armauthorization.TypeAfterDuration:
		h.end = time.Time{}
	case at != nil:
		h.end = jit.Second(*at)
	}
}

// addSchedules adds what the requests do not tell, and where the lists are up to date, what has become of what they
// tell. It returns the scopes and keys that have a schedule.
func (v *view) addSchedules(scope string, schedules []*armauthorization.RoleAssignmentSchedule, told map[key]*history) map[string]bool {
	scheduled := map[string]bool{}
	for _, s := range schedules {
		p := s.Properties
		if p == nil || refused[value(p.Status)] || value(p.Status) == armauthorization.StatusRevoked {
			continue
		}
		who := principalOf(p.PrincipalID, p.PrincipalType)
		k := key{who.id, baseName(p.RoleDefinitionID)}
		on, end := strings.EqualFold(value(p.Scope), scope), jit.Second(value(p.EndDateTime))
		scheduled[place(p.Scope, k)] = true
		h := told[k]
		switch {
		case on && h != nil && h.there:
			h.listed = true
			if !h.recent(v.now) && (end.IsZero() != h.end.IsZero() || end.Sub(h.end).Abs() > moved) {
				h.end = end
			}
			if len(h.claims) == 0 {
				v.standing = append(v.standing, access{who: who, role: k.role, detail: h.detail, end: end})
			}
			continue
		case on && h != nil && h.recent(v.now), !end.IsZero() && !end.After(v.now):
			continue // it has just been ended
		}
		detail := fmt.Sprintf("schedule %s of PIM on %s", value(s.Name), value(p.Scope))
		if on {
			at := v.at(k, who)
			at.there, at.claims, at.end, at.detail = true, nil, end, detail
		}
		v.standing = append(v.standing, access{who: who, role: k.role, detail: detail, from: above(p.Scope, scope), end: end})
	}
	return scheduled
}

// addPlain adds the role assignments that no schedule explains.
func (v *view) addPlain(scope string, assignments []*armauthorization.RoleAssignment, told map[key]*history, scheduled map[string]bool) {
	for _, a := range assignments {
		p := a.Properties
		if p == nil {
			continue
		}
		who := principalOf(p.PrincipalID, p.PrincipalType)
		k := key{who.id, baseName(p.RoleDefinitionID)}
		on := strings.EqualFold(value(p.Scope), scope)
		if h := told[k]; scheduled[place(p.Scope, k)] || on && h != nil && (h.there || h.recent(v.now)) {
			continue
		}
		detail := described(value(a.Name), value(p.Scope), scope)
		if on {
			at := v.at(k, who)
			at.there, at.claims, at.end, at.detail = true, nil, time.Time{}, detail
		}
		v.standing = append(v.standing, access{who: who, role: k.role, detail: detail, from: above(p.Scope, scope)})
	}
}

func place(scope *string, k key) string {
	return strings.ToLower(value(scope)) + "\n" + k.principal + "\n" + k.role
}

// recheckAfter is zero: a request made meanwhile is among the requests at once.
func (pim) recheckAfter() time.Duration { return 0 }

func (pim) differs(s *slot, want []claim) bool {
	if len(want) == 0 {
		return s.there
	}
	return !s.there || len(without(want, s.claims)) > 0 || len(without(s.claims, want)) > 0 || !s.end.Equal(lastEnd(want)) ||
		!s.start.IsZero() && !s.start.Equal(firstStart(want))
}

func (pim) fits(want []claim) error {
	if !gap(want) {
		return nil
	}
	return &jit.Error{Attribute: "starts_at", Problem: "another grant of this role to this principal on this scope is live, and there is a time between the two windows; PIM holds one assignment for both, which would give access in between",
		Hint: "let the windows meet, or ask when the other grant has ended"}
}
