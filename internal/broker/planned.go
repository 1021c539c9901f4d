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
}

// Over lays the plan's policies over the recorded ones, in the order of their names.
func (p *Planned) Over(recorded []jit.Policy) []jit.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(recorded), func(r jit.Policy) bool {
		_, replaced := p.put[r.Name]
		return replaced || p.dropped[r.Name]
	})
	for _, policy := range p.put {
		all = append(all, policy)
	}
	slices.SortFunc(all, func(a, b jit.Policy) int { return strings.Compare(a.Name, b.Name) })
	return all
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
