package claims

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// stubborn is a world whose confirmed removals do nothing.
type stubborn struct{ *world }

func (s stubborn) Remove(context.Context, string) error { return nil }

// late is a world whose list does not have an object yet.
type late struct {
	*world
	since time.Time
}

func (l late) List(ctx context.Context, names []string) (map[string]bool, error) {
	if time.Now().Before(l.since) {
		return map[string]bool{}, nil
	}
	return l.world.List(ctx, names)
}

// An object that is still there after its removal was confirmed keeps its claim.
func TestAConfirmedRemovalIsLookedAt(t *testing.T) {
	w, a := newWorld(), access("alice", "why")
	w.do(t, ensure(a))
	err := Apply(t.Context(), w.scope(), stubborn{w}, []jit.Change{remove(a)})[0]
	if err == nil || !strings.Contains(err.Error(), "alice is still listed after its removal was confirmed") {
		t.Errorf("Apply = %v, want an error that says what is still there", err)
	}
	if len(w.claims(t)) != 1 {
		t.Error("the claim of what is still there was dropped")
	}
	w.do(t, remove(a))
	w.wants(t, "alice", false, "after the removal")
	w.empty(t, "after the removal")
}

// A refused removal is done if a list that has caught up lacks the object, and not before.
func TestARefusedRemovalAndALateList(t *testing.T) {
	for _, there := range []bool{true, false} {
		w, a := newWorld(), access("alice", "why")
		w.do(t, ensure(a))
		if !there {
			w.with(func() { delete(w.members, "alice") })
		}
		w.onWrite = func(bool, string) fault { return declined }
		s := w.scope()
		s.Lag = 100 * time.Millisecond
		err := Apply(t.Context(), s, late{w, time.Now().Add(50 * time.Millisecond)}, []jit.Change{remove(a)})[0]
		if kept := len(w.claims(t)) == 1; (err != nil) != there || kept != there {
			t.Errorf("there %t: %v, and the claim is kept: %t", there, err, kept)
		}
	}
}
