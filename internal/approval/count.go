package approval

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Ask is a request that waits for a decision.
type Ask struct {
	// Principal is the canonical principal; Requester the name of the person who asks, or "".
	Principal, Requester string
	// Role is the canonical role. A source identity that it demands is the principal too.
	Role string
	// Actor is who the run belongs to, under the name that its environment has for them; "" if unknown.
	Actor string
	// Begins is when access would begin.
	Begins time.Time
	// Now is the time of the decision; a vote of a later time does not count yet.
	Now time.Time
	// Canonical returns the canonical form of a principal or a key on the grant's target; empty if it has none there.
	// It may be nil.
	Canonical func(name string) string
}

// isPrincipal reports whether the person is the principal, under any of their names and keys. A principal such as
// user:bob@example.com is also the person bob@example.com. A session of a role is also whoever has its name, be it as
// a person, as a user or in a session of another role, and everybody who has the role; a role is also everybody who has
// a session of it.
func (a Ask) isPrincipal(p jit.Person) bool {
	_, bare, _ := strings.Cut(a.Principal, ":")
	session, isSession := jit.ParseSession(a.Principal)
	identity := a.sourceIdentity()
	is := func(name string) bool {
		own, hasSession := jit.ParseSession(name)
		return name != "" && (strings.EqualFold(name, a.Principal) || strings.EqualFold(name, bare) ||
			(isSession || hasSession) && strings.EqualFold(lastName(name), lastName(a.Principal)) ||
			isSession && session.Of(name) || hasSession && own.Of(a.Principal) ||
			identity != "" && strings.EqualFold(lastName(name), identity))
	}
	names := slices.Concat(p.Principals, p.SigningKeys, []string{p.Name, p.GitHub, p.GitLab})
	return slices.ContainsFunc(names, func(name string) bool {
		return is(name) || a.Canonical != nil && name != "" && is(a.Canonical(name))
	})
}

// sourceIdentity returns the source identity that the role demands of its sessions; empty if it demands none.
func (a Ask) sourceIdentity() string {
	_, conditions, _ := strings.Cut(a.Role, jit.If)
	named, _ := jit.ParseConditions(conditions) // others, such as those of gcp, name nobody
	for _, c := range named {
		if c.Name == jit.SourceIdentity {
			return c.Values[0]
		}
	}
	return ""
}

// lastName returns a principal without what comes before its own name: its kind, account, path or role.
func lastName(principal string) string { return principal[strings.LastIndexAny(principal, ":/")+1:] }

// isActor reports whether the run belongs to the person, under any of their names.
func (a Ask) isActor(p jit.Person) bool {
	return a.Actor != "" && slices.ContainsFunc([]string{p.Name, p.GitHub, p.GitLab},
		func(name string) bool { return strings.EqualFold(name, a.Actor) })
}

// excluded says why a person's approval does not count; empty if it does.
func (a Ask) excluded(p jit.Person) string {
	switch {
	case a.isPrincipal(p):
		return "is the principal"
	case a.Requester != "" && jit.SameName(p.Name, a.Requester):
		return "is the requester"
	case a.isActor(p):
		return "started this run"
	}
	return ""
}

// Tally is how far a request has come.
type Tally struct {
	// Denied is the vote that denied the request; nil if nobody did.
	Denied *jit.Vote
	// Entries has one element for each requirement.
	Entries []Entry
	// Ignored says which votes did not count, and why.
	Ignored []string
}

// Entry is a requirement, with the votes that count for it.
type Entry struct {
	jit.Requirement
	By []jit.Vote
	// Missing is the number of people who are still needed.
	Missing int
	// Candidates are the names of those who could still approve.
	Candidates []string
}

// Approved reports whether the request may begin.
func (t Tally) Approved() bool {
	return t.Denied == nil && !slices.ContainsFunc(t.Entries, func(e Entry) bool { return e.Missing > 0 })
}

// String returns the missing approvals as text, for an approver or the person who waits.
func (t Tally) String() string {
	if t.Denied != nil {
		return fmt.Sprintf("%s denied it", t.Denied.Person)
	}
	s := "it is approved"
	if missing := t.Missing(); missing != "" {
		s = "it needs the approval of " + missing
	}
	if len(t.Ignored) > 0 {
		s += " (" + strings.Join(t.Ignored, "; ") + ")"
	}
	return s
}

// Candidates returns the names of those who could still approve, each once.
func (t Tally) Candidates() []string {
	var names []string
	for _, e := range t.Entries {
		if e.Missing > 0 {
			names = append(names, e.Candidates...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Missing names the people whose approval is missing; empty if none is.
func (t Tally) Missing() string {
	var needs []string
	for _, e := range t.Entries {
		if e.Missing == 0 {
			continue
		}
		of := strings.Join(e.From, ", ") + " (nobody who may approve is known there: add a jit_person with signing_keys, " +
			"who is neither principal, requester nor the one who runs this)"
		if len(e.Candidates) > 0 {
			of = strings.Join(e.Candidates, ", ")
		}
		needs = append(needs, fmt.Sprintf("%d of: %s", e.Missing, of))
	}
	return strings.Join(needs, "; and of ")
}

// Unfit returns the reason why a person's decision on a request does not count; empty if it counts.
func (p *People) Unfit(requirements []jit.Requirement, ask Ask, person jit.Person) string {
	if !slices.ContainsFunc(requirements, func(r jit.Requirement) bool { return person.In(r.From) }) {
		return person.Name + " is none of those whom the policy asks"
	}
	if why := ask.excluded(person); why != "" {
		return person.Name + " " + why
	}
	return ""
}

// maxAhead is the longest time by which an approver's clock may be ahead of ours.
const maxAhead = jit.MaxSkew

// Count counts votes on one request against requirements. A denial by anyone who could approve wins; each person counts
// once for an entry. Requirements whose exception holds must have been left out.
func (p *People) Count(requirements []jit.Requirement, ask Ask, votes []jit.Vote) Tally {
	var t Tally
	for _, r := range requirements {
		t.Entries = append(t.Entries, p.entry(r, ask, votes, &t))
	}
	slices.Sort(t.Ignored)
	t.Ignored = slices.Compact(t.Ignored)
	return t
}

// entry counts votes for one requirement. It adds a denial and the ignored votes to t.
func (p *People) entry(r jit.Requirement, ask Ask, votes []jit.Vote, t *Tally) Entry {
	e := Entry{Requirement: r, Missing: max(r.Required, 1)}
	from, _ := p.From(r.From)
	for _, person := range from {
		own := slices.DeleteFunc(
			slices.Clone(votes),
			func(v jit.Vote) bool { return !jit.SameName(v.Person, person.Name) },
		)
		for _, v := range own {
			if v.Choice == jit.Deny && t.Denied == nil {
				t.Denied = &v
			}
		}
		if why := ask.excluded(person); why != "" {
			if len(own) > 0 {
				t.Ignored = append(
					t.Ignored,
					fmt.Sprintf("the approval of %s does not count: %s %s", person.Name, person.Name, why),
				)
			}
			continue
		}
		best, whyNot := counted(r, ask, own)
		if best == nil {
			t.Ignored = append(t.Ignored, whyNot...)
			e.Candidates = append(e.Candidates, person.Name)
			continue
		}
		e.By = append(e.By, *best)
		e.Missing = max(0, e.Missing-1)
	}
	return e
}

// counted returns the first of a person's votes that counts, or why none does.
func counted(r jit.Requirement, ask Ask, own []jit.Vote) (*jit.Vote, []string) {
	var whyNot []string
	for _, v := range own {
		if v.Choice != jit.Approve {
			continue
		}
		var why string
		switch {
		case v.Evidence != jit.Signature && !slices.Contains(r.Evidence, v.Evidence),
			v.Evidence == jit.Signature && len(r.Evidence) > 0 && !slices.Contains(r.Evidence, v.Evidence):
			why = fmt.Sprintf("the policy does not accept a %s", v.Evidence)
		case v.At.After(ask.Now.Add(maxAhead)):
			why = fmt.Sprintf("it was signed at %s, which is still ahead", jit.FormatTime(v.At))
		case ask.Begins.After(v.NotAfter):
			why = fmt.Sprintf("it was valid until %s", jit.FormatTime(v.NotAfter))
		case r.ValidFor > 0 && ask.Begins.After(v.At.Add(r.ValidFor)):
			why = fmt.Sprintf("the policy lets access begin within %s of an approval, and it is of %s",
				jit.FormatDuration(r.ValidFor), jit.FormatTime(v.At))
		default:
			return &v, nil
		}
		whyNot = append(whyNot, fmt.Sprintf("the approval of %s does not count: %s", v.Person, why))
	}
	return nil, whyNot
}
