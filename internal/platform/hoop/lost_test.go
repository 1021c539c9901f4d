package hoop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// beside calls do after the second POST to a path, before its answer is read.
type beside struct {
	next  http.RoundTripper
	path  string
	do    func()
	count atomic.Int32
}

func (b *beside) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.next.RoundTrip(r)
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, b.path) && b.count.Add(1) == 2 {
		b.do()
	}
	return answer, err
}

// An Apply for another grant lists the second copy before its answer is read. The first is still waited for.
func TestALateCreationBesideAnotherApply(t *testing.T) {
	for mode, path := range map[string]string{modeReview: "provision", modeAttribute: "attributes"} {
		t.Run(mode, func(t *testing.T) {
			s := newLateSite(t, mode)
			other := access("other", time.Hour)
			other.Binding.Principal = bob
			if mode == modeAttribute {
				other = groupAccess("other")
			}
			plain := s.platform.once.HTTPClient
			plain.Transport = &beside{next: plain.Transport, path: path, do: func() {
				must(t, apply(t, s.platform, jit.Ensure, other))
			}}
			s.ensure(t)
			must(t, apply(t, s.platform, jit.Remove, s.access))
			s.holds(t, 1) // that of the other grant
			snap, err := s.platform.Read(t.Context(), db)
			must(t, err)
			if snap.Ours[0].Marker.ID != other.Marker.ID {
				t.Errorf("Remove succeeded, and the access is back: %+v", snap.Ours)
			}
		})
	}
}

// A lost request is found only in what no other request has made.
func TestALostRequestIsNotTakenForAnother(t *testing.T) {
	m, now := access("lost", time.Hour).Marker, time.Now()
	var l lostRequests
	open := func(want bool, what string) {
		t.Helper()
		if got := l.open(db, m, now.Add(-time.Minute)); got != want {
			t.Errorf("%s: the lost request is open: %t, want %t", what, got, want)
		}
	}
	send := func() func(string, time.Time, error) { return l.send(lostRequest{scope: db, marker: m}) }
	lost := errors.New("no answer")
	send()("earlier", now, nil)
	first, second := send(), send()
	second("meanwhile", now, nil)
	open(false, "under way")
	first("", now, lost)
	open(true, "lost")
	for _, made := range []string{"earlier", "meanwhile"} {
		l.listed(m, made)
		open(true, made+" is listed")
	}
	third := send()
	l.listed(m, "third")
	open(true, "another is under way")
	third("third", now, nil)
	l.listed(m, "third")
	open(true, "another was answered")
	send()("", now, fmt.Errorf("refused: %w", &statusError{code: http.StatusConflict}))
	l.listed(m, "first")
	open(false, "it is listed")
	send()("", now.Add(-time.Hour), lost)
	open(false, "an hour ago")
}

// removedInTime removes a grant beside other changes. It asserts that its session ends while the Apply waits for a lost
// request, and returns the errors after the context is cancelled.
func (s *site) removedInTime(t *testing.T, p *Platform, live string, changes ...jit.Change) []error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := make(chan []error, 1)
	go func() { errs <- p.Apply(ctx, db, changes) }()
	for began := time.Now(); s.Lives(live, time.Now()); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the session of a removed grant lives on while the Apply waits")
		}
	}
	time.Sleep(hooptest.Delay) // the Apply reads the session once more
	cancel()
	return <-errs
}

// An Apply that waits for a lost creation has removed other grants before, with their sessions.
func TestARemovalBesideALostCreation(t *testing.T) {
	s := newSite(t, nil)
	p := s.open(t, Config{}, 0)
	p.patience = time.Minute
	mine, other := access("mine", time.Hour), access("other", time.Hour)
	other.Binding.Principal, other.TerminateSessions = bob, true
	must(t, apply(t, p, jit.Ensure, other))
	live := s.Connect(bob, db)
	s.loseFirst("provision", hooptest.Unavailable, func() {})
	errs := s.removedInTime(t, p, live,
		jit.Change{Op: jit.Ensure, Access: mine}, jit.Change{Op: jit.Remove, Access: other})
	if errs[0] == nil {
		t.Error("Ensure succeeded while a lost request could make a second review")
	}
	must(t, errs[1])
}

// A removal that waits for a lost creation of its own grant has ended the sessions before.
func TestARemovalAfterALostCreation(t *testing.T) {
	s := newSite(t, nil)
	p := s.open(t, Config{}, 0)
	p.patience = time.Minute
	a := access("mine", time.Hour)
	a.TerminateSessions = true
	must(t, apply(t, p, jit.Ensure, a))
	live := s.Connect(alice, db)
	ctx, cancel := context.WithCancel(t.Context())
	s.loseFirst("provision", hooptest.Unavailable, cancel)
	longer := a
	longer.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	if err := p.Apply(ctx, db, []jit.Change{{Op: jit.Ensure, Access: longer}})[0]; err == nil {
		t.Error("Ensure succeeded without an answer")
	}
	if errs := s.removedInTime(t, p, live, jit.Change{Op: jit.Remove, Access: a}); errs[0] == nil {
		t.Error("Remove succeeded while the creation could still take effect")
	}
}

// loseFirst cuts off the first POST to a path, and calls then.
func (s *site) loseFirst(path string, how hooptest.Cut, then func()) {
	var cut atomic.Bool
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, path) && cut.CompareAndSwap(false, true) {
			then()
			return how
		}
		return hooptest.Through
	})
}

// A request to reviewers takes effect after its answer was lost. A removal waits for it, and takes it back.
func TestALateRequestToReviewers(t *testing.T) {
	s, _, p := askSite(t)
	p.patience = 3 * hooptest.Delay
	a := access("asked", time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	s.loseFirst("provision", hooptest.Late, cancel)
	if _, err := p.Ask(ctx, a); err == nil {
		t.Fatal("Ask succeeded without an answer")
	}
	must(t, apply(t, p, jit.Remove, a))
	time.Sleep(2 * hooptest.Delay)
	if all := s.Reviews(); len(all) != 1 || all[0].Status != rejected {
		t.Errorf("the reviews are %+v, want one that was rejected", all)
	}
}

// Only a refusal of the gateway, and a request that was not sent, rule out that a creation takes effect.
func TestRuledOut(t *testing.T) {
	for code, want := range map[int]bool{
		0: true, 400: true, 401: true, 403: true, 404: true, 409: true, 422: true,
		302: false, 408: false, 429: false, 500: false, 502: false, 503: false, 504: false,
		520: false, 524: false, 530: false,
	} {
		if got := ruledOut(fmt.Errorf("approve: %w", &statusError{code: code})); got != want {
			t.Errorf("ruledOut(%d) = %t", code, got)
		}
	}
	for op, want := range map[string]bool{"dial": true, "read": false} {
		if got := ruledOut(fmt.Errorf("approve: %w", &net.OpError{Op: op, Err: errSilent})); got != want {
			t.Errorf("ruledOut(%s) = %t", op, got)
		}
	}
}
