package broker

import (
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// sayAgain is how often the record is told of what fails again and again.
const sayAgain = time.Hour

// failures remembers which failures the record has been told of, so that what is tried every
// minute for weeks does not fill it. Its zero value is ready.
type failures struct {
	mu   sync.Mutex
	told map[jit.ID]failed
}

type failed struct {
	kind jit.EventKind
	at   time.Time
}

// news reports whether the record has not been told of such a failure of the grant within the last hour, and takes it for told.
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

// known reports whether the last that was told of the grant is such a failure, and nothing better has come since.
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
