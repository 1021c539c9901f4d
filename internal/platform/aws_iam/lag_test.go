package awsiam

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// IAM's reads lag behind the writes of another process. Right after a grant, a new end and a revocation there, a sweep
// and a plan find nothing to do, whatever on_drift says. Past that time the same reads are drift.
func TestAnotherProcessBesideReadsThatLag(t *testing.T) {
	for _, form := range []string{"inline", "managed", "trust"} {
		for _, onDrift := range []jit.OnDrift{jit.RepairDrift, jit.RevokeDrift} {
			t.Run(form+" "+string(onDrift), func(t *testing.T) {
				s := newSite(t)
				if s.strict == nil {
					t.Skip("the strict server of `make test` has reads that lag")
				}
				alice, role := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
				cfg, action, resource := s.config(), "s3:GetObject", bucket+"/key"
				switch form {
				case "managed":
					role = s.policy(t, "Middling", large(9))
				case "trust":
					cfg.TrustPolicy = true
					role = s.role(t, "deployer", "arn:aws:iam::999999999999:root")
					action, resource = assumeRole, role
				}
				d := s.desk(t, cfg, &jittest.Ledger{})
				d.onDrift = onDrift
				frozen := func(when string, g jit.Grant, given bool) {
					t.Helper()
					d.another().quiet(when)
					if drift, err := d.another().broker.Observe(t.Context(), d.recorded(g.ID)); drift != "" || err != nil {
						t.Errorf("%s a plan shows the drift %q: %v", when, drift, err)
					}
					late := d.another()
					late.platform.settling = 0
					if report := late.drifts(); len(report) == 0 {
						t.Errorf("%s the reads are fresh, so the test shows nothing", when)
					}
					s.strict.slow(0)
					if got := s.may(t, alice, action, resource, time.Now()); got != given {
						t.Errorf("%s access is given: %t, want %t", when, got, given)
					}
				}
				s.strict.slow(time.Hour)
				asked := d.request(alice, role)
				g, err := d.broker.Grant(t.Context(), asked)
				must(t, err)
				frozen("after the grant", g, true)

				s.strict.slow(time.Hour)
				asked.TTL = jit.RecordedTTL("2h")
				g, err = d.broker.Change(t.Context(), g, asked)
				must(t, err)
				frozen("after the change", g, true)

				was := s.strict.clone()
				d.revoke(g)
				s.strict.behind(was, time.Hour)
				frozen("after the revocation", g, false)
			})
		}
	}
}
