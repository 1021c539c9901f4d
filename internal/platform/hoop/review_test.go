package hoop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// access is a grant of alice that began a minute ago and ends lasts from now.
func access(why string, lasts time.Duration) jit.Access {
	b := jit.Binding{Target: "gateway", Principal: alice, Role: connect, Scope: db}
	now := jit.Second(time.Now())
	return jit.Access{
		Marker: jit.Marker{
			Owner:  "jit",
			ID:     jit.NewID("jit", b, why, 1),
			Window: jit.Window{Start: now.Add(-time.Minute), End: now.Add(lasts)},
		},
		Binding: b,
	}
}

// apply makes one change.
func apply(t *testing.T, p *Platform, op jit.Op, a jit.Access) error {
	t.Helper()
	return p.Apply(t.Context(), a.Binding.Scope, []jit.Change{{Op: op, Access: a}})[0]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// may asserts whether alice is let in at a time.
func (s *site) may(t *testing.T, at time.Time, want bool, when string) {
	t.Helper()
	if got := s.MayConnect(alice, db, at); got != want {
		t.Errorf("%s alice is let in: %t, want %t", when, got, want)
	}
}

// After a short grant has ended, a long one beside it is still usable, in whichever order they were made and with
// nothing running.
func TestAShortGrantLeavesALongOneUsable(t *testing.T) {
	for _, first := range []string{"short", "long"} {
		t.Run(first+" first", func(t *testing.T) {
			s := newSite(t, nil)
			p := s.open(t, Config{}, 0)
			short, long := access("short", time.Hour), access("long", 3*time.Hour)
			order := []jit.Access{short, long}
			if first == "long" {
				order = []jit.Access{long, short}
			}
			for _, a := range order {
				must(t, apply(t, s.open(t, Config{}, 0), jit.Ensure, a))
			}
			s.may(t, time.Now(), true, "at once")
			s.may(t, short.Marker.Window.End.Add(time.Minute), true, "when the short one is over")
			s.may(t, long.Marker.Window.End, false, "when both are over")
			for _, a := range order {
				if n := len(s.ours(a.Marker)); n != 1 {
					t.Errorf("%d reviews of %s, want 1", n, a.Marker)
				}
			}
			must(t, apply(t, p, jit.Remove, short))
			s.may(t, short.Marker.Window.End.Add(time.Minute), true, "without the short one")
			must(t, apply(t, p, jit.Remove, long))
			s.may(t, time.Now(), false, "without both")
		})
	}
}

// A grant that is revoked while another process puts it in front of a shorter one does not come back.
func TestARevokedGrantIsNotPutInFront(t *testing.T) {
	s := newSite(t, nil)
	p, other := s.open(t, Config{}, 0), s.open(t, Config{}, 0)
	short, long := access("short", time.Hour), access("long", 3*time.Hour)
	must(t, apply(t, p, jit.Ensure, long))
	var removed atomic.Bool
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		// The second provision is the copy of the long grant. The other process revokes that just before.
		if r.Method == http.MethodPost && len(s.ours(short.Marker)) == 1 && removed.CompareAndSwap(false, true) {
			must(t, apply(t, other, jit.Remove, long))
		}
		return hooptest.Through
	})
	must(t, apply(t, p, jit.Ensure, short))
	if !removed.Load() {
		t.Fatal("the long grant was not made again")
	}
	if left := s.ours(long.Marker); len(left) != 0 {
		t.Errorf("the revoked grant is back: %+v", left)
	}
	s.may(t, time.Now(), true, "by the short one")
	s.may(t, short.Marker.Window.End.Add(time.Minute), false, "when the short one is over")
}

// A retry after a lost answer makes one grant.
func TestALostAnswerMakesOneGrant(t *testing.T) {
	for name, cut := range map[string]hooptest.Cut{"the answer is lost": hooptest.Unanswered, "the request is lost": hooptest.Lost, "a proxy is in the way": hooptest.Unavailable} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil)
			p, a := s.open(t, Config{}, 0), access("lost", time.Hour)
			p.patience = time.Second
			var once sync.Once
			s.Interrupt(func(r *http.Request) (way hooptest.Cut) {
				if r.Method == http.MethodPost {
					once.Do(func() { way = cut })
				}
				return way
			})
			must(t, apply(t, p, jit.Ensure, a))
			if all := s.Reviews(); len(all) != 1 || len(s.ours(a.Marker)) != 1 {
				t.Errorf("%d reviews, want 1: %+v", len(all), all)
			}
			once = sync.Once{}
			s.Interrupt(func(r *http.Request) (way hooptest.Cut) {
				if r.Method == http.MethodPut {
					once.Do(func() { way = cut })
				}
				return way
			})
			must(t, apply(t, p, jit.Remove, a))
			s.may(t, time.Now(), false, "after the removal")
		})
	}
}

// A new process tries again after the answer and the first process were lost.
func TestANewProcessFindsWhatTheLastOneMade(t *testing.T) {
	s := newSite(t, nil)
	a := access("lost", time.Hour)
	ctx, die := context.WithCancel(t.Context())
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.Method == http.MethodPost {
			defer die()
			return hooptest.Unanswered
		}
		return hooptest.Through
	})
	if err := s.open(t, Config{}, 0).Apply(ctx, db, []jit.Change{{Op: jit.Ensure, Access: a}})[0]; !errors.Is(
		err, context.Canceled,
	) {
		t.Fatalf("the first try: %v, want the error of the context", err)
	}
	s.Interrupt(nil)
	must(t, apply(t, s.open(t, Config{}, 0), jit.Ensure, a))
	if all := s.Reviews(); len(all) != 1 {
		t.Errorf("%d reviews, want 1: %+v", len(all), all)
	}
}

// A grant that has ended by itself is still revoked, however old it is, because somebody could approve it again.
func TestRevokedAfterItsEnd(t *testing.T) {
	for _, ago := range []time.Duration{time.Hour, 30 * 24 * time.Hour} {
		t.Run(jit.FormatDuration(ago), func(t *testing.T) {
			var past atomic.Int64
			past.Store(int64(ago))
			now := func() time.Time { return time.Now().Add(-time.Duration(past.Load())) }
			s := newSite(t, now)
			a := access("old", time.Hour)
			a.Marker.Window = jit.Window{Start: jit.Second(now()), End: jit.Second(now()).Add(30 * time.Minute)}
			must(t, apply(t, s.open(t, Config{}, -ago), jit.Ensure, a))
			past.Store(0)
			s.may(t, time.Now(), false, "after its end")
			must(t, apply(t, s.open(t, Config{}, 0), jit.Remove, a))
			if left := s.ours(a.Marker); len(left) != 0 {
				t.Errorf("it can be approved again: %+v", left)
			}
		})
	}
}

// hoop's own record names the reviewers as those who approved. The metadata of the session name the API key.
func TestWhoApprovedIsRecorded(t *testing.T) {
	s := newSite(t, nil)
	must(t, apply(t, s.open(t, Config{}, 0), jit.Ensure, access("record", time.Hour)))
	if by, _ := s.Reviews()[0].Metadata[approvedByField].(string); !strings.Contains(by,
		`with the API key "jit"; the reviewers of the connection did not decide`,
	) {
		t.Errorf("the session says that it was approved by %q", by)
	}
	must(t,
		apply(t,
			s.open(t, Config{Metadata: map[string]string{approvedByField: "CHG-1"}}, 0),
			jit.Ensure,
			access("named", time.Hour),
		),
	)
	if by := s.Reviews()[1].Metadata[approvedByField]; by != "CHG-1" {
		t.Errorf("the target's own metadata became %q", by)
	}
}

// A later review that is over hides a grant. The damage shows, and Ensure repairs it.
func TestAHiddenGrant(t *testing.T) {
	s := newSite(t, nil)
	p, a := s.open(t, Config{}, 0), access("hidden", time.Hour)
	must(t, apply(t, p, jit.Ensure, a))
	s.Decide(s.boss, s.Ask(alice, db, "", time.Minute), approved, time.Now().Add(-time.Hour))
	s.may(t, time.Now(), false, "behind a review that is over")
	snap, err := p.Read(t.Context(), db)
	if err != nil || len(snap.Ours) != 1 || !strings.Contains(snap.Ours[0].Damage, "hidden") {
		t.Errorf("Read = %+v, %v; want the damage", snap.Ours, err)
	}
	must(t, apply(t, p, jit.Ensure, a))
	s.may(t, time.Now(), true, "after the repair")
	if n := len(s.ours(a.Marker)); n != 1 {
		t.Errorf("%d reviews, want 1", n)
	}
}

// The review never ends after the window, whatever the clocks say and however long a request takes.
func TestTheReviewEndsWithinTheWindow(t *testing.T) {
	for _, offset := range []time.Duration{0, 7300 * time.Millisecond, -7300 * time.Millisecond} {
		for i := range 4 {
			t.Run(fmt.Sprintf("%s, %d", offset, i), func(t *testing.T) {
				s := newSite(t, nil)
				s.Interrupt(func(r *http.Request) hooptest.Cut {
					if r.Method == http.MethodPost {
						time.Sleep(time.Duration(i) * 290 * time.Millisecond)
					}
					return hooptest.Through
				})
				a := access("end", time.Hour)
				must(t, apply(t, s.open(t, Config{}, offset), jit.Ensure, a))
				end := a.Marker.Window.End
				if r := s.ours(a.Marker); len(r) != 1 || r[0].Ends.After(end) || r[0].Ends.Before(end.Add(-early)) {
					t.Errorf("the reviews end at %+v, want one just before %s", r, end)
				}
			})
		}
	}
}
