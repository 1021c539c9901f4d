package broker

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Preview is what a request would do if it were applied now.
type Preview struct {
	// Grant is the record that the request meets, or the grant as it would be. Of a new
	// grant the window is zero: it is fixed when it is applied.
	Grant jit.Grant
	// Met: a record or a marker of this id exists already.
	Met bool
	// Over: what was met has ended; applying the request grants nothing.
	Over     bool
	Verdict  jit.Verdict
	Warnings []Warning
}

// Preview judges the request without writing anything anywhere. With read set it
// reads the scope, to find the marker of a grant that the ledger lost and standing
// access. Refusals are errors (*[jit.Error]).
func (b *Broker) Preview(ctx context.Context, r Request, read bool) (Preview, error) {
	g, traits, err := b.Check(r)
	if err != nil {
		return Preview{}, err
	}
	recorded, known, err := b.Ledger.Lookup(ctx, g.ID)
	if err != nil {
		return Preview{}, err
	}
	if !known {
		if err := b.boundedAtOnce(g, traits); err != nil {
			return Preview{}, err
		}
	}
	if known && !recorded.Failed() {
		return b.previewMet(ctx, recorded, g, traits, r)
	}

	// The verdict comes before anything is read, so that a target that does not answer hides no refusal. A window that has passed
	// is refused after it only: the target may bear the marker of a grant that the ledger has lost.
	now := b.Now()
	w, late := r.window(now)
	var v jit.Verdict
	var warnings []Warning
	if late == nil {
		if v, traits, warnings, err = b.foresee(ctx, g, traits, r.Policy, w.Start, w.Length()); err != nil {
			return Preview{}, err
		}
	}
	var snapshot jit.Snapshot
	if read && !known {
		look := func() (jit.Snapshot, error) { return b.look(ctx, g) }
		if snapshot, err = b.outages.read(g.Place(), b.Now, look); err != nil && late == nil {
			warnings = append(warnings, Warning{"target", "The target cannot be read", fmt.Sprintf(
				"Whether standing access gives the same, and how much room there is, is not known: %v. The apply fails if the target does not answer then either.", err)})
		}
		if recorded, known, err = b.remade(g, snapshot, r); err != nil {
			return Preview{}, err
		}
		if known {
			return b.previewMet(ctx, recorded, g, traits, r)
		}
	}
	if late != nil {
		return Preview{}, late
	}
	g.Policy, g.SessionTail = v.Policy, traits.SessionTail
	p := Preview{Grant: g, Verdict: v, Warnings: append(warnings, b.warn(ctx, g, traits, v, r.StartsAt.After(now))...)}
	if s, stands, err := b.standing(ctx, snapshot, g, w.End); err != nil {
		return Preview{}, err
	} else if stands {
		p.Warnings = append(p.Warnings, standsAlready(g, s))
	}
	for _, n := range snapshot.Notes {
		if n.Principal == "" || n.Principal == g.Principal {
			p.Warnings = append(p.Warnings, Warning{"scope", cmp.Or(n.Summary, "Little room is left"), n.Text})
		}
	}
	if snapshot.Advise != nil {
		for _, a := range snapshot.Advise(ctx, g.Binding) {
			p.Warnings = append(p.Warnings, Warning{a.Attribute, a.Title, a.Text})
		}
	}
	for _, text := range snapshot.Unseen {
		p.Warnings = append(p.Warnings, Warning{"scope", "Not all of the access was looked at",
			fmt.Sprintf("On %s of target %q: %s. Whether standing access gives the same is known of the rest only.", g.Scope, g.Target, text)})
	}
	return p, nil
}

// standsAlready warns of standing access that gives what the grant is to give.
func standsAlready(g jit.Grant, s jit.Standing) Warning {
	lasts := "without an end"
	if !s.End.IsZero() {
		lasts = "until " + jit.FormatTime(s.End)
	}
	return Warning{"principal", "Standing access already gives the same",
		fmt.Sprintf("%s has %s on %s %s (%s). The grant would change nothing, and its end would end nothing. Remove the standing access first.",
			g.Principal, g.Role, g.Scope, lasts, s.Detail)}
}

// previewMet judges a request that meets its own record; asked is the grant as it is asked for. One that is over is not judged.
func (b *Broker) previewMet(ctx context.Context, recorded, asked jit.Grant, traits jit.Traits, r Request) (Preview, error) {
	if r.Successor {
		recorded = b.resumed(recorded)
	}
	p, err := b.meet(recorded, r)
	if err != nil || p.Over {
		return p, err
	}
	var open []Warning
	if p.Verdict, traits, open, err = b.foresee(ctx, today(recorded, asked), traits, r.Policy, recorded.Start, recorded.Length()); err != nil {
		return Preview{}, stillLive(recorded, err)
	}
	p.Warnings = append(append(p.Warnings, open...), b.warn(ctx, recorded, traits, p.Verdict, false)...)
	return p, nil
}

// meet tells what a request comes to that meets its own record.
func (b *Broker) meet(g jit.Grant, r Request) (Preview, error) {
	now := b.Now()
	p := Preview{Grant: g, Met: true, Over: g.Over(now)}
	if p.Over && g.Destroyed() {
		return Preview{}, usedUp(g)
	}
	if r.TTL == "" && !r.ExpiresAt.Equal(g.End) {
		if p.Over {
			return Preview{}, over(g, now, "expires_at")
		}
		return Preview{}, jit.Invalid("expires_at", fmt.Sprintf("write expires_at = %q, apply, and change it then", jit.FormatTime(g.End)),
			"this grant is live already and ends at %s; making it again does not move its end", jit.FormatTime(g.End))
	}
	if p.Over {
		p.Warnings = []Warning{{"", "The grant is over", fmt.Sprintf(
			"It ran from %s to %s%s; nothing will be granted. Set renewal = %d to grant again.",
			jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()), revokedBy(g), g.Renewal+1)}}
	} else {
		p.Warnings = []Warning{{"", "The grant is live already", fmt.Sprintf(
			"It keeps its window, %s to %s. Change ttl in a later apply to move its end.", jit.FormatTime(g.Start), jit.FormatTime(g.End))}}
	}
	return p, nil
}

func revokedBy(g jit.Grant) string {
	if g.RevokedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf(", when %s revoked it (%s)", g.RevokedBy, g.RevokeReason)
}

// over is the error for asking an ended grant for anything else than it was.
func over(g jit.Grant, now time.Time, attribute string) error {
	return &jit.Error{
		Attribute: attribute,
		Problem: fmt.Sprintf("the grant is over: it ran from %s to %s%s, and it is %s; an ended grant is never changed",
			jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()), revokedBy(g), jit.FormatTime(now)),
		Hint: fmt.Sprintf("set renewal = %d to grant again", g.Renewal+1),
		Err:  jit.ErrOver,
	}
}

// warn collects what a reviewer has to know of a new or changed grant.
func (b *Broker) warn(ctx context.Context, g jit.Grant, traits jit.Traits, v jit.Verdict, later bool) []Warning {
	var all []Warning
	if v.Policy == "" {
		all = append(all, Warning{"policy", "No policy governs the grant",
			"The ledger holds no policy, so every grant within max_ttl is permitted. Write a jit_policy to say who may be granted what."})
	}
	all = append(all, b.warnUnswept(ctx, g, traits.Enforcement == jit.Sweeper && !v.SweeperAccepted, later && !traits.NativeStart)...)
	if traits.Remembered {
		all = append(all, Warning{"target", "Only the ledger remembers the access",
			fmt.Sprintf("On target %q nothing can be written on a binding. If the ledger is lost, no sweep can tell which access is temporary, and what is live then stays: keep a ledger that is backed up.", g.Target)})
	}
	if traits.Caution != "" {
		all = append(all, Warning{"principal", "The grant may give nothing", traits.Caution})
	}
	if traits.SessionTail != 0 && !v.TailAccepted {
		tail := "can go on for as long as it likes"
		if traits.SessionTail > 0 {
			tail = "can go on for " + jit.FormatDuration(traits.SessionTail)
		}
		if !g.TerminateSessions {
			all = append(all, Warning{"target", "Sessions can outlive the grant",
				fmt.Sprintf("On target %q a session that is open at the end %s.", g.Target, tail)})
		}
	}
	return all
}

// look reads the grant's scope, where that is possible as it was a moment ago.
func (b *Broker) look(ctx context.Context, g jit.Grant) (jit.Snapshot, error) {
	p, err := b.Target(g.Target)
	if err != nil {
		return jit.Snapshot{}, err
	}
	read := p.Read
	if shared, ok := p.(*batch.Shared); ok {
		read = shared.Recent
	}
	s, err := read(ctx, g.Scope)
	if err != nil {
		return s, fmt.Errorf("read %s on target %q: %w", g.Scope, g.Target, err)
	}
	return s, nil
}

// PreviewChange judges a change of a recorded grant to what the request says, without
// writing. The binding, reason and renewal of the request have to be the grant's.
func (b *Broker) PreviewChange(ctx context.Context, g jit.Grant, r Request) (Preview, error) {
	asked, traits, err := b.Check(r)
	if err != nil {
		return Preview{}, err
	}
	recorded, known, err := b.Recall(ctx, g.ID, g)
	if err != nil {
		return Preview{}, err
	}
	if !known && recorded.Live(b.Now()) {
		if err := b.traced(ctx, recorded); err != nil {
			return Preview{}, err
		}
	}
	recorded, _ = whole(recorded, asked)
	next, what, err := b.changed(recorded, r, traits)
	if err != nil {
		return Preview{}, err
	}
	p := Preview{Grant: next, Met: true, Over: recorded.Over(b.Now())}
	if len(what) == 0 || p.Over || !next.RevokedAt.IsZero() {
		return p, nil // nothing to judge
	}
	var open []Warning
	if p.Verdict, traits, open, err = b.foresee(ctx, next, traits, r.Policy, next.Start, next.Length()); err != nil {
		return Preview{}, err
	}
	p.Grant.Policy = p.Verdict.Policy
	p.Warnings = append(open, b.warn(ctx, next, traits, p.Verdict, !next.Start.Equal(recorded.Start) && next.Start.After(b.Now()))...)
	return p, nil
}

// traced refuses a grant that the ledger has lost and of which nothing is on its target: it may have been revoked.
func (b *Broker) traced(ctx context.Context, g jit.Grant) error {
	s, err := b.look(ctx, g)
	if err != nil {
		return err
	}
	if g.Drift(s) != jit.Missing {
		return nil
	}
	return &jit.Error{
		Problem: fmt.Sprintf("the ledger has no record of grant %s and nothing of it is on target %q: it may have been revoked", g.ID, g.Target),
		Hint:    fmt.Sprintf("set renewal = %d to grant again", g.Renewal+1),
		Err:     jit.ErrOver,
	}
}

// changed returns the recorded grant as the request wants it, and the names of the attributes
// that differ in substance: nothing is judged or written. An end that has passed
// makes the grant revoked now.
func (b *Broker) changed(g jit.Grant, r Request, traits jit.Traits) (jit.Grant, []string, error) {
	now := b.Now()
	next := g
	var what []string
	var err error
	if next.Start, err = b.beginning(g, r, traits); err != nil {
		return g, nil, err
	}
	if !next.Start.Equal(g.Start) {
		what = append(what, "starts_at")
	}
	w := jit.Window{Start: next.Start, End: r.ExpiresAt}
	if r.TTL != "" {
		ttl, err := jit.ParseTTL(r.TTL)
		if err != nil {
			return g, nil, err
		}
		recordedTTL, err := jit.ParseTTL(g.TTL)
		w.End = next.Start.Add(ttl)
		if err == nil && recordedTTL == ttl && next.Start.Equal(g.Start) {
			w.End = g.End // the same length: an adopted or shortened window stays as it is
		}
	}
	if !w.End.Equal(g.End) {
		what = append(what, map[bool]string{true: "ttl", false: "expires_at"}[r.TTL != ""])
	}
	if len(what) > 0 && g.Over(now) {
		return g, nil, over(g, now, what[len(what)-1])
	}
	if _, asks := jit.Asks(b.Targets[g.Target]); asks && !g.GrantedAt.IsZero() && !w.Equal(g.Window) && w.End.After(now) {
		return g, nil, jit.Invalid("ttl", fmt.Sprintf("set renewal = %d to ask for it anew, or destroy the grant to end it now", g.Renewal+1),
			"people approved the grant on target %q from %s to %s, and what they approved is not changed", g.Target, jit.FormatTime(g.Start), jit.FormatTime(g.End))
	}
	next.TTL, next.Window = r.TTL, w
	next.StartBy, next.TerminateSessions = r.StartBy, r.TerminateSessions
	if r.Policy != "" && r.Policy != g.Policy {
		what = append(what, "policy")
	}
	if !w.End.After(w.Start) {
		return g, nil, jit.Invalid("expires_at", "write an end after the beginning; one in the past ends the grant now",
			"%s is not after the beginning of the grant, %s", jit.FormatTime(w.End), jit.FormatTime(w.Start))
	}
	if len(what) > 0 && !next.End.After(now) {
		next.RevokedAt, next.RevokedBy, next.RevokeReason = now, b.Actor.Name, "the end was moved to the past"
	}
	return next, what, nil
}

// beginning is when the recorded grant begins by what the request says. It can be moved until then, also on a
// platform that was told of it already.
func (b *Broker) beginning(g jit.Grant, r Request, traits jit.Traits) (time.Time, error) {
	now := b.Now()
	ahead := g.Deferred() && g.GrantedAt.IsZero() || traits.NativeStart && now.Before(g.Start)
	switch {
	case r.StartsAt.IsZero() && !r.StartNow, r.StartsAt.Equal(g.Start):
		return g.Start, nil
	case ahead && !g.Over(now):
		start := later(r.StartsAt, jit.Second(now))
		return start, r.mayBegin(start, now)
	case r.StartNow, r.StartsAt.Before(g.Start) && !g.Deferred():
		return g.Start, nil // it has begun, at once
	case g.Over(now):
		return g.Start, over(g, now, "starts_at")
	}
	return g.Start, jit.Invalid("starts_at", fmt.Sprintf("write starts_at = %q or leave it out, and set renewal = %d to grant the same at another time", jit.FormatTime(g.Start), g.Renewal+1),
		"the grant began at %s; a beginning that has come is not moved, to %s or elsewhere", jit.FormatTime(g.Start), jit.FormatTime(r.StartsAt))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
