package broker

import (
	"cmp"
	"context"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// warn adds the warnings that a reviewer needs to a decision that the policies have permitted.
func (b *Broker) warn(ctx context.Context, d *Decision) {
	if !d.judged {
		return
	}
	add := func(attribute, summary, detail string) {
		d.Warnings = append(d.Warnings, Warning{attribute, summary, detail})
	}
	g, traits := d.Grant, d.traits
	if d.Verdict.Policy == "" {
		add("policy", "No policy governs the grant",
			"The ledger holds no policy, so every grant within max_ttl is permitted. "+
				"Write a jit_policy to say who may be granted what.")
	}
	ends := traits.Enforcement == jit.Sweeper && !d.Verdict.SweeperAccepted
	d.Warnings = append(d.Warnings, b.warnUnswept(ctx, g, ends, d.later && !traits.NativeStart)...)
	if traits.Remembered {
		add("target", "Only the ledger remembers the access", fmt.Sprintf(
			"Nothing can be written on a binding on target %q. "+
				"If the ledger is lost, no sweep can tell which access is temporary, and live access stays: "+
				"keep a ledger that is backed up.", g.Target))
	}
	if traits.Caution != "" {
		add("principal", "The grant may give nothing", traits.Caution)
	}
	warnOfSessions(d, add)
	if !d.Met {
		warnOfStanding(d, add)
		warnOfScope(ctx, d, add)
	}
}

// warnOfSessions adds that sessions can outlive the grant.
func warnOfSessions(d *Decision, add func(attribute, summary, detail string)) {
	tail := d.traits.SessionTail
	if tail == 0 || d.Verdict.TailAccepted || d.Grant.TerminateSessions {
		return
	}
	lasts := "for " + jit.FormatDuration(tail)
	if tail < 0 {
		lasts = "indefinitely"
	}
	add("target", SessionsGoOn,
		fmt.Sprintf("On target %q, sessions open at the end can stay open %s.", d.Grant.Target, lasts))
}

// warnOfStanding adds the standing access that gives the same as a new grant.
func warnOfStanding(d *Decision, add func(attribute, summary, detail string)) {
	g, s := d.Grant, d.standing
	if !d.stands {
		return
	}
	lasts := "without an end"
	if !s.End.IsZero() {
		lasts = "until " + jit.FormatTime(s.End)
	}
	add("principal", "Standing access already gives the same", fmt.Sprintf(
		"%s has %s on %s %s (%s). The grant would change nothing, and its end would end nothing. "+
			"Remove the standing access before the grant ends.", g.Principal, g.Role, g.Scope, lasts, s.Detail))
}

// warnOfScope adds the target's notes on the scope of a new grant.
func warnOfScope(ctx context.Context, d *Decision, add func(attribute, summary, detail string)) {
	g := d.Grant
	for _, n := range d.snapshot.Notes {
		if n.Principal == "" || n.Principal == g.Principal {
			add("scope", cmp.Or(n.Summary, "Little room is left"), n.Text)
		}
	}
	if d.snapshot.Advise != nil {
		for _, a := range d.snapshot.Advise(ctx, g.Binding) {
			add(a.Attribute, a.Title, a.Text)
		}
	}
	for _, text := range d.snapshot.Unseen {
		add("scope", "Some access could not be read", fmt.Sprintf(
			"On %s of target %q: %s. Standing access that gives the same may be hidden there.",
			g.Scope, g.Target, text))
	}
}
