// Package sweeper ends grants that are over, starts grants that are due and repairs drift.
package sweeper

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// DefaultMaxUnplanned is how many unplanned removals a pass makes on a target.
const DefaultMaxUnplanned = 20

// Sweeper holds the settings of a sweep. Its fields are set once, before use.
type Sweeper struct {
	Broker *broker.Broker
	// Owners are the owners to serve. If it is empty and EveryOwner is false, Broker.Owner is served, and grants of
	// other owners that are over are ended where a target shows them.
	Owners jit.Owners
	// EveryOwner serves all owners: each means the same system by the name of a target.
	EveryOwner bool
	// Holder names this sweeper in leases of due work. Two that run at once need two names.
	Holder string
	// DryRun reports what would be done and writes nothing.
	DryRun bool
	// DueOnly starts and ends what the ledger says is due and does not look for drift. With nothing due it makes no
	// call on a target.
	DueOnly bool
	// MarkersOnly goes by the markers on the targets, as if there were no ledger.
	MarkersOnly bool
	// MaxUnplanned caps the removals and revocations of a pass on each target that no recorded end explains.
	MaxUnplanned int
	// OnDrift says what to do about drift on a target; the default is to repair it.
	OnDrift map[string]jit.OnDrift
	// RevokeViolations ends live grants that today's policies do not permit, and those whose approval is not proved.
	// Otherwise they are reported.
	RevokeViolations bool
	// ClaimSize is how many due grants are claimed at once; 0 means 1,000.
	ClaimSize int
}

// targets returns the names of the sweeper's targets.
func (s *Sweeper) targets() []string { return slices.Sorted(maps.Keys(s.Broker.Targets)) }

// served returns the owners that the sweeper serves. If the settings name none, it is the owner of the settings: a
// target of another owner may be another system of the same name.
func (s *Sweeper) served() jit.Owners {
	if len(s.Owners) == 0 && !s.EveryOwner {
		return jit.Owners{s.Broker.Owner}
	}
	return s.Owners
}

// servedByName reports whether the settings name an owner. Without a ledger, nothing else says whose markers to honour.
func (s *Sweeper) servedByName(owner string) bool {
	if len(s.Owners) == 0 {
		return owner == s.Broker.Owner
	}
	return s.Owners.Include(owner)
}

// OutOfReach says why the sweeper cannot end a grant of owner on target, and is empty if it can.
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

// recordSweep records that the sweeper has just passed.
func (s *Sweeper) recordSweep(ctx context.Context) error {
	return s.Broker.Ledger.Swept(ctx, jit.Sweep{Owners: s.served(), Targets: s.targets(), At: s.Broker.Now()})
}

// collect returns the grants that could be read, and the errors.
func collect(grants iter.Seq2[jit.Grant, error]) (all []jit.Grant, err error) {
	for g, failed := range grants {
		if failed == nil {
			all = append(all, g)
		}
		err = errors.Join(err, failed)
	}
	return all, err
}
