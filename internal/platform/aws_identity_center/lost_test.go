package awsidentitycenter

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// With the ledger lost, nothing tells the grant's assignment from those of others: destroying the grant is an error that
// names the assignment while it is there, and a warning once the window is over.
func TestDestroyingWithoutTheLedger(t *testing.T) {
	s := newSite(t)
	b := s.desk(t)
	g, err := b.Grant(t.Context(), hourOfAlice())
	if err != nil {
		t.Fatal(err)
	}
	s.marks = &jittest.Claims{}
	lost := s.desk(t)
	destroy := func() error {
		_, _, err := lost.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: broker.Destroyed, Destroys: true})
		return err
	}
	for _, over := range []bool{false, true} {
		if over {
			lost.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		}
		err := destroy()
		if err == nil || errors.Is(err, jit.ErrOver) != over {
			t.Errorf("over %t: %v, want an error", over, err)
		}
		for _, part := range []string{string(g.ID), g.Principal, g.Role, g.Scope, "assignment of USER " + aliceID} {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("%v: it does not name %q", err, part)
			}
		}
	}
	s.wants(t, g.Binding, true, "which may be somebody else's")
	lost.Now = time.Now
	s.denied["ListAccountAssignments"] = true
	lost = s.desk(t)
	if err := destroy(); err == nil {
		t.Error("an account that cannot be read passes for one without the assignment")
	}
	delete(s.denied, "ListAccountAssignments")
	s.take(t, g.Binding)
	lost = s.desk(t)
	if err := destroy(); err != nil {
		t.Errorf("with the assignment gone: %v", err)
	}
}
