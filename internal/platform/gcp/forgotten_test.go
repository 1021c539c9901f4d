package gcp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// With the ledger lost, nothing tells whether a grant gave a membership without a condition. Neither a destroy nor a
// plan nor an apply calls it absent: each names it. Once somebody has removed it, the grant is gone.
func TestAMembershipThatOnlyTheLostLedgerKnew(t *testing.T) {
	for name, live := range map[string]bool{"live": true, "over": false} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			g, usual := d.grant(alice, basicViewer, "2h"), d.grant(bob, sqlRole, "2h")
			d.loseLedger()
			if !live {
				d.pass(3 * time.Hour)
			}
			destroy := func(g jit.Grant) error {
				g.Version = 0
				_, _, err := d.broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: broker.Destroyed, Destroys: true})
				return err
			}
			ask := broker.Request{Binding: g.Binding, Reason: g.Reason, Renewal: g.Renewal, TTL: g.TTL}
			_, planned := d.broker.PreviewChange(t.Context(), g, ask)
			if !live {
				planned = d.broker.CheckForgotten(t.Context(), g) // it plans no change
			}
			for what, err := range map[string]error{"destroy": destroy(g), "plan": planned} {
				if err == nil || errors.Is(err, jit.ErrOver) == live ||
					!strings.Contains(err.Error(), basicViewer+" to "+alice+" on "+project) {
					t.Errorf("%s: %v, want an error that names the membership", what, err)
				}
			}
			d.may(g, 0, true, "with the ledger lost")
			if _, known, err := d.broker.Ledger.Lookup(t.Context(), g.ID); known || err != nil {
				t.Errorf("the refused destroy is recorded: %t, %v", known, err)
			}
			if err := destroy(usual); err != nil {
				t.Errorf("access with a marker: %v", err)
			}
			d.may(usual, 0, false, "destroyed")
			(&site{t, d.server, nil}).take(g.Binding)
			if err := destroy(g); err != nil {
				t.Errorf("once the membership is gone: %v", err)
			}
		})
	}
}

// loseLedger replaces the ledger by an empty one.
func (d *desk) loseLedger() {
	d.Helper()
	p, ok := d.broker.Targets["prod"].(*Platform)
	if !ok {
		d.Fatal("the target is another platform")
	}
	p.ledger = &jittest.Claims{}
	d.broker.Ledger = &jittest.Ledger{}
}
