package jit

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Every event that goes with a write of a record holds the facts which that write changed, each in a detail of its own.
// So the record can be rebuilt from its events, and whatever somebody else writes into it shows.
const (
	// recordPrefix begins the names of these details: "record.ended_at". A fact that was taken away is empty.
	recordPrefix = "record."
	// recordWhole is the detail of an event that tells every fact of its record: those that it does not name are empty.
	recordWhole = "record"
)

// fact is one column of a grant's record, as text; empty is none.
type fact struct {
	name string
	of   func(*Grant) string
}

// grantFacts are the columns that have to agree with the events. Version and lease belong to the ledger.
var grantFacts = []fact{
	{"owner", func(g *Grant) string { return g.Owner }},
	{"target", func(g *Grant) string { return g.Target }},
	{"principal", func(g *Grant) string { return g.Principal }},
	{"role", func(g *Grant) string { return g.Role }},
	{"scope", func(g *Grant) string { return g.Scope }},
	{"reason", func(g *Grant) string { return g.Reason }},
	{"renewal", func(g *Grant) string { return number(g.Renewal) }},
	{"ttl", func(g *Grant) string { return g.TTL.String() }},
	{"starts_at", func(g *Grant) string { return instant(g.Start) }},
	{"expires_at", func(g *Grant) string { return instant(g.End) }},
	{"start_asked", func(g *Grant) string { return g.StartAsked }},
	{"start_by", func(g *Grant) string { return instant(g.StartBy) }},
	{"policy", func(g *Grant) string { return g.Policy }},
	{"terminate_sessions", func(g *Grant) string { return flag(g.TerminateSessions) }},
	{"enforcement", func(g *Grant) string { return string(g.Enforcement) }},
	{"session_tail", func(g *Grant) string { return number(int64(g.SessionTail)) }},
	{"alone", func(g *Grant) string { return flag(g.NoStandingBefore) }},
	{"requested_at", func(g *Grant) string { return instant(g.RequestedAt) }},
	{"granted_at", func(g *Grant) string { return instant(g.GrantedAt) }},
	{"failed_at", func(g *Grant) string { return instant(g.FailedAt) }},
	{"failure", func(g *Grant) string { return g.Failure }},
	{"revoked_at", func(g *Grant) string { return instant(g.RevokedAt) }},
	{"revoked_by", func(g *Grant) string { return g.RevokedBy }},
	{"revoke_reason", func(g *Grant) string { return g.RevokeReason }},
	{"ended_at", func(g *Grant) string { return instant(g.EndedAt) }},
	{"remains", func(g *Grant) string { return g.Remains }},
	{"announced_end", func(g *Grant) string { return instant(g.AnnouncedEnd) }},
	{"open_drift", func(g *Grant) string { return string(g.OpenDrift) }},
	{"principal_name", func(g *Grant) string { return g.PrincipalName }},
	{"holder", func(g *Grant) string { return number(g.Holder) }},
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func flag(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// instant writes a time as precisely as a ledger keeps it.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
}

// Rewrite returns the entry that replaces the record was by is, with its events; the first of them, which has to be
// about the grant, tells what changes. A record of version 0 is new, whatever was is.
func Rewrite(was, is Grant, events ...Event) Entry {
	events = slices.Clone(events)
	detail := make(map[string]string, len(events[0].Detail)+2)
	for name, value := range events[0].Detail {
		detail[name] = value
	}
	if is.Version == 0 {
		was = Grant{}
		detail[recordWhole] = "whole"
	}
	for _, f := range grantFacts {
		value := f.of(&is)
		if value == f.of(&was) || told(events[0], f.name) == value && value != "" {
			continue
		}
		detail[recordPrefix+f.name] = value
	}
	events[0].Detail = detail
	return Entry{Grant: &is, Events: events}
}

// toldByRequest are the facts that a requested event tells under their own names, for people.
var toldByRequest = []string{"owner", "target", "principal", "role", "scope", "reason", "renewal", "ttl", "starts_at", "expires_at", "start_by"}

func told(e Event, name string) string {
	if e.Kind != EventRequested || !slices.Contains(toldByRequest, name) {
		return ""
	}
	return e.Detail[name]
}

// ForPeople returns the details of the event that are not there for the record's sake.
func (e Event) ForPeople() map[string]string {
	kept := make(map[string]string, len(e.Detail))
	for name, value := range e.Detail {
		if name != recordWhole && !strings.HasPrefix(name, recordPrefix) {
			kept[name] = value
		}
	}
	return kept
}

// Account is the record of one grant as its events tell it. The zero value knows nothing.
type Account struct {
	facts map[string]string
	// whole: every fact is known. Else those that are not in facts were not recorded when the events were written.
	whole bool
}

// someTime stands for a time that an event of an older program implies and does not name to the microsecond.
const someTime = "some time"

// Add takes in the next event of the grant.
func (a *Account) Add(e Event) {
	if a.facts == nil {
		a.facts = map[string]string{}
	}
	if e.Detail[recordWhole] != "" {
		clear(a.facts)
		a.whole = true
	}
	switch {
	case !a.whole:
		a.infer(e)
	case e.Kind == EventRequested:
		a.request(e)
	}
	for name, value := range e.Detail {
		if name, ok := strings.CutPrefix(name, recordPrefix); ok {
			a.facts[name] = value
		}
	}
}

// request takes over what a requested event tells under plain names.
func (a *Account) request(e Event) {
	for _, name := range toldByRequest {
		a.facts[name] = e.Detail[name]
	}
}

// infer takes over what the events of older programs tell, which did not name each fact.
func (a *Account) infer(e Event) {
	set := func(value string, names ...string) {
		for _, name := range names {
			a.facts[name] = value
		}
	}
	forget := func(names ...string) {
		for _, name := range names {
			delete(a.facts, name)
		}
	}
	window := func() {
		for _, name := range []string{"starts_at", "expires_at"} {
			if value := e.Detail[name]; value != "" {
				a.facts[name] = value
			}
		}
	}
	switch e.Kind {
	case EventRequested:
		a.request(e)
		set(e.Policy, "policy")
		set("", "granted_at", "failed_at", "revoked_at", "revoked_by", "revoke_reason", "ended_at")
	case EventAdopted:
		if e.Detail["from"] == "marker" {
			for _, name := range []string{"owner", "target", "principal", "role", "scope"} {
				a.facts[name] = e.Detail[name]
			}
		} else {
			forget("reason", "renewal", "start_by", "terminate_sessions", "ttl")
		}
		window()
	case EventGranted:
		set(someTime, "granted_at")
		set("", "failed_at", "ended_at")
	case EventRepaired:
		forget("granted_at")
		set("", "failed_at", "ended_at")
	case EventGrantFailed:
		forget("failed_at", "failure")
	case EventChanged, EventExtended:
		window()
		forget("ttl", "start_by", "policy", "terminate_sessions")
	case EventRevokeAsked:
		set(someTime, "revoked_at")
		set(e.Name, "revoked_by")
		set(e.Detail["reason"], "revoke_reason")
		forget("terminate_sessions", "ttl", "expires_at")
	case EventExpired, EventRevoked:
		set(someTime, "ended_at")
	case EventDecided, EventEndsSoon, EventDrift, EventRepairFailed, EventRevokeFailed, EventCleanedUp, EventPolicyChanged, EventPolicyRemoved:
	}
}

// Told reports whether any event tells of the record.
func (a *Account) Told() bool {
	return a.facts["target"] != "" || a.facts["starts_at"] != ""
}

// Whole reports whether the events tell every fact; those of older programs do not.
func (a *Account) Whole() bool { return a.whole }

// Contradiction is a fact of a record that its events tell otherwise.
type Contradiction struct {
	Fact string `json:"fact"`
	// Recorded is what the record says, Told what the events say; empty is nothing.
	Recorded string `json:"recorded"`
	Told     string `json:"told"`
}

// String says both.
func (c Contradiction) String() string {
	return c.Fact + " is " + orNothing(c.Recorded) + " and the events say " + orNothing(c.Told)
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return strconv.Quote(s)
}

// Contradictions compares a record with what its events tell.
func (a *Account) Contradictions(g Grant) []Contradiction {
	var all []Contradiction
	for _, f := range grantFacts {
		told, known := a.facts[f.name]
		if f.name == "reason" {
			told = RecordedReason(told)
		}
		is := f.of(&g)
		switch {
		case !known && !a.whole, told == is, told == someTime && is != "":
		default:
			all = append(all, Contradiction{f.name, is, told})
		}
	}
	return all
}

// End is when access ends by the events: at the end of the window, or when it was revoked; zero when they do not tell.
func (a *Account) End() time.Time {
	for _, name := range []string{"revoked_at", "expires_at"} {
		if at, err := time.Parse(time.RFC3339Nano, a.facts[name]); err == nil {
			return at
		}
	}
	return time.Time{}
}
