package broker

import (
	"context"
	"errors"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// RemoveStray takes bindings off one scope that bear our marker and that no live record explains. The ledger takes down, before and after,
// those that once names, each if nobody has, and once an hour what cannot be removed; its errors do not keep them.
func (b *Broker) RemoveStray(ctx context.Context, at jit.Place, grants []jit.Grant, findings []Finding, once []jit.DedupKey) []error {
	members := make([]int, len(grants))
	marked := slices.Clone(grants)
	first := slices.Clone(once)
	for i, g := range grants {
		members[i] = i
		marked[i].NoStandingBefore = false // it is about what bears the marker and nothing else
		if b.failures.known(g.ID, jit.EventRevokeFailed) {
			first[i] = jit.DedupKey{}
		}
	}
	told, unrecorded := b.Report(ctx, at, grants, findings, first, "to be removed")
	failpoint.Hit("stray.after-intent")
	errs := b.applyAll(ctx, at, jit.Remove, marked, members)
	failpoint.Hit("stray.after-platform")
	outcomes := make([]jit.Entry, len(grants))
	for i, g := range grants {
		switch known := b.failures.known(g.ID, jit.EventRevokeFailed); {
		case once[i].Name == "":
		case errs[i] == nil:
			b.failures.over(g.ID)
			outcomes[i].Events = []jit.Event{b.aboutBinding(jit.EventRepaired, at, g, findings[i], "done", "removed")}
			outcomes[i].Dedup = once[i]
			outcomes[i].Dedup.Name += "/done"
		case (told[i] || known) && b.failures.news(g.ID, jit.EventRevokeFailed, b.Now()):
			outcomes[i].Events = []jit.Event{b.aboutBinding(jit.EventRevokeFailed, at, g, findings[i], "error", errs[i].Error())}
		}
	}
	_, unfinished := b.recordEvents(ctx, outcomes)
	for i := range errs {
		errs[i] = errors.Join(errs[i], unrecorded[i], unfinished[i])
	}
	return errs
}

// Report records findings, those that once names, each if nobody has; told are those that it recorded. done says what is done about them, in
// a word or two.
func (b *Broker) Report(ctx context.Context, at jit.Place, grants []jit.Grant, findings []Finding, once []jit.DedupKey, done string) (told []bool, errs []error) {
	entries := make([]jit.Entry, len(grants))
	for i, g := range grants {
		if once[i].Name != "" {
			entries[i] = jit.Entry{Events: []jit.Event{b.aboutBinding(jit.EventDrift, at, g, findings[i], "done", done)}, Dedup: once[i]}
		}
	}
	return b.recordEvents(ctx, entries)
}

// recordEvents records those of the entries that have events, and returns for each whether it did and an error; that somebody has told
// already is none.
func (b *Broker) recordEvents(ctx context.Context, all []jit.Entry) (told []bool, errs []error) {
	told, errs = make([]bool, len(all)), make([]error, len(all))
	var entries []jit.Entry
	var from []int
	for i, e := range all {
		if len(e.Events) > 0 {
			entries, from = append(entries, e), append(from, i)
		}
	}
	if len(entries) == 0 {
		return told, errs
	}
	for k, err := range b.Ledger.Write(ctx, entries) {
		if told[from[k]] = err == nil; !errors.Is(err, jit.ErrDuplicate) {
			errs[from[k]] = err
		}
	}
	return told, errs
}
