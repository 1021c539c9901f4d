package awsiam

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// deadTrust returns a role that trusts a user of others who was deleted, with the user's id and a desk of the account.
func deadTrust(t *testing.T, grantTo string) (s *site, d *desk, role, gone string, g jit.Grant) {
	t.Helper()
	s = newSite(t)
	if s.strict == nil {
		t.Skip("moto does not track the principals of trust policies; the strict server of `make test` does, as IAM")
	}
	cfg := s.config()
	cfg.TrustPolicy = true
	bob := s.user(t, "bob")
	s.user(t, "alice")
	role = s.role(t, "deployer", bob)
	d = s.desk(t, cfg, &jittest.Ledger{})
	d.platform.settling = 0
	g, err := d.broker.Grant(t.Context(), d.request(grantTo, role))
	must(t, err)
	name := "bob"
	gone = s.strict.entities["user/bob"].id
	_, err = s.admin.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: &name})
	must(t, err)
	return s, d, role, gone, g
}

// A user of others who was deleted blocks the trust policy and not the end of our grant: the principal is denied the
// role, sweeps stay quiet, and the statement goes once the policy can be saved again.
func TestADeadPrincipalOfOthersBlocksNoEnd(t *testing.T) {
	const alice = "arn:aws:iam::123456789012:user/alice"
	s, d, role, gone, g := deadTrust(t, alice)
	if !s.may(t, alice, assumeRole, role, time.Now()) {
		t.Fatal("the grant gives nothing")
	}
	ended, _, err := d.broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "done early"})
	if !errors.Is(err, jit.ErrRemains) || !strings.Contains(err.Error(), gone) ||
		strings.Contains(err.Error(), "principal: ") {
		t.Errorf("%v, want a note that names %s", err, gone)
	}
	if s.may(t, alice, assumeRole, role, time.Now()) {
		t.Error("access is left after the revocation")
	}
	for _, r := range d.another().pass() {
		if r.Failed() || r.Drift != "" {
			t.Errorf("afterwards a sweep did %s: %s %q %v", r.Kind, r.Drift, r.Reason, r.Err)
		}
	}
	s.setTrust(t, role, strings.Replace(s.strict.entities["role/deployer"].trust, gone, s.arn("root"), 1))
	if err := try(t, d.platform, jit.Remove, ended.Access())[0]; err != nil {
		t.Error(err)
	}
	all, _ := s.entities(t)
	if strings.Contains(all[role].Trust, sidOf(g.Marker())) || len(all[alice].Inline) != 0 {
		t.Errorf("something is left: %s, %v", all[role].Trust, all[alice].Inline)
	}
}

// If the principal cannot be denied the role alone, the revocation fails and says why. Past the end of the statement it
// is a note.
func TestADeadPrincipalBesideOneOfAnotherAccount(t *testing.T) {
	const alice = "arn:aws:iam::999999999999:user/alice"
	_, d, _, gone, g := deadTrust(t, alice)
	_, _, err := d.broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "done early"})
	if err == nil || errors.Is(err, jit.ErrRemains) || !strings.Contains(err.Error(), gone) {
		t.Errorf("%v, want an error that names %s", err, gone)
	}
	later := d.another()
	later.platform.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if err := try(t, later.platform, jit.Remove, g.Access())[0]; !errors.Is(err, jit.ErrRemains) {
		t.Errorf("after the end: %v, want a note", err)
	}
}

// A new grant in such a trust policy blames the deleted principal, not the one of the grant.
func TestADeadPrincipalRefusesAGrant(t *testing.T) {
	_, d, role, gone, _ := deadTrust(t, "arn:aws:iam::123456789012:user/alice")
	_, err := d.broker.Grant(t.Context(), d.request("arn:aws:iam::123456789012:user/administrator", role))
	if err == nil || !strings.Contains(err.Error(), gone) || strings.Contains(err.Error(), "name a user or role") {
		t.Errorf("%v, want one that names %s", err, gone)
	}
}
