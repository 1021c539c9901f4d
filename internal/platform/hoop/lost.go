package hoop

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// lostRequest is a creation that the gateway has not answered. The gateway may carry it out after the next look: it
// makes a second review, or makes again an attribute that was deleted. It refuses no request as a repetition.
type lostRequest struct {
	scope  string
	marker jit.Marker
	// because is the grant for which it was made, if that is another one.
	because jit.Marker
	at      time.Time // when the answer was lost
	// others are sessions, or attributes, that another request has made.
	others map[string]bool
}

// lostRequests are the lost requests of a target. No change of their grants succeeds until each has shown what it made,
// or can be ruled out because listPatience is over. A process that starts later does not know them: what they make then
// bears its marker and, in review mode, an end as much too late as the request was; a sweep removes it. The zero value
// is ready.
type lostRequests struct {
	mu  sync.Mutex
	all []*lostRequest
}

// sameGrant reports whether two markers are of one grant, whatever their windows.
func sameGrant(a, b jit.Marker) bool { return a.Owner == b.Owner && a.ID == b.ID }

// add notes a request that ended with err, unless the gateway cannot carry it out any more.
func (l *lostRequests) add(r lostRequest, err error) {
	var judged *statusError
	var dial *net.OpError
	if errors.As(err, &judged) && !passing(judged.code) || errors.As(err, &dial) && dial.Op == "dial" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, &r)
}

// answered notes what a request made whose answer was not lost.
func (l *lostRequests) answered(m jit.Marker, made string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.all {
		if sameGrant(r.marker, m) {
			r.others[made] = true
		}
	}
}

// listed looks for the request that has made what bears the marker.
func (l *lostRequests) listed(m jit.Marker, made string) {
	l.mu.Lock()
	i := slices.IndexFunc(l.all, func(r *lostRequest) bool { return sameGrant(r.marker, m) && !r.others[made] })
	if i >= 0 {
		l.all = slices.Delete(l.all, i, i+1)
	}
	l.mu.Unlock()
	if i >= 0 {
		l.answered(m, made)
	}
}

// open reports whether something that was lost after a time can still change a grant.
func (l *lostRequests) open(scope string, m jit.Marker, after time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, func(r *lostRequest) bool { return r.at.Before(after) })
	return slices.ContainsFunc(l.all, func(r *lostRequest) bool {
		return r.scope == scope && (sameGrant(r.marker, m) || sameGrant(r.because, m))
	})
}
