package broker

import (
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// repeatAfter is how often a repeated failure is recorded.
const repeatAfter = time.Hour

// failures remembers the recorded failures, so that a task that fails every minute for weeks does not fill the record.
// The zero value is ready for use.
type failures struct {
	mu       sync.Mutex
	recorded map[jit.ID]failure
}

type failure struct {
	kind jit.EventKind
	at   time.Time
}

// isNew reports whether the grant's failure is to be recorded: not again within an hour. It remembers it as recorded.
func (f *failures) isNew(id jit.ID, kind jit.EventKind, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	last, known := f.recorded[id]
	if known && last.kind == kind && now.Sub(last.at).Abs() < repeatAfter {
		return false
	}
	if f.recorded == nil {
		f.recorded = map[jit.ID]failure{}
	}
	f.recorded[id] = failure{kind, now}
	return true
}

// isLast reports whether such a failure is the last recorded outcome of the grant.
func (f *failures) isLast(id jit.ID, kind jit.EventKind) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recorded[id].kind == kind
}

// forget forgets the failures of a grant.
func (f *failures) forget(id jit.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.recorded, id)
}
