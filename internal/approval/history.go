package approval

import (
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// History is who the persons of a ledger were at each time, what its policies asked for, and which requests were decided
// on, according to its events. Pass it all events of each chain in order, [jit.AllChain] first, then ask. The zero
// History knows nothing.
type History struct {
	// persons are by folded name, policies by name: what each asked for.
	persons  map[string]versions[jit.Person]
	policies map[string]versions[[]jit.Requirement]
	// first is when the first person was recorded, firstRun the run that did, and second when anybody else first did.
	first, second time.Time
	firstRun      string
	// broken are the grants that broke the glass, by the folded name of the requester.
	broken map[string][]*breaking
	// decided are the first decisions on each request, by its digest.
	decided map[string]jit.Event
}

// versions are what something was, each from its time to that of the next.
type versions[T any] []version[T]

// version is what something was, or that it was gone, since the event of [jit.AllChain] with the number seq. A run of
// Terraform recorded it; run is empty if another program or an older one did.
type version[T any] struct {
	was  T
	gone bool
	at   time.Time
	seq  int64
	run  string
}

// span is a time, and how much of [jit.AllChain] was recorded by its end: the events up to the number all. It is
// unordered if no event tells, and then the clocks of the writers decide.
type span struct {
	from, to time.Time
	all      int64
}

const unordered = -1

// upTo returns the time from one time to another, which ends with an event. The event says which rules were recorded
// before it, unless it is from before there were several chains.
func upTo(e jit.Event, from, to time.Time) span {
	s := span{from, to, unordered}
	switch e.Chain {
	case "":
	case jit.AllChain:
		s.all = e.Seq
	default:
		s.all = e.After
	}
	return s
}

// ordered reports whether an event tells the order.
func (s span) ordered() bool { return s.all != unordered }

// reaches reports whether what was recorded at that time, as the event with that number, was by the end.
func (s span) reaches(at time.Time, seq int64) bool {
	if s.ordered() {
		return seq <= s.all
	}
	return !at.After(s.to)
}

// next returns the version after the i-th, if the span reaches it.
func (v versions[T]) next(i int, s span) (next version[T], ok bool) {
	if i+1 < len(v) {
		next = v[i+1]
	}
	return next, i+1 < len(v) && s.reaches(next.at, next.seq)
}

// between returns what something was at any moment of a span.
func (v versions[T]) between(s span) (was []T) {
	for i, one := range v {
		if next, ended := v.next(i, s); !one.gone && s.reaches(one.at, one.seq) && !(ended && next.at.Before(s.from)) {
			was = append(was, one.was)
		}
	}
	return was
}

// throughout returns what something was all the time of a span.
func (v versions[T]) throughout(s span) (was []T) {
	for i, one := range v {
		if _, ended := v.next(i, s); !one.gone && s.reaches(one.at, one.seq) && !one.at.After(s.from) && !ended {
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
		if h.decided == nil {
			h.decided = map[string]jit.Event{}
		}
		digest := e.Detail["request_digest"]
		if first, ok := h.decided[digest]; !ok || precedes(e, first, 0) {
			h.decided[digest] = e
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
	h.persons[name] = append(h.persons[name], version[jit.Person]{person, gone, e.At, e.Seq, run})
}

func (h *History) addPolicy(e jit.Event) {
	if h.policies == nil {
		h.policies = map[string]versions[[]jit.Requirement]{}
	}
	asked, _ := jit.AskedBy(e)
	h.policies[e.Policy] = append(h.policies[e.Policy],
		version[[]jit.Requirement]{asked.Approval, e.Kind == jit.EventPolicyRemoved, e.At, e.Seq, e.Run()})
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

// brokeAgain returns the unsigned grant of a requester who broke the glass again with an event.
func (h *History) brokeAgain(e jit.Event) jit.ID {
	for _, b := range h.broken[jit.FoldName(e.Detail["requester"])] {
		if b.opened.Grant != e.Grant && precedes(b.opened, e, race) && (b.closed == nil || !precedes(*b.closed, e, -race)) {
			return b.opened.Grant
		}
	}
	return ""
}

// precedes reports whether an event was recorded before another: by their numbers in one chain, else by the events of
// [jit.AllChain] that they follow, and else at least that long before by their times. Whoever breaks the glass locks
// [jit.AllChain]. Events from before there were several chains precede those of all owners.
func precedes(a, b jit.Event, by time.Duration) bool {
	switch {
	case a.InChain() == b.InChain():
		return a.Seq < b.Seq
	case a.Chain == "" || b.Chain == "":
		return a.Chain == ""
	case order(a) != order(b):
		return order(a) < order(b)
	}
	return !a.At.Add(by).After(b.At)
}

// order orders events of several chains by those of [jit.AllChain].
func order(e jit.Event) int64 {
	if e.InChain() == jit.AllChain {
		return 2 * e.Seq
	}
	return 2*e.After + 1
}

const (
	// aRun is how long a run may take whose decisions do not name it: older programs recorded no runs. A run judges by
	// the persons from before it, and the first run on a ledger records persons and grants in any order.
	aRun = time.Hour
	// race is how long after a decision on a grant its event may be recorded.
	race = 5 * time.Minute
)

// between returns who a person was in a span, by any of the clocks that recorded them, for a decision of a run: its own
// changes do not count, unless nobody else had ever recorded a person.
func (h *History) between(name string, s span, run string) []jit.Person {
	known := h.persons[jit.FoldName(name)]
	if first := h.first.Add(aRun); run == "" && !s.ordered() && s.to.Before(first) {
		s.to = first
	}
	others := h.first
	if run == h.firstRun {
		others = h.second
	}
	own := others.IsZero() || others.After(s.to.Add(-race))
	s.from, s.to = s.from.Add(-jit.MaxSkew), s.to.Add(jit.MaxSkew)
	was := known.without(run).between(s)
	if own {
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
	return h.between(name, upTo(e, e.At.Add(-before), e.At), e.Detail[jit.RunDetail])
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
	if known := h.policies[e.Policy]; len(known.between(upTo(e, from, to))) > 0 || len(known.by(run)) > 0 {
		return false
	}
	for _, policy := range h.policies {
		if len(policy.throughout(upTo(e, from, ends))) > 0 && !policy.endedBy(run) {
			return true
		}
	}
	return false
}

// maySignOff reports whether one of these people could sign off, with an event, a grant that skipped the approval of
// others: a policy asked them around that time, or they were skipped. If none of those who were skipped may decide any
// more, anybody can.
func (h *History) maySignOff(was []jit.Person, e jit.Event, skipped []jit.Requirement, ask Ask) bool {
	around := upTo(e, e.At.Add(-race), e.At.Add(race))
	for _, policy := range h.policies {
		for _, asked := range policy.between(around) {
			if anyIn(was, asked) {
				return true
			}
		}
	}
	if anyIn(was, skipped) {
		return true
	}
	for _, person := range h.persons {
		for _, p := range person.throughout(around) {
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
