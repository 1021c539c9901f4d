package broker_test

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Revoking ends access whatever the error of the ledger is; only a record of another owner stops it.
func TestRevokeWhateverTheLedgerSays(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request())
	w.ledger.Call = func(string) error { return jit.Invalid("ledger", "", "the ledger is elsewhere") }
	_, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "done"})
	wantError(t, err, broker.ErrUnrecorded, "the ledger is elsewhere")
	w.allowed(false)

	w = newWorld(t, jit.Sweeper)
	g = w.grant(request())
	w.Owner = "payments"
	mine := g
	mine.Owner = "payments"
	for _, remembered := range []jit.Grant{g, mine} {
		_, _, err = w.Revoke(t.Context(), broker.Revocation{Grant: remembered, Reason: "done"})
		wantError(t, err, broker.ErrOtherOwner, `belongs to the owner "jit"`)
	}
	w.allowed(true)
}
