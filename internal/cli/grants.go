package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// views returns grants as they stand now, for --json. If the ledger cannot be read, they have no request digest.
func (p *program) views(ctx context.Context, rt *config.Runtime, grants ...jit.Grant) []jit.View {
	views := make([]jit.View, len(grants))
	id := ""
	if len(grants) > 0 {
		id, _ = rt.Ledger.ID(ctx)
	}
	now := p.Now()
	for i, g := range grants {
		views[i] = g.View(now, id)
	}
	return views
}

// who names the principal of a grant for a table: by its other name and the end of its canonical one, if it has both.
func who(g jit.Grant) string {
	if g.PrincipalName == "" {
		return g.Principal
	}
	runes := []rune(g.Principal)
	return fmt.Sprintf("%s (…%s)", g.PrincipalName, string(runes[max(0, len(runes)-6):]))
}

// when describes a grant's window relative to now.
func when(g jit.Grant, now time.Time) string {
	switch g.State(now) {
	case jit.StateScheduled:
		return "starts in " + short(g.Start.Sub(now))
	case jit.StateRevoked:
		return "ended " + short(now.Sub(g.ActualEnd())) + " ago"
	case jit.StateRequested:
		return "waits " + short(now.Sub(g.FailedAt))
	case jit.StateFailed:
		return "gave nothing, " + short(now.Sub(g.FailedAt)) + " ago"
	case jit.StateExpired:
		return "ended " + short(now.Sub(g.End)) + " ago"
	}
	return short(g.End.Sub(now)) + " left"
}

// short writes a duration with the precision that a person needs: "3d4h", "1h32m", "12m", "45s".
func short(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		d = d.Truncate(time.Hour)
	case d >= 5*time.Minute:
		d = d.Truncate(time.Minute)
	default:
		d = d.Truncate(time.Second)
	}
	return jit.FormatDuration(d)
}

// printNoGrant says that no grant was found, and whether that is because there is no ledger.
func (p *program) printNoGrant(ctx context.Context, rt *config.Runtime, text string) {
	if id, err := rt.Ledger.ID(ctx); err == nil && id == "" {
		text += " There is no ledger yet; the first apply creates it."
	}
	fmt.Fprintln(p.err, text)
}

// printGrants writes grants as a table.
func (p *program) printGrants(w io.Writer, grants []jit.Grant) {
	now := p.Now()
	t := p.table(w, "OWNER", "SCOPE")
	t.row("ID", "STATE", "TIME", "OWNER", "TARGET", "PRINCIPAL", "ROLE", "SCOPE", "REASON")
	for _, g := range grants {
		state := string(g.State(now))
		if g.Outstanding(now) {
			state += " (not removed yet)"
		}
		if g.CleanupOpen() {
			state += " (clean-up open)"
		}
		if g.Unsigned() {
			state += " (not signed off)"
		}
		t.row(string(g.ID), state, when(g, now), g.Owner, g.Target, who(g), g.Role, g.Scope, g.ReasonText())
	}
	t.flush()
}
