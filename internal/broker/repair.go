package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Start puts grants on their platforms whose beginning has come, as [Broker.Finish] ends them.
func (b *Broker) Start(ctx context.Context, grants []jit.Grant) []error {
	altered := byID(grants, b.vouched(ctx, grants))
	return b.together(ctx, grants, jit.Ensure, "start",
		func(g jit.Grant) error {
			if !g.DueToStart(b.Now()) {
				return fmt.Errorf("grant %s is not due to start", g.ID)
			}
			if err := altered[g.ID]; err != nil {
				return err
			}
			return b.rejudge(ctx, g)
		},
		func(g *jit.Grant, _ error) ([]jit.Event, bool) {
			if !g.GrantedAt.IsZero() && g.EndedAt.IsZero() || b.endedMeanwhile(*g) {
				return nil, false // another sweeper has started it, or ended it
			}
			if g.GrantedAt.IsZero() {
				g.GrantedAt = b.Now()
			}
			g.EndedAt, g.Remains = time.Time{}, ""
			return []jit.Event{b.window(jit.EventGranted, *g)}, true
		},
		b.failure(jit.EventGrantFailed))
}

// byID returns the errors by the grants that they are about.
func byID(grants []jit.Grant, errs []error) map[jit.ID]error {
	all := make(map[jit.ID]error, len(grants))
	for i, g := range grants {
		all[g.ID] = errs[i]
	}
	return all
}

// failure makes events of the kind that tell of an error.
func (b *Broker) failure(kind jit.EventKind) func(jit.Grant, error) jit.Event {
	return func(g jit.Grant, err error) jit.Event { return b.event(kind, g, "error", err.Error()) }
}

// Repair puts live grants right on their platforms, as [Broker.Finish] ends them, after what was found of each is recorded: findings
// say it, one for each grant. A grant whose record somebody else has changed meanwhile, such as another sweeper that found the same,
// is left to them.
func (b *Broker) Repair(ctx context.Context, grants []jit.Grant, findings []Finding) []error {
	errs, intended := b.intendRepair(ctx, grants, findings)
	failpoint.Hit("repair.after-intent")
	var todo []jit.Grant
	found := make(map[jit.ID]Finding, len(grants))
	version := make(map[jit.ID]int64, len(grants))
	for i, g := range intended {
		if g != nil {
			todo = append(todo, *g)
			found[g.ID], version[g.ID] = findings[i], g.Version
		}
	}
	done := b.together(ctx, todo, jit.Ensure, "repair", b.repairable,
		func(g *jit.Grant, _ error) ([]jit.Event, bool) {
			if g.Version != version[g.ID] && !g.GrantedAt.IsZero() || b.endedMeanwhile(*g) {
				return nil, false
			}
			if g.GrantedAt.IsZero() {
				g.GrantedAt = b.Now()
			}
			events := []jit.Event{b.window(jit.EventRepaired, *g, "drift", found[g.ID].Words)}
			if g.OpenDrift != found[g.ID].Kind { // the intent could not be recorded
				events = append([]jit.Event{b.found(*g, found[g.ID])}, events...)
			}
			g.FailedAt, g.Failure, g.EndedAt, g.Remains, g.OpenDrift = time.Time{}, "", time.Time{}, "", ""
			return events, true
		},
		func(g jit.Grant, err error) jit.Event {
			return b.about(jit.EventRepairFailed, g, found[g.ID], "error", err.Error())
		})
	for i, g := range intended {
		if g != nil {
			errs[i], done = errors.Join(errs[i], done[0]), done[1:]
		}
	}
	return errs
}

func (b *Broker) repairable(g jit.Grant) error {
	if !g.Live(b.Now()) || !g.Window.Contains(b.Now()) {
		return fmt.Errorf("grant %s is not inside its window", g.ID)
	}
	return nil
}

// intendRepair records what was found of each grant, unless that is recorded already. It returns the records to go on with: nil for
// a grant that is not to be repaired now. What takes access away is done although it could not be recorded.
func (b *Broker) intendRepair(ctx context.Context, grants []jit.Grant, findings []Finding) (errs []error, intended []*jit.Grant) {
	errs, intended = make([]error, len(grants)), make([]*jit.Grant, len(grants))
	var entries []jit.Entry
	var from []int
	altered := b.vouched(ctx, grants)
	for i, g := range grants {
		if errs[i] = cmp.Or(b.repairable(g), altered[i], b.tooLong(g, findings[i].Kind)); errs[i] != nil {
			continue
		}
		intended[i] = &g
		if next := g; g.OpenDrift != findings[i].Kind {
			next.OpenDrift = findings[i].Kind
			entries, from = append(entries, jit.Rewrite(g, next, b.found(next, findings[i]))), append(from, i)
		}
	}
	if len(entries) == 0 {
		return errs, intended
	}
	for k, err := range b.Ledger.Write(ctx, entries) {
		i := from[k]
		switch {
		case err == nil:
			intended[i] = entries[k].Grant
			intended[i].Version++
		case errors.Is(err, jit.ErrStale):
			intended[i] = nil
		default:
			errs[i] = err
			if findings[i].Kind.Severity() == jit.Info {
				intended[i] = nil
			}
		}
	}
	return errs, intended
}

// Settled records of grants whose drift was recorded as found, and that were seen to be right again, that they are: whoever repaired them
// could not tell.
func (b *Broker) Settled(ctx context.Context, grants []jit.Grant) error {
	entries := make([]jit.Entry, len(grants))
	for i, g := range grants {
		next := g
		next.OpenDrift = ""
		entries[i] = jit.Rewrite(g, next, b.window(jit.EventRepaired, g, "drift", string(g.OpenDrift), "note", "seen to be right again"))
	}
	errs := b.Ledger.Write(ctx, entries)
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, jit.ErrStale) })...) // the next look tells
}
