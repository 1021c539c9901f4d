package broker

import (
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// sayAgain is how often a repeated failure is recorded.
const sayAgain = time.Hour

// failures holds the failures that are recorded, so that a task that fails every minute for weeks does not fill the
// record. The zero value is ready.
type failures struct {
	mu   sync.Mutex
	told map[jit.ID]failed
}

type failed struct {
	kind jit.EventKind
	at   time.Time
}

// news reports whether such a failure of the grant has not been recorded within the last hour, and notes it as
// recorded.
func (f *failures) news(id jit.ID, kind jit.EventKind, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last, known := f.told[id]; known && last.kind == kind && now.Sub(last.at).Abs() < sayAgain {
		return false
	}
	if f.told == nil {
		f.told = map[jit.ID]failed{}
	}
	f.told[id] = failed{kind, now}
	return true
}

// known reports whether such a failure is the last recorded outcome of the grant.
func (f *failures) known(id jit.ID, kind jit.EventKind) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told[id].kind == kind
}

// over forgets the failures of a grant.
func (f *failures) over(id jit.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.told, id)
}
