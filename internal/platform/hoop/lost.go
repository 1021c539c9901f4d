package hoop

import (
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// lostRequest is a creation that the gateway has not answered, or not with what became of it. The gateway may carry it
// out after the next read. It then makes a second review, or an attribute that was deleted in the meantime: the gateway
// recognizes no repetition.
type lostRequest struct {
	scope  string
	marker jit.Marker
	// because is the grant whose Ensure made the request, if that is another one.
	because jit.Marker
	// others are the sessions, or attributes, that other requests have made.
	others map[string]bool
	// at is when the request ended, lost or answered; zero while it is under way.
	at time.Time
	// made is what an answered request has made. It is kept because the list may show it later.
	made string
}

// lost reports whether the request has ended, and its outcome is unknown.
func (r *lostRequest) lost() bool { return !r.at.IsZero() && r.made == "" }

// lostRequests are the lost requests of a target, and the others of the last moments. In review mode a change of the
// grant of a lost request succeeds only when the review that this has made is listed, or when listPatience has passed.
// In attribute mode, and for a session that asks for a grant, only the removal waits: an attribute exists once, and of
// several sessions that ask, the next Ask rejects all but one.
//
// Only this process knows of them. If it ends before they take effect, a later review or attribute bears its marker,
// and a sweep removes it. In review mode it also bears an end, which is as late as the request was. A later session
// that asks waits for the reviewers; if they approve it, a sweep revokes it. The zero value is ready.
type lostRequests struct {
	mu  sync.Mutex
	all []*lostRequest
}

// send notes that a request is sent. The caller must call ended when it has its outcome: what was made, or an error.
func (l *lostRequests) send(r lostRequest) (ended func(made string, at time.Time, err error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.others == nil {
		r.others = map[string]bool{}
	}
	for _, before := range l.all {
		if before.made != "" && before.marker.Key() == r.marker.Key() {
			r.others[before.made] = true
		}
	}
	l.all = append(l.all, &r)
	return func(made string, at time.Time, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		r.at = at
		if err == nil {
			r.made = made
			l.exclude(r.marker, made)
		} else if ruledOut(err) {
			l.all = slices.DeleteFunc(l.all, func(one *lostRequest) bool { return one == &r })
		}
	}
}

// exclude notes that no other request has made a session or attribute.
func (l *lostRequests) exclude(m jit.Marker, made string) {
	for _, r := range l.all {
		if r.marker.Key() == m.Key() {
			r.others[made] = true
		}
	}
}

// removed forgets what answered requests have made for the marker: what is listed from now on was made later.
func (l *lostRequests) removed(m jit.Marker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, func(r *lostRequest) bool { return r.made != "" && r.marker.Key() == m.Key() })
}

// listed removes the lost request that has made a session or attribute with the marker, if there is one. While another
// request for the marker is under way, that one may have made it, and nothing is removed.
func (l *lostRequests) listed(m jit.Marker, made string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := -1
	for i, r := range l.all {
		switch {
		case r.marker.Key() != m.Key():
		case r.at.IsZero():
			return
		case found < 0 && r.lost() && !r.others[made]:
			found = i
		}
	}
	if found >= 0 {
		l.all = slices.Delete(l.all, found, found+1)
		l.exclude(m, made)
	}
}

// open reports whether a request that was lost after a time can still change a grant. It forgets older ones.
func (l *lostRequests) open(scope string, m jit.Marker, after time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, func(r *lostRequest) bool { return !r.at.IsZero() && r.at.Before(after) })
	return slices.ContainsFunc(l.all, func(r *lostRequest) bool {
		return r.lost() && r.scope == scope && (r.marker.Key() == m.Key() || r.because.Key() == m.Key())
	})
}

// awaitLost compares lost requests with a list of reviews that was asked for at a time. It returns the jobs whose
// grants such a request can still change; they are not done.
func (a *application) awaitLost(asked time.Time) (open []*job) {
	for _, r := range a.listed {
		if r.ours() {
			a.lost.listed(r.marker, r.session)
		}
	}
	after := asked.Add(-a.patience)
	for _, j := range a.jobs {
		m := j.access.Marker
		if !j.refused && (a.lost.open(a.scope, m, after) ||
			j.op == jit.Remove && a.lostAsks.open(a.scope, m, after)) {
			j.done = false
			open = append(open, j)
		}
	}
	return open
}
