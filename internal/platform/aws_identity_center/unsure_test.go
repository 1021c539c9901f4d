package awsidentitycenter

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// desk returns a process that grants and sweeps on the site.
func (s *site) desk(t *testing.T) *broker.Broker {
	t.Helper()
	return &broker.Broker{
		Ledger:  &jittest.Ledger{},
		Targets: map[string]jit.Platform{"directory": batch.Share(s.open(t), time.Minute, time.Now)},
		Owner:   "payments", MaxTTL: 24 * time.Hour, Actor: jit.Actor{Name: "test", Source: jit.FromTerraform},
		Now: time.Now,
	}
}

func hourOfAlice() broker.Request {
	return broker.Request{Binding: alice(), Reason: "INC-1", Renewal: 1, TTL: jit.RecordedTTL("1h")}
}

// recorded returns the record of a request.
func recorded(t *testing.T, b *broker.Broker, r broker.Request) jit.Grant {
	t.Helper()
	g, known, err := b.Ledger.Lookup(t.Context(), jit.NewID("payments", r.Binding, r.Reason, 1))
	if err != nil || !known {
		t.Fatalf("the ledger does not know the grant: %v", err)
	}
	return g
}

// An assignment whose making was left without an outcome is not forgotten: the error says that it may be in force, and
// revoking it ends it, also if it comes later.
func TestAnAssignmentWithoutAnOutcome(t *testing.T) {
	for name, prepare := range map[string]func(*model){
		"it stays in progress": func(m *model) { m.takes = 500 * time.Millisecond },
		"every answer is lost": func(m *model) {
			m.takes = 500 * time.Millisecond
			first := true
			m.fault = func(action string) *fault {
				if action != "CreateAccountAssignment" {
					return nil
				}
				if first {
					first = false
					return &fault{lost: true}
				}
				return &fault{status: http.StatusInternalServerError, code: "InternalServerException"}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b, r := s.desk(t), hourOfAlice()
			s.with(prepare)
			ctx, stop := context.WithTimeout(t.Context(), 250*time.Millisecond)
			defer stop()
			_, err := b.Grant(ctx, r)
			if err == nil || !strings.Contains(err.Error(), "may be in force: `jit revoke ") {
				t.Errorf("%v, want one that says that the access may be in force", err)
			}
			g := recorded(t, b, r)
			if g.Failed() {
				t.Errorf("the record says that nothing was given: %+v", g)
			}
			s.with(func(m *model) { m.fault, m.takes = nil, time.Millisecond })
			if _, _, err := b.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "done early"}); err != nil {
				t.Error(err)
			}
			time.Sleep(500 * time.Millisecond)
			s.wants(t, g.Binding, false, "after the revocation")
		})
	}
}

// A removal is not over while the assignment is still being made, even if the service does not find it, and also if its
// making ends while the removal looks.
func TestARemovalWaitsForWhatIsBeingMade(t *testing.T) {
	for name, late := range map[string]string{
		"it ends later":                     "",
		"it ends before the list":           "ListAccountAssignmentCreationStatus",
		"it ends after the list":            "DescribeAccountAssignmentCreationStatus",
		"it ends before the second removal": "DeleteAccountAssignment",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.takes, s.unaware = 300*time.Millisecond, true
			var removing atomic.Bool
			var removals atomic.Int64
			s.before = func(action string) {
				again := action != "DeleteAccountAssignment" || removals.Add(1) > 1
				if removing.Load() && action == late && again {
					time.Sleep(s.takes)
				}
			}
			p, a := s.open(t), access(alice(), "early")
			ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer stop()
			if err := p.Apply(ctx, production, ensure(a))[0]; err == nil {
				t.Fatal("the assignment was made at once")
			}
			removing.Store(true)
			apply(t, s.open(t), remove(a)...) // another process
			time.Sleep(s.takes)
			s.wants(t, a.Binding, false, "after the removal")
		})
	}
}

// A refused assignment has given nothing, and a sweep finds nothing to do.
func TestARefusedAssignmentHasFailed(t *testing.T) {
	s := newSite(t)
	b, r := s.desk(t), hourOfAlice()
	s.denied["CreateAccountAssignment"] = true
	if _, err := b.Grant(t.Context(), r); err == nil || strings.Contains(err.Error(), "may be in force") {
		t.Errorf("%v, want a plain refusal", err)
	}
	if g := recorded(t, b, r); !g.Failed() {
		t.Errorf("the record is %+v, want a failed one", g)
	}
	if report := (&sweeper.Sweeper{Broker: b, Holder: "test"}).Pass(t.Context()); len(report.Results) != 0 {
		t.Errorf("the sweep did %+v", report.Results)
	}
}
