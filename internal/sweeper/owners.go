package sweeper

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// targets are the names of the targets that the sweeper has.
func (s *Sweeper) targets() []string { return slices.Sorted(maps.Keys(s.Broker.Targets)) }

// served are the owners for whom the sweeper does everything: those that the settings name, or all where they say so. Where they name
// none it is the owner of the settings alone: what another owner calls by the name of a target may be another system.
func (s *Sweeper) served() jit.Owners {
	if len(s.Owners) == 0 && !s.EveryOwner {
		return jit.Owners{s.Broker.Owner}
	}
	return s.Owners
}

// OutOfReach says why the sweeper cannot end what owner has on target; empty when it can.
func (s *Sweeper) OutOfReach(owner, target string) (why string) {
	_, configured := s.Broker.Targets[target]
	switch {
	case !s.Owners.Include(owner):
		return fmt.Sprintf("this sweeper does not serve the owner %q; it serves %s", owner, s.Owners)
	case !configured:
		return fmt.Sprintf("this sweeper has no target %q", target)
	}
	return ""
}

// swept records the pass that the sweeper has just made.
func (s *Sweeper) swept(ctx context.Context) error {
	return s.Broker.Ledger.Swept(ctx, jit.Sweep{Owners: s.served(), Targets: s.targets(), At: s.Broker.Now()})
}

// servedByName reports whether the settings name an owner. Without a ledger nothing else tells whose markers may be honoured.
func (s *Sweeper) servedByName(owner string) bool {
	if len(s.Owners) == 0 {
		return owner == s.Broker.Owner
	}
	return s.Owners.Include(owner)
}

// serves returns whose bindings are the sweeper's to judge: those of the owners that the settings name, and where they say
// all, those of every owner that the ledger knows. Any other marker is of somebody else's ledger.
func (p *pass) serves(ctx context.Context) (func(owner string) bool, error) {
	if !p.EveryOwner {
		return p.servedByName, nil
	}
	known, err := p.owners.read(ctx, p.Broker.Ledger)
	if err != nil {
		return nil, err
	}
	return func(owner string) bool { return p.servedByName(owner) || known[owner] }, nil
}

// owners are read once a pass, when they are first asked for. The zero value is ready.
type owners struct {
	once sync.Once
	all  map[string]bool
	err  error
}

func (o *owners) read(ctx context.Context, from jit.Ledger) (map[string]bool, error) {
	o.once.Do(func() {
		var names []string
		names, o.err = from.Owners(ctx)
		o.all = make(map[string]bool, len(names))
		for _, name := range names {
			o.all[name] = true
		}
	})
	return o.all, o.err
}
