package hoop

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// A removal has succeeded when the gateway no longer lists what it removed, not when it answers that.
func TestTheAnswerToARemovalIsNotTheRemoval(t *testing.T) {
	for mode, says := range map[string]string{
		modeReview:    "as approved after it was revoked",
		modeAttribute: "as it was before it was written or deleted",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s, a := newSite(t, nil), access("stays", time.Hour)
			if mode == modeAttribute {
				s.Put(hooptest.Connection{Name: db})
				a = groupAccess("stays")
			}
			p := s.open(t, Config{Mode: mode}, 0)
			p.patience = 200 * time.Millisecond
			must(t, apply(t, p, jit.Ensure, a))
			s.Idle(true)
			if err := apply(t, p, jit.Remove, a); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("Remove = %v, want an error that says %q", err, says)
			}
			s.Idle(false)
			must(t, apply(t, p, jit.Remove, a))
			if snap, err := p.Read(t.Context(), db); err != nil || len(snap.Ours) != 0 {
				t.Errorf("Read = %+v, %v", snap.Ours, err)
			}
		})
	}
}
