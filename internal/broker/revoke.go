package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Revocation asks for the end of one grant.
type Revocation struct {
	// Grant is the record, or as much of it as is remembered: id, owner, binding and window at least.
	Grant  jit.Grant
	Reason string
	// Holder, when not 0, restricts the revocation to that holder of the grant: a newer holder keeps it.
	Holder int64
	// TerminateSessions also ends open sessions, where the platform can, whatever the grant says.
	TerminateSessions bool
	// Destroys: Terraform destroys the resource, which is recorded of a grant that is over, too.
	Destroys bool
	// Finding, if set, is what the sweeper found and ends the grant for. The grant is kept if its record is not the one any more about
	// which that was found.
	Finding *Finding
}

// Destroyed is the reason recorded for a grant whose resource Terraform destroys.
const Destroyed = "the resource was destroyed"

// ErrUnrecorded says that access was ended on its target and that the ledger could not record it.
var ErrUnrecorded = errors.New("the ledger could not record it")

// Revoke ends a grant of this owner now; one of another's is refused. Absent, over, failed or unknown to the ledger is success. kept is
// true when a newer holder has the grant, or another record than the finding is about, which then lives on. If the ledger
// cannot be reached, access is ended all the same and the error is of the kind [ErrUnrecorded]; nothing is ended then for a
// finding, which the next pass finds again.
// An error of the kind [jit.ErrRemains] says that the access has ended, which is recorded, and that something is left to be cleaned up.
// An error of the kind [jit.ErrOver] says that the window of the grant had passed before and that the target could not be
// cleared of what may be left; the sweeper tries again. After any other error the returned grant says whether the
// revocation is on record: the sweeper then ends the access.
func (b *Broker) Revoke(ctx context.Context, r Revocation) (g jit.Grant, kept bool, err error) {
	if err := b.owns(r.Grant); err != nil {
		return r.Grant, false, err
	}
	first, _, err := b.Recall(ctx, r.Grant.ID, r.Grant)
	if errors.Is(err, jit.ErrInvalid) {
		return r.Grant, false, err // the record is another owner's
	}
	if err != nil {
		return r.Grant, false, b.withoutLedger(ctx, r, err)
	}
	ask := sync.OnceValues(func() (passed, error) { return b.askAbout(ctx, first) })
	var clocks error
	failpoint.Hit("revoke.before-intent")
	g, err = b.update(ctx, first, func(g *jit.Grant) ([]jit.Event, bool) {
		now := b.Now()
		kept = r.Holder != 0 && g.Holder > r.Holder || r.Finding != nil && g.Version != r.Grant.Version
		if kept || g.Failed() {
			return nil, false
		}
		if g.RevokedAt.IsZero() && g.EndedAt.IsZero() && g.Window.Over(now) {
			// If our clock is ahead, it is live: what is not recorded as revoked would be put back.
			var p passed
			if p, clocks = ask(); clocks != nil {
				return nil, false
			}
			now = now.Add(-p.behind)
		}
		if g.Over(now) {
			// Its end is recorded, or so long past that it follows from the window; a lost record is made good.
			lost, first := g.Version == 0, r.Destroys && !g.Destroyed()
			r.destroy(g)
			if lost {
				return []jit.Event{b.window(jit.EventAdopted, *g, "state", string(g.State(now)))}, true
			}
			return []jit.Event{b.event(jit.EventChanged, *g, "note", Destroyed+"; the grant was over")}, first
		}
		r.destroy(g)
		g.RevokedAt, g.RevokedBy, g.RevokeReason = now, b.Actor.Name, r.Reason
		g.TerminateSessions = g.TerminateSessions || r.TerminateSessions
		events := []jit.Event{b.event(jit.EventRevokeAsked, *g, "reason", r.Reason)}
		if r.Finding != nil {
			events = append([]jit.Event{b.found(*g, *r.Finding)}, events...)
		}
		return events, true
	})
	if kept {
		return g, true, nil
	}
	if err = errors.Join(err, clocks); err != nil {
		return g, false, b.withoutLedger(ctx, r, err)
	}
	failpoint.Hit("revoke.after-intent")
	if !g.EndedAt.IsZero() || g.Failed() {
		return g, false, nil
	}
	over := false
	if g.Window.Over(b.Now()) {
		p, err := ask()
		if err != nil {
			return g, false, b.withoutLedger(ctx, r, err)
		}
		now := b.Now().Add(-p.behind)
		over = g.Window.Over(now)
		switch native := g.Enforcement == jit.Native; {
		case over && native && p.unread != nil:
			return g, false, leftOver(p.unread)
		case over && native && p.endedByItself(g, now):
			return g, false, nil // what is left is the sweeper's to clear away
		}
	}
	remains := b.Finish(ctx, []jit.Grant{g}, nil)[0]
	if remains != nil && !errors.Is(remains, jit.ErrRemains) {
		if over {
			remains = leftOver(remains)
		}
		return g, false, remains
	}
	g, _, err = b.Recall(ctx, g.ID, g)
	return g, false, errors.Join(remains, err)
}

// destroy notes in a record that its resource was destroyed, if it was.
func (r *Revocation) destroy(g *jit.Grant) {
	if r.Destroys && !g.Destroyed() {
		g.Holder = -max(g.Holder, 1)
	}
}

func leftOver(err error) error {
	return &jit.Error{
		Problem: fmt.Sprintf("the grant is over, and its target could not be checked for what is left of it: %v", err),
		Hint:    "a `jit sweep` that reaches the target clears it", Err: jit.ErrOver,
	}
}

// withoutLedger is what a revocation does that the ledger cannot take down.
func (b *Broker) withoutLedger(ctx context.Context, r Revocation, ledger error) error {
	if r.Finding != nil {
		return fmt.Errorf("revoke grant %s: %w", r.Grant.ID, ledger)
	}
	return b.endUnrecorded(ctx, r, ledger)
}

// endUnrecorded ends access although the ledger cannot take it down: revoking has to work even then.
func (b *Broker) endUnrecorded(ctx context.Context, r Revocation, ledger error) error {
	p, err := b.Target(r.Grant.Target)
	if err != nil {
		return errors.Join(ledger, err)
	}
	access := r.Grant.Access()
	access.TerminateSessions = access.TerminateSessions || r.TerminateSessions
	if err := p.Apply(ctx, r.Grant.Scope, []jit.Change{{Op: jit.Remove, Access: access, Held: r.Grant.Held()}})[0]; err != nil {
		return errors.Join(fmt.Errorf("revoke grant %s on target %q: %w", r.Grant.ID, r.Grant.Target, err), ledger)
	}
	return fmt.Errorf("the access of grant %s was ended, but %w; repeat this when the ledger is back, or the sweeper puts the access back: %w", r.Grant.ID, ErrUnrecorded, ledger)
}

// Finish takes what is left of ended grants off their platforms, with one call for
// all grants of a scope, and records the outcome. It returns one error for each grant. A
// grant that is not over is refused. An error that is [jit.ErrRemains] says that access has ended, which is recorded, and that something is
// left to be cleaned up. findings say what was found of each before, and are recorded where they
// have a kind; nil is nothing.
func (b *Broker) Finish(ctx context.Context, grants []jit.Grant, findings []Finding) []error {
	found := map[jit.ID]Finding{}
	for i, f := range findings {
		found[grants[i].ID] = f
	}
	return b.together(ctx, grants, jit.Remove, "revoke",
		func(g jit.Grant) error {
			if !g.Over(b.Now()) {
				return fmt.Errorf("grant %s is not over", g.ID)
			}
			return nil
		},
		func(g *jit.Grant, remains error) ([]jit.Event, bool) {
			events, wanted := b.ended(g, remains)
			if f := found[g.ID]; wanted && f.Kind != "" {
				events = append([]jit.Event{b.found(*g, f)}, events...)
			}
			return events, wanted
		},
		b.failure(jit.EventRevokeFailed))
}

// ended notes that a grant which is over gives no access any more, and what remains of it; nil is nothing.
func (b *Broker) ended(g *jit.Grant, remains error) ([]jit.Event, bool) {
	switch {
	case !g.Over(b.Now()):
		return nil, false
	case g.CleanupOpen() && remains == nil:
		g.Remains = ""
		return []jit.Event{b.event(jit.EventCleanedUp, *g)}, true
	case !g.EndedAt.IsZero():
		return nil, false
	}
	g.EndedAt = b.Now()
	var left []string
	if remains != nil {
		g.Remains = remains.Error()
		if told := (*jit.Error)(nil); errors.As(remains, &told) {
			g.Remains = told.Error()
		}
		left = []string{"remains", g.Remains}
	}
	if g.RevokedAt.IsZero() {
		return []jit.Event{b.window(jit.EventExpired, *g, append(left, "enforcement", string(g.Enforcement))...)}, true
	}
	return []jit.Event{b.window(jit.EventRevoked, *g, append(left, "reason", g.RevokeReason, "by", g.RevokedBy)...)}, true
}

// endedMeanwhile reports whether the end of a grant is recorded: what was given after that is taken back.
func (b *Broker) endedMeanwhile(g jit.Grant) bool { return g.Over(b.Now()) && !g.EndedAt.IsZero() }

// Tidied notes that a platform took these bindings away, which were over, with another write. What cannot
// be recorded now is recorded by the sweep that finds nothing of the grant.
func (b *Broker) Tidied(ctx context.Context, gone []jit.Marker) error {
	var ids []jit.ID
	for _, m := range gone {
		if m.Owner == b.Owner {
			ids = append(ids, m.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var errs []error
	var entries []jit.Entry
	for g, err := range b.Ledger.Grants(ctx, jit.Filter{Owner: b.Owner, IDs: ids}) {
		if err != nil {
			return fmt.Errorf("read the grants that were tidied away: %w", err)
		}
		next := g
		if events, wanted := b.ended(&next, nil); wanted {
			entries = append(entries, jit.Rewrite(g, next, events...))
		}
	}
	if len(entries) > 0 {
		errs = b.Ledger.Write(ctx, entries)
	}
	return errors.Join(errs...)
}

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
			if findings[i].Kind.Severity() == jit.Minor {
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

// together carries out one operation for many grants: per scope one call, then one write of all outcomes.
// allowed is asked before, outcome alters the record after success, failure makes the event
// that tells of an error.
func (b *Broker) together(ctx context.Context, grants []jit.Grant, op jit.Op, verb string,
	allowed func(jit.Grant) error, outcome func(g *jit.Grant, remains error) ([]jit.Event, bool), failure func(jit.Grant, error) jit.Event,
) []error {
	errs := make([]error, len(grants))
	scopes := map[jit.Place][]int{}
	for i, g := range grants {
		if errs[i] = allowed(g); errs[i] == nil {
			scopes[g.Place()] = append(scopes[g.Place()], i)
		}
	}
	for at, members := range scopes {
		for k, err := range b.applyAll(ctx, at, op, grants, members) {
			if err != nil {
				err = fmt.Errorf("%s grant %s (%s for %s on target %q): %w", verb, grants[members[k]].ID, grants[members[k]].Role, grants[members[k]].Principal, at.Target, err)
			}
			errs[members[k]] = err
		}
	}
	failpoint.Hit(verb + ".after-platform")
	b.recordAll(ctx, op, grants, errs, outcome, failure, allowed)
	failpoint.Hit(verb + ".after-outcome")
	return errs
}

// applyAll makes one call for the members of one scope.
func (b *Broker) applyAll(ctx context.Context, at jit.Place, op jit.Op, grants []jit.Grant, members []int) []error {
	p, err := b.Target(at.Target)
	if err != nil {
		errs := make([]error, len(members))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	changes := make([]jit.Change, len(members))
	for k, i := range members {
		changes[k] = jit.Change{Op: op, Access: grants[i].Access(), Held: grants[i].Held()}
		if op == jit.Remove && changes[k].Access.Alone {
			changes[k].Access.Alone = !b.coveredByAnother(ctx, p, grants[i])
		}
	}
	return p.Apply(ctx, at.Scope, changes)
}

// coveredByAnother reports whether another grant gives the same access now, or may, and would narrow what
// somebody made of the two bindings: then that is left to it.
func (b *Broker) coveredByAnother(ctx context.Context, p jit.Platform, g jit.Grant) bool {
	now, left := b.Now(), strippedTo(p, g.Binding)
	for other, err := range b.Ledger.Grants(ctx, jit.Filter{Target: g.Target, Principal: g.Principal, LiveAt: now}) {
		if err != nil || other.ID != g.ID && other.Scope == g.Scope && other.Access().Alone && other.Window.Contains(now) && strippedTo(p, other.Binding) == left {
			return true
		}
	}
	return false
}

// strippedTo is [jit.Traits].StrippedTo of a binding; empty of one that its platform does not know.
func strippedTo(p jit.Platform, binding jit.Binding) string {
	_, traits, err := p.Check(binding)
	if err != nil {
		return ""
	}
	return traits.StrippedTo
}

// recordAll writes the outcome of every grant that allowed let through, in one transaction; those whose record was
// changed meanwhile are done again one by one, and access that was given to one that was ended meanwhile
// is taken back. errs is brought up to date.
func (b *Broker) recordAll(ctx context.Context, op jit.Op, grants []jit.Grant, errs []error,
	outcome func(g *jit.Grant, remains error) ([]jit.Event, bool), failure func(jit.Grant, error) jit.Event, allowed func(jit.Grant) error,
) {
	var entries []jit.Entry
	var from []int
	for i, g := range grants {
		if errs[i] != nil && !errors.Is(errs[i], jit.ErrRemains) {
			if e := failure(g, errs[i]); allowed(g) == nil && b.failures.news(g.ID, e.Kind, b.Now()) {
				entries = append(entries, jit.Entry{Events: []jit.Event{e}})
				from = append(from, i)
			}
			continue
		}
		b.failures.over(g.ID)
		next := g
		if events, wanted := outcome(&next, errs[i]); wanted {
			entries = append(entries, jit.Rewrite(g, next, events...))
			from = append(from, i)
		}
	}
	if len(entries) == 0 {
		return
	}
	for k, err := range b.Ledger.Write(ctx, entries) {
		i := from[k]
		if err != nil && errs[i] != nil && !errors.Is(errs[i], jit.ErrRemains) {
			b.failures.over(grants[i].ID) // the record has not been told
		}
		if errors.Is(err, jit.ErrStale) {
			var g jit.Grant
			g, err = b.update(ctx, grants[i], func(g *jit.Grant) ([]jit.Event, bool) { return outcome(g, errs[i]) })
			if err == nil && op == jit.Ensure {
				_, err = b.settle(ctx, grants[i].Access(), g)
			}
		}
		if err != nil && errors.Is(errs[i], jit.ErrRemains) {
			errs[i] = nil // that access has ended is not on record
		}
		errs[i] = errors.Join(errs[i], err)
	}
}

// RemoveStray takes bindings off one scope that bear our marker and that no live record explains. The ledger takes down, before and after,
// those that once names, each if nobody has, and once an hour what cannot be removed; its errors do not keep them.
func (b *Broker) RemoveStray(ctx context.Context, at jit.Place, grants []jit.Grant, findings []Finding, once []jit.Once) []error {
	members := make([]int, len(grants))
	marked := slices.Clone(grants)
	first := slices.Clone(once)
	for i, g := range grants {
		members[i] = i
		marked[i].Alone = false // it is about what bears the marker and nothing else
		if b.failures.known(g.ID, jit.EventRevokeFailed) {
			first[i] = jit.Once{}
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
			outcomes[i].Once = once[i]
			outcomes[i].Once.Name += "/done"
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
func (b *Broker) Report(ctx context.Context, at jit.Place, grants []jit.Grant, findings []Finding, once []jit.Once, done string) (told []bool, errs []error) {
	entries := make([]jit.Entry, len(grants))
	for i, g := range grants {
		if once[i].Name != "" {
			entries[i] = jit.Entry{Events: []jit.Event{b.aboutBinding(jit.EventDrift, at, g, findings[i], "done", done)}, Once: once[i]}
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
		if told[from[k]] = err == nil; !errors.Is(err, jit.ErrTold) {
			errs[from[k]] = err
		}
	}
	return told, errs
}
