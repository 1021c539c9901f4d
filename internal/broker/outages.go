package broker

import (
	"errors"
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

// outages remembers the scopes and targets that took long to fail, so that a plan of many grants waits for a target that
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
func (o *outages) read(at jit.Place, now func() time.Time, ask func() (jit.Snapshot, error)) (s jit.Snapshot, err error) {
	err = o.try(at, now, func() (err error) {
		s, err = ask()
		return err
	})
	return s, err
}

// try is read for any question; a question about a target as a whole has a place without a scope. An error that is an answer is
// not remembered.
func (o *outages) try(at jit.Place, now func() time.Time, ask func() error) error {
	began := now()
	o.mu.Lock()
	last, down := o.known[at]
	o.mu.Unlock()
	if down && began.Sub(last.at).Abs() < outageKept {
		return last.err
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

// answered reports whether a target's error says something about what it was asked.
func answered(err error) bool {
	return errors.Is(err, jit.ErrInvalid) || errors.Is(err, jit.ErrUnknown)
}

// asker asks a target for what it knows of a binding.
type asker func(target string, ask func() error) error

// askNow asks in any case.
func askNow(_ string, ask func() error) error { return ask() }

// askOnce does not ask a target of which an outage is remembered. It serves plans; what gives access asks now.
func (b *Broker) askOnce(target string, ask func() error) error {
	return b.outages.try(jit.Place{Target: target}, b.Now, ask)
}
