package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// marks puts a binding with the marker of a requested grant on the target. Whoever can write there can do that.
func (o *office) marks(r broker.Request) jit.Grant {
	o.t.Helper()
	g, _, err := o.Check(r)
	if err != nil {
		o.t.Fatal(err)
	}
	g.Window = jit.Window{Start: jit.Second(o.now), End: jit.Second(o.now).Add(2 * time.Hour)}
	o.platform.Edit("all", func(all []jit.Observed) []jit.Observed {
		return append(all, jit.Observed{Principal: g.Principal, Role: g.Role, Marker: g.Marker()})
	})
	return g
}

// TestAMarkerIsNoApproval meets a marker that no record explains: forged, or of a ledger that was lost. The grant needs
// its approval, and the record then says who gave it.
func TestAMarkerIsNoApproval(t *testing.T) {
	for name, apply := range map[string]func(*office, jit.Grant) (jit.Grant, error){
		"another resource": func(o *office, _ jit.Grant) (jit.Grant, error) { return o.Grant(t.Context(), request()) },
		"a change": func(o *office, g jit.Grant) (jit.Grant, error) {
			return o.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h") }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.pass(3 * time.Hour)
			g := o.marks(request())
			o.mustWrite(0, func() {
				_, err := apply(o, g)
				wantError(t, err, jit.ErrUnapproved, "1 of: lea, leo")
			})
			if _, known, err := o.Lookup(t.Context(), g.ID, jit.Grant{}); err != nil || known && name != "a change" {
				t.Errorf("recorded: %t, %v", known, err)
			}
			o.signs("lea", request())
			o.signs("lea", request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h") }))
			made, err := apply(o, g)
			if err != nil || !made.Live(o.now) {
				t.Fatalf("approved: %+v, %v", made, err)
			}
			for _, kind := range []jit.EventKind{jit.EventAdopted, jit.EventApproved, jit.EventDecided} {
				if kinds := o.kinds(); !slices.Contains(kinds, kind) {
					t.Errorf("no %s among the events %v", kind, kinds)
				}
			}
			rules, err := o.Rulebook(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if wrong, err := o.Unapproved(t.Context(), rules, []jit.Grant{made}); err != nil || len(wrong) > 0 {
				t.Errorf("its approval is not proved: %v, %v", wrong, err)
			}
		})
	}
}

// TestAMarkerOfABrokenGlass that no record explains: somebody must sign the grant off, as if it began now.
func TestAMarkerOfABrokenGlass(t *testing.T) {
	o := newOffice(t)
	r := glass("SEV1-1: down", "bob")
	o.marks(r)
	g := o.grant(r)
	if !g.Unsigned() || g.Awaits != "1 of: lea, leo" || !slices.Contains(o.kinds(), jit.EventBreakGlass) {
		t.Errorf("recorded as %+v, events %v", g, o.kinds())
	}
	o.refused(glass("SEV1-2: down", "bob"), "nobody has signed that off")
}

// TestTheApproverTakesOver applies, as the approver, a scheduled grant that another run made. Nobody begins by that.
func TestTheApproverTakesOver(t *testing.T) {
	o := newOffice(t)
	r := request(func(r *broker.Request) { r.StartsAt = jit.Second(o.now.Add(time.Hour)) })
	o.signs("lea", r)
	g := o.grant(r)
	o.newRun(func(b *broker.Broker) { b.Actor.Name = "lea-gh" })
	again, err := o.Grant(t.Context(), r)
	if err != nil || again.Holder <= g.Holder {
		t.Errorf("got %+v, %v; want another holder than %d", again, err, g.Holder)
	}
	o.allowed(false)
}
