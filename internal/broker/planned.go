package broker

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Planned collects the policies of one plan, so that its grants are judged by the policies as they will be. A nil
// Planned has no policies.
type Planned struct {
	mu      sync.Mutex
	changes map[string]change
	claims  map[string]claim
	persons map[string]*jit.Person
}

// claim is the policy that resources of one name plan.
type claim struct {
	policy jit.Policy
	// by counts the new resources (false) and the existing ones (true) that plan it.
	by map[bool]int
}

// Claim notes that a new or existing resource plans the policy, and refuses a second resource of that name. A replaced
// resource claims its name twice: as an existing one, then as a new one.
func (p *Planned) Claim(policy jit.Policy, exists bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claims == nil {
		p.claims = map[string]claim{}
	}
	c, known := p.claims[policy.Name]
	if !known {
		c = claim{policy, map[bool]int{}}
		p.claims[policy.Name] = c
	}
	if c.by[exists] > 0 || !reflect.DeepEqual(c.policy, policy) {
		return jit.Invalid("name", "choose another name, or make one policy of the two",
			"another jit_policy of this configuration has the name %q too; each apply would change the other's",
			policy.Name)
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

// Persons replaces recorded persons with those of the plan, ordered by name.
func (p *Planned) Persons(recorded []jit.Person) []jit.Person {
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
