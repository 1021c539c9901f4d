package azure

import (
	"cmp"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

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
	listed bool      // a list has its assignment
	target string    // the name of its schedule; empty if no request says it
}

// over reports whether the access has ended by itself.
func (h *history) over(now time.Time) bool { return h.there && !h.end.IsZero() && !h.end.After(now) }

// recent reports whether lists may still lack the latest request, the beginning or the end.
func (h *history) recent(now time.Time) bool {
	return now.Sub(later(h.last, h.since)) < lag || h.over(now) && now.Sub(h.end) < lag
}

// explains reports whether an assignment that was made at that time, zero if unknown, may be the one of the requests.
func (h *history) explains(made, now time.Time) bool {
	switch {
	case h.waits != "":
		return made.After(now)
	case h.over(now):
		return !made.IsZero() && !made.After(h.end) || h.recent(now) && made.IsZero()
	}
	return h.there || h.recent(now) && !made.After(h.last)
}

// replay follows the requests in their order. It returns the histories, and the names of the requests that were
// cancelled.
func (v *view) replay(requests []*request) (histories map[key]*history, cancelled map[string]bool) {
	slices.SortStableFunc(requests, func(a, b *request) int {
		return cmp.Or(value(a.Properties.CreatedOn).Compare(value(b.Properties.CreatedOn)),
			cmp.Compare(value(a.Name), value(b.Name)))
	})
	histories, cancelled = map[key]*history{}, map[string]bool{}
	v.mentioned = map[string]bool{}
	for _, r := range requests {
		p := r.Properties
		v.mention(parseText(value(p.Justification)))
		if value(p.Status) == armauthorization.StatusCanceled {
			cancelled[baseName(r.Name)] = true
		}
		if !v.on(p.Scope) || refused[value(p.Status)] && !cancelled[baseName(r.Name)] {
			continue
		}
		who, k := v.holder(p.PrincipalID, p.PrincipalType, p.RoleDefinitionID)
		if cancelled[baseName(r.Name)] {
			v.at(k, who).cancelled = parseText(value(p.Justification)).claims
			continue
		}
		v.at(k, who).cancelled = nil
		if histories[k] == nil {
			histories[k] = &history{slot: v.at(k, who)}
		}
		histories[k].follow(r, v.now)
	}
	return histories, cancelled
}

// mention notes the grants of a text.
func (v *view) mention(said text) {
	for _, c := range said.claims {
		v.mentioned[named(c.marker)] = true
	}
	for _, m := range said.ended {
		v.mentioned[named(m)] = true
	}
}

// follow applies one request. Azure forgets requests, the oldest first: a change shows that there is an assignment.
func (h *history) follow(r *request, now time.Time) {
	p := r.Properties
	said := parseText(value(p.Justification))
	var start time.Time
	if p.ScheduleInfo != nil {
		start = value(p.ScheduleInfo.StartDateTime)
	}
	begins := later(start, value(p.CreatedOn))
	h.last = later(h.last, value(p.CreatedOn))
	h.written = h.last
	switch value(p.RequestType) {
	case armauthorization.RequestTypeAdminAssign:
		h.claims, h.orphans, h.start, h.end, h.waits = nil, nil, time.Time{}, time.Time{}, ""
		h.there, h.since = true, begins
		if start.After(now) {
			h.waits = value(r.Name)
		}
	case armauthorization.RequestTypeAdminUpdate, armauthorization.RequestTypeAdminExtend,
		armauthorization.RequestTypeAdminRenew:
		if !h.there {
			h.there, h.since = true, begins
		}
	case armauthorization.RequestTypeAdminRemove:
		h.remove(said.ended)
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
	h.detail, h.target = "request "+value(r.Name)+" of PIM", baseName(p.TargetRoleAssignmentScheduleID)
	if start.After(now) {
		h.start = jit.Second(start)
	}
	if p.ScheduleInfo != nil && p.ScheduleInfo.Expiration != nil {
		e := p.ScheduleInfo.Expiration
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
	h.there, h.claims, h.orphans, h.start, h.end, h.waits = false, nil, left, time.Time{}, time.Time{}, ""
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

// settle undoes what Azure moved: it may begin and end access some seconds beside the times that were asked for.
func (h *history) settle(now time.Time) {
	if end := lastEnd(h.claims); near(h.end, end) {
		h.end = end
	}
	first := firstStart(h.claims)
	if near(h.start, first) || h.start.IsZero() && h.waits == "" && first.After(now) && near(now, first) {
		h.start = first
	}
}

// near reports whether two times are one that Azure has moved.
func near(a, b time.Time) bool { return !a.IsZero() && !b.IsZero() && a.Sub(b).Abs() <= moved }
