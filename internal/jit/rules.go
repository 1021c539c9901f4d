package jit

import "slices"

// RunDetail is the detail of an event that names the run of Terraform which changed a policy or a person, or decided on a
// grant.
const RunDetail = "run"

// RuleKinds are the kinds of events that change policies and persons.
var RuleKinds = []EventKind{EventPolicyChanged, EventPolicyRemoved, EventPersonChanged, EventPersonRemoved}

// ChangesRules reports whether the event changes a policy or a person.
func (e Event) ChangesRules() bool { return slices.Contains(RuleKinds, e.Kind) }

// Run returns the run of Terraform that changed a policy or a person with this event; empty for other events, and for a
// change by another program or an older one.
func (e Event) Run() string {
	if !e.ChangesRules() {
		return ""
	}
	return e.Detail[RunDetail]
}
