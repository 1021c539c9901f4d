package broker

import (
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Planned collects the policies of one plan, so that the grants of the same plan
// are judged by what the policies will be.
type Planned struct {
	mu      sync.Mutex
	changes map[string]change
	claims  map[string]claim
}

// claim is what resources said of the policy that they are to be.
type claim struct {
	policy     jit.Policy
	made, kept bool // by one that is new, by one that exists
}

// Claim notes that a resource, which exists already or is new, is to be the policy, and refuses a second resource of that
// name. A resource that is replaced claims its name twice: as one that exists, then as one that is new.
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

// change is what a plan makes of a policy: it puts it, or drops it, or what comes is awaited.
type change struct {
	policy           jit.Policy
	dropped, awaited bool
}

// Put notes that the plan creates or changes a policy.
func (p *Planned) Put(policy jit.Policy) { p.note(policy.Name, change{policy: policy}) }

// Await notes that the plan creates or changes a policy of which not all is known before the apply. policy is the most that
// it can come to permit: what is not known is left out, and one that forbids has to forbid nothing.
func (p *Planned) Await(policy jit.Policy) {
	p.note(policy.Name, change{policy: policy, awaited: true})
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

// Over lays the plan's policies over the recorded ones, in the order of their names. Those that are awaited are not among them.
func (p *Planned) Over(recorded []jit.Policy) []jit.Policy { return p.over(recorded, false) }

// foreseen is [Planned.Over] with those that are awaited as far as they are known. It serves to refuse, never to permit.
func (p *Planned) foreseen(recorded []jit.Policy) []jit.Policy { return p.over(recorded, true) }

func (p *Planned) over(recorded []jit.Policy, awaited bool) []jit.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(recorded), func(r jit.Policy) bool {
		_, changed := p.changes[r.Name]
		return changed
	})
	for _, c := range p.changes {
		if !c.dropped && (awaited || !c.awaited) {
			all = append(all, c.policy)
		}
	}
	slices.SortFunc(all, func(a, b jit.Policy) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// awaits reports whether not all is known of the policy of that name.
func (p *Planned) awaits(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes[name].awaited
}

// quoted lists the names of the targets for an error message.
func quoted(targets map[string]jit.Platform) string {
	if len(targets) == 0 {
		return "there are none"
	}
	names := make([]string, 0, len(targets))
	for name := range targets {
		names = append(names, fmt.Sprintf("%q", name))
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}
