package status

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// The oldest request that waits for approval is in the metrics; one that is decided on or has lapsed is not.
func TestOldestRequest(t *testing.T) {
	l := &jittest.Ledger{}
	waits := func(reason string, age time.Duration, change func(*jit.Grant)) {
		record(t, l, "db", "user:bob@example.com", reason, -age, time.Hour, func(g *jit.Grant) {
			g.TTL, g.GrantedAt, g.FailedAt, g.Awaits = jit.RecordedTTL("2h"), time.Time{}, noon.Add(-age), "1 of: lea"
			change(g)
		})
	}
	waits("INC-1: new", time.Minute, func(*jit.Grant) {})
	waits("INC-2: old", time.Hour, func(*jit.Grant) {})
	waits("INC-3: lapsed", 2*time.Hour, func(g *jit.Grant) { g.StartBy = noon.Add(-time.Minute) })
	waits("INC-4: denied", 3*time.Hour, func(g *jit.Grant) { g.Awaits = "" })
	checkMetrics(t, watching(l, sweeper.State{}), []string{"jit_oldest_request_timestamp_seconds"}, `
		# HELP jit_oldest_request_timestamp_seconds When the oldest request that waits for approval was made; absent if none waits.
		# TYPE jit_oldest_request_timestamp_seconds gauge
		jit_oldest_request_timestamp_seconds{owner="payments",target="db"} 1.795518e+09
	`)
}

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
