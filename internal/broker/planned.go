package broker

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Planned collects the policies and persons of one plan, so that its grants are judged by them as they will be. A nil
// Planned has none.
type Planned struct {
	// Whole: the plan is made, so no policy or person of it appears later. Set it before use.
	Whole bool

	mu      sync.Mutex
	changes map[string]change
	claims  map[string]claim
	persons map[string]*jit.Person
	// incompletePersons: the plan has a person with unknown values.
	incompletePersons bool
	// unnamed: the plan gives or changes a grant that names no policy.
	unnamed bool
	// early are those grants: they may begin before a policy of the plan is recorded that asks for their approval.
	early []*early
	// unchecked are the policies of the plan that no grant of early has been checked against.
	unchecked []string
}

// claim holds the plans of resources with one type and name.
type claim struct {
	value any
	// by counts the new resources (false) and the existing ones (true) that plan it.
	by map[bool]int
}

// Claim notes that a new or existing resource plans the policy, and refuses a second resource of that name. A replaced
// resource claims its name twice: as an existing one, then as a new one.
func (p *Planned) Claim(policy jit.Policy, exists bool) error {
	return p.claim("policy", policy.Name, policy, exists)
}

// ClaimPerson is [Planned.Claim] for a person.
func (p *Planned) ClaimPerson(person jit.Person, exists bool) error {
	return p.claim("person", person.Name, person, exists)
}

func (p *Planned) claim(kind, name string, value any, exists bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claims == nil {
		p.claims = map[string]claim{}
	}
	key := kind + " " + name
	c, known := p.claims[key]
	if !known {
		c = claim{value, map[bool]int{}}
		p.claims[key] = c
	}
	if c.by[exists] > 0 || !reflect.DeepEqual(c.value, value) {
		return jit.Invalid("name", "choose another name, or make one "+kind+" of the two",
			"another jit_%s of this configuration has the name %q too; each apply would change the other's", kind, name)
	}
	c.by[exists]++
	return nil
}

// change is a planned change of a policy.
type change struct {
	policy jit.Policy
	// dropped: the plan removes it. incomplete: it has unknown values.
	dropped, incomplete bool
}

// Put notes that the plan creates or changes a policy.
func (p *Planned) Put(policy jit.Policy) { p.note(policy.Name, change{policy: policy}) }

// PutIncomplete notes that the plan creates or changes a policy that has unknown values. policy is its most permissive
// reading: unknown limits are dropped, and a policy that forbids must forbid nothing.
func (p *Planned) PutIncomplete(policy jit.Policy) {
	p.note(policy.Name, change{policy: policy, incomplete: true})
}

// Drop notes that the plan removes a policy.
func (p *Planned) Drop(name string) { p.note(name, change{dropped: true}) }

func (p *Planned) note(name string, c change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changes == nil {
		p.changes = map[string]change{}
	}
	p.changes[name] = c
	p.unchecked = append(p.unchecked, name)
}

// Overlay replaces recorded policies with those of the plan, ordered by name. It leaves out policies with unknown
// values.
func (p *Planned) Overlay(recorded []jit.Policy) []jit.Policy { return p.overlay(recorded, false) }

// mostPermissive is [Planned.Overlay] with the most permissive reading of policies that have unknown values. It serves
// to refuse, never to permit.
func (p *Planned) mostPermissive(recorded []jit.Policy) []jit.Policy {
	return p.overlay(recorded, true)
}

func (p *Planned) overlay(recorded []jit.Policy, incomplete bool) []jit.Policy {
	if p == nil {
		return recorded
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(recorded), func(r jit.Policy) bool {
		_, changed := p.changes[r.Name]
		return changed
	})
	for _, c := range p.changes {
		if !c.dropped && (incomplete || !c.incomplete) {
			all = append(all, c.policy)
		}
	}
	slices.SortFunc(all, func(a, b jit.Policy) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// MayWait reports whether a policy of the plan may let a grant wait for approval.
func (p *Planned) MayWait() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.changes {
		if !c.dropped && (c.incomplete || len(c.policy.Approval) > 0) {
			return true
		}
	}
	return false
}

// CheckOrder refuses a plan that records the first policy of a ledger, if that policy may let grants wait for approval
// and a grant of the plan names no policy. Terraform orders the two by references only, and a ledger without a policy
// permits every grant. A grant that names its policy cannot begin before the policy is recorded. Call CheckOrder for
// each planned grant that names no policy, and with policy set for each planned policy, in any order. A policy that asks
// for approval from this plan on is refused in the same way beside a grant that the recorded policies permit without.
func (b *Broker) CheckOrder(ctx context.Context, policy bool) error {
	b.Planned.mu.Lock()
	b.Planned.unnamed = b.Planned.unnamed || !policy
	unnamed := b.Planned.unnamed
	b.Planned.mu.Unlock()
	if !unnamed || !b.Planned.MayWait() {
		return nil
	}
	// A run that replaces its only policy has one before and after, and not in between.
	before, err := b.rules(ctx)
	if err != nil {
		return err
	}
	if len(before.policies) > 0 {
		if !policy {
			return nil // the grant is checked when it is judged
		}
		return b.checkEarly(ctx)
	}
	attribute := "policy"
	if policy {
		attribute = "approval"
	}
	return jit.Invalid(attribute, "write policy = jit_policy.<name>.name in each jit_grant, or apply the policies first",
		"the ledger has no policy yet, and the same apply records the first: a grant that names no policy could begin "+
			"before that, without approval")
}

// incomplete reports whether the policy of that name has unknown values.
func (p *Planned) incomplete(name string) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes[name].incomplete
}

// PutPerson notes that the plan creates or changes a person.
func (p *Planned) PutPerson(person jit.Person) { p.notePerson(person.Name, &person) }

// PutIncompletePerson notes that the plan creates or changes a person who has unknown values, which are left out. The
// name is empty if it is unknown too.
func (p *Planned) PutIncompletePerson(person jit.Person) {
	p.mu.Lock()
	p.incompletePersons = true
	p.mu.Unlock()
	if person.Name != "" {
		p.PutPerson(person)
	}
}

// DropPerson notes that the plan removes a person.
func (p *Planned) DropPerson(name string) { p.notePerson(name, nil) }

func (p *Planned) notePerson(name string, person *jit.Person) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.persons == nil {
		p.persons = map[string]*jit.Person{}
	}
	p.persons[name] = person
}

// personsIncomplete reports whether the plan has a person with unknown values.
func (p *Planned) personsIncomplete() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.incompletePersons
}

// Persons replaces recorded persons with those of the plan, ordered by name.
func (p *Planned) Persons(recorded []jit.Person) []jit.Person {
	if p == nil {
		return recorded
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(recorded), func(r jit.Person) bool {
		_, changed := p.persons[r.Name]
		return changed
	})
	for _, person := range p.persons {
		if person != nil {
			all = append(all, *person)
		}
	}
	slices.SortFunc(all, func(a, b jit.Person) int { return strings.Compare(a.Name, b.Name) })
	return all
}
