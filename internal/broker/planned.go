package broker

import (
	"fmt"
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
	put     map[string]jit.Policy
	awaited map[string]jit.Policy
	dropped map[string]bool
}

// Put notes that the plan creates or changes a policy.
func (p *Planned) Put(policy jit.Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.put == nil {
		p.put = map[string]jit.Policy{}
	}
	p.put[policy.Name] = policy
	delete(p.awaited, policy.Name)
	delete(p.dropped, policy.Name)
}

// Await notes that the plan creates or changes a policy of which not all is known before the apply. policy is the most that
// it can come to permit: what is not known is left out, and one that forbids has to forbid nothing.
func (p *Planned) Await(policy jit.Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.awaited == nil {
		p.awaited = map[string]jit.Policy{}
	}
	p.awaited[policy.Name] = policy
	delete(p.put, policy.Name)
	delete(p.dropped, policy.Name)
}

// Drop notes that the plan removes a policy.
func (p *Planned) Drop(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dropped == nil {
		p.dropped = map[string]bool{}
	}
	p.dropped[name] = true
	delete(p.put, name)
	delete(p.awaited, name)
}

// Over lays the plan's policies over the recorded ones, in the order of their names. Those that are awaited are not among them.
func (p *Planned) Over(recorded []jit.Policy) []jit.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(recorded), func(r jit.Policy) bool {
		_, replaced := p.put[r.Name]
		_, awaited := p.awaited[r.Name]
		return replaced || awaited || p.dropped[r.Name]
	})
	for _, policy := range p.put {
		all = append(all, policy)
	}
	slices.SortFunc(all, func(a, b jit.Policy) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// foreseen is [Planned.Over] with those that are awaited as far as they are known. It serves to refuse, never to permit.
func (p *Planned) foreseen(recorded []jit.Policy) []jit.Policy {
	all := p.Over(recorded)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, policy := range p.awaited {
		all = append(all, policy)
	}
	slices.SortFunc(all, func(a, b jit.Policy) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// awaits reports whether not all is known of the policy of that name.
func (p *Planned) awaits(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.awaited[name]
	return ok
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
