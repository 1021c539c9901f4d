package status

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// A grant that broke the glass stays on the page and in the metrics until somebody signs it off, also when it is over.
func TestUnsignedBreakGlass(t *testing.T) {
	l := &jittest.Ledger{}
	glass := func(g *jit.Grant) {
		g.BreakGlass, g.Requester, g.Awaits = true, "bob", "1 of: lea, leo"
		g.EndedAt = g.End
	}
	open := record(t, l, "db", "user:bob@example.com", "SEV1-1: down", -50*time.Hour, -49*time.Hour, glass)
	record(t, l, "db", "user:bob@example.com", "SEV1-0: down", -60*time.Hour, -59*time.Hour, func(g *jit.Grant) {
		glass(g)
		g.SignedOffAt, g.SignedOffBy = g.End, "lea"
	})
	page, _, _ := pageOf(t, l, sweeper.State{}, "/?q=nothing-matches")
	checkText(t, "the page", section(page, "unsigned"), []string{string(open.ID), "1 of: lea, leo", "SEV1-1"},
		[]string{"SEV1-0"})
	checkMetrics(t, watching(l, sweeper.State{}), []string{"jit_unsigned_break_glass"}, `
		# HELP jit_unsigned_break_glass Grants, live or over, that broke the glass and that nobody has signed off.
		# TYPE jit_unsigned_break_glass gauge
		jit_unsigned_break_glass{owner="payments",target="db"} 1
	`)
}
