package approval

import (
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// History is who the persons of a ledger were at each time, what its policies asked for, and which requests were decided
// on, according to its events. Pass it all events in order, then ask. The zero History knows nothing.
type History struct {
	// persons are by folded name, policies by name: what each asked for.
	persons  map[string]versions[jit.Person]
	policies map[string]versions[[]jit.Requirement]
	// first is when the first person was recorded.
	first time.Time
	// unsigned are the grants that broke the glass and are not signed off, by the folded name of the requester.
	unsigned map[string]map[jit.ID]bool
	// brokeAgain has the unsigned grant of a requester who broke the glass again, by the number of that event.
	brokeAgain map[int64]jit.ID
	// decidedFor is the grant whose events first have a decision on a request, by its digest.
	decidedFor map[string]jit.ID
}

// versions are what something was, in order. Only the last has no end.
type versions[T any] []struct {
	was          T
	since, until time.Time
}

// end ends the last version at a time.
func (v versions[T]) end(at time.Time) {
	if n := len(v); n > 0 && v[n-1].until.IsZero() {
		v[n-1].until = at
	}
}

// add begins a version at a time.
func (v versions[T]) add(is T, at time.Time) versions[T] {
	return append(v, struct {
		was          T
		since, until time.Time
	}{was: is, since: at})
}

// between returns what something was from one time to another.
func (v versions[T]) between(from, to time.Time) (was []T) {
	for _, one := range v {
		if !one.since.After(to) && (one.until.IsZero() || !one.until.Before(from)) {
			was = append(was, one.was)
		}
	}
	return was
}

// throughout returns what something was all the time from one time to another.
func (v versions[T]) throughout(from, to time.Time) (was []T) {
	for _, one := range v {
		if !one.since.After(from) && (one.until.IsZero() || one.until.After(to)) {
			was = append(was, one.was)
		}
	}
	return was
}

// Add takes in an event; only those about persons, policies and decisions matter.
func (h *History) Add(e jit.Event) {
	switch e.Kind {
	case jit.EventPersonChanged, jit.EventPersonRemoved:
		h.addPerson(e)
	case jit.EventPolicyChanged, jit.EventPolicyRemoved:
		h.addPolicy(e)
	case jit.EventBreakGlass:
		h.breakGlass(e)
	case jit.EventGrantFailed:
		h.close(e.Grant)
	case jit.EventApproved, jit.EventDenied, jit.EventSignedOff:
		if e.Kind == jit.EventSignedOff {
			h.close(e.Grant)
		}
		if h.decidedFor == nil {
			h.decidedFor = map[string]jit.ID{}
		}
		if digest := e.Detail["request_digest"]; h.decidedFor[digest] == "" {
			h.decidedFor[digest] = e.Grant
		}
	}
}

func (h *History) addPerson(e jit.Event) {
	if h.persons == nil {
		h.persons, h.first = map[string]versions[jit.Person]{}, e.At
	}
	name := jit.FoldName(e.Person())
	known := h.persons[name]
	known.end(e.At)
	if person, err := jit.PersonOf(e); err == nil && e.Kind == jit.EventPersonChanged {
		known = known.add(person, e.At)
	}
	h.persons[name] = known
}

func (h *History) addPolicy(e jit.Event) {
	if h.policies == nil {
		h.policies = map[string]versions[[]jit.Requirement]{}
	}
	known := h.policies[e.Policy]
	known.end(e.At)
	if e.Kind == jit.EventPolicyChanged {
		asked, _ := jit.AskedBy(e)
		known = known.add(asked.Approval, e.At)
	}
	h.policies[e.Policy] = known
}

func (h *History) breakGlass(e jit.Event) {
	if h.unsigned == nil {
		h.unsigned, h.brokeAgain = map[string]map[jit.ID]bool{}, map[int64]jit.ID{}
	}
	requester := jit.FoldName(e.Detail["requester"])
	for id := range h.unsigned[requester] {
		if id != e.Grant {
			h.brokeAgain[e.Seq] = id
		}
	}
	if h.unsigned[requester] == nil {
		h.unsigned[requester] = map[jit.ID]bool{}
	}
	h.unsigned[requester][e.Grant] = true
}

// close takes in that a grant that broke the glass was signed off, or gave nothing.
func (h *History) close(id jit.ID) {
	for _, open := range h.unsigned {
		delete(open, id)
	}
}

const (
	// aRun is how long a run may take, which judges by the persons from before it. The first run on a ledger records
	// persons and grants in any order.
	aRun = time.Hour
	// race is how long after a decision on a grant its event may be recorded.
	race = 5 * time.Minute
)

// between returns who a person was from one time to another, by any of the clocks that recorded them.
func (h *History) between(name string, from, to time.Time) []jit.Person {
	if first := h.first.Add(aRun); to.Before(first) {
		to = first
	}
	return h.persons[jit.FoldName(name)].between(from.Add(-jit.MaxSkew), to.Add(jit.MaxSkew))
}

// ungoverned reports whether a decision of that time names no policy that was in force, although there were some. A
// run may record a policy after a grant that it judged by it.
func (h *History) ungoverned(name string, at time.Time) bool {
	from, to := at.Add(-race), at.Add(race)
	if len(h.policies[name].between(from, at.Add(aRun))) > 0 {
		return false
	}
	for _, policy := range h.policies {
		if len(policy.throughout(from, to)) > 0 {
			return true
		}
	}
	return false
}

// maySignOff reports whether one of these people could sign off a grant that skipped the approval of others: a policy
// asked them around that time, or they were skipped. If none of those who were skipped may decide any more, anybody can.
func (h *History) maySignOff(was []jit.Person, at time.Time, skipped []jit.Requirement, ask Ask) bool {
	for _, policy := range h.policies {
		for _, asked := range policy.between(at.Add(-race), at.Add(race)) {
			if anyIn(was, asked) {
				return true
			}
		}
	}
	if anyIn(was, skipped) {
		return true
	}
	for _, person := range h.persons {
		for _, p := range person.throughout(at.Add(-race), at.Add(race)) {
			if anyIn([]jit.Person{p}, skipped) && ask.excluded(p) == "" {
				return false
			}
		}
	}
	return true
}

func anyIn(people []jit.Person, asked []jit.Requirement) bool {
	for _, r := range asked {
		for _, p := range people {
			if p.In(r.From) {
				return true
			}
		}
	}
	return false
}
