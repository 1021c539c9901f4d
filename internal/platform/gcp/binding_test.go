package gcp

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Every documented principal of an allow policy can be granted to, and those that only deny policies know are refused
// (https://cloud.google.com/iam/docs/principal-identifiers).
func TestPrincipalsOfAllowPolicies(t *testing.T) {
	const iam, pools = "principal://iam.googleapis.com/", "principalSet://iam.googleapis.com/"
	for _, principal := range []string{
		"serviceAccount:payments-prod.svc.id.goog[jobs/nightly]",
		iam + "projects/1/locations/global/workloadIdentityPools/payments-prod.svc.id.goog/subject/ns/jobs/sa/nightly",
		iam + "locations/global/workforcePools/staff/subject/alice@example.com",
		pools + "locations/global/workforcePools/staff/group/leads",
		pools + "projects/1/locations/global/workloadIdentityPools/ci/attribute.repository/acme/payments",
		"principalSet://cloudresourcemanager.googleapis.com/projects/1/type/ServiceAccount",
		"principalSet://cloudresourcemanager.googleapis.com/folders/2/type/ServiceAgent",
		"principalSet://cloudresourcemanager.googleapis.com/organizations/3/type/ServiceAccount",
	} {
		s := newWorld(t)
		s.AddAccounts(principal)
		p, a := open(t, s, Config{}), access(project, principal, sqlRole, "x")
		for _, given := range []bool{true, false} {
			changes := ensured(a)
			if !given {
				changes = removed(a)
			}
			if err := p.Apply(t.Context(), project, changes)[0]; err != nil {
				t.Errorf("%s: %v", principal, err)
			}
			if got := allowed(s, a.Binding, time.Now()); got != given {
				t.Errorf("%s has access: %t, want %t", principal, got, given)
			}
		}
	}
	for _, principal := range []string{
		"principal://goog/subject/alice@example.com", "principalSet://goog/public:all",
		"principalSet://goog/group/leads@example.com",
		iam + "projects/-/serviceAccounts/ci@payments-prod.iam.gserviceaccount.com",
		"principalSet://cloudresourcemanager.googleapis.com/projects/1", "principal://cloudresourcemanager.googleapis.com/" +
			"projects/1/type/ServiceAccount", "serviceAccount:payments-prod.svc.id.goog[jobs]",
		"user:payments-prod.svc.id.goog[jobs/nightly]", "principal://iam.googleapis.com.evil.example/x",
	} {
		_, _, err := (&Platform{}).Check(jit.Binding{Principal: principal, Role: sqlRole, Scope: project})
		wantTold(t, err, "principal", "")
	}
}
