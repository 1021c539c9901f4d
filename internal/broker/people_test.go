package broker_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// gatekeeper is a platform on which people decide.
type gatekeeper struct {
	jit.Platform
	decided jit.Decision
}

func (g *gatekeeper) Asks() bool { return true }

func (g *gatekeeper) Ask(context.Context, jit.Access) (jit.Decision, error) { return g.decided, nil }

func newAskedWorld(t *testing.T) (*world, *gatekeeper) {
	w := newWorld(t, jit.Native)
	k := &gatekeeper{Platform: w.platform}
	w.Targets["db"] = k
	return w, k
}

// A grant that needs a decision stays recorded as waiting until people decide. Its window is the approved one.
func TestPeopleDecide(t *testing.T) {
	w, k := newAskedWorld(t)
	var g jit.Grant
	w.mustWrite(0, func() { g = w.grant(request()) })
	if !w.AwaitsApproval(g) || g.State(w.now) != jit.StatePending {
		t.Fatalf("the grant is %s, want a waiting one", g.State(w.now))
	}
	w.pass(time.Hour)
	w.mustWrite(0, func() {
		if _, err := w.CheckApproval(t.Context(), g); err != nil {
			t.Error(err)
		}
	})
	k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: w.now, End: w.now.Add(2 * time.Hour)}}
	w.pass(time.Minute)
	w.mustWrite(1, func() {
		var err error
		if g, err = w.CheckApproval(t.Context(), g); err != nil || !g.Window.Equal(k.decided.Window) ||
			w.AwaitsApproval(g) {
			t.Errorf("CheckApproval = %+v, %v; want the window of the approval", g, err)
		}
	})
	w.allowed(true)
	if kinds := w.kinds(); !slices.Equal(kinds[len(kinds)-2:], []jit.EventKind{jit.EventChanged, jit.EventGranted}) {
		t.Errorf("the events are %q", kinds)
	}
	w.pass(2*time.Hour - 2*time.Minute)
	w.allowed(true)
	w.pass(2 * time.Minute)
	w.allowed(false)
}

// A grant that is denied, or not approved by start_by, is closed as failed, with the names of the deciders.
func TestPeopleDeny(t *testing.T) {
	w, k := newAskedWorld(t)
	g := w.grant(request(func(r *broker.Request) { r.StartBy = w.now.Add(time.Hour) }))
	k.decided = jit.Decision{By: "carol", Denied: "carol rejected it"}
	_, err := w.CheckApproval(t.Context(), g)
	wantError(t, err, jit.ErrDenied, "carol rejected it", "renewal = 2")
	if g, _, _ = w.Lookup(t.Context(), g.ID, g); !g.Failed() || w.AwaitsApproval(g) {
		t.Errorf("the record is %+v, want a closed one", g)
	}

	w, _ = newAskedWorld(t)
	g = w.grant(request(func(r *broker.Request) { r.StartBy = w.now.Add(time.Hour) }))
	w.pass(61 * time.Minute)
	_, err = w.CheckApproval(t.Context(), g)
	wantError(t, err, jit.ErrDenied, "nobody approved it by start_by")
}

// A grant that may no longer begin, by today's policies or start_by, is withdrawn. If it was approved meanwhile, access
// was given, and the record says so.
func TestWhatMayNotBeginAnyMore(t *testing.T) {
	for _, approved := range []bool{false, true} {
		w, k := newAskedWorld(t)
		g := w.grant(request())
		if approved {
			k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: w.now, End: w.now.Add(2 * time.Hour)}}
		}
		if err := w.PutPolicy(t.Context(), jit.Policy{Name: "freeze", Effect: jit.Forbid}); err != nil {
			t.Fatal(err)
		}
		w.mustWrite(1, func() {
			_, err := w.CheckApproval(t.Context(), g)
			wantError(t, err, jit.ErrDenied, "freeze")
		})
		w.allowed(false)
		g, _, _ = w.Lookup(t.Context(), g.ID, g)
		if g.Failed() == approved || g.RevokedAt.IsZero() == approved || g.GrantedAt.IsZero() == approved || approved &&
			g.EndedAt.IsZero() {
			t.Errorf("approved %t: the record is %+v", approved, g)
		}
	}

	w, k := newAskedWorld(t)
	startBy := w.now.Add(time.Hour)
	g := w.grant(request(func(r *broker.Request) { r.StartBy = startBy }))
	w.pass(61 * time.Minute)
	k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: startBy.Add(time.Second),
		End: startBy.Add(2 * time.Hour)}}
	_, err := w.CheckApproval(t.Context(), g)
	wantError(t, err, jit.ErrDenied, "approved at", "not by start_by")

	w, k = newAskedWorld(t)
	g = w.grant(request(func(r *broker.Request) { r.StartBy = startBy }))
	w.pass(61 * time.Minute) // nobody has checked in time
	k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: startBy.Add(-time.Minute),
		End: startBy.Add(time.Hour)}}
	if _, err := w.CheckApproval(t.Context(), g); err != nil {
		t.Errorf("approved in time, and CheckApproval = %v", err)
	}
	w.allowed(true)
}

// A request lapses with its window. A grant approved before that continues, even if nobody has checked it since.
func TestAWaitingGrantLapses(t *testing.T) {
	for _, approved := range []bool{false, true} {
		w, k := newAskedWorld(t)
		g := w.grant(request())
		w.pass(119 * time.Minute)
		if approved {
			k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: w.now, End: w.now.Add(2 * time.Hour)}}
		}
		w.pass(2 * time.Minute)
		if err := w.execute(reconcile.End, g, "", ""); err != nil {
			t.Error(err)
		}
		g, _, _ = w.Lookup(t.Context(), g.ID, g)
		if approved != (g.State(w.now) == jit.StateActive) || approved != g.EndedAt.IsZero() {
			t.Errorf("approved in time %t: the record is %+v", approved, g)
		}
	}
}

// An approved grant that nobody has checked may not begin after start_by, against today's policies or for longer than
// requested. The access is removed, and the record has the grant and its end.
func TestALapsedGrantMayNotBegin(t *testing.T) {
	for name, tt := range map[string]struct {
		ask    func(*broker.Request)
		lasts  time.Duration
		policy string
		want   string
	}{
		"start_by": {func(r *broker.Request) { r.StartBy = r.StartBy.Add(time.Hour) }, 2 * time.Hour, "",
			"not by start_by"},
		"policies": {func(r *broker.Request) { r.StartBy = time.Time{} }, 2 * time.Hour, "freeze", "freeze"},
		"its length": {func(r *broker.Request) { r.StartBy = time.Time{} }, 8 * time.Hour, "",
			"it was approved for 8h, and it may last 2h"},
		"the maximum": {func(r *broker.Request) { r.StartBy = time.Time{} }, 25 * time.Hour, "", "it may last 2h"},
	} {
		t.Run(name, func(t *testing.T) {
			w, k := newAskedWorld(t)
			g := w.grant(request(func(r *broker.Request) { r.StartBy = w.now; tt.ask(r) }))
			w.pass(119 * time.Minute)
			k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: w.now, End: w.now.Add(tt.lasts)}}
			if tt.policy != "" {
				if err := w.PutPolicy(t.Context(), jit.Policy{Name: tt.policy, Effect: jit.Forbid}); err != nil {
					t.Fatal(err)
				}
			}
			w.pass(2 * time.Minute)
			w.mustWrite(1, func() {
				if err := w.execute(reconcile.End, g, "", ""); err != nil {
					t.Error(err)
				}
			})
			w.allowed(false)
			g, _, _ = w.Lookup(t.Context(), g.ID, g)
			if g.State(w.now) == jit.StateActive || g.EndedAt.IsZero() || g.GrantedAt.IsZero() ||
				!strings.Contains(g.RevokeReason, tt.want) {
				t.Errorf("the record is %+v, want a revoked grant with the reason %q", g, tt.want)
			}
		})
	}
}

// An approval for longer than requested is revoked.
func TestApprovedForTooLong(t *testing.T) {
	w, k := newAskedWorld(t)
	g := w.grant(request())
	k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: w.now, End: w.now.Add(2*time.Hour + time.Second)}}
	_, err := w.CheckApproval(t.Context(), g)
	wantError(t, err, jit.ErrDenied, "it may last 2h")
	if g, _, _ = w.Lookup(t.Context(), g.ID, g); g.RevokedAt.IsZero() || g.EndedAt.IsZero() {
		t.Errorf("the record is %+v", g)
	}
	w.allowed(false)
}

// An approval does not begin a grant that was revoked while it waited.
func TestApprovedTooLate(t *testing.T) {
	w, k := newAskedWorld(t)
	g := w.grant(request())
	if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "not needed"}); err != nil {
		t.Fatal(err)
	}
	k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: w.now, End: w.now.Add(2 * time.Hour)}}
	after, err := w.CheckApproval(t.Context(), g)
	if err != nil || after.RevokedAt.IsZero() || !after.GrantedAt.IsZero() {
		t.Errorf("CheckApproval = %+v, %v; want the revoked grant", after, err)
	}
	w.allowed(false)
}

func TestAskedGrantsHaveNoFixedTimes(t *testing.T) {
	w, k := newAskedWorld(t)
	_, _, err := w.Check(request(func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, w.now.Add(time.Hour) }))
	wantError(t, err, jit.ErrInvalid, "expires_at", "counted from the approval")
	_, _, err = w.Check(request(func(r *broker.Request) { r.StartsAt = w.now.Add(time.Hour) }))
	wantError(t, err, jit.ErrInvalid, "starts_at")
	k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: w.now, End: w.now.Add(2 * time.Hour)}}
	g := w.grant(request())
	for _, ttl := range []string{"1h", "3h"} {
		_, err = w.PreviewChange(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL(ttl) }))
		wantError(t, err, jit.ErrInvalid, "ttl", "renewal = 2")
	}
}
