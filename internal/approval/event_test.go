package approval_test

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The event of a statement proves only the choice that its person signed: an approval that is relabelled as a denial or
// a sign-off proves nothing, and neither does a denial that is relabelled as an approval.
func TestEventOfAnotherKindThanItsStatement(t *testing.T) {
	g, signer := grant(), newSigner(t)
	kinds := map[jit.Choice]jit.EventKind{
		jit.Approve: jit.EventApproved, jit.Deny: jit.EventDenied, jit.SignOff: jit.EventSignedOff,
	}
	for choice, own := range kinds {
		s := statement(g, "bob@example.com")
		if s.Choice = choice; choice == jit.Deny {
			s.Comment = "use the read replica"
		}
		signed := sign(t, s, g, signer)
		if got := signed.Kind(); got != own {
			t.Errorf("a statement with the choice %s is recorded as %s, want %s", choice, got, own)
		}
		for _, kind := range []jit.EventKind{
			jit.EventApproved, jit.EventDenied, jit.EventSignedOff, jit.EventGranted, jit.EventRequested,
		} {
			read, ok := approval.FromEvent(jit.Event{Seq: 7, Kind: kind, Detail: signed.Details()})
			if ok != (kind == own) {
				t.Errorf("an event %s with the choice %s: read %t", kind, choice, ok)
			}
			if ok && (read.Choice != choice || read.Approver != "bob@example.com" || read.Digest != s.Digest) {
				t.Errorf("an event %s reads as %+v", kind, read.Statement)
			}
		}
	}
}
