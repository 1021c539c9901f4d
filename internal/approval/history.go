package approval

import (
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// History is who the persons of a ledger were at each time, what its policies asked for, and which requests were decided
// on, according to its events. Pass it all events of each chain in order, [jit.AllChain] first, then ask. The zero History
// knows nothing.
type History struct {
	// persons are by folded name, policies by name: what each asked for.
	persons  map[string]versions[jit.Person]
	policies map[string]versions[[]jit.Requirement]
	// first is when the first person was recorded, firstRun the run that did, and second when anybody else first did.
	first, second time.Time
	firstRun      string
	// broken are the grants that broke the glass, by the folded name of the requester.
	broken map[string][]*breaking
	// decidedFor is the grant whose events first have a decision on a request, by its digest.
	decidedFor map[string]jit.ID
}

// versions are what something was, each from its time to that of the next.
type versions[T any] []version[T]

// version is what something was, or that it was gone, since a run of Terraform recorded it; run is empty if another
// program or an older one did.
type version[T any] struct {
	was  T
	gone bool
	at   time.Time
	run  string
}

// between returns what something was from one time to another.
func (v versions[T]) between(from, to time.Time) (was []T) {
	for i, one := range v {
		if !one.gone && !one.at.After(to) && (i+1 == len(v) || !v[i+1].at.Before(from)) {
			was = append(was, one.was)
		}
	}
	return was
}

// throughout returns what something was all the time from one time to another.
func (v versions[T]) throughout(from, to time.Time) (was []T) {
	for i, one := range v {
		if !one.gone && !one.at.After(from) && (i+1 == len(v) || v[i+1].at.After(to)) {
			was = append(was, one.was)
		}
	}
	return was
}

// by returns what a run made of something, whenever it did.
func (v versions[T]) by(run string) (was []T) {
	for _, one := range v {
		if one.run == run && run != "" && !one.gone {
			was = append(was, one.was)
		}
	}
	return was
}

// without returns the versions as they would be if the run, if there is one, had changed nothing.
func (v versions[T]) without(run string) versions[T] {
	return slices.DeleteFunc(slices.Clone(v), func(one version[T]) bool { return one.run == run && run != "" })
}

// endedBy reports whether a run has removed something.
func (v versions[T]) endedBy(run string) bool {
	return slices.ContainsFunc(v, func(one version[T]) bool { return one.gone && one.run == run && run != "" })
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
		h.close(e)
	case jit.EventApproved, jit.EventDenied, jit.EventSignedOff:
		if e.Kind == jit.EventSignedOff {
			h.close(e)
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
	run := e.Run()
	switch {
	case h.persons == nil:
		h.persons, h.first, h.firstRun = map[string]versions[jit.Person]{}, e.At, run
	case h.second.IsZero() && run != h.firstRun:
		h.second = e.At
	}
	name := jit.FoldName(e.Person())
	person, err := jit.PersonOf(e)
	gone := err != nil || e.Kind == jit.EventPersonRemoved
	h.persons[name] = append(h.persons[name], version[jit.Person]{person, gone, e.At, run})
}

func (h *History) addPolicy(e jit.Event) {
	if h.policies == nil {
		h.policies = map[string]versions[[]jit.Requirement]{}
	}
	asked, _ := jit.AskedBy(e)
	h.policies[e.Policy] = append(h.policies[e.Policy],
		version[[]jit.Requirement]{asked.Approval, e.Kind == jit.EventPolicyRemoved, e.At, e.Run()})
}

// breaking is a grant that broke the glass, and the event that closed it: it was signed off, or gave nothing.
type breaking struct {
	opened jit.Event
	closed *jit.Event
}

func (h *History) breakGlass(e jit.Event) {
	if h.broken == nil {
		h.broken = map[string][]*breaking{}
	}
	requester := jit.FoldName(e.Detail["requester"])
	h.broken[requester] = append(h.broken[requester], &breaking{opened: e})
}

// close takes in the event that closes the grants that broke the glass.
func (h *History) close(e jit.Event) {
	for _, all := range h.broken {
		for _, b := range all {
			if b.opened.Grant == e.Grant && b.closed == nil {
				b.closed = &e
			}
		}
	}
}

// brokeAgain returns the unsigned grant of a requester who broke the glass again with an event. Grants of two owners have
// no order but that of their clocks.
func (h *History) brokeAgain(e jit.Event) jit.ID {
	for _, b := range h.broken[jit.FoldName(e.Detail["requester"])] {
		if b.opened.Grant != e.Grant && precedes(b.opened, e, race) && (b.closed == nil || !precedes(*b.closed, e, -race)) {
			return b.opened.Grant
		}
	}
	return ""
}

// precedes reports whether an event was recorded before another: by their numbers in one chain, else at least that long
// before by their times. Events from before there were several chains precede those of all owners.
func precedes(a, b jit.Event, by time.Duration) bool {
	switch {
	case a.InChain() == b.InChain():
		return a.Seq < b.Seq
	case a.Chain == "" || b.Chain == "":
		return a.Chain == ""
	}
	return !a.At.Add(by).After(b.At)
}

const (
	// aRun is how long a run may take whose decisions do not name it: older programs recorded no runs. A run judges by
	// the persons from before it, and the first run on a ledger records persons and grants in any order.
	aRun = time.Hour
	// race is how long after a decision on a grant its event may be recorded.
	race = 5 * time.Minute
)

// between returns who a person was from one time to another, by any of the clocks that recorded them, for a decision of
// a run: its own changes do not count, unless nobody else had ever recorded a person.
func (h *History) between(name string, from, to time.Time, run string) []jit.Person {
	known := h.persons[jit.FoldName(name)]
	if first := h.first.Add(aRun); run == "" && to.Before(first) {
		to = first
	}
	was := known.without(run).between(from.Add(-jit.MaxSkew), to.Add(jit.MaxSkew))
	others := h.first
	if run == h.firstRun {
		others = h.second
	}
	if others.IsZero() || others.After(to.Add(-race)) {
		was = append(was, known.by(run)...)
	}
	return was
}

// around returns who a person was around the time of an event, by the rules that its run obeyed.
func (h *History) around(name string, e jit.Event) []jit.Person {
	before := race
	if run := e.Detail[jit.RunDetail]; run == "" {
		before = aRun
	}
	return h.between(name, e.At.Add(-before), e.At, e.Detail[jit.RunDetail])
}

// ungoverned reports whether a decision names no policy that was in force, although there were some. A run may record a
// change of a policy after a grant that it judged by it.
func (h *History) ungoverned(e jit.Event) bool {
	run, from, to, ends := e.Detail[jit.RunDetail], e.At.Add(-race), e.At.Add(race), e.At.Add(race)
	if run == "" {
		to = e.At.Add(aRun)
		if e.Policy == "" {
			ends = to
		}
	}
	if known := h.policies[e.Policy]; len(known.between(from, to)) > 0 || len(known.by(run)) > 0 {
		return false
	}
	for _, policy := range h.policies {
		if len(policy.throughout(from, ends)) > 0 && !policy.endedBy(run) {
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
