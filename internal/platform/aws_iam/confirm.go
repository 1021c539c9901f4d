package awsiam

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// confirm looks again for the access that was removed, because the answer to a removal does not say that the access is
// gone: a write whose answer was lost may be carried out late. IAM's reads lag, so it looks until no read shows the
// access, and removes again what one shows. Access that AWS has ended by its dates needs no look.
func (a *application) confirm(ctx context.Context, grants []*grant) {
	open := slices.DeleteFunc(slices.Clone(grants), func(g *grant) bool {
		return g.change.Op != jit.Remove || g.outcome != nil || a.over(g)
	})
	began := time.Now()
	for try := 0; len(open) > 0; try++ {
		passed := time.Since(began) // a read shows the account as it was when it began, or earlier
		latest, err := a.client.fetch(ctx)
		if err != nil {
			for _, g := range open {
				g.outcome = err
			}
			return
		}
		now := a.platform.applyTo(a.client, latest, a.scope)
		open = slices.DeleteFunc(open, func(g *grant) bool { return a.settled(g, now.shown(g), passed) })
		if len(open) == 0 {
			return
		}
		if err := backoff.Wait(ctx, try, a.client.pause, longestPause); err != nil {
			for _, g := range open {
				g.outcome = fmt.Errorf("wait to look for what was removed: %w", err)
			}
			return
		}
		now.carryOut(ctx, slices.DeleteFunc(slices.Clone(open), func(g *grant) bool { return now.shown(g) == "" }))
		open = slices.DeleteFunc(open, func(g *grant) bool { return g.outcome != nil })
	}
}

// settled reports whether nothing is left to look for, or gives the grant an error: where a read, begun so long after
// the removal, shows its access. A removal of access that is on record, and that nothing has shown, waits for as long as
// a read may miss it.
func (a *application) settled(g *grant, where string, passed time.Duration) bool {
	g.found = g.found || where != ""
	switch {
	case where == "":
		return g.found || !g.change.Held || !a.recent(g) || passed >= a.platform.settling
	case passed < a.platform.looking:
		return false
	}
	g.outcome = &jit.Error{Problem: fmt.Sprintf("AWS still shows %s, %s after it was removed", where,
		passed.Round(time.Second)), Hint: "revoke the grant again; the next sweep does, too"}
	return true
}

// time is the clock of AWS if it is known, else ours.
func (a *application) time() time.Time {
	if now := a.platform.watch.Clock(); !now.IsZero() {
		return now
	}
	return a.platform.now()
}

// over reports whether AWS has ended the access of a grant by its dates: its window has passed, and nothing of it that
// was found goes on.
func (a *application) over(g *grant) bool {
	end := g.marker.Window.End
	return !end.IsZero() && !a.time().Before(end) && !g.found
}

// recent reports whether a read may miss access of the grant that the delete by name has not found: it is in a trust
// policy, or on an unknown principal.
func (a *application) recent(g *grant) bool {
	start := g.marker.Window.Start
	return (!g.known() || g.access.trusting.text != "") &&
		(start.IsZero() || a.time().Sub(start) < a.platform.settling)
}

// shown says where the account holds access of a grant that AWS has not ended by its dates; empty for nowhere.
func (a *application) shown(g *grant) string {
	name, sid, managed, now := policyName(g.marker), sidOf(g.marker), a.managedARN(g), a.time()
	goesOn := func(end time.Time) bool { return end.IsZero() || now.Before(end) }
	for _, e := range a.bearers[name] {
		if goesOn(read(a.account.get(item{inlinePolicy, e.text, name})).end) {
			return "the policy " + name + " of " + e.text
		}
	}
	for _, e := range a.account.holders(managed) {
		if goesOn(read(a.account.get(item{managedPolicy, managed, ""})).end) {
			return "the policy " + managed + " attached to " + e.text
		}
	}
	for _, e := range a.bearers[sid] {
		ours, _ := own(e.trust, sid)
		if slices.ContainsFunc(ours, func(s statement) bool {
			return goesOn(bound(s, before)) && a.account.givesByTrust(s, g.marker)
		}) {
			return "the statement " + sid + " in the trust policy of " + e.text
		}
	}
	return ""
}

// givesByTrust reports whether our statement of a trust policy gives somebody access.
func (a *account) givesByTrust(s statement, m jit.Marker) bool {
	return slices.ContainsFunc(append(trusted(s), others(s)...),
		func(principal string) bool { return !a.withoutEffect(principal, m) })
}
