package gcp

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// dropping makes the server drop the conditions of the next n writes (https://cloud.google.com/iam/docs/policies
// #versions); then next decides.
func (d *desk) dropping(n int, next func(gcptest.Request) gcptest.Fault) {
	d.server.Inject(func(r gcptest.Request) gcptest.Fault {
		switch {
		case !r.Write():
			return gcptest.Fault{}
		case n > 0:
			n--
			return gcptest.Fault{Downgrade: true}
		case next != nil:
			return next(r)
		}
		return gcptest.Fault{}
	})
}

// A write that came back without its conditions has given access for good: it is taken back at once, whether or not the
// service drops conditions again, and whoever writes meanwhile. Access that was there before stays.
func TestAGrantWithoutItsConditionIsTakenBack(t *testing.T) {
	const often = 1000
	for name, tt := range map[string]struct {
		drops int
		next  func(*desk) func(gcptest.Request) gcptest.Fault
		kept  bool // the conditions of others are there again
	}{
		"once":   {drops: 1, kept: true},
		"always": {drops: often},
		"another writer in between": {drops: 1, next: func(d *desk) func(gcptest.Request) gcptest.Fault {
			wrote := false
			return func(gcptest.Request) gcptest.Fault {
				if !wrote {
					wrote = true
					d.server.Edit(project, func(*gcptest.Policy) {})
				}
				return gcptest.Fault{}
			}
		}},
		"a lost answer": {drops: 1, kept: true, next: func(*desk) func(gcptest.Request) gcptest.Fault {
			lost := false
			return func(gcptest.Request) gcptest.Fault {
				first := !lost
				lost = true
				return gcptest.Fault{Lost: first, After: true}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			before := foreign(t, d.server, project)
			live := d.grant(bob, sqlRole, "2h")
			var next func(gcptest.Request) gcptest.Fault
			if tt.next != nil {
				next = tt.next(d)
			}
			d.dropping(tt.drops, next)
			b := jit.Binding{Target: "prod", Principal: alice, Role: sqlRole, Scope: project}
			g, err := d.broker.Grant(t.Context(),
				broker.Request{Binding: b, Reason: "INC-2", Renewal: 1, TTL: jit.RecordedTTL("1h")})
			if err == nil || !strings.Contains(err.Error(), "conditions that were sent are not in the answer") ||
				!strings.Contains(err.Error(), "taken back") {
				t.Fatalf("the error is %v", err)
			}
			g.Binding = b
			d.may(g, 0, false, "refused")
			d.may(g, forever, false, "refused")
			if after := foreign(t, d.server, project); tt.kept && after != before {
				t.Errorf("what is not ours is\n%s\nwas\n%s", after, before)
			}
			d.may(live, 0, true, "beside it")
			d.server.Inject(nil)
			d.sweep()
			d.may(live, time.Hour, true, "swept")
			d.may(live, live.End.Sub(d.now()), false, "swept")
			d.may(g, 0, false, "swept")
		})
	}
}

// Access that the principal had before stays, and a revocation of the same write is not undone.
func TestTakingBackTouchesNothingElse(t *testing.T) {
	d := newDesk(t)
	p := open(t, d.server, Config{})
	had, gone := access(project, alice, sqlRole, "had"), access(project, bob, sqlRole, "gone")
	(&site{t, d.server, nil}).give(had.Binding)
	apply(t, p, project, ensured(gone)...)
	d.dropping(1, nil)
	for i, err := range p.Apply(t.Context(), project, append(removed(gone), ensured(had)...)) {
		if err == nil {
			t.Errorf("change %d reports success", i)
		}
	}
	if !allowed(d.server, had.Binding, time.Now()) || allowed(d.server, gone.Binding, time.Now()) {
		t.Error("access from before is gone, or revoked access is back")
	}
}

// The error of a change tells what became of it: only access with a condition is taken back.
func TestTakingBackNamesOnlyWhatWasTaken(t *testing.T) {
	d := newDesk(t)
	p := open(t, d.server, Config{})
	gone := access(project, bob, sqlRole, "gone")
	apply(t, p, project, ensured(gone)...)
	d.dropping(1, nil)
	basic, taken := access(project, alice, basicViewer, "basic"), access(project, alice, sqlRole, "taken")
	for i, err := range p.Apply(t.Context(), project, append(removed(gone), ensured(basic, taken)...)) {
		if err == nil || strings.Contains(err.Error(), "taken back") != (i == 2) ||
			strings.Contains(err.Error(), "this change itself was made") != (i < 2) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if !allowed(d.server, basic.Binding, time.Now()) {
		t.Error("the access by the basic role is gone")
	}
	for _, a := range []jit.Access{gone, taken} {
		if allowed(d.server, a.Binding, time.Now()) {
			t.Errorf("%s still has %s", a.Binding.Principal, a.Binding.Role)
		}
	}
}

// Where the access cannot be taken back, the error says that it may be in force and names the command that ends it. The
// grant stays in the record, and a sweep ends it with its window.
func TestAGrantThatCannotBeTakenBack(t *testing.T) {
	for _, how := range []string{"revoke", "sweep"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.dropping(1, func(gcptest.Request) gcptest.Fault {
				return gcptest.Fault{Status: http.StatusForbidden, Message: "Permission denied."}
			})
			b := jit.Binding{Target: "prod", Principal: alice, Role: sqlRole, Scope: project}
			id := jit.NewID(d.broker.Owner, b, "INC-2", 1)
			_, err := d.broker.Grant(t.Context(),
				broker.Request{Binding: b, Reason: "INC-2", Renewal: 1, TTL: jit.RecordedTTL("1h")})
			if err == nil || !strings.Contains(err.Error(), "`jit revoke "+string(id)+"` ends it") ||
				strings.Contains(err.Error(), "taken back") {
				t.Fatalf("the error is %v", err)
			}
			g, known, err := d.broker.Ledger.Lookup(t.Context(), id)
			if err != nil || !known || !g.Live(d.now()) {
				t.Fatalf("the record is %+v, %t, %v; want a live grant", g, known, err)
			}
			d.may(g, forever, true, "while it cannot be taken back")
			d.server.Inject(nil)
			if how == "revoke" {
				if _, _, err := d.broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "x"}); err != nil {
					t.Error(err)
				}
			} else {
				d.pass(2 * time.Hour)
				d.sweep()
			}
			d.may(g, 0, false, "ended")
			d.may(g, forever, false, "ended")
		})
	}
}
