package awsidentitycenter

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
)

// A grant has ended when the assignment is gone, not when the service says that it was removed.
func TestTheAnswerToARemovalIsNotTheRemoval(t *testing.T) {
	s := newSite(t)
	b, r := s.desk(t), hourOfAlice()
	g, err := b.Grant(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	s.with(func(m *model) { m.idle = true })
	revoke := func() error {
		_, _, err := b.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "done early"})
		return err
	}
	if err := revoke(); err == nil || !strings.Contains(err.Error(), "is still listed after its removal was confirmed") {
		t.Errorf("Revoke = %v, want an error that says what is still there", err)
	}
	if is := recorded(t, b, r); !is.EndedAt.IsZero() || len(marked(t, s.open(t))) != 1 {
		t.Errorf("the access works, and the record is %+v with the claims %+v", is, marked(t, s.open(t)))
	}
	s.with(func(m *model) { m.idle = false })
	g = recorded(t, b, r)
	if err := revoke(); err != nil {
		t.Error(err)
	}
	s.wants(t, g.Binding, false, "after the second revocation")
	if is := recorded(t, b, r); is.EndedAt.IsZero() || len(marked(t, s.open(t))) != 0 {
		t.Errorf("the record is %+v with the claims %+v", is, marked(t, s.open(t)))
	}
}

// What another process has just given is removed, although neither the list nor the removal sees it yet.
func TestARemovalRightAfterAnotherProcess(t *testing.T) {
	for _, lag := range []time.Duration{20 * time.Millisecond, 150 * time.Millisecond} {
		s := newSite(t)
		s.lag = lag
		a := access(alice(), "fresh")
		apply(t, s.open(t), ensure(a)...)
		p := s.open(t)
		apply(t, p, remove(a)...)
		s.wants(t, a.Binding, false, "after the removal")
		time.Sleep(2 * lag)
		if got := ours(t, p); len(got) != 0 {
			t.Errorf("after the removal Read = %+v", got)
		}
	}
}

// The refusal of a removal is no success because a list that lags does not have the assignment yet.
func TestARefusedRemovalRightAfterAnotherProcess(t *testing.T) {
	s := newSite(t)
	s.lag = 100 * time.Millisecond
	a := access(alice(), "fresh")
	apply(t, s.open(t), ensure(a)...)
	s.with(func(m *model) { m.denied["DeleteAccountAssignment"] = true })
	p := s.open(t)
	says(t, p.Apply(t.Context(), production, remove(a))[0], "", "sso:DeleteAccountAssignment", "is not permitted")
	if len(marked(t, p)) != 1 {
		t.Error("the grant is forgotten")
	}
	// An administrator removes it by hand. Then a refusal is no obstacle.
	s.take(t, a.Binding)
	time.Sleep(s.lag)
	apply(t, s.open(t), remove(a)...)
	if left := marked(t, p); len(left) != 0 {
		t.Errorf("claims are left: %+v", left)
	}
}

// A removal does not take the assignment that another process makes meanwhile for its own.
func TestAGrantDuringALaggingRemoval(t *testing.T) {
	s := newSite(t)
	s.lag = 50 * time.Millisecond
	first, second := access(alice(), "first"), access(alice(), "second")
	p, other := s.open(t), s.open(t)
	apply(t, p, ensure(first)...)
	time.Sleep(s.lag)
	s.at("ListAccountAssignments", 2, func() { // the look after the removal
		s.before = nil
		apply(t, other, ensure(second)...)
	})
	apply(t, p, remove(first)...)
	if len(marked(t, p)) != 1 {
		t.Fatal("nobody looked after the removal")
	}
	time.Sleep(s.lag)
	s.wants(t, second.Binding, true, "after both")
	if got := ours(t, p); len(got) != 1 || got[0].Marker != second.Marker {
		t.Errorf("Read = %+v, want the second grant", got)
	}
	apply(t, p, remove(second)...)
	s.wants(t, second.Binding, false, "at last")
}

// A lost answer is tried again after any number of answers that the service is busy.
func TestALostAnswerOfABusyService(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), access(alice(), "busy")
	apply(t, p, ensure(a)...)
	n := 0
	s.with(func(m *model) {
		m.fault = func(action string) *fault {
			if action != "DeleteAccountAssignment" {
				return nil
			}
			switch n++; {
			case n < 8:
				return &fault{status: 400, code: "ConflictException"}
			case n == 8:
				return &fault{cut: true}
			}
			return nil
		}
	})
	apply(t, p, remove(a)...)
	s.wants(t, a.Binding, false, "after the removal")
}
