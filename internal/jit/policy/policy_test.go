package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// request returns a grant, with the changes of a test.
func request(change ...func(*Request)) Request {
	r := Request{
		Owner:    "payments",
		Platform: "gcp",
		Binding: jit.Binding{
			Target: "prod", Principal: "user:alice@example.com",
			Role: "roles/cloudsql.client", Scope: "projects/payments-prod",
		},
		Reason: "INC-4211: fail over the primary",
		Length: 2 * time.Hour,
		Traits: jit.Traits{Enforcement: jit.Native, SessionTail: time.Hour},
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

// oncall returns a policy that uses every limit and permits request().
func oncall(change ...func(*jit.Policy)) jit.Policy {
	tail := 12 * time.Hour
	p := jit.Policy{
		Name: "prod-oncall", Effect: jit.Permit,
		Match: jit.Matches{{
			Targets: []string{"prod*"}, Platforms: []string{"gcp", "aws_*"}, Principals: []string{"user:*@example.com"},
			Roles: []string{"roles/cloudsql.*", "ClusterRole/view"}, Scopes: []string{"*"},
		}},
		MaxTTL: 4 * time.Hour, ReasonPattern: "^(INC|CHG)-[0-9]+: ", NativeOnly: true, MaxSessionTail: &tail,
		Condition: `grant.owner == "payments"`,
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

// everything returns a policy of that effect that matches every grant.
func everything(name string, effect jit.Effect) jit.Policy {
	return jit.Policy{Name: name, Effect: effect}
}

func BenchmarkJudge(b *testing.B) {
	for _, condition := range []string{"", `grant.ttl <= duration("3h") && grant.reason.startsWith("INC-") && grant.principal.endsWith("@example.com")`} {
		b.Run(fmt.Sprintf("condition=%t", condition != ""), func(b *testing.B) {
			var policies []jit.Policy
			for i := range 10 { // the last is the one that permits
				policies = append(policies, oncall(func(p *jit.Policy) {
					p.Name = fmt.Sprintf("policy-%d", i)
					p.Condition = condition
					if i < 9 {
						p.MaxTTL = time.Hour
					}
				}))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r := request(func(r *Request) { r.Binding.Principal = fmt.Sprintf("user:u%d@example.com", i) })
				v, err := Judge(policies, r)
				if err != nil || v.Policy != "policy-9" || !v.Permitted() {
					b.Fatalf("Judge = %+v, %v", v, err)
				}
			}
		})
	}
}
