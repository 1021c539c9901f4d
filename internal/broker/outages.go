package broker

import (
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// slowFailure is how long a read has to take before its error is remembered.
	slowFailure = 5 * time.Second
	// outageKept is for how long it is: about one plan.
	outageKept = time.Minute
)

// outages remembers the scopes whose reads took long to fail, so that a plan of many grants waits for a target that
// does not answer once, not once for each grant. Its zero value is ready.
type outages struct {
	mu    sync.Mutex
	known map[jit.Place]outage
}

type outage struct {
	err error
	at  time.Time
}

// read reads a place by ask, unless an outage of it is remembered.
func (o *outages) read(at jit.Place, now func() time.Time, ask func() (jit.Snapshot, error)) (jit.Snapshot, error) {
	began := now()
	o.mu.Lock()
	last, down := o.known[at]
	o.mu.Unlock()
	if down && began.Sub(last.at).Abs() < outageKept {
		return jit.Snapshot{}, last.err
	}
	s, err := ask()
	if ended := now(); err != nil && ended.Sub(began) >= slowFailure {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.known == nil {
			o.known = map[jit.Place]outage{}
		}
		o.known[at] = outage{err, ended}
	}
	return s, err
}
