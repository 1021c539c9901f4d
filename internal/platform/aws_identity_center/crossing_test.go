package awsidentitycenter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// at makes the model call do once, at the n-th call of the action from now on.
func (s *site) at(action string, n int64, do func()) {
	var seen atomic.Int64
	s.before = func(is string) {
		if is == action && seen.Add(1) == n {
			do()
		}
	}
}

// A request of a dead process can take effect after its grant has ended; its claim stays until then.
func TestMakingUnderWayIsRemoved(t *testing.T) {
	s := newSite(t)
	s.takes = 100 * time.Millisecond
	a := access(alice(), "cut off")
	ctx, cancel := context.WithCancel(t.Context())
	s.at("ListAccountAssignmentCreationStatus", 1, cancel)
	if err := s.open(t).Apply(ctx, production, ensure(a))[0]; !errors.Is(err, context.Canceled) {
		t.Fatalf("Apply = %v, want the error of the context", err)
	}
	s.wants(t, a.Binding, false, "while it is under way")
	p := s.open(t)
	apply(t, p, remove(a)...)
	time.Sleep(2 * s.takes) // the model's own time
	s.wants(t, a.Binding, false, "after the removal")
	if left := marked(t, p); len(left) > 0 {
		t.Errorf("claims are left: %+v", left)
	}
}

// A claim that another process writes while the last one's assignment is being removed gets its access.
func TestClaimDuringARemoval(t *testing.T) {
	for _, moment := range []string{"DeleteAccountAssignment", "ListAccountAssignmentDeletionStatus",
		"DescribeAccountAssignmentDeletionStatus"} {
		t.Run(moment, func(t *testing.T) {
			s := newSite(t)
			first, second := access(alice(), "first"), access(alice(), "second")
			p, other := s.open(t), s.open(t)
			apply(t, p, ensure(first)...)
			var wg sync.WaitGroup
			s.at(moment, 1, func() {
				claimed := make(chan struct{})
				wg.Go(func() {
					defer close(claimed)
					apply(t, other, ensure(second)...)
				})
				if moment == "DeleteAccountAssignment" {
					<-claimed // wholly before
				}
			})
			apply(t, p, remove(first)...)
			wg.Wait()
			s.wants(t, second.Binding, true, "after both")
			if got := ours(t, p); len(got) != 1 || got[0].Marker != second.Marker {
				t.Errorf("Read = %+v, want the second grant", got)
			}
			apply(t, p, remove(second)...)
			s.wants(t, second.Binding, false, "at last")
		})
	}
}

// An assignment that another process makes between our two reads does not count as prior access.
func TestClaimAtTheSameTimeIsNotPriorAccess(t *testing.T) {
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprintf("gone again: %t", away), func(t *testing.T) {
			s := newSite(t)
			first, second := access(alice(), "first"), access(alice(), "second")
			other := s.open(t)
			s.at("ListAccountAssignments", 1, func() {
				s.before = nil
				apply(t, other, ensure(second)...)
			})
			p := s.open(t)
			var once sync.Once
			p.ledger = hooked{p.ledger, func(do func() error) error {
				if away && s.calls["CreateAccountAssignment"] > 0 {
					once.Do(func() { apply(t, other, remove(second)...) })
				}
				return do()
			}}
			apply(t, p, ensure(first)...)
			s.wants(t, first.Binding, true, "after both")
			apply(t, p, remove(second)...)
			s.wants(t, first.Binding, true, "after one has ended")
			apply(t, p, remove(first)...)
			s.wants(t, first.Binding, false, "after both have ended")
		})
	}
}

// A grant right after the end of the same access waits for the removal and does not fail, whichever process makes it.
func TestGrantRightAfterTheEnd(t *testing.T) {
	s := newSite(t)
	s.takes = 300 * time.Millisecond
	p, other := s.open(t), s.open(t)
	old := access(alice(), "old")
	for n, by := range []*Platform{p, other} {
		next := access(alice(), fmt.Sprintf("next %d", n))
		apply(t, p, ensure(old)...)
		var wg sync.WaitGroup
		s.at("ListAccountAssignmentDeletionStatus", 1, func() { // in the middle of the removal
			wg.Go(func() { apply(t, by, ensure(next)...) })
		})
		apply(t, p, remove(old)...)
		wg.Wait()
		s.before = nil
		s.wants(t, next.Binding, true, fmt.Sprintf("next %d", n))
		apply(t, p, remove(next)...)
		s.wants(t, next.Binding, false, "in between")
	}
	if s.refused["ConflictException"] == 0 {
		t.Error("nobody was refused for another request in progress: the test shows nothing")
	}
}

// The end of a grant does not restore prior access that somebody has removed. An apply gives that access as a grant,
// and then it ends with the grant.
func TestPriorAccessTakenAway(t *testing.T) {
	s := newSite(t)
	p, first, second := s.open(t), access(alice(), "first"), access(alice(), "second")
	s.foreign(t, alice())
	apply(t, p, ensure(first, second)...)
	s.take(t, alice())
	apply(t, p, remove(first)...)
	s.wants(t, alice(), false, "after the end of the first")
	apply(t, p, ensure(second)...)
	s.wants(t, alice(), true, "after the second was repaired")
	apply(t, p, remove(second)...)
	s.wants(t, alice(), false, "after the end of the second")
}

// A target that now names another instance does not treat a grant on the old instance as ended.
func TestAGrantOfAnotherInstanceIsNotForgotten(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), access(alice(), "elsewhere")
	const before = "arn:aws:sso:::instance/ssoins-9999999999999999"
	mark := jit.Claim{Marker: a.Marker, Object: "x", Principal: a.Binding.Principal, Role: a.Binding.Role}
	version, err := s.marks.Update(t.Context(), before, production, 0, []jit.Claim{mark}, nil)
	if err != nil {
		t.Fatal(err)
	}
	writes := s.writes.Load()
	for _, change := range append(remove(a), ensure(a)...) {
		if err := p.Apply(t.Context(), production, []jit.Change{change})[0]; err == nil ||
			!strings.Contains(err.Error(), before) {
			t.Errorf("%s: %v, want an error that names the instance", change.Op, err)
		}
	}
	if n := s.writes.Load(); n != writes {
		t.Errorf("%d writes on the new instance", n-writes)
	}
	if _, err := s.marks.Update(t.Context(), before, production, version, nil, []jit.Claim{mark}); err != nil {
		t.Fatal(err)
	}
	apply(t, p, remove(a)...)
}
