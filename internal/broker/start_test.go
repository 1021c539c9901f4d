package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// later returns a request for a grant that begins in an hour.
func (w *world) later(change ...func(*broker.Request)) broker.Request {
	start := w.now.Add(time.Hour)
	return request(append([]func(*broker.Request){func(r *broker.Request) { r.StartsAt = start }}, change...)...)
}

// cutOff requests a grant whose write is cut off, before or after it takes effect.
func (w *world) cutOff(r broker.Request, when string) jit.Grant {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	w.platform.Call = func(what string) error {
		if what == when {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	if _, err := w.Grant(ctx, r); !errors.Is(err, context.Canceled) {
		w.t.Fatalf("got %v, want the error of the cut-off write", err)
	}
	w.platform.Call = nil
	for g, err := range w.ledger.Grants(w.t.Context(), jit.Filter{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		return g
	}
	w.t.Fatal("nothing is recorded")
	return jit.Grant{}
}

// A cut-off attempt leaves a grant that begins later. On a platform that begins access by itself, the next apply or
// change completes it; elsewhere the sweeper does.
func TestALaterGrantThatWasCutOff(t *testing.T) {
	for name, again := range map[string]func(*world, jit.Grant, broker.Request) (jit.Grant, error){
		"made again": func(w *world, _ jit.Grant, r broker.Request) (jit.Grant, error) {
			return w.Grant(t.Context(),
				r)
		},
		"changed": func(w *world, g jit.Grant, r broker.Request) (jit.Grant, error) {
			return w.Change(t.Context(), g,
				r)
		},
	} {
		for _, when := range []string{"write", "written"} {
			t.Run(name+" after "+when, func(t *testing.T) {
				w := newWorld(t, jit.Native)
				w.platform.Traits.NativeStart = true
				r := w.later()
				pending := w.cutOff(r, when)
				w.pass(10 * time.Minute)
				g, err := again(w, pending, r)
				if err != nil {
					t.Fatal(err)
				}
				if !g.Window.Equal(pending.Window) || !g.GrantedAt.Equal(w.now) {
					t.Errorf("granted at %s with window %v, want %s and %v", g.GrantedAt, g.Window, w.now,
						pending.Window)
				}
				w.allowed(false)
				w.pass(50 * time.Minute)
				w.allowed(true)
			})
		}
		t.Run(name+" where the sweeper starts it", func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			r := w.later()
			g := w.grant(r)
			w.mustWrite(0, func() {
				if g, err := again(w, g, r); err != nil || !g.GrantedAt.IsZero() {
					t.Errorf("granted at %s, %v", g.GrantedAt, err)
				}
			})
		})
	}
}

// The beginning is moved during the write to a platform that begins access by itself. Platform and record agree
// afterwards.
func TestTheBeginningIsMovedMeanwhile(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Traits.NativeStart = true
	moved := w.later(func(r *broker.Request) { r.StartsAt = r.StartsAt.Add(time.Hour) })
	once := false
	w.platform.Call = func(what string) error {
		if what == "write" && !once {
			once = true
			for g, err := range w.ledger.Grants(t.Context(), jit.Filter{}) {
				if err == nil {
					_, err = w.Change(t.Context(), g, moved)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		return nil
	}
	g := w.grant(w.later())
	if !g.Start.Equal(moved.StartsAt) || g.GrantedAt.IsZero() {
		t.Errorf("the grant begins at %s and was granted at %s, want the beginning %s", g.Start, g.GrantedAt,
			moved.StartsAt)
	}
	if s, err := w.platform.Read(t.Context(), "all"); err != nil || g.Drift(s) != "" {
		t.Errorf("%q on the target, %v", g.Drift(s), err)
	}
}

// A grant's window is computed and judged after the read of the scope, however long that takes.
func TestASlowReadTakesNothingFromTheWindow(t *testing.T) {
	forbid := jit.Policy{Name: "freeze", Effect: jit.Forbid}
	for name, tt := range map[string]struct {
		change func(*world, *broker.Request)
		during func(*world) error
		kind   error
		says   string
	}{
		"ttl": {},
		"start_by passes": {
			change: func(w *world, r *broker.Request) { r.StartBy = w.now.Add(10 * time.Second) },
			kind:   jit.ErrInvalid, says: "start_by",
		},
		"expires_at passes": {
			change: func(w *world, r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, w.now.Add(70*time.Second) },
			kind:   jit.ErrInvalid, says: "expires_at",
		},
		"a policy forbids the grant meanwhile": {
			during: func(w *world) error { return w.PutPolicy(w.t.Context(), forbid) },
			kind:   jit.ErrDenied, says: `"freeze"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			r := request()
			if tt.change != nil {
				tt.change(w, &r)
			}
			w.platform.Call = func(what string) error {
				if what != "read" {
					return nil
				}
				w.pass(80 * time.Second)
				if tt.during != nil {
					return tt.during(w)
				}
				return nil
			}
			if tt.kind != nil {
				w.mustWrite(0, func() {
					_, err := w.Grant(t.Context(), r)
					wantError(t, err, tt.kind, tt.says)
				})
				return
			}
			g := w.grant(r)
			if !g.Start.Equal(w.now) || !g.RequestedAt.Equal(w.now) || !g.End.Equal(w.now.Add(2*time.Hour)) {
				t.Errorf("requested at %s with window %v; want the window from %s on", g.RequestedAt, g.Window, w.now)
			}
		})
	}
}
