package awsiam

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// policyOf is a policy of the statements.
func policyOf(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

// allow and deny are statements.
func allow(actions, resources string) string {
	return fmt.Sprintf(`{"Effect":"Allow","Action":[%s],"Resource":[%s]}`, actions, resources)
}

func deny(actions, resources string) string {
	return fmt.Sprintf(`{"Effect":"Deny","Action":[%s],"Resource":[%s]}`, actions, resources)
}

// A policy that is written otherwise, or denies what the grant does not give, makes no drift; one that gives less does.
func TestAPolicyWrittenOtherwiseIsNoDrift(t *testing.T) {
	const (
		get, list = `"s3:GetObject"`, `"s3:ListBucket"`
		one, two  = `"arn:aws:s3:::a"`, `"arn:aws:s3:::b"`
		all       = `"*"`
		secure    = `,"Condition":{"Bool":{"aws:SecureTransport":"true"}}}`
	)
	both := allow(get+","+list, one+","+two)
	denied := both + "," + deny(get+","+list, two)
	for name, tt := range map[string]struct {
		was, now string
		drift    bool
	}{
		"split by action":      {both, allow(get, one+","+two) + "," + allow(list, all), false},
		"split by resource":    {both, allow(get, one) + "," + allow(list, all) + "," + allow(get, two), false},
		"widened and split":    {both, allow(`"s3:getobject*"`, all) + "," + allow(list, all), false},
		"a Deny of other":      {both, both + "," + deny(`"iam:*"`, all), false},
		"a Deny that is split": {denied, both + "," + deny(get, two) + "," + deny(list, two), false},
		"a Deny that meets it": {both, denied, true},
		"one pair is gone":     {both, allow(get, all) + "," + allow(list, one), true},
		"a condition on a half": {both, allow(get, all) + "," + strings.TrimSuffix(allow(list, all), "}") + secure,
			true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			alice, role := s.user(t, "alice"), s.policy(t, "Reader", policyOf(tt.was))
			d := s.desk(t, s.config(), &jittest.Ledger{})
			d.platform.settling = 0
			g, err := d.broker.Grant(t.Context(), d.request(alice, role))
			must(t, err)
			s.version(t, role, policyOf(tt.now))
			if got, found := d.another().sweep()[g.ID]; found != tt.drift {
				t.Errorf("the sweep found %q of severity %q (%s)", got.Drift, got.Severity, got.Reason)
			}
		})
	}
}

// A policy that cannot be read is asked for once in each read, not once for each copy of it.
func TestAFailedReadOfAPolicyIsMadeOnce(t *testing.T) {
	s := newSite(t)
	role := s.policy(t, "Reader", policyOf(allow(`"s3:GetObject"`, `"*"`)))
	d := s.desk(t, s.config(), &jittest.Ledger{})
	for i := range 5 {
		_, err := d.broker.Grant(t.Context(), d.request(s.user(t, fmt.Sprintf("alice%d", i)), role))
		must(t, err)
	}
	_, err := s.admin.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: &role})
	must(t, err)
	calls := 0
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
		if action != "GetPolicy" {
			return false
		}
		calls++
		fail(w, http.StatusForbidden, "AccessDenied", "not authorized to perform: iam:GetPolicy")
		return true
	})
	_, err = s.desk(t, s.config(), &jittest.Ledger{}).platform.Read(t.Context(), s.account.ID)
	must(t, err)
	if calls != 1 {
		t.Errorf("one read asked %d times for one policy", calls)
	}
}
