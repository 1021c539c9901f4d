package review

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// ruleset holds the policies and persons before the plan, and what the plan makes of them.
type ruleset struct {
	policies []jit.Policy
	persons  []jit.Person
	planned  *broker.Planned
	// sensitive: the plan marks a part of a policy or person as sensitive.
	sensitive bool
}

// aspect is one difference between two states of a policy or a person.
type aspect struct {
	what    string
	loosens bool
	// refused: the apply refuses it.
	refused bool
}

// collectRules lays the policies and persons of the plan over the recorded ones, and tells their changes.
func (j *judge) collectRules() {
	if j.stated {
		if err := j.state(); err != nil {
			j.doubts.about(err.Error(), "")
		}
	}
	if j.rules.planned == nil {
		j.rules.planned = &broker.Planned{}
	}
	changes, kept := j.ruleChanges()
	for _, r := range changes { // a replacement drops the old name before it puts the new one
		action, _ := actionOf(r)
		name := plan.Attribute(r.Change.Before, "name")
		switch {
		case action == Forget || name == "" || kept[r.Type+" "+name]:
		case r.Type == policyType:
			j.rules.planned.Drop(name)
		default:
			j.rules.planned.DropPerson(name)
		}
	}
	for _, r := range changes {
		j.rule(r, kept)
	}
	if last := j.rules.planned.Overlay(j.rules.policies); len(last) == 0 && len(j.rules.policies) > 0 {
		j.report.Rules = append(j.report.Rules, Rule{Address: policyType, Action: Destroy, Loosens: true,
			Outcome: Decide,
			What:    "no policy is left: every grant within max_ttl is then permitted, without approval"})
	}
}

// ruleChanges returns the planned changes of policies and persons, and the names that the plan keeps, by type.
func (j *judge) ruleChanges() (changes []*plan.Resource, kept map[string]bool) {
	kept = map[string]bool{}
	for _, r := range j.plan.ResourceChanges {
		rule := r.Type == policyType || r.Type == personType
		if !rule || r.Mode != tfjson.ManagedResourceMode || r.Change == nil {
			continue
		}
		changes = append(changes, r)
		j.rules.sensitive = j.rules.sensitive || sensitiveIn(r.Change)
		if action, _ := actionOf(r); action != Destroy && action != Forget {
			kept[r.Type+" "+plan.Attribute(r.Change.After, "name")] = true
		}
	}
	return changes, kept
}

// rule puts the change of one policy or person into the plan's rules, and tells it.
func (j *judge) rule(r *plan.Resource, kept map[string]bool) {
	action, known := actionOf(r)
	name := plan.Attribute(r.Change.Before, "name")
	if action == Destroy && kept[r.Type+" "+name] {
		return // the block that keeps the name tells what changes
	}
	var aspects []aspect
	var err error
	if r.Type == policyType {
		aspects, err = j.policy(r, action)
	} else {
		aspects, err = j.person(r, action)
	}
	if name := unknownName(r); name != "" {
		j.doubts.about("the plan was made by a newer version of the provider: this program does not know "+name,
			r.Address)
	}
	if err != nil {
		why := err.Error()
		if sensitiveIn(r.Change) {
			why = "it has sensitive values"
		}
		j.doubts.about("it cannot be compared: "+why, r.Address)
		aspects = append(aspects, aspect{what: "it may permit more", loosens: true})
	}
	if !known {
		aspects = append(aspects, aspect{what: "the plan changes it in a way that this program does not know",
			loosens: true})
	}
	for _, a := range aspects {
		rule := Rule{Address: r.Address, Action: action, Loosens: a.loosens, What: a.what}
		switch {
		case a.refused:
			rule.Outcome = Refused
		case a.loosens:
			rule.Outcome = Decide
		}
		j.report.Rules = append(j.report.Rules, rule)
	}
}

// policy compares a policy with its planned form.
func (j *judge) policy(r *plan.Resource, action Action) ([]aspect, error) {
	c := r.Change
	subject := "policy " + nameOf(c)
	before, err := j.policiesBefore(c)
	switch action {
	case Forget:
		return says(false, subject+" stays in force, but no configuration manages it any more"), nil
	case Destroy:
		forbids := slices.ContainsFunc(before, func(p *jit.Policy) bool { return p != nil && p.Effect == jit.Forbid })
		if err != nil || forbids {
			return says(true, subject+" is removed, and forbids nothing any more"), err
		}
		return says(false, subject+" is removed, and permits nothing any more"), nil
	}
	is, complete, failed := plan.PolicyOf(object(c.After), c.AfterUnknown)
	if failed != nil {
		return nil, failed
	}
	if complete {
		j.rules.planned.Put(is)
	} else {
		j.rules.planned.PutIncomplete(is)
	}
	if action == "" || err != nil {
		return nil, err
	}
	if other := named(j.rules.policies, is.Name); complete && other != nil && j.makes(r, action, is.Name) {
		if is.Holder = other.Holder; !maps.Equal(is.Facts(), other.Facts()) {
			return taken(subject), nil
		}
	}
	return j.changed(c, subject, compareEach(before, func(was *jit.Policy) []aspect {
		return comparePolicy(was, is, subject)
	})), nil
}

// policiesBefore returns a policy as the state has it and as the ledger has it. It is nil where only the state has it.
func (j *judge) policiesBefore(c *plan.Change) (before []*jit.Policy, err error) {
	name := plan.Attribute(c.Before, "name")
	if name == "" {
		name = plan.Attribute(c.After, "name")
	} else {
		stated, _, err := plan.PolicyOf(object(c.Before), nil)
		if err != nil {
			return nil, err
		}
		before = append(before, &stated)
	}
	return withRecorded(j, before, named(j.rules.policies, name)), nil
}

// named returns the policy of a name; nil if there is none.
func named(all []jit.Policy, name string) *jit.Policy {
	if i := slices.IndexFunc(all, func(p jit.Policy) bool { return p.Name == name }); i >= 0 {
		return &all[i]
	}
	return nil
}

// makes reports whether an apply makes an object of this name beside a recorded one, which nothing in the plan removes.
func (j *judge) makes(r *plan.Resource, action Action, name string) bool {
	removed := slices.ContainsFunc(j.plan.ResourceChanges, func(other *plan.Resource) bool {
		return other.Type == r.Type && other.Change != nil && plan.Attribute(other.Change.Before, "name") == name &&
			(other.Change.Actions.Delete() || other.Change.Actions.Replace())
	})
	return (action == Create || action == Replace) && !removed
}

// compareEach compares with each state before, and tells each difference once. Without one, the object is new.
func compareEach[T any](before []*T, compare func(*T) []aspect) (all []aspect) {
	if len(before) == 0 {
		return compare(nil)
	}
	for _, was := range before {
		for _, a := range compare(was) {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// says is one difference.
func says(loosens bool, what string) []aspect { return []aspect{{what: what, loosens: loosens}} }

// changed completes the differences of an object.
func (j *judge) changed(c *plan.Change, subject string, aspects []aspect) []aspect {
	return append(shownAspects(c, aspects, subject), unknownAspects(c, subject)...)
}

// person compares a person with their planned form.
func (j *judge) person(r *plan.Resource, action Action) ([]aspect, error) {
	c := r.Change
	subject := "person " + nameOf(c)
	asksGroups := j.asksGroups()
	switch action {
	case Forget:
		return says(false, subject+" stays in the ledger, but no configuration manages it any more"), nil
	case Destroy:
		if asksGroups {
			return says(true, subject+" can no longer approve, and conditions no longer see their groups"), nil
		}
		return says(false, subject+" can no longer approve"), nil
	}
	is, complete, err := plan.PersonOf(object(c.After), c.AfterUnknown)
	if err != nil {
		return nil, err
	}
	if complete {
		j.rules.planned.PutPerson(is)
	} else {
		j.rules.planned.PutIncompletePerson(is)
	}
	if action == "" {
		return nil, nil
	}
	if other := namedPerson(j.rules.persons, is.Name); complete && other != nil && j.makes(r, action, is.Name) {
		if is.Holder = other.Holder; !maps.Equal(is.Facts(), other.Facts()) {
			return taken(subject), nil
		}
	}
	before, err := j.personsBefore(c)
	if err != nil {
		return nil, err
	}
	return j.changed(c, subject, compareEach(before, func(was *jit.Person) []aspect {
		return comparePerson(was, is, subject, asksGroups)
	})), nil
}

// personsBefore is [judge.policiesBefore] for a person.
func (j *judge) personsBefore(c *plan.Change) (before []*jit.Person, err error) {
	name := plan.Attribute(c.Before, "name")
	if name == "" {
		name = plan.Attribute(c.After, "name")
	} else {
		stated, _, err := plan.PersonOf(object(c.Before), nil)
		if err != nil {
			return nil, err
		}
		before = append(before, &stated)
	}
	return withRecorded(j, before, namedPerson(j.rules.persons, name)), nil
}

// namedPerson returns the person of a name; nil if there is none.
func namedPerson(all []jit.Person, name string) *jit.Person {
	if i := slices.IndexFunc(all, func(p jit.Person) bool { return jit.SameName(p.Name, name) }); i >= 0 {
		return &all[i]
	}
	return nil
}

// withRecorded adds the recorded form of an object to the stated one: nil if a ledger that was read has lost it.
func withRecorded[T any](j *judge, before []*T, recorded *T) []*T {
	if recorded != nil || len(before) > 0 && j.ledger != "" {
		before = append(before, recorded)
	}
	return before
}

// taken says that an apply refuses a name.
func taken(subject string) []aspect {
	return []aspect{{subject + " has the name of another one in the ledger, so an apply refuses it", true, true}}
}

// asksGroups reports whether a condition of a policy may ask for the groups of a requester: without a group, a
// condition of a policy that forbids may not hold any more. Nobody knows the policies of a ledger that is not read.
func (j *judge) asksGroups() bool {
	asks := func(condition string) bool { return strings.Contains(condition, "requester") }
	return j.ledger == "" || slices.ContainsFunc(j.rules.policies, func(p jit.Policy) bool {
		unless := func(r jit.Requirement) bool { return asks(r.Unless) }
		return asks(p.Condition) || slices.ContainsFunc(p.Approval, unless)
	})
}

// nameOf returns the name of a policy or a person as it may be shown.
func nameOf(c *plan.Change) string {
	after := valueOf(c.After, c.AfterUnknown, c.AfterSensitive, "name")
	before := valueOf(c.Before, nil, c.BeforeSensitive, "name")
	switch {
	case after.Sensitive || before.Sensitive:
		return "(sensitive name)"
	case after.Unknown:
		return "(name known only after the apply)"
	case after.Text == "":
		return before.Text
	}
	return after.Text
}

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

// shownAspects hides the differences of an object with sensitive values.
func shownAspects(c *plan.Change, aspects []aspect, subject string) []aspect {
	if !sensitiveIn(c) || len(aspects) == 0 {
		return aspects
	}
	loosens := slices.ContainsFunc(aspects, func(a aspect) bool { return a.loosens })
	return says(loosens, subject+" changes; how is not shown, because it has sensitive values")
}

// unknownAspects tells the attributes that are known only after the apply. They may loosen anything.
func unknownAspects(c *plan.Change, subject string) (all []aspect) {
	marks, _ := c.AfterUnknown.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		if plan.AnyMark(marks[name]) {
			all = append(all, says(true, fmt.Sprintf("%s of %s is known only after the apply", name, subject))...)
		}
	}
	return all
}
