package broker_test

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// No operation writes access for an altered record to a target. Ending works.
func TestAnAlteredRecordPutsNothingOnItsTarget(t *testing.T) {
	for name, alter := range map[string]func(*jit.Grant){
		"a later end":         func(g *jit.Grant) { g.End = g.End.AddDate(10, 0, 0) },
		"another principal":   func(g *jit.Grant) { g.Principal = "mallory" },
		"another role":        func(g *jit.Grant) { g.Role = "root" },
		"another reason":      func(g *jit.Grant) { g.Reason = "INC-9: other" },
		"another enforcement": func(g *jit.Grant) { g.Enforcement = jit.Sweeper },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			made := w.grant(request())
			w.ledger.Alter(made.ID, alter)
			g, _, err := w.ledger.Lookup(t.Context(), made.ID)
			if err != nil {
				t.Fatal(err)
			}
			w.mustWrite(0, func() {
				wantError(t, w.execute(reconcile.Repair, g, jit.DriftMissing, jit.Missing), jit.ErrAltered,
					"jit audit verify", "jit revoke "+string(g.ID))
				ttl := "3h"
				if !g.End.Equal(made.End) {
					ttl = "2h" // another ttl would be judged and recorded, and would replace the forged end
				}
				_, err = w.Change(t.Context(), g,
					request(func(r *broker.Request) {
						r.TTL, r.Binding, r.Reason = jit.RecordedTTL(ttl), g.Binding,
							g.Reason
					}))
				wantError(t, err, jit.ErrAltered)
			})
			w.revoke(broker.Revocation{Grant: g, Reason: "altered"})
			w.allowed(false)
		})
	}
}

// An altered grant does not start, nor does a grant without events, which nobody requested.
func TestAnAlteredRecordDoesNotStart(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request(func(r *broker.Request) { r.StartsAt = w.now.Add(time.Hour) }))
	w.ledger.Alter(g.ID, func(g *jit.Grant) { g.Role = "root" })
	forged := g
	forged.ID, forged.Version = "3f2b8c1e-0000-8000-8000-00000000abcd", 0
	if err := w.ledger.Write(t.Context(), []jit.Entry{{Grant: &forged}})[0]; err != nil {
		t.Fatal(err)
	}
	w.pass(time.Hour)
	for g, err := range w.ledger.Grants(t.Context(), jit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		w.mustWrite(0, func() { wantError(t, w.execute(reconcile.Start, g, "", ""), jit.ErrAltered) })
	}
}

// A record that changes while the events are read is not altered.
func TestANewerRecordIsNotAltered(t *testing.T) {
	w := newWorld(t, jit.Native)
	old := w.grant(request())
	if _, err := w.Change(t.Context(), old,
		request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") })); err != nil {
		t.Fatal(err)
	}
	if altered, err := w.Altered(t.Context(), []jit.Grant{old}); err != nil || len(altered) > 0 {
		t.Errorf("%v, %v", altered, err)
	}
}

// An altered record is refused without affecting the others of its batch.
func TestAnAlteredRecordHoldsUpNoOther(t *testing.T) {
	w := newWorld(t, jit.Native)
	old := w.grant(request())
	if _, err := w.Change(t.Context(), old,
		request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") })); err != nil {
		t.Fatal(err)
	}
	w.ledger.Alter(old.ID, func(g *jit.Grant) { g.Role = "root" })
	other := w.grant(request(func(r *broker.Request) { r.Binding.Principal = "ann" }))
	altered, err := w.Altered(t.Context(), []jit.Grant{old, other})
	if _, told := altered[old.ID]; err != nil || !told || len(altered) != 1 {
		t.Errorf("%v, %v", altered, err)
	}
	var steps []reconcile.Step
	for _, g := range []jit.Grant{old, other} {
		steps = append(steps, reconcile.Drifted(reconcile.Repair, g.Place(), g, jit.DriftEndGone, "the end is gone"))
	}
	errs := w.Execute(t.Context(), steps)
	if wantError(t, errs[0], jit.ErrAltered); errs[1] != nil {
		t.Errorf("the other grant was not repaired: %v", errs[1])
	}
}

// A grant from before a reduction of max_ttl continues. It is narrowed if it is too wide, and is not put back.
func TestAGrantLongerThanMaxTTLIsNotPutBack(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.MaxTTL = time.Hour
	w.mustWrite(0, func() {
		wantError(t, w.execute(reconcile.Repair, g, jit.DriftMissing, jit.Missing), jit.ErrDenied, "max_ttl is 1h")
	})
	w.allowed(true)
	w.mustWrite(1, func() {
		if err := w.execute(reconcile.Repair, g, jit.DriftEndGone, "the end is gone"); err != nil {
			t.Error(err)
		}
	})
}
