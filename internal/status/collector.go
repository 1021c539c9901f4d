package status

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	grantsDesc = describe("jit_grants",
		"Grants by target, owner and state: live, waiting (to begin, or for the target's confirmation), due (over for "+
			"less than a minute and not confirmed as gone), overdue (for longer).", "target", "owner", "state")
	cleanDesc = describe("jit_cleanup_open",
		"Grants whose target has confirmed that access ended, and still has something of them that gives no access.",
		"target", "owner")
	unsignedDesc = describe("jit_unsigned_break_glass",
		"Grants, live or over, that broke the glass and that nobody has signed off.", "target", "owner")
	askedDesc = describe("jit_oldest_request_timestamp_seconds",
		"When the oldest request that waits for approval was made; absent if none waits.", "target", "owner")
	reachDesc = describe("jit_out_of_reach_grants",
		"Overdue grants that this daemon cannot end: it has no such target, or does not serve their owner.",
		"target", "owner")
	stuckDesc  = describe("jit_stuck_grants", "Grants whose end or start failed and is retried.", "target")
	unreadDesc = describe("jit_unread_scopes",
		"Scopes, and lists of scopes, that could not be read when that was last tried.", "target")
	heldDesc = describe("jit_held_removals",
		"Unplanned removals that max_unplanned_revocations held back in the last drift pass.", "target")
	foreignDesc = describe("jit_unexplained_bindings",
		"Bindings with the marker of an owner that is not served, which the ledger does not explain, found by the "+
			"last drift pass; at most 100 of a scope.", "target")
	upDesc     = describe("jit_ledger_up", "Whether the ledger answered when it was last read.")
	behindDesc = describe("jit_ledger_behind",
		"Whether the ledger has gone back in time and nobody has accepted it: nothing begins then.")
)

const (
	// countsFor is how long counts, or a failure to count, are reused: counting reads all open grants. Slow counts are
	// reused for longer: countsTimes as long as they took.
	countsFor   = 15 * time.Second
	countsTimes = 20
	// countTimeout bounds the count, well below the ten seconds after which Prometheus gives up by default: a scrape
	// must be able to say that the ledger does not answer.
	countTimeout = 5 * time.Second
)

// ledgerCollector reads the ledger and the state of the watcher when it is scraped.
type ledgerCollector struct {
	Source

	mu     sync.Mutex
	until  time.Time
	counts []jit.Count
	// unsigned counts the grants that broke the glass and are not signed off, by target and owner; asked is when the
	// oldest request was made that waits for approval.
	unsigned, asked map[[2]string]int64
	err             error
}

// Describe names the metrics.
func (c *ledgerCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		grantsDesc, cleanDesc, unsignedDesc, askedDesc, reachDesc, stuckDesc, unreadDesc, heldDesc, foreignDesc, upDesc,
		behindDesc,
	} {
		to <- d
	}
}

// Collect sends the metrics. While the ledger does not answer, there are no counts, so that nobody takes old ones for
// new.
func (c *ledgerCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	s := c.State()
	counts, err := []jit.Count(nil), s.LedgerError
	if err == nil {
		counts, err = c.count()
	}
	up := int64(1)
	if err != nil {
		up, counts = 0, nil
	}
	gauge(upDesc, up)
	behind := int64(0)
	if s.Behind != nil {
		behind = 1
	}
	gauge(behindDesc, behind)
	if err == nil {
		c.collectUndecided(gauge)
	}
	for _, n := range counts {
		gauge(grantsDesc, n.Live, n.Target, n.Owner, "live")
		gauge(grantsDesc, n.Waiting, n.Target, n.Owner, "waiting")
		gauge(grantsDesc, n.Due, n.Target, n.Owner, "due")
		gauge(grantsDesc, n.Overdue, n.Target, n.Owner, "overdue")
		gauge(cleanDesc, n.Cleanup, n.Target, n.Owner)
		if c.OutOfReach(n.Owner, n.Target) == "" {
			n.Overdue = 0
		}
		gauge(reachDesc, n.Overdue, n.Target, n.Owner)
	}
	collectState(s, gauge)
}

// collectUndecided sends what waits for people.
func (c *ledgerCollector) collectUndecided(gauge func(d *prometheus.Desc, v int64, labels ...string)) {
	c.mu.Lock()
	unsigned, asked := c.unsigned, c.asked
	c.mu.Unlock()
	for at, n := range unsigned {
		gauge(unsignedDesc, n, at[0], at[1])
	}
	for at, when := range asked {
		gauge(askedDesc, when, at[0], at[1])
	}
}

// countUndecided counts the grants that broke the glass and are not signed off, and finds the oldest requests.
func (c *ledgerCollector) countUndecided(ctx context.Context) (unsigned, asked map[[2]string]int64, err error) {
	unsigned, asked = map[[2]string]int64{}, map[[2]string]int64{}
	for g, err := range c.Ledger.Grants(ctx, jit.Filter{Unsigned: true}) {
		if err != nil {
			return nil, nil, err
		}
		unsigned[[2]string{g.Target, g.Owner}]++
	}
	for g, err := range c.Ledger.Grants(ctx, jit.Filter{Waiting: true}) {
		if err != nil {
			return nil, nil, err
		}
		at := [2]string{g.Target, g.Owner}
		if when, known := asked[at]; g.Waits(c.Now()) && (!known || g.FailedAt.Unix() < when) {
			asked[at] = g.FailedAt.Unix()
		}
	}
	return unsigned, asked, nil
}

// collectState sends the metrics of a watcher.
func collectState(s sweeper.State, gauge func(d *prometheus.Desc, v int64, labels ...string)) {
	for target, n := range s.StuckOn {
		gauge(stuckDesc, int64(n), target)
	}
	unread, foreign := map[string]int64{}, map[string]int64{}
	for _, u := range s.Unread {
		unread[u.Target]++
	}
	for _, r := range s.Found {
		if r.Foreign {
			foreign[r.Target]++
		}
	}
	for target, n := range unread {
		gauge(unreadDesc, n, target)
	}
	for target, p := range s.Drift {
		if !p.At.IsZero() {
			gauge(heldDesc, int64(p.Held), target)
			gauge(foreignDesc, foreign[target], target)
		}
	}
}

// count counts the grants, or returns counts that are still fresh.
func (c *ledgerCollector) count() ([]jit.Count, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := time.Now()
	if began.Before(c.until) {
		return c.counts, c.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	if c.counts, c.err = c.Ledger.Counts(ctx, nil, c.Now()); c.err == nil {
		c.unsigned, c.asked, c.err = c.countUndecided(ctx)
	}
	keep := countsFor
	if c.err == nil {
		keep = max(keep, countsTimes*time.Since(began))
	}
	c.until = time.Now().Add(keep)
	return c.counts, c.err
}
