package broker

import (
	"errors"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// slowFailure is how long a read must take for its error to be kept.
	slowFailure = 5 * time.Second
	// outageKept is how long an error is kept: about one plan.
	outageKept = time.Minute
)

// outages remembers the errors of places that were slow to fail, so that a plan of many grants waits for a silent
// target once, not for each grant. The zero value is ready for use.
type outages struct {
	mu    sync.Mutex
	known map[jit.Place]outage
}

type outage struct {
	err error
	at  time.Time
}

// read reads a place with ask, unless an outage of it is kept.
func (o *outages) read(
	at jit.Place, now func() time.Time, ask func() (jit.Snapshot, error),
) (s jit.Snapshot, err error) {
	err = o.try(at, now, func() (err error) {
		s, err = ask()
		return err
	})
	return s, err
}

// try asks any question about a place, or about a whole target: a place without a scope. An error that answers the
// question is not kept.
func (o *outages) try(at jit.Place, now func() time.Time, ask func() error) error {
	began := now()
	if err := o.recent(at, began); err != nil {
		return err
	}
	err := ask()
	if ended := now(); err != nil && !answered(err) && ended.Sub(began) >= slowFailure {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.known == nil {
			o.known = map[jit.Place]outage{}
		}
		o.known[at] = outage{err, ended}
	}
	return err
}

// recent returns the error that is kept for a place.
func (o *outages) recent(at jit.Place, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if last, down := o.known[at]; down && now.Sub(last.at).Abs() < outageKept {
		return last.err
	}
	return nil
}

// answered reports whether a target's error answers the question.
func answered(err error) bool {
	return errors.Is(err, jit.ErrInvalid) || errors.Is(err, jit.ErrUnknown)
}
