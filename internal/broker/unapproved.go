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
	return b.unproved(ctx, rules, grants, (*Rulebook).fault)
}

// Undecided is [Broker.Unapproved], and also says that a record was rebuilt from a marker alone. Anyone who can write on
// a target can write a marker, so such a grant is not accused, and it is not put back.
func (b *Broker) Undecided(ctx context.Context, rules *Rulebook, grants []jit.Grant) (map[jit.ID]string, error) {
	return b.unproved(ctx, rules, grants, (*Rulebook).doubt)
}

func (b *Broker) unproved(
	ctx context.Context, rules *Rulebook, grants []jit.Grant, fault func(*Rulebook, []jit.Event) string,
) (map[jit.ID]string, error) {
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
		faults := rules.faults(ids, events, fault)
		if len(faults) > 0 {
			newer, err := b.Rulebook(ctx) // whoever decided may have become known after rules was read
			if err != nil {
				return nil, err
			}
			faults = newer.faults(slices.Collect(maps.Keys(faults)), events, fault)
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
func (r *Rulebook) faults(
	ids []jit.ID, events map[jit.ID][]jit.Event, fault func(*Rulebook, []jit.Event) string,
) map[jit.ID]string {
	faults := map[jit.ID]string{}
	for _, id := range ids {
		if wrong := fault(r, events[id]); wrong != "" {
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
	for _, e := range events {
		account.Add(e)
		trial.Add(e, &account)
	}
	switch adopted, decided := origin(events); {
	case account.Empty():
		return "no event describes the grant"
	case account.Whole() && !decided && !adopted:
		return undecided
	}
	return strings.Join(trial.Faults, "; ")
}

const undecided = "no event says who or what decided on it"

// doubt is [Rulebook.fault], and tells of a record without a decision.
func (r *Rulebook) doubt(events []jit.Event) string {
	wrong := r.fault(events)
	if adopted, decided := origin(events); wrong == "" && adopted && !decided {
		return "its record was rebuilt from a marker: " + undecided
	}
	return wrong
}

// origin reports whether the record of a grant was rebuilt from a marker, since the ledger had lost it, and whether
// anybody or anything has decided on the grant. A sweep may have found its binding before. A lost record can also begin
// with a change, which says what permitted it.
func origin(events []jit.Event) (adopted, decided bool) {
	var account jit.Account
	requested := false
	for _, e := range events {
		unknown := account.Empty()
		if account.Add(e); unknown && !account.Empty() {
			adopted, requested = e.Kind == jit.EventAdopted, e.Kind == jit.EventRequested
		}
		decided = decided || e.Kind == jit.EventDecided || !requested && e.Detail["permitted_by"] != ""
	}
	return adopted, decided
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
		unproved, err = b.Undecided(ctx, rules, grants)
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
