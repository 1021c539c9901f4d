package awsiam

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A plan warns of as many grants as the apply then refuses: they must fit together, on a principal and in a trust
// policy.
func TestGrantsThatDoNotFitTogetherAreTold(t *testing.T) {
	const n = 30
	for _, form := range []string{"inline and managed", "trust"} {
		t.Run(form, func(t *testing.T) {
			s := newSite(t)
			cfg := s.config()
			all := make([]jit.Access, n)
			for i := range all {
				b := jit.Binding{Scope: s.account.ID}
				if form == "trust" {
					cfg.TrustPolicy = true
					if i == 0 {
						s.role(t, "deployer", "arn:aws:iam::999999999999:root")
					}
					b.Principal, b.Role = s.user(t, fmt.Sprint("user", i)), s.arn("role/deployer")
				} else {
					if i == 0 {
						s.user(t, "alice")
					}
					b.Principal, b.Role = s.arn("user/alice"), s.policy(t, fmt.Sprint("Reader", i), readerDocument)
				}
				all[i] = grantOf(b, fmt.Sprint(i))
			}
			p := s.open(t, cfg, time.Now)
			told := func() (n int) {
				snap, err := p.Read(t.Context(), s.account.ID)
				must(t, err)
				for _, a := range all {
					n += len(snap.Advise(context.Background(), a.Binding))
				}
				return n
			}
			planned, again := told(), told() // a plan may ask twice
			refused := 0
			for _, err := range try(t, p, jit.Ensure, all...) {
				if err != nil {
					refused++
				}
			}
			if form == "trust" { // a plan does not know the owner, which makes each statement longer
				refused = min(refused, max(planned, refused-1))
			}
			if planned != refused || again != planned || planned == 0 || planned == n {
				t.Errorf("a plan warns of %d and then of %d of %d, and the apply refuses %d", planned, again, n, refused)
			}
		})
	}
}
