package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// provedAtOnce is how many grants are proved with one read of their events.
const provedAtOnce = 1000

// Unapproved says, for each grant that has begun without a proof of the approval that it needed, what is wrong. It
// judges by the events alone, as `jit audit verify` does, and reads those of grants only that a policy may have asked
// for. The rules may be older than the grants: before it accuses anybody it reads them again.
func (b *Broker) Unapproved(ctx context.Context, rules *Rulebook, grants []jit.Grant) (map[jit.ID]string, error) {
	var asked []jit.ID
	for _, g := range grants {
		target, err := b.Target(g.Target)
		if err != nil {
			return nil, err
		}
		if rules.mayAsk(g, target.Kind()) {
			asked = append(asked, g.ID)
		}
	}
	unproved := map[jit.ID]string{}
	for ids := range slices.Chunk(asked, provedAtOnce) {
		events, err := b.eventsOf(ctx, ids)
		if err != nil {
			return nil, err
		}
		faults := rules.faults(ids, events)
		if len(faults) > 0 {
			newer, err := b.Rulebook(ctx) // whoever decided may have become known after rules was read
			if err != nil {
				return nil, err
			}
			faults = newer.faults(slices.Collect(maps.Keys(faults)), events)
		}
		maps.Copy(unproved, faults)
	}
	return unproved, nil
}

// eventsOf reads the events of grants, those of one grant in order.
func (b *Broker) eventsOf(ctx context.Context, ids []jit.ID) (map[jit.ID][]jit.Event, error) {
	events := make(map[jit.ID][]jit.Event, len(ids))
	for e, err := range b.Ledger.EventsOf(ctx, ids) {
		if err != nil {
			return nil, fmt.Errorf("read the events of the grants: %w", err)
		}
		events[e.Grant] = append(events[e.Grant], e)
	}
	return events, nil
}

// faults says what is wrong with the decisions on grants that have begun.
func (r *Rulebook) faults(ids []jit.ID, events map[jit.ID][]jit.Event) map[jit.ID]string {
	faults := map[jit.ID]string{}
	for _, id := range ids {
		if wrong := r.fault(events[id]); wrong != "" {
			faults[id] = wrong
		}
	}
	return faults
}

// fault says what is wrong with the decisions on a grant that has begun; empty if they prove that it could. A record
// that was rebuilt from a marker has no decision.
func (r *Rulebook) fault(events []jit.Event) string {
	var account jit.Account
	trial := approval.Trial{History: &r.history, Ledger: r.ledger}
	decided := false
	for i, e := range events {
		account.Add(e)
		trial.Add(e, &account)
		decided = decided || e.Kind == jit.EventDecided || i == 0 && e.Kind == jit.EventAdopted
	}
	switch {
	case account.Empty():
		return "no event describes the grant"
	case account.Whole() && !decided:
		return "no event says who or what decided on it"
	}
	return strings.Join(trial.Faults, "; ")
}

// refuseUnapproved refuses repairs that would give access which nobody proves to have been approved, or which cannot be
// checked.
func (b *Broker) refuseUnapproved(ctx context.Context, tasks []task) {
	var grants []jit.Grant
	for _, t := range tasks {
		if t.widens() && t.err == nil {
			grants = append(grants, t.Grant)
		}
	}
	if len(grants) == 0 {
		return
	}
	rules, err := b.Rulebook(ctx)
	var unproved map[jit.ID]string
	if err == nil {
		unproved, err = b.Unapproved(ctx, rules, grants)
	}
	for i := range tasks {
		t := &tasks[i]
		if !t.widens() || t.err != nil {
			continue
		}
		if why, is := unproved[t.Grant.ID]; is {
			t.err = jit.Errorf(jit.ErrUnapproved, "", "run `jit audit verify`; ask for it again with another renewal",
				"grant %s is not put back on target %q: its approval is not proved: %s", t.Grant.ID, t.Target, why)
		} else {
			t.err = err
		}
	}
}

// widens reports whether a task is a repair that gives access back.
func (t *task) widens() bool { return t.Kind == reconcile.Repair && t.Drift.Severity() == jit.Info }
