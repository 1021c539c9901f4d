package broker

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Planned collects the policies of one plan, so that grants of the same plan are judged by the policies as they will
// be.
type Planned struct {
	mu      sync.Mutex
	changes map[string]change
	claims  map[string]claim
}

// claim is the policy that resources of one name plan.
type claim struct {
	policy     jit.Policy
	made, kept bool // by a new resource, by an existing one
}

// Claim notes that a new or existing resource plans the policy, and refuses a second resource of that name. A replaced
// resource claims its name twice: as an existing one, then as a new one.
func (p *Planned) Claim(policy jit.Policy, exists bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, known := p.claims[policy.Name]
	if known && (exists && c.kept || !exists && c.made || !reflect.DeepEqual(c.policy, policy)) {
		return sameName(policy.Name)
	}
	if p.claims == nil {
		p.claims = map[string]claim{}
	}
	p.claims[policy.Name] = claim{policy, c.made || !exists, c.kept || exists}
	return nil
}

// sameName is the error for two policies of one name.
func sameName(name string) error {
	return jit.Invalid("name", "choose another name, or make one policy of the two", "another jit_policy of this configuration has the name %q too; each apply would change the other's", name)
}

// change is what a plan does with a policy.
type change struct {
	policy jit.Policy
	// dropped: the plan removes it. incomplete: it has unknown values.
	dropped, incomplete bool
}

// Put notes that the plan creates or changes a policy.
func (p *Planned) Put(policy jit.Policy) { p.note(policy.Name, change{policy: policy}) }

// Await notes that the plan creates or changes a policy that has unknown values. policy is its most permissive reading:
// unknown limits are dropped, and a policy that forbids must forbid nothing.
func (p *Planned) Await(policy jit.Policy) {
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

// Over overlays the recorded policies with those of the plan, ordered by name. Policies with unknown values are left
// out.
func (p *Planned) Over(recorded []jit.Policy) []jit.Policy { return p.overlay(recorded, false) }

// mostPermissive is [Planned.Over] with the policies that have unknown values, in their most permissive reading. It
// serves to refuse, never to permit.
func (p *Planned) mostPermissive(recorded []jit.Policy) []jit.Policy {
	return p.overlay(recorded, true)
}

func (p *Planned) overlay(recorded []jit.Policy, incomplete bool) []jit.Policy {
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
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes[name].incomplete
}
