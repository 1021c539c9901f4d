package lifetest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// beside is a place with the environment of another one too.
type beside struct {
	place
	env []string
}

func (b beside) environment() []string { return slices.Concat(environment(b.place), b.env) }

// The life of a grant with a bucket as the ledger. Terraform and jit have different home directories, so each makes a
// copy of its own from the bucket, as on two machines.
func TestLifeInABucket(t *testing.T) {
	t.Parallel()
	gateway := newAccount(t).(*account)
	p := beside{newDatabase(t), gateway.environment()}
	s := newSite(t, testenv.Terraforms(t)[0], p, released)
	s.ledger = "s3://" + gateway.bucket + "/jit?path_style=true&region=" + testenv.GatewayRegion + "&endpoint=" +
		gateway.gateway.S3
	l := begin(t, s, "1h", false)
	s.mustJit("sweep")
	s.configure(s.grant("b"))
	if r := s.Plan(); r.ExitCode != 2 || strings.Contains(r.Text(), dependsOnSweeper) {
		t.Errorf("after a sweep, a plan of a grant ends with exit code %d:\n%s", r.ExitCode, r.Text())
	}
	l.configure()
	says(t,
		s.mustJit("revoke", s.fact("a", "id"), s.fact("n[0]", "id"), s.fact("n[1]", "id"), "--reason", "INC-1: done early"),
		"revoked")
	s.may(false, "after the revocation")
	s.gone(l.foreign, "after the revocation")
	l.noWayBack(t, false)
	l.again(t)
	says(t, s.mustJit("audit", "verify", s.ledger), "intact")
}
