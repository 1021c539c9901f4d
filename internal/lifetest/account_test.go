package lifetest_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// account is a bucket of an AWS account that a colleague may read.
type account struct {
	gateway *testenv.AWSGateway
	bucket  string
	tag     string // the suffix of every user's name, because tests share the account

	mu   sync.Mutex
	keys map[string]aws.Credentials // by principal
}

func newAccount(t *testing.T) place {
	t.Helper()
	tag := strings.ToLower(rand.Text()[:10])
	a := &account{gateway: testenv.VersityGW(t), bucket: "bucket-" + tag, tag: tag, keys: map[string]aws.Credentials{}}
	a.gateway.Bucket(t, a.bucket)
	colleague := "colleague-" + tag
	a.gateway.User(t, colleague)
	a.put(t, colleague, "jit-is-a-colleague", `{"Version":"2012-10-17","Statement":{"Effect":"Allow",`+
		`"Action":"s3:GetObject","Resource":"arn:aws:s3:::`+a.bucket+`/*"}}`)
	return a
}

func (a *account) put(t *testing.T, user, policy, document string) {
	t.Helper()
	in := &iam.PutUserPolicyInput{UserName: &user, PolicyName: &policy, PolicyDocument: &document}
	if _, err := a.gateway.Admin().PutUserPolicy(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func (a *account) target() string {
	return fmt.Sprintf("{ aws_iam = { region = %q, endpoint = %q } }", testenv.GatewayRegion, a.gateway.IAM)
}

// environment has the operator's credentials, which are in no configuration.
func (a *account) environment() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + testenv.GatewayKeyID, "AWS_SECRET_ACCESS_KEY=" + testenv.GatewaySecret}
}

func (a *account) role() string {
	arn := "arn:aws:s3:::" + a.bucket
	return "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess on " + arn + " " + arn + "/*"
}
func (a *account) scope() string          { return a.gateway.Account }
func (a *account) native() bool           { return true }
func (a *account) begins() bool           { return true }
func (a *account) settles() time.Duration { return 0 }

func (a *account) people(t *testing.T, n int) []string {
	t.Helper()
	all := make([]string, n)
	for i := range all {
		name := strings.ToLower(rand.Text()[:8]) + "-" + a.tag
		all[i] = "arn:aws:iam::" + a.gateway.Account + ":user/" + name
		key := a.gateway.User(t, name)
		a.mu.Lock()
		a.keys[all[i]] = key
		a.mu.Unlock()
	}
	return all
}

func (a *account) tries(t *testing.T, principal string) bool {
	t.Helper()
	a.mu.Lock()
	key := a.keys[principal]
	a.mu.Unlock()
	read, err := a.gateway.Reads(t.Context(), key, a.bucket)
	if err != nil {
		t.Fatalf("read as %s: %v", principal, err)
	}
	return read
}

// ofAGrant matches the names of our policies.
var ofAGrant = regexp.MustCompile(`^jit-[0-9a-f]{8}-[0-9a-f-]{27}-.`)

// policies returns the policies of the users of this place, ours or the others, by user and name.
func (a *account) policies(t *testing.T, mine bool) map[string]string {
	t.Helper()
	in := &iam.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{types.EntityTypeUser}}
	out, err := a.gateway.Admin().GetAccountAuthorizationDetails(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, u := range out.UserDetailList {
		if !strings.HasSuffix(*u.UserName, a.tag) {
			continue
		}
		for _, p := range u.UserPolicyList {
			if ofAGrant.MatchString(*p.PolicyName) == mine {
				all[*u.UserName+" "+*p.PolicyName] = *p.PolicyDocument
			}
		}
	}
	return all
}

func describePolicies(t *testing.T, all ...map[string]string) string {
	t.Helper()
	text, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (a *account) foreign(t *testing.T) string { return describePolicies(t, a.policies(t, false)) }

func (a *account) dump(t *testing.T) string {
	return describePolicies(t, a.policies(t, false), a.policies(t, true))
}

func (a *account) marked(t *testing.T) int { return len(a.policies(t, true)) }

func (a *account) tamper(t *testing.T) {
	t.Helper()
	for name := range a.policies(t, true) {
		user, policy, _ := strings.Cut(name, " ")
		a.put(t, user, policy, `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"s3:*","Resource":"*"}}`)
	}
}
