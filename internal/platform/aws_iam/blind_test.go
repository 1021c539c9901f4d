package awsiam

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// An operator that may write policies but not read them writes none.
func TestAnOperatorThatMayNotReadWritesNothing(t *testing.T) {
	for _, unread := range []string{"GetAccountAuthorizationDetails", "GetRole"} {
		t.Run(unread, func(t *testing.T) {
			s := newSite(t)
			p := s.open(t, s.config(), time.Now)
			alice, deployer := s.user(t, "alice"), s.role(t, "deployer", s.arn("user/alice"))
			if unread == "GetAccountAuthorizationDetails" {
				deployer = s.policy(t, "Reader", readerDocument)
			}
			s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
				if action == unread {
					fail(w, http.StatusForbidden, "AccessDenied",
						"User: operator is not authorized to perform: iam:"+action)
				}
				return action == unread
			})
			principal := alice
			if unread == "GetRole" { // a user of another account, whom only the role's trust policy can let in
				principal = "arn:aws:iam::999999999999:user/alice"
			}
			a := grantOf(jit.Binding{Principal: principal, Role: deployer}, "unseen")
			if err := p.Apply(t.Context(), s.account.ID, []jit.Change{{Op: jit.Ensure, Access: a}})[0]; err == nil {
				t.Error("a grant without reading succeeded")
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for action, n := range s.calls {
				// those are the lock of a trust policy, which gives nothing
				if !isRead(action) && action != "CreatePolicy" && action != "DeletePolicy" {
					t.Errorf("%s was called %d times", action, n)
				}
			}
		})
	}
}
