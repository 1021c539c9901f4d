package approval

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Trial checks the decisions on one grant again, from its events alone.
type Trial struct {
	History *History
	// Ledger is the id of the ledger.
	Ledger string
	// Faults says what is wrong, in the order of the events.
	Faults []string

	// votes are the decisions that are proved so far.
	votes []vote
	// glass: the grant breaks the glass, and skips the approval that it needs.
	glass   bool
	skipped []jit.Requirement
}

// Add takes in the next event of the grant; account has taken it in already.
func (t *Trial) Add(e jit.Event, account *jit.Account) {
	switch e.Kind {
	case jit.EventRequested:
		t.glass = false
	case jit.EventBreakGlass:
		t.breakGlass(e)
	case jit.EventApproved, jit.EventDenied, jit.EventSignedOff:
		t.decision(e, account)
	case jit.EventDecided, jit.EventChanged, jit.EventExtended:
		t.beginning(e, account)
	}
}

func (t *Trial) accuse(format string, args ...any) {
	t.Faults = append(t.Faults, fmt.Sprintf(format, args...))
}

func (t *Trial) breakGlass(e jit.Event) {
	asked, _ := jit.AskedBy(e)
	t.glass = true
	t.skipped = append(asked.Approval, jit.Requirement{From: strings.Split(e.Detail["approvers"], ", ")})
	if open := t.History.brokeAgain(e); open != "" {
		t.accuse("event %s lets %s break the glass, while nobody had signed off grant %s",
			e.Place(), e.Detail["requester"], open)
	}
}

// digestOf returns the request as the events tell it so far, and its digest; empty if they do not hold it.
func (t *Trial) digestOf(account *jit.Account) (g jit.Grant, digest string) {
	g, whole := account.Request()
	if whole {
		digest = g.RequestDigest(t.Ledger)
	}
	return g, digest
}

func (t *Trial) decision(e jit.Event, account *jit.Account) {
	g, digest := t.digestOf(account)
	v, why := t.History.prove(e, g, digest)
	if why == "" && e.Kind == jit.EventSignedOff {
		was := t.History.between(v.Person, upTo(e, v.At.Add(-aRun), e.At), "")
		ask := Ask{Principal: g.Principal, Role: g.Role, Requester: g.Requester}
		if !t.History.maySignOff(was, e, t.skipped, ask) {
			why = v.Person + " is none of those whom a policy asks"
		}
	}
	if why != "" {
		t.accuse("event %s, %s by %s, proves nothing: %s", e.Place(), e.Kind, cmp.Or(e.Detail["person"], "nobody"), why)
		return
	}
	t.votes = append(t.votes, v)
}

// beginning checks an event that lets a grant begin, or last longer: whoever had to approve did.
func (t *Trial) beginning(e jit.Event, account *jit.Account) {
	if e.Kind == jit.EventDecided && t.History.ungoverned(e) {
		t.accuse("event %s lets access begin by policy %q, which was not in force", e.Place(), e.Policy)
	}
	required := t.required(e)
	if e.Detail["approved_by"] == "" && len(required) == 0 {
		return
	}
	g, digest := t.digestOf(account)
	if digest == "" {
		return
	}
	var on []vote
	for _, v := range t.votes {
		if v.digest == digest {
			on = append(on, v)
		}
	}
	t.checkApprovers(e, on)
	if t.glass {
		return
	}
	ask := Ask{Principal: g.Principal, Role: g.Role, Requester: g.Requester, Actor: e.Name, Begins: g.Start, Now: e.At}
	if added := e.At.Add(-race); !g.GrantedAt.IsZero() && added.After(ask.Begins) {
		ask.Begins = added // what a change adds begins with the change
	}
	for _, r := range required {
		t.recount(e, r, ask, on)
	}
}

// checkApprovers checks that the people whom a decision names have approved, each once. Those who approve a change on
// the grant's target sign nothing here.
func (t *Trial) checkApprovers(e jit.Event, on []vote) {
	names := e.Detail["approved_by"]
	if _, asked := jit.AskedBy(e); names == "" || e.Kind == jit.EventChanged && !asked {
		return
	}
	seen := map[string]bool{}
	for name := range strings.SplitSeq(names, ", ") {
		key := jit.FoldName(name)
		approves := func(v vote) bool { return v.Choice == jit.Approve && jit.SameName(v.Person, name) }
		switch {
		case seen[key]:
			t.accuse("event %s counts %s twice", e.Place(), name)
		case !slices.ContainsFunc(on, approves):
			t.accuse("event %s says that %s approved, and no event proves it", e.Place(), name)
		}
		seen[key] = true
	}
}

// required returns what the policies asked for: what the event says, and what the policy that it names asked for around
// that time and the event does not mention. If the policy changed then, or the run changed it, the version that asks for
// least counts. Events of older programs do not say which exceptions held.
func (t *Trial) required(e jit.Event) []jit.Requirement {
	asked, known := jit.AskedBy(e)
	name := e.Detail["permitted_by"]
	if e.Kind == jit.EventDecided {
		name = e.Policy
	}
	unmentioned := func(r jit.Requirement) bool {
		return !slices.ContainsFunc(asked.Approval, r.Equal) &&
			(r.Unless == "" || known && !slices.Contains(asked.Excused, r.Unless))
	}
	var least []jit.Requirement
	policies := t.History.policies[name]
	around := policies.between(upTo(e, e.At.Add(-race), e.At.Add(race)))
	for i, policy := range append(around, policies.by(e.Detail[jit.RunDetail])...) {
		var more []jit.Requirement
		for _, r := range policy {
			if unmentioned(r) {
				more = append(more, r)
			}
		}
		if i == 0 || len(more) < len(least) {
			least = more
		}
	}
	return slices.Concat(asked.Approval, least)
}

// recount counts the decisions on a request against one requirement.
func (t *Trial) recount(e jit.Event, r jit.Requirement, ask Ask, on []vote) {
	approved := map[string]bool{}
	var ignored []string
	for _, v := range on {
		was := t.asked(v, r, e)
		switch {
		case len(was) == 0:
		case v.Choice == jit.Deny:
			if t.denies(v, r, e) {
				t.accuse("event %s lets access begin that %s had denied", e.Place(), v.Person)
			}
		case ask.unfitThroughout(was) != "":
			ignored = append(ignored, ask.unfitThroughout(was))
		default:
			best, whyNot := counted(r, ask, []jit.Vote{v.Vote})
			if best != nil {
				approved[jit.FoldName(v.Person)] = true
			}
			ignored = append(ignored, whyNot...)
		}
	}
	if need := max(r.Required, 1); len(approved) < need {
		because := ""
		if len(ignored) > 0 {
			because = " (" + strings.Join(ignored, "; ") + ")"
		}
		t.accuse("event %s lets access begin with the approval of %d of %s, and %d are required%s",
			e.Place(), len(approved), strings.Join(r.From, ", "), need, because)
	}
}

// asked returns who the person was around a decision, as far as the requirement asks them and their proof is theirs.
func (t *Trial) asked(v vote, r jit.Requirement, e jit.Event) []jit.Person {
	return slices.DeleteFunc(t.History.around(v.Person, e), func(p jit.Person) bool {
		return !p.In(r.From) || !v.still(p)
	})
}

// denies reports whether a run that decided with that event must have met the denial: it was recorded before, and the
// requirement asked the person all the time.
func (t *Trial) denies(v vote, r jit.Requirement, e jit.Event) bool {
	return v.recorded.Before(e.At.Add(-race)) && len(t.asked(v, r, e)) == len(t.History.around(v.Person, e))
}
