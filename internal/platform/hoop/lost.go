package hoop

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// lostRequest is a creation that the gateway has not answered. The gateway may carry it out after the next read. It
// then makes a second review, or an attribute that was deleted in the meantime: the gateway recognizes no repetition.
type lostRequest struct {
	scope  string
	marker jit.Marker
	// because is the grant whose Ensure made the request, if that is another one.
	because jit.Marker
	at      time.Time // when the answer was lost
	// others are the sessions, or attributes, that other requests have made.
	others map[string]bool
}

// lostRequests are the lost requests of a target. A change of their grants succeeds only when the binding that each has
// made is listed, or when listPatience has passed. If this process ends first, a later binding bears its marker, and a
// sweep removes it. In review mode it also bears an end, which is as late as the request was. The zero value is ready.
type lostRequests struct {
	mu  sync.Mutex
	all []*lostRequest
}

// add notes a request that ended with err, unless err proves that it takes no effect.
func (l *lostRequests) add(r lostRequest, err error) {
	var judged *statusError
	var dial *net.OpError
	if errors.As(err, &judged) && !slices.Contains(fromProxies, judged.code) ||
		errors.As(err, &dial) && dial.Op == "dial" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, &r)
}

// answered notes the session or attribute that an answered request has made.
func (l *lostRequests) answered(m jit.Marker, made string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.all {
		if r.marker.Key() == m.Key() {
			r.others[made] = true
		}
	}
}

// listed removes the lost request that has made a session or attribute with the marker, if there is one.
func (l *lostRequests) listed(m jit.Marker, made string) {
	l.mu.Lock()
	i := slices.IndexFunc(l.all, func(r *lostRequest) bool { return r.marker.Key() == m.Key() && !r.others[made] })
	if i >= 0 {
		l.all = slices.Delete(l.all, i, i+1)
	}
	l.mu.Unlock()
	if i >= 0 {
		l.answered(m, made)
	}
}

// open reports whether a request that was lost after a time can still change a grant.
func (l *lostRequests) open(scope string, m jit.Marker, after time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, func(r *lostRequest) bool { return r.at.Before(after) })
	return slices.ContainsFunc(l.all, func(r *lostRequest) bool {
		return r.scope == scope && (r.marker.Key() == m.Key() || r.because.Key() == m.Key())
	})
}

// awaitLost compares lost requests with a list of reviews that was asked for at a time. A job is not done while such a
// request can still change its grant.
func (a *application) awaitLost(asked time.Time) (open bool) {
	for _, r := range a.listed {
		if r.ours() {
			a.lost.listed(r.marker, r.session)
		}
	}
	for _, j := range a.jobs {
		if !j.refused && a.lost.open(a.scope, j.access.Marker, asked.Add(-a.patience)) {
			open, j.done = true, false
		}
	}
	return open
}
