package jit

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The event of a write to a record has a detail for each fact that the write changes. So a record can be rebuilt from
// its events, and a record that somebody changed from outside differs from them.
const (
	// recordPrefix begins the names of these details: "record.ended_at". A removed fact is empty.
	recordPrefix = "record."
	// recordWhole is the detail of an event with all facts of its record; facts without a detail are empty.
	recordWhole = "record"
)

// fact is one column of a grant's record, as text; empty is none.
type fact struct {
	name string
	of   func(*Grant) string
}

// grantFacts are the columns that must agree with the events. Version and lease belong to the ledger.
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
	{"requester", func(g *Grant) string { return g.Requester }},
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
	{"break_glass", func(g *Grant) string { return flag(g.BreakGlass) }},
	{"signed_off_at", func(g *Grant) string { return instant(g.SignedOffAt) }},
	{"signed_off_by", func(g *Grant) string { return g.SignedOffBy }},
	{"awaits", func(g *Grant) string { return g.Awaits }},
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

// instant writes a time with the precision of a ledger, microseconds.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
}

// Rewrite returns the entry that replaces the record was by is, with its events. The first event must be about the
// grant; it receives the changed facts. If the version of is is 0, the record is new and was is ignored.
func Rewrite(was, is Grant, events ...Event) Entry {
	events = slices.Clone(events)
	detail := make(map[string]string, len(events[0].Detail)+2)
	maps.Copy(detail, events[0].Detail)
	if is.Version == 0 {
		was = Grant{}
		detail[recordWhole] = "whole"
	}
	for _, f := range grantFacts {
		if value := f.of(&is); value != f.of(&was) && (value == "" || requested(events[0], f.name) != value) {
			detail[recordPrefix+f.name] = value
		}
	}
	events[0].Detail = detail
	return Entry{Grant: &is, Events: events}
}

// requestDetails are the facts that a requested event holds under their plain names, for people.
var requestDetails = []string{
	"owner", "target", "principal", "role", "scope", "reason", "renewal", "ttl", "starts_at", "expires_at", "start_by",
}

// requested returns a fact that a requested event holds under its plain name; empty for other events.
func requested(e Event, name string) string {
	if e.Kind != EventRequested || !slices.Contains(requestDetails, name) {
		return ""
	}
	return e.Detail[name]
}

// ForPeople returns the details of the event without the facts of the record.
func (e Event) ForPeople() map[string]string {
	kept := maps.Clone(e.Detail)
	maps.DeleteFunc(kept, func(name, _ string) bool {
		return name == recordWhole || strings.HasPrefix(name, recordPrefix)
	})
	return kept
}

// Account is the record of one grant according to its events. The zero value knows nothing.
type Account struct {
	facts map[string]string
	// whole: every fact is known. Otherwise facts that are missing were not recorded with the events.
	whole bool
}

// someTime stands for a time that an event of an older program implies without its microseconds.
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
	if e.Kind == EventRequested {
		for _, name := range requestDetails {
			a.facts[name] = e.Detail[name]
		}
	}
	if !a.whole {
		a.infer(e)
	}
	for name, value := range e.Detail {
		if name, ok := strings.CutPrefix(name, recordPrefix); ok {
			a.facts[name] = value
		}
	}
}

// inference says which facts an event of an older program implies. Those programs did not record each fact.
type inference struct {
	// unknown facts may have changed; empty ones were cleared; window copies the window of the event.
	unknown, empty []string
	window         bool
	// at is a fact that is now some time.
	at string
}

var inferences = map[EventKind]inference{
	EventRequested: {
		empty: []string{"granted_at", "failed_at", "revoked_at", "revoked_by", "revoke_reason", "ended_at"},
	},
	EventAdopted:     {window: true},
	EventGranted:     {at: "granted_at", empty: []string{"failed_at", "ended_at"}},
	EventRepaired:    {unknown: []string{"granted_at"}, empty: []string{"failed_at", "ended_at"}},
	EventGrantFailed: {unknown: []string{"failed_at", "failure"}},
	EventChanged:     {unknown: []string{"ttl", "start_by", "policy", "terminate_sessions"}, window: true},
	EventExtended:    {unknown: []string{"ttl", "start_by", "policy", "terminate_sessions"}, window: true},
	EventRevokeAsked: {at: "revoked_at", unknown: []string{"terminate_sessions", "ttl", "expires_at"}},
	EventExpired:     {at: "ended_at"},
	EventRevoked:     {at: "ended_at"},
}

// infer takes in the facts that an event of an older program implies.
func (a *Account) infer(e Event) {
	i := inferences[e.Kind]
	for _, name := range i.empty {
		a.facts[name] = ""
	}
	if i.at != "" {
		a.facts[i.at] = someTime
	}
	switch {
	case e.Kind == EventRequested:
		a.facts["policy"] = e.Policy
	case e.Kind == EventRevokeAsked:
		a.facts["revoked_by"], a.facts["revoke_reason"] = e.Name, e.Detail["reason"]
	case e.Kind == EventAdopted && e.Detail["from"] == "marker":
		a.copy(e, "owner", "target", "principal", "role", "scope")
	case e.Kind == EventAdopted:
		i.unknown = []string{"reason", "renewal", "start_by", "terminate_sessions", "ttl"}
	}
	for _, name := range i.unknown {
		delete(a.facts, name)
	}
	if i.window && e.Detail["starts_at"] != "" {
		a.copy(e, "starts_at")
	}
	if i.window && e.Detail["expires_at"] != "" {
		a.copy(e, "expires_at")
	}
}

// copy takes facts from the plain details of an event.
func (a *Account) copy(e Event, names ...string) {
	for _, name := range names {
		a.facts[name] = e.Detail[name]
	}
}

// Empty reports whether no event describes the record.
func (a *Account) Empty() bool { return a.facts["target"] == "" && a.facts["starts_at"] == "" }

// Whole reports whether the events hold every fact; those of older programs do not.
func (a *Account) Whole() bool { return a.whole }

// Contradiction is a fact that differs between a record and its events.
type Contradiction struct {
	Fact string `json:"fact"`
	// Recorded is the value in the record, Told the value in the events; empty is none.
	Recorded string `json:"recorded"`
	Told     string `json:"told"`
}

// String names the fact and both values.
func (c Contradiction) String() string {
	return c.Fact + " is " + orNothing(c.Recorded) + " and the events say " + orNothing(c.Told)
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return strconv.Quote(s)
}

// Contradictions compares a record with its events.
func (a *Account) Contradictions(g Grant) []Contradiction {
	var all []Contradiction
	for _, f := range grantFacts {
		told, known := a.facts[f.name]
		if f.name == "reason" {
			told = RecordedReason(told)
		}
		is := f.of(&g)
		agrees := told == is || told == someTime && is != ""
		if (known || a.whole) && !agrees {
			all = append(all, Contradiction{f.name, is, told})
		}
	}
	return all
}

// End returns when access ends according to the events, by its window or a revocation; zero if they do not say.
func (a *Account) End() time.Time {
	for _, name := range []string{"revoked_at", "expires_at"} {
		if at, err := time.Parse(time.RFC3339Nano, a.facts[name]); err == nil {
			return at
		}
	}
	return time.Time{}
}
