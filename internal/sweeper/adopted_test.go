package sweeper_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// TestAdoptedIsNotAccused, whether or not a sweep has found its binding before; it is not put back either, since anyone
// who can write on the target can write a marker.
func TestAdoptedIsNotAccused(t *testing.T) {
	for name, swept := range map[string]bool{"at once": false, "after a sweep": true} {
		t.Run(name, func(t *testing.T) {
			b := newBureau(t, prod(1))
			g := b.asked(request("8h"))
			g.Window = jit.Window{Start: jit.Second(b.now), End: jit.Second(b.now).Add(8 * time.Hour)}
			b.platform.Edit("all", func(all []jit.Observed) []jit.Observed {
				return append(all, jit.Observed{Principal: g.Principal, Role: g.Role, Marker: g.Marker()})
			})
			if swept {
				b.found()
				b.found()
			}
			s, err := b.platform.Read(t.Context(), "all")
			if err != nil {
				t.Fatal(err)
			}
			lost, refused, err := b.broker.Unrecorded(t.Context(), map[jit.Place]jit.Snapshot{g.Place(): s})
			if err != nil || len(refused) > 0 || len(lost) != 1 {
				t.Fatal(lost, refused, err)
			}
			for _, err := range b.broker.Adopt(t.Context(), lost) {
				if err != nil {
					t.Fatal(err)
				}
			}
			b.now = b.now.Add(time.Minute)
			b.found()
			b.unaccused()

			b.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
			b.found()
			found := b.found()
			if len(found) != 1 || found[0].Kind != reconcile.Report ||
				!strings.HasSuffix(found[0].Reason, "and it is not put back") {
				t.Errorf("found %+v", found)
			}
			b.allowed(false)
			if _, err := b.run().Change(t.Context(), lost[0], request("8h")); err == nil {
				t.Error("an apply puts it back")
			}
			b.allowed(false)
		})
	}
}
