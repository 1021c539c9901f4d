package claims

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// unheardLedger carries out its n-th update and loses the answer.
func unheardLedger(l jit.Claims, n int) jit.Claims {
	updates := 0
	return hooked{l, func(update bool, do func() error) error {
		err := do()
		if updates++; update && updates == n {
			return errors.Join(err, errors.New("no answer from the ledger"))
		}
		return err
	}}
}

// Two processes share an object, and one of them loses an answer of the ledger at any of its calls. Nothing is left of
// the access without a claim that names it, and it is gone when both grants have ended.
func TestALostAnswerOfTheLedgerForgetsNothing(t *testing.T) {
	for _, shared := range []bool{true, false} {
		for n := 1; n < 12; n++ {
			w := newWorld()
			first, second := access("alice", "first"), access("alice", "second")
			s := w.scope()
			s.Ledger = unheardLedger(w.ledger, n)
			when := fmt.Sprintf("answer %d lost, shared %t", n, shared)
			try := func(c jit.Change) { _ = Apply(context.WithoutCancel(t.Context()), s, w, []jit.Change{c})[0] }
			try(ensure(first))
			if shared {
				w.do(t, ensure(second))
			}
			if w.has("alice") && len(w.claims(t)) == 0 {
				t.Errorf("%s: access without a claim", when)
			}
			try(remove(first))
			if w.has("alice") && len(w.claims(t)) == 0 {
				t.Errorf("%s: after the removal there is access without a claim", when)
			}
			if shared {
				w.wants(t, "alice", true, when+": the other grant")
				w.do(t, remove(second))
			}
			w.do(t, remove(first))
			w.wants(t, "alice", false, when)
			w.empty(t, when)
		}
	}
}
