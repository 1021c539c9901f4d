package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Decision is the outcome of a request if it is applied now. Nothing has been written for it.
type Decision struct {
	// Grant is the grant as it would be recorded. A plan leaves the window of a new grant zero: the apply fixes it.
	Grant jit.Grant
	// Met reports whether a record or a marker of this id exists already.
	Met bool
	// Over reports whether the grant that the request met has ended. Applying the request then grants nothing.
	Over     bool
	Verdict  jit.Verdict
	Warnings []Warning
	// Provisional: the apply judges by values that are not known yet, or by a target that did not answer, and may refuse.
	Provisional bool
	// Awaits says whose approval is missing, such as "1 of: lea, leo"; empty if nobody's.
	Awaits string

	// asked is the grant as Check returned it, traits the traits that its target reports.
	asked  jit.Grant
	traits jit.Traits
	// recorded is the record that the decision is about; its version is 0 if there is none. current is the record that
	// a change starts from: recorded, completed by the request.
	recorded, current jit.Grant
	// completed reports whether current has facts that recorded lacks.
	completed bool
	// judged reports whether the policies have judged the request.
	judged bool
	// later reports whether the request sets a future beginning.
	later bool
	// snapshot is the scope of a new grant, if read; standing is the access in it that gives the same.
	snapshot jit.Snapshot
	standing jit.Standing
	stands   bool
	// written is the request in the configuration's spelling, for approvers.
	written []jit.Field
	// decided holds the people's decisions, if the grant needs approval. waits reports whether it waits for nothing
	// else.
	decided decided
	waits   bool
	// changes names the attributes that a change alters in substance.
	changes []string
	// namesPolicy is the detail [policyNamed] of the events; empty if the request leaves it as it is. newlyNamed: the
	// request names the recorded policy for the first time.
	namesPolicy string
	newlyNamed  bool
}

// Preview decides on a request without writing anything, and adds the warnings for a reviewer. With read set it reads
// the scope, to find standing access and the marker of a grant that the ledger lost. A refusal is an error
// (*[jit.Error]).
func (b *Broker) Preview(ctx context.Context, r Request, read bool) (Decision, error) {
	d, err := b.decide(ctx, r, true, read)
	if err != nil {
		return Decision{}, err
	}
	b.warn(ctx, &d)
	if !d.Met {
		d.Grant.Window = jit.Window{}
	}
	return d, nil
}

// PreviewChange decides on a change of a recorded grant without writing anything, and adds the warnings for a reviewer.
// Binding, reason and renewal of the request must be the grant's.
func (b *Broker) PreviewChange(ctx context.Context, g jit.Grant, r Request) (Decision, error) {
	d, err := b.decideChange(ctx, g, r, true)
	if err != nil {
		return Decision{}, err
	}
	b.warn(ctx, &d)
	return d, nil
}

// decide decides on a request for a grant. A plan judges before it reads, so that a target that does not answer hides
// no refusal, and goes on without the target's answers. An apply reads first and then fixes and judges the window, so
// that a slow read shortens no grant.
func (b *Broker) decide(ctx context.Context, r Request, planned, read bool) (d Decision, err error) {
	if d.asked, d.traits, err = b.Check(r); err != nil {
		return d, err
	}
	recorded, known, err := b.Find(ctx, d.asked.ID)
	if err != nil {
		return d, err
	}
	if known && recorded.YieldsTo(d.asked) {
		recorded, known = jit.Grant{}, false
	}
	if d.recorded = recorded; known && r.OneRun {
		return d, errTaken
	}
	if known && !recorded.Failed() {
		return b.meet(ctx, d, r, planned)
	}
	// A window that has passed is refused after the read: the target may have the marker of a grant that the ledger
	// lost.
	late, err := b.judgeEarly(ctx, &d, r, planned)
	if err != nil {
		return d, err
	}
	if read {
		if err := b.readStanding(ctx, &d, planned, late == nil); err != nil {
			return d, err
		}
	}
	if !known {
		found, err := b.lostRecord(&d, r)
		if err != nil {
			return d, err
		}
		if found && r.OneRun {
			return d, errTaken
		}
		if found {
			return b.meet(ctx, d, r, planned)
		}
	}
	if late != nil {
		return d, late
	}
	if !planned {
		if err := b.fixWindow(ctx, &d, r); err != nil {
			return d, err
		}
	}
	d.Grant.Policy, d.Grant.SessionTail = d.Verdict.Policy, d.traits.SessionTail
	d.Grant.Version = recorded.Version
	d.namesPolicy = named(r.Policy != "")
	return d, nil
}

// judgeEarly refuses a new grant before anything is read: an apply by its length alone, a plan by the policies too.
// late is the error if its window has passed.
func (b *Broker) judgeEarly(ctx context.Context, d *Decision, r Request, planned bool) (late, err error) {
	if !r.TTL.IsZero() {
		if err := b.checkLength(d.asked, d.traits, r.TTL.Length()); err != nil {
			return nil, err
		}
	}
	now := b.Now()
	d.Grant, d.later = d.asked, r.StartsAt.After(now)
	d.Grant.Window, late = r.window(now)
	switch {
	case late != nil:
		return late, nil
	case planned:
		return nil, b.judgeInto(ctx, d, r, true)
	}
	return nil, b.checkLength(d.asked, d.traits, d.Grant.Length())
}

// fixWindow fixes the window of a new grant, from now on, and judges the grant in full. While the clocks disagree,
// nobody knows when that is.
func (b *Broker) fixWindow(ctx context.Context, d *Decision, r Request) (err error) {
	if err := b.mayBegin(ctx, d.asked.Place()); err != nil {
		return err
	}
	now := b.Now()
	d.Grant.RequestedAt = jit.Second(now)
	if d.Grant.Window, err = r.window(now); err != nil {
		return err
	}
	return b.judgeInto(ctx, d, r, false)
}

// judgeInto judges the grant of a decision by the policies.
func (b *Broker) judgeInto(ctx context.Context, d *Decision, r Request, planned bool) error {
	judge := b.judge
	if planned {
		judge = b.judgePlanned
	}
	g := d.Grant
	if d.Met && len(d.changes) == 0 { // the configuration of today counts, and a rebuilt record has no reason
		g.Reason, g.TTL = d.asked.Reason, d.asked.TTL
	}
	j, err := judge(ctx, g, d.traits, r.Policy)
	d.Verdict, d.traits, d.judged, d.Provisional = j.Verdict, j.Traits, true, j.Provisional
	d.Warnings = append(d.Warnings, j.Warnings...)
	if err == nil && planned && r.Policy == "" && (!d.Met || len(d.changes) > 0) {
		err = b.noteEarly(ctx, &early{grant: g, traits: j.Traits})
	}
	if err == nil {
		err = b.checkOneRun(ctx, r, d, planned)
	}
	if err != nil {
		return err
	}
	d.written = r.fields(d.Grant)
	return b.approve(ctx, d, planned)
}

// readStanding reads the scope of a new grant and finds standing access that gives the same.
func (b *Broker) readStanding(ctx context.Context, d *Decision, planned, inTime bool) (err error) {
	read := func() (jit.Snapshot, error) { return b.readRecent(ctx, d.asked) }
	if !planned {
		if d.snapshot, err = read(); err != nil {
			return err
		}
	} else if d.snapshot, err = b.outages.read(d.asked.Place(), b.Now, read); err != nil {
		if inTime {
			d.Warnings = append(d.Warnings, Warning{"target", "The target cannot be read", fmt.Sprintf(
				"Whether standing access gives the same, and how much room is left, is unknown: %v. "+
					"The apply fails if the target still does not answer.", err)})
		}
		return nil
	}
	d.Grant.NoStandingBefore = noStanding(d.snapshot, d.asked.Binding, d.traits)
	d.standing, d.stands, err = b.standing(ctx, d.snapshot, d.asked, d.Grant.End)
	return err
}

// noStanding is [jit.Grant].NoStandingBefore according to a snapshot of the grant's scope.
func noStanding(s jit.Snapshot, binding jit.Binding, traits jit.Traits) bool {
	_, stands := s.StandingOf(binding)
	return traits.StrippedTo != "" && !stands
}

// meet decides on a request that meets its own record. One that is over is not judged.
func (b *Broker) meet(ctx context.Context, d Decision, r Request, planned bool) (Decision, error) {
	now := b.Now()
	g := d.recorded
	if r.Successor {
		g = b.undestroyed(g)
	}
	d.Grant, d.Met, d.Over = g, true, g.Over(now)
	if err := d.refuseMet(r, now); err != nil {
		return d, err
	}
	if d.Over {
		d.Warnings = []Warning{{"", "The grant is over", fmt.Sprintf(
			"It %s; nothing will be granted. Set renewal = %d to grant again.", ran(g), g.Renewal+1)}}
		return d, nil
	}
	d.Warnings = []Warning{{"", "The grant is live already", fmt.Sprintf(
		"It keeps its window, %s to %s. Change ttl in a later apply to move its end.", jit.FormatTime(g.Start),
		jit.FormatTime(g.End))}}
	if err := b.judgeInto(ctx, &d, r, planned); err != nil {
		return d, stillLive(g, err)
	}
	return d, nil
}

// refuseMet refuses a request that asks for another end than the record that it meets, or for a grant that was
// destroyed and is over.
func (d *Decision) refuseMet(r Request, now time.Time) error {
	g := d.Grant
	end, movesEnd := jit.FormatTime(g.End), r.TTL.IsZero() && !r.ExpiresAt.Equal(g.End)
	switch {
	case d.Over && g.Destroyed():
		return errUsedUp(g)
	case d.Over && movesEnd:
		return errOver(g, now, "expires_at")
	case !d.Over && !g.ReasonLost() && r.BreakGlass != g.BreakGlass:
		return errGlass(g)
	case movesEnd:
		return jit.Invalid("expires_at", fmt.Sprintf("write expires_at = %q, apply, and change it then", end),
			"this grant is live and ends at %s; creating it again does not move its end", end)
	}
	return nil
}

// readRecent reads the grant's scope; a target that shares reads may return a recent one.
func (b *Broker) readRecent(ctx context.Context, g jit.Grant) (jit.Snapshot, error) {
	p, err := b.Target(g.Target)
	if err != nil {
		return jit.Snapshot{}, err
	}
	if shared, ok := p.(*batch.Shared); ok {
		return b.readScope(ctx, shared.Recent, g.Place())
	}
	return b.readScope(ctx, p.Read, g.Place())
}

// decideChange decides on a change of a grant to what the request says. g holds the facts that the caller remembers,
// for a ledger that has lost them.
func (b *Broker) decideChange(ctx context.Context, g jit.Grant, r Request, planned bool) (d Decision, err error) {
	if d.asked, d.traits, err = b.Check(r); err != nil {
		return d, err
	}
	var known bool
	if d.recorded, known, err = b.Lookup(ctx, g.ID, g); err != nil {
		return d, err
	}
	if !known {
		if err = b.checkLost(ctx, &d, planned); err != nil {
			return d, err
		}
	}
	d.current, d.completed = completed(d.recorded, d.asked)
	if d.Grant, d.changes, err = b.changed(d.current, r, d.traits); err != nil {
		return d, err
	}
	now := b.Now()
	d.Met, d.Over = true, d.current.Over(now)
	if r.Policy != "" || r.AnyPolicy {
		d.namesPolicy, d.newlyNamed = named(r.Policy != ""), r.NewPolicy
	}
	d.later = !d.Grant.Start.Equal(d.current.Start) && d.Grant.Start.After(now)
	if len(d.changes) == 0 && d.Grant.Terms == d.current.Terms || d.Over || !d.Grant.RevokedAt.IsZero() {
		return d, nil
	}
	err = b.judgeInto(ctx, &d, r, planned)
	if r.Policy != "" || r.AnyPolicy {
		d.Grant.Policy = d.Verdict.Policy
	}
	return d, err
}

// checkLost checks on the target what the caller remembers of a grant that the ledger has lost.
func (b *Broker) checkLost(ctx context.Context, d *Decision, planned bool) error {
	live := d.recorded.Live(b.Now())
	if !live && (planned || d.traits.StrippedTo == "") {
		return nil
	}
	s, err := b.readRecent(ctx, d.recorded)
	if err != nil {
		return err
	}
	d.recorded.NoStandingBefore = noStanding(s, d.recorded.Binding, d.traits)
	if !live {
		return nil
	}
	if err := b.CheckForgotten(ctx, d.recorded); err != nil {
		return err
	}
	return traced(d.recorded, s)
}

// traced refuses a grant that the ledger has lost and that has no trace on its target: it may have been revoked.
func traced(g jit.Grant, s jit.Snapshot) error {
	if g.Drift(s) != jit.Missing {
		return nil
	}
	return jit.Errorf(jit.ErrOver, "", renew(g),
		"the ledger has no record of grant %s, and target %q has no binding of it: it may have been revoked",
		g.ID, g.Target)
}
