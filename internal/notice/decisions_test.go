package notice

import (
	"maps"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Whoever receives the topic approval is told each decision, with the people to whom it can be passed on.
func TestNoticesAboutDecisions(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Events = []string{"approval"}
		s := w.sender("a")
		w.flush(s)
		facts := map[jit.EventKind]map[string]string{
			jit.EventApprovalWanted: {
				"requester": "bob", "approvers": "lea, leo", "awaits": "1 of: lea, leo", "command": "jit approve 4711",
			},
			jit.EventApproved:   {"requester": "bob", "person": "lea"},
			jit.EventDenied:     {"requester": "bob", "person": "leo", "comment": "not now"},
			jit.EventLapsed:     {"requester": "bob", "awaits": "1 of: lea, leo", "why": "it had to begin by noon"},
			jit.EventBreakGlass: {"requester": "bob", "approvers": "lea, leo", "skipped": "1 of: lea, leo"},
			jit.EventSignedOff:  {"requester": "bob", "person": "lea"},
		}
		kinds := []jit.EventKind{
			jit.EventApprovalWanted, jit.EventApproved, jit.EventDenied, jit.EventLapsed, jit.EventBreakGlass, jit.EventSignedOff,
		}
		for n, kind := range kinds {
			w.granted(n, func(_ *jit.Grant, e *jit.Event) { e.Kind, e.Detail = kind, facts[kind] })
		}
		w.granted(len(kinds), nil) // another topic
		w.flush(s)
		if len(w.hook.got) != len(kinds) {
			w.Fatalf("told of %d events, want %d", len(w.hook.got), len(kinds))
		}
		for n, kind := range kinds {
			got := w.hook.got[n]
			if got.Type != jit.CloudEventPrefix+string(kind) || !maps.Equal(got.Data.Event.Detail, facts[kind]) ||
				got.Data.Grant == nil || got.Data.Grant.Principal != "user:alice@example.com" {
				w.Errorf("%s: got %+v", kind, got)
			}
		}
	})
}
