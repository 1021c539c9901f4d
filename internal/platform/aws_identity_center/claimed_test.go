package awsidentitycenter

import (
	"errors"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
)

// A claim whose writing got no answer is not forgotten: the record and the error name the grant, and revoking it drops
// the claim.
func TestALostAnswerOfTheLedgerIsNamed(t *testing.T) {
	s := newSite(t)
	b := s.desk(t)
	p := s.open(t)
	lost := false
	p.ledger = hooked{p.ledger, func(do func() error) error {
		err := do()
		if !lost && len(marked(t, s.open(t))) == 1 {
			lost = true
			return errors.New("no answer from the ledger")
		}
		return err
	}}
	b.Targets["directory"] = p
	r := hourOfAlice()
	_, err := b.Grant(t.Context(), r)
	if err == nil || !lost || !strings.Contains(err.Error(), "may be in force: `jit revoke ") {
		t.Errorf("Grant = %v, want an error that names the command that ends it", err)
	}
	g := recorded(t, b, r)
	if all := marked(t, s.open(t)); g.Failed() || len(all) != 1 || all[0].Marker.ID != g.ID {
		t.Errorf("the record is %+v with the claims %+v, want both to name the grant", g, all)
	}
	if _, _, err := b.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "unclear"}); err != nil {
		t.Error(err)
	}
	s.wants(t, g.Binding, false, "after the revocation")
	if left := marked(t, s.open(t)); len(left) != 0 {
		t.Errorf("claims are left: %+v", left)
	}
}
