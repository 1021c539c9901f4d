package awsidentitycenter

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// faulty lets the first n calls of an action fail.
func faulty(action string, n int, f fault) func(string) *fault {
	return func(is string) *fault {
		if is != action || n == 0 {
			return nil
		}
		n--
		return &f
	}
}

// Temporary faults do not fail a grant or its end.
func TestPassingFaults(t *testing.T) {
	busy := fault{status: http.StatusTooManyRequests, code: "ThrottlingException",
		header: http.Header{"Retry-After": {"0"}}}
	for _, tt := range []struct {
		name string
		n    int
		f    fault
	}{
		{"throttled", 3, busy},
		{"a storm of conflicts", 20, fault{status: http.StatusBadRequest, code: "ConflictException"}},
		{"out of service", 2, fault{status: http.StatusServiceUnavailable, code: "ServiceUnavailable"}},
		{"an error inside", 2, fault{status: http.StatusInternalServerError, code: "InternalServerException"}},
		{"the answer lost", 2, fault{lost: true}},
		{"cut off", 2, fault{cut: true}},
	} {
		for _, action := range []string{
			"CreateAccountAssignment", "DeleteAccountAssignment", "ListAccountAssignments",
			"ListAccountAssignmentCreationStatus",
			"DescribeAccountAssignmentDeletionStatus", "GetUserId", "DescribePermissionSet", "ListInstances",
			"DescribeAccount",
		} {
			reading := !strings.HasPrefix(action, "Create") && !strings.HasPrefix(action, "Delete")
			if reading && tt.f.code == "ConflictException" {
				continue // only a write can be in the way of another
			}
			t.Run(tt.name+"/"+action, func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				p, a := s.open(t), access(alice(), "faults")
				s.fault = faulty(action, tt.n, tt.f)
				apply(t, p, ensure(a)...)
				s.wants(t, a.Binding, true, "after Ensure")
				s.with(func(m *model) { m.fault = faulty(action, tt.n, tt.f) })
				apply(t, p, remove(a)...)
				s.wants(t, a.Binding, false, "after Remove")
				if left := marked(t, p); len(left) > 0 {
					t.Errorf("claims are left: %+v", left)
				}
			})
		}
	}
}

// A refused grant leaves no access and no claim, so access that somebody else gives later does not count as ours.
func TestRefusedGrantLeavesNothing(t *testing.T) {
	s := newSite(t)
	p, a, b := s.open(t), access(alice(), "refused"), access(alice(), "good")
	b.Binding.Principal, b.Marker.ID = "user:bob@example.com", jit.NewID("team", b.Binding, "good", 1)
	apply(t, p, ensure(b)...)
	s.with(func(m *model) { m.fails = "The role limit of the account is reached" })
	err := p.Apply(t.Context(), production, ensure(a))[0]
	if err == nil || !strings.Contains(err.Error(), "role limit") {
		t.Errorf("a request that ends as FAILED: %v, want its reason", err)
	}
	s.with(func(m *model) { m.fails = "" })
	s.wants(t, a.Binding, false, "after the refusal")
	if all := marked(t, p); len(all) != 1 || all[0].Marker != b.Marker {
		t.Errorf("the claims are %+v, want that of the other grant", all)
	}
	s.foreign(t, a.Binding)
	apply(t, p, ensure(a)...)
	apply(t, p, remove(a)...)
	s.wants(t, a.Binding, true, "what somebody else gave, after the end of a grant")
	s.wants(t, b.Binding, true, "the other grant")
}

// A removal that failed is not forgotten.
func TestRefusedRemovalIsKept(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), access(alice(), "kept")
	apply(t, p, ensure(a)...)
	for _, break1 := range []func(*model){
		func(m *model) { m.denied["DeleteAccountAssignment"] = true },
		func(m *model) { m.fails = "an unexpected internal service exception was encountered" },
		func(m *model) { m.fault = faulty("DeleteAccountAssignment", 100, fault{cut: true}) },
	} {
		s.with(break1)
		if err := p.Apply(t.Context(), production, remove(a))[0]; err == nil {
			t.Error("a refused removal is reported as done")
		}
		s.with(func(m *model) { m.fault, m.fails, m.denied = nil, "", map[string]bool{} })
		s.wants(t, a.Binding, true, "after a removal that failed")
		if got := ours(t, p); len(got) != 1 || got[0].Marker != a.Marker {
			t.Errorf("Read = %+v, want the grant, which still exists", got)
		}
	}
	apply(t, p, remove(a)...)
	s.wants(t, a.Binding, false, "after the removal")

	apply(t, p, ensure(a)...)
	s.with(func(m *model) { m.fails = "an unexpected internal service exception was encountered" })
	s.at("DescribeAccountAssignmentDeletionStatus", 1, func() { s.take(t, a.Binding) })
	apply(t, p, remove(a)...) // gone by another's hand, which is as good
	if left := marked(t, p); len(left) > 0 {
		t.Errorf("claims are left: %+v", left)
	}
}

// A write whose answer was lost may be under way: its claim stays, whatever the answer to the next try.
func TestLostAnswerIsNotForgotten(t *testing.T) {
	s := newSite(t)
	s.takes = 100 * time.Millisecond
	p, a := s.open(t), access(alice(), "lost")
	n := 0
	s.fault = func(action string) *fault {
		if action != "CreateAccountAssignment" {
			return nil
		}
		if n++; n == 1 {
			return &fault{lost: true}
		}
		return &fault{status: http.StatusBadRequest, code: "ExpiredTokenException"}
	}
	err := p.Apply(t.Context(), production, ensure(a))[0]
	var told *jit.Error
	if !errors.As(err, &told) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("credentials that have expired: %v", err)
	}
	s.with(func(m *model) { m.fault = nil })
	if all := marked(t, p); len(all) != 1 {
		t.Fatalf("the claims are %+v, want that of the grant", all)
	}
	time.Sleep(2 * s.takes)
	s.wants(t, a.Binding, true, "what was under way")
	apply(t, p, remove(a)...)
	s.wants(t, a.Binding, false, "after the removal")
}

// A half of a batch that is invalid does not fail the other half.
func TestHalfOfABatchIsInvalid(t *testing.T) {
	s := newSite(t)
	p := s.open(t)
	var all []jit.Access
	for i := range 20 {
		b := alice()
		switch {
		case i%2 == 1 && i%4 == 1:
			b.Principal = fmt.Sprintf("user:nobody%d@example.com", i)
		case i%2 == 1:
			b.Role = fmt.Sprintf("None%d", i)
		}
		all = append(all, access(b, fmt.Sprint(i)))
	}
	for i, err := range p.Apply(t.Context(), production, ensure(all...)) {
		if (err != nil) != (i%2 == 1) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if got := ours(t, p); len(got) != 10 {
		t.Errorf("%d grants exist, want 10", len(got))
	}
	for i, err := range p.Apply(t.Context(), production, remove(all...)) {
		if err != nil {
			t.Errorf("removal %d: %v", i, err)
		}
	}
	s.wants(t, alice(), false, "at last")
}

var errLedger = errors.New("the ledger is down")

// Without readable claims nothing is granted, and nothing is removed that may belong to others.
func TestNoMarks(t *testing.T) {
	s := newSite(t)
	p, first, second := s.open(t), access(alice(), "first"), access(alice(), "second")
	apply(t, p, ensure(first)...)
	p.ledger = hooked{p.ledger, func(func() error) error { return errLedger }}
	writes := s.writes.Load()
	for i, err := range p.Apply(t.Context(), production, append(ensure(second), remove(first)...)) {
		if !errors.Is(err, errLedger) {
			t.Errorf("change %d: %v, want the error of the ledger", i, err)
		}
	}
	if _, err := p.Read(t.Context(), production); !errors.Is(err, errLedger) {
		t.Errorf("Read = %v, want the error of the ledger", err)
	}
	if n := s.writes.Load() - writes; n != 0 {
		t.Errorf("%d writes were made", n)
	}
	alone, err := New(Config{}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := alone.Apply(t.Context(), production, ensure(second))[0]; err == nil ||
		!strings.Contains(err.Error(), "ledger") {
		t.Errorf("a platform without claims: %v", err)
	}
}

// If claims can be read but not written, grants still end, and nothing new is granted.
func TestMarksThatCannotBeWritten(t *testing.T) {
	s := newSite(t)
	p, first, second := s.open(t), access(alice(), "first"), access(alice(), "second")
	second.Binding.Role = "Admin"
	apply(t, p, ensure(first)...)
	full := false
	all := p.ledger
	p.ledger = hooked{all, func(do func() error) error {
		if !full {
			full = true // reading comes first
			return do()
		}
		return errLedger
	}}
	errs := p.Apply(t.Context(), production, append(ensure(second), remove(first)...))
	for i, err := range errs {
		if !errors.Is(err, errLedger) {
			t.Errorf("change %d: %v, want the error of the ledger", i, err)
		}
	}
	if !strings.Contains(fmt.Sprint(errs[1]), "the access was ended") {
		t.Errorf("the removal returns %v, want one that says that the access was ended", errs[1])
	}
	s.wants(t, first.Binding, false, "after the removal")
	s.wants(t, second.Binding, false, "of a grant that could not be recorded")
	p.ledger = all
	apply(t, p, remove(first)...)
	if left := marked(t, p); len(left) > 0 {
		t.Errorf("claims are left: %+v", left)
	}
}
