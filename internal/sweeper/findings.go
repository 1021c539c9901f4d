package sweeper

import (
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

const (
	// recordAgain is how often a finding that persists is recorded.
	recordAgain = 24 * time.Hour
	// askAgain is how often the ledger is asked whether a finding has been recorded.
	askAgain = time.Hour
	// maxReported caps how many reports on markers without a record one visit of a scope makes, and how many steps that
	// are held back it records; maxRecorded caps either on a target. A scope always makes one report.
	maxReported = 100
	maxRecorded = 1000
	// maxIdle caps how many bindings that give nobody access are removed from a target, though each scope may remove
	// one; the next pass goes on.
	maxIdle = 500
)

// dedupKey returns a key with which the ledger records a finding once in a period; done says what is done about it. The
// key is empty if the ledger has recorded the finding or there is no ledger.
func (v *visit) dedupKey(s reconcile.Step, done string, period time.Duration) jit.DedupKey {
	now := v.Broker.Now()
	parts := []string{"finding", s.Target, s.Scope, string(s.Grant.ID), string(s.Drift), done}
	name := strings.Join(parts, "/")
	if v.unrecorded || v.reported.has(name, now) {
		return jit.DedupKey{}
	}
	return jit.DedupKey{Name: name, At: now, Until: now.Add(period)}
}

// reported remembers which findings the ledger has, so that a watcher does not ask about each at every visit. The zero
// value is ready to use.
type reported struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// has reports whether the ledger need not be asked about a finding.
func (r *reported) has(name string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Before(r.until[name])
}

// note remembers the findings that were recorded without an error.
func (r *reported) note(steps []reconcile.Step, errs []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = map[string]time.Time{}
	}
	for i, s := range steps {
		if key := s.Dedup; errs[i] == nil && key.Name != "" {
			r.until[key.Name] = key.At.Add(min(key.Until.Sub(key.At), askAgain))
		}
	}
}

// forget drops the findings that the ledger must be asked about again.
func (r *reported) forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.until, func(_ string, until time.Time) bool { return !now.Before(until) })
}
