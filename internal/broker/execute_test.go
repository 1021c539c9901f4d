package broker_test

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// Steps of one kind on one place share one call; two steps for one grant do not.
func TestStepsShareCalls(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	bob := w.grant(request())
	ann := w.grant(request(func(r *broker.Request) { r.Binding.Principal = "ann" }))
	other := w.grant(request(func(r *broker.Request) { r.Binding.Scope = "other" }))
	w.pass(3 * time.Hour)
	end := func(g jit.Grant) reconcile.Step {
		return reconcile.Step{Kind: reconcile.End, Place: g.Place(), Grant: g}
	}
	for name, c := range map[string]struct {
		steps []reconcile.Step
		calls int
	}{
		"two grants": {[]reconcile.Step{end(bob), end(ann)}, 1},
		"two places": {[]reconcile.Step{end(bob), end(other)}, 2},
		"one twice":  {[]reconcile.Step{end(bob), end(bob)}, 2},
		"two kinds": {[]reconcile.Step{end(bob), reconcile.Drifted(reconcile.Remove, ann.Place(), ann, jit.DriftCopied,
			"a copy")}, 2},
	} {
		calls := 0
		w.platform.Call = func(what string) error {
			if what == "write" {
				calls++
			}
			return nil
		}
		for i, err := range w.Execute(t.Context(), c.steps) {
			if err != nil {
				t.Errorf("%s: step %d: %v", name, i, err)
			}
		}
		if calls != c.calls {
			t.Errorf("%s: %d calls on the platform, want %d", name, calls, c.calls)
		}
	}
}

// A revocation because of drift applies to the compared record. A grant that has changed since is kept, and an ended
// one is not revoked again.
func TestRevokeOfAChangedGrant(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	if _, err := w.Change(t.Context(), g,
		request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") })); err != nil {
		t.Fatal(err)
	}
	w.mustWrite(0, func() {
		wantError(t, w.execute(reconcile.Revoke, g, jit.DriftEndGone, "the end is gone"), broker.ErrChanged)
	})
	w.allowed(true)
	w.revoke(broker.Revocation{Grant: g, Reason: "done"})
	w.mustWrite(0, func() {
		if err := w.execute(reconcile.Revoke, g, jit.DriftEndGone, "the end is gone"); err != nil {
			t.Error(err)
		}
	})
}
