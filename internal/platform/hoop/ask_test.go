package hoop

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// askSite is a gateway whose connection has reviewers, the token of one of them, and a target that leaves decisions to
// them.
func askSite(t *testing.T) (s *site, lead string, p *Platform) {
	t.Helper()
	s = newSite(t, nil)
	lead = s.AddUser("lead@example.com", "leads")
	s.Put(connectionOf("leads"))
	return s, lead, s.open(t, Config{Approval: approvalHoop}, 0)
}

func ask(t *testing.T, p *Platform, a jit.Access) jit.Decision {
	t.Helper()
	d, err := p.Ask(t.Context(), a)
	must(t, err)
	return d
}

// The reviewers decide. Their approval begins the access for its whole length, and the access ends within the window.
func TestReviewersDecide(t *testing.T) {
	s, lead, p := askSite(t)
	a := access("ask", 2*time.Hour)
	a.Marker.Window.Start = a.Marker.Window.End.Add(-2 * time.Hour)
	for range 2 { // it is asked once
		if d := ask(t, p, a); !d.Window.Start.IsZero() || d.Denied != "" {
			t.Fatalf("nobody has decided, and Ask = %+v", d)
		}
	}
	all := s.Reviews()
	if len(all) != 1 || all[0].Status != "PENDING" || all[0].By != "" {
		t.Fatalf("the reviews are %+v, want one that waits", all)
	}
	s.may(t, time.Now(), false, "before the approval")
	if err := apply(t, p, jit.Ensure, a); err == nil || !strings.Contains(err.Error(), "no reviewer's approval") {
		t.Errorf("Ensure without an approval = %v", err)
	}
	if snap, err := p.Read(t.Context(), db); err != nil || len(snap.Ours) != 0 || len(snap.Notes) != 1 ||
		!strings.Contains(snap.Notes[0].Text, "leads") ||
		!strings.Contains(snap.Notes[0].Text, "let a sweep run") {
		t.Errorf("Read = %+v, %v; want nothing but who decides", snap, err)
	}

	at := time.Now().Add(40 * time.Minute)
	s.Decide(lead, all[0].Session, approved, at)
	d := ask(t, p, a)
	if d.By != "lead@example.com" || d.Window.Length() != 2*time.Hour || !d.Window.Start.Equal(jit.Second(at)) {
		t.Errorf("approved at %s, and Ask = %+v", at, d)
	}
	a.Marker.Window = d.Window
	must(t, apply(t, p, jit.Ensure, a))
	if ends := s.Reviews()[0].Ends; ends.After(d.Window.End) || ends.Before(d.Window.End.Add(-time.Second)) {
		t.Errorf("the review ends at %s, want the last second before %s", ends, d.Window.End)
	}
	snap, err := p.Read(t.Context(), db)
	must(t, err)
	if diff := recorded(a).Differs(snap); diff.Kind != "" {
		t.Errorf("the approved grant has drifted: %+v", diff)
	}
	if scopes, err := p.Scopes(t.Context()); err != nil || len(scopes) != 1 {
		t.Errorf("Scopes = %q, %v", scopes, err)
	}
	must(t, apply(t, p, jit.Remove, a))
	s.may(t, time.Now(), false, "after the removal")
	if n := len(s.Reviews()); n != 1 {
		t.Errorf("%d reviews were made, want 1", n)
	}
	if d := ask(t, p, a); !strings.Contains(d.Denied, "revoked the review") {
		t.Errorf("after the removal Ask = %+v, want no new request", d)
	}
}

// If the ttl changes while the grant waits, the old request is rejected and a new one is made.
func TestAskedForAnotherLength(t *testing.T) {
	s, lead, p := askSite(t)
	a := access("length", time.Hour)
	ask(t, p, a)
	a.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	for range 2 {
		if d := ask(t, p, a); d.Denied != "" || !d.Window.Start.IsZero() {
			t.Errorf("Ask = %+v", d)
		}
	}
	all := s.Reviews()
	if len(all) != 2 || all[0].Status != "REJECTED" || all[1].Status != "PENDING" {
		t.Fatalf("the reviews are %+v", all)
	}
	s.Decide(lead, all[1].Session, approved, time.Now())
	if d := ask(t, p, a); d.Window.Length() != a.Marker.Window.Length() || d.By != "lead@example.com" {
		t.Errorf("Ask = %+v, want %s", d, a.Marker.Window.Length())
	}
}

// A review that was approved for another length than the grant has is reported and begins nothing. When it is revoked,
// the grant is asked for again, and is removed with all its requests.
func TestApprovedForAnotherLength(t *testing.T) {
	s, lead, p := askSite(t)
	a := access("another length", time.Hour)
	ask(t, p, a)
	session := s.Reviews()[0].Session
	s.Decide(lead, session, approved, time.Now())
	a.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	for range 2 {
		_, err := p.Ask(t.Context(), a)
		for _, part := range []string{session, "lead@example.com approved it", "for 1h1m, until", "asks for 2h1m"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("Ask = %v, want an error that says %q", err, part)
			}
		}
	}
	s.Decide(s.boss, session, "REVOKED", time.Now())
	if d := ask(t, p, a); d.Denied != "" || !d.Window.Start.IsZero() || len(s.Reviews()) != 2 {
		t.Errorf("after it was revoked Ask = %+v with the reviews %+v, want a new request", d, s.Reviews())
	}
	must(t, apply(t, p, jit.Remove, a))

	s, lead, p = askSite(t)
	ask(t, p, a)
	s.Decide(lead, s.Reviews()[0].Session, approved, time.Now())
	a.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	must(t, apply(t, p, jit.Remove, a))
	s.may(t, time.Now(), false, "after the removal")
}

// Of two sessions that ask for one grant, the approval of one rejects the other.
func TestNothingWaitsBesideAnApproval(t *testing.T) {
	for _, decided := range []int{0, 1} {
		s, lead, p := askSite(t)
		a := access("two", time.Hour)
		ask(t, p, a)
		must(t, p.request(t.Context(), a))
		s.Decide(lead, s.Reviews()[decided].Session, approved, time.Now())
		if d := ask(t, p, a); d.By != "lead@example.com" || d.Window.Length() != a.Marker.Window.Length() {
			t.Errorf("Ask = %+v, want the approval", d)
		}
		if other := s.Reviews()[1-decided]; other.Status != "REJECTED" {
			t.Errorf("number %d is approved, and the other one is %s", decided, other.Status)
		}
	}
}

// Reviewers can take as long as the grant is to last, and its window begins then. Until its end it is read and removed,
// also by a target that no longer asks.
func TestApprovedLong(t *testing.T) {
	for _, mode := range []string{approvalHoop, approvalJit} {
		var past atomic.Int64
		past.Store(int64(60 * time.Hour))
		now := func() time.Time { return time.Now().Add(-time.Duration(past.Load())) }
		s := newSite(t, now)
		lead := s.AddUser("lead@example.com", "leads")
		s.Put(connectionOf("leads"))
		a := access("long", time.Hour)
		a.Marker.Window = jit.Window{Start: jit.Second(now()), End: jit.Second(now()).Add(maxTTL)}
		early := s.open(t, Config{Approval: approvalHoop}, -60*time.Hour)
		ask(t, early, a)
		past.Store(int64(20 * time.Hour))
		s.Decide(lead, s.Reviews()[0].Session, approved, now())
		past.Store(0)
		p := s.open(t, Config{Approval: approvalHoop}, 0)
		a.Marker.Window = ask(t, p, a).Window
		snap, err := p.Read(t.Context(), db)
		must(t, err)
		if d := recorded(a).Differs(snap); d.Kind != "" {
			t.Errorf("the drift is %+v, want none", d)
		}
		if scopes, err := p.Scopes(t.Context()); err != nil || len(scopes) != 1 {
			t.Errorf("Scopes = %q, %v", scopes, err)
		}
		must(t, apply(t, p, jit.Ensure, a))
		s.may(t, time.Now(), true, "within the window")
		must(t, apply(t, s.open(t, Config{Approval: mode}, 0), jit.Remove, a))
		s.may(t, time.Now(), false, "after the removal with approval = "+mode)
	}
}

func TestReviewersDeny(t *testing.T) {
	s, lead, p := askSite(t)
	a := access("deny", time.Hour)
	ask(t, p, a)
	s.Decide(lead, s.Reviews()[0].Session, "REJECTED", time.Now())
	for range 2 {
		if d := ask(t, p, a); !strings.Contains(d.Denied, "lead@example.com rejected") {
			t.Errorf("Ask = %+v, want who rejected it", d)
		}
	}
	if n := len(s.Reviews()); n != 1 {
		t.Errorf("%d reviews were made, want 1", n)
	}
}

// An undecided request is rejected with the removal of the grant, also if somebody approves it at that moment.
func TestARequestIsTakenBack(t *testing.T) {
	for _, race := range []bool{false, true} {
		s, lead, p := askSite(t)
		a := access("back", time.Hour)
		ask(t, p, a)
		if race {
			var once sync.Once
			s.Between(
				func(*http.Request) { once.Do(func() { s.Decide(lead, s.Reviews()[0].Session, approved, time.Now()) }) },
			)
		}
		must(t, apply(t, p, jit.Remove, a))
		if r := s.Reviews()[0]; r.Status != "REJECTED" {
			t.Errorf("approved meanwhile %t: the review is %s", race, r.Status)
		}
		s.may(t, time.Now(), false, "after the removal")
	}
	s, lead, p := askSite(t)
	a := access("approved before it is looked at", time.Hour)
	ask(t, p, a)
	s.Decide(lead, s.Reviews()[0].Session, approved, time.Now())
	must(t, apply(t, p, jit.Remove, a))
	s.may(t, time.Now(), false, "after the removal")
}

// A request is taken back by a target that no longer asks, also if somebody approves it at that moment.
func TestARequestIsTakenBackByATargetThatAsksNobody(t *testing.T) {
	for _, race := range []bool{false, true} {
		s, lead, p := askSite(t)
		a, other := access("back", time.Hour), access("not removed", time.Hour)
		ask(t, p, a)
		ask(t, p, other)
		if race {
			var once sync.Once
			s.Between(
				func(*http.Request) { once.Do(func() { s.Decide(lead, s.Reviews()[0].Session, approved, time.Now()) }) },
			)
		}
		must(t, apply(t, s.open(t, Config{}, 0), jit.Remove, a))
		if all := s.Reviews(); all[0].Status != "REJECTED" || all[1].Status != "PENDING" {
			t.Errorf("approved meanwhile %t: the reviews are %s and %s", race, all[0].Status, all[1].Status)
		}
		s.may(t, time.Now(), false, "after the removal")
	}
}

// Two processes that ask at once, or one whose answer is lost, leave one request.
func TestAskedOnce(t *testing.T) {
	s, lead, p := askSite(t)
	a := access("once", time.Hour)
	var once sync.Once
	s.Interrupt(func(r *http.Request) (way hooptest.Cut) {
		if r.Method == http.MethodPost {
			once.Do(func() { way = hooptest.Unanswered })
		}
		return way
	})
	ask(t, p, a)
	if n := len(s.Reviews()); n != 1 {
		t.Errorf("%d reviews after a lost answer, want 1", n)
	}
	b := access("twice", time.Hour)
	other := s.open(t, Config{Approval: approvalHoop}, 0)
	raced := false
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.Method == http.MethodPost && !raced {
			raced = true
			ask(t, other, b)
		}
		return hooptest.Through
	})
	ask(t, p, b)
	open := 0
	for _, r := range s.Reviews() {
		if r.CorrelationID == askName(b.Marker) && r.Status == "PENDING" {
			s.Decide(lead, r.Session, approved, time.Now())
			open++
		}
	}
	if open != 1 || ask(t, p, b).By != "lead@example.com" {
		t.Errorf("%d requests wait, want 1", open)
	}
}

// Reviewers who approve again move the end. That is reported, and left to them until the grant is removed.
func TestReviewersApproveAgain(t *testing.T) {
	s, lead, p := askSite(t)
	a := access("longer", time.Hour)
	ask(t, p, a)
	session := s.Reviews()[0].Session
	s.Decide(lead, session, approved, time.Now())
	a.Marker.Window = ask(t, p, a).Window
	s.Decide(lead, session, approved, time.Now().Add(10*time.Minute))
	snap, err := p.Read(t.Context(), db)
	must(t, err)
	if d := recorded(a).Differs(snap); d.Kind != jit.DriftEndLater {
		t.Errorf("the drift is %+v", d)
	}
	if err := apply(t, p, jit.Ensure, a); err == nil ||
		!strings.Contains(err.Error(), "lead@example.com approved the review of session "+session+" until") {
		t.Errorf("Ensure = %v", err)
	}
	s.may(t, time.Now(), true, "after the refused repair")
	must(t, apply(t, p, jit.Remove, a))
	s.may(t, time.Now(), false, "after the removal")
}

// Of two targets of one gateway, one leaves the decision to the reviewers. Each sees only its own grants. If a target
// changes under a live grant, that is reported and nothing is removed. A removal still works.
func TestTwoTargetsOfOneGateway(t *testing.T) {
	s, lead, p := askSite(t)
	key := s.open(t, Config{}, 0)
	byKey, byLead := access("by the key", time.Hour), access("by the lead", time.Hour)
	must(t, apply(t, key, jit.Ensure, byKey))
	ask(t, p, byLead)
	for _, r := range s.Reviews() {
		if r.Status == "PENDING" {
			s.Decide(lead, r.Session, approved, time.Now())
		}
	}
	byLead.Marker.Window = ask(t, p, byLead).Window
	must(t, apply(t, p, jit.Ensure, byLead))
	for _, tt := range []struct {
		p    *Platform
		mine jit.Access
	}{{key, byKey}, {p, byLead}} {
		snap, err := tt.p.Read(t.Context(), db)
		if err != nil || len(snap.Ours) != 1 || snap.Ours[0].Marker.ID != tt.mine.Marker.ID {
			t.Errorf("Read = %+v, %v; want one grant, %s", snap.Ours, err, tt.mine.Marker.ID)
		}
	}
	for _, err := range []error{apply(t, p, jit.Ensure, byKey), apply(t, key, jit.Ensure, byLead)} {
		if err == nil || !strings.Contains(err.Error(), "before approval was changed") {
			t.Errorf("Ensure on the other target = %v", err)
		}
	}
	s.may(t, time.Now(), true, "by both")
	must(t, apply(t, p, jit.Remove, byKey))
	must(t, apply(t, key, jit.Remove, byLead))
	s.may(t, time.Now(), false, "after both are removed on the other target")
}

func TestAskingRefused(t *testing.T) {
	s, _, p := askSite(t)
	s.Put(hooptest.Connection{Name: db, JIT: true, Groups: []string{"engineers"}})
	a := access("refused", time.Hour)
	_, planned := p.Describe(t.Context(), a.Binding)
	_, asked := p.Ask(t.Context(), a)
	for what, err := range map[string]error{"Describe": planned, "Ask": asked} {
		if err == nil || !strings.Contains(err.Error(), "has no reviewers") {
			t.Errorf("%s = %v", what, err)
		}
	}
	if len(s.Reviews()) != 0 {
		t.Error("something was written")
	}
}
