package awsiam

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// site is an account on moto, or on the strict server in this process if real servers are off. The platform reaches it
// through a proxy.
type site struct {
	strict  *iamServer // nil on moto
	account testenv.MotoAccount
	admin   *iam.Client // past the proxy
	url     string      // of the proxy

	mu     sync.Mutex
	calls  map[string]int // requests by action
	before func(w http.ResponseWriter, r *http.Request, action string, form url.Values) (answered bool)
	after  func(action string, answer *http.Response) // may alter the answer
}

// Tests pass the credentials of a site through the environment, as users do.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_EC2_METADATA_DISABLED": "true",
		"AWS_REGION":                "us-east-1", "AWS_SESSION_TOKEN": "", "AWS_ENDPOINT_URL": "",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{calls: map[string]int{}}
	if os.Getenv(testenv.EnvAcceptance) != "" {
		s.account = testenv.Moto(t).Account(t)
	} else {
		s.strict, s.account = newIAMServer(t)
	}
	admin := credentials.NewStaticCredentialsProvider(s.account.AccessKeyID, s.account.SecretAccessKey, "")
	if s.strict != nil {
		admin = credentials.NewStaticCredentialsProvider(freshKey, s.account.SecretAccessKey, "")
	}
	s.admin = iam.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &s.account.Endpoint, Credentials: admin})
	target, err := url.Parse(s.account.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ModifyResponse = func(answer *http.Response) error {
		s.mu.Lock()
		after := s.after
		s.mu.Unlock()
		if action, _ := answer.Request.Context().Value(actionKey{}).(string); after != nil {
			after(action, answer)
		}
		return nil
	}
	forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request,
		_ error) {
		w.WriteHeader(http.StatusBadGateway)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body))
		action := form.Get("Action")
		s.mu.Lock()
		s.calls[action]++
		before := s.before
		s.mu.Unlock()
		if before != nil && before(w, r, action, form) {
			return
		}
		forward.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actionKey{}, action)))
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	t.Setenv("AWS_ACCESS_KEY_ID", s.account.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.account.SecretAccessKey)
	return s
}

type actionKey struct{}

// intercept answers some requests before the server sees them.
func (s *site) intercept(before func(w http.ResponseWriter, r *http.Request, action string, form url.Values) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// fail answers as IAM does with an error.
func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w,
		`<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>`, code, message)
}

// isRead reports whether an action only reads.
func isRead(action string) bool {
	return strings.HasPrefix(action, "Get") || strings.HasPrefix(action, "List")
}

func (s *site) counted() (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for action, n := range s.calls {
		if isRead(action) {
			reads += n
		} else {
			writes += n
		}
	}
	return reads, writes
}

func (s *site) config() Config {
	return Config{Config: awsconfig.Config{Region: "us-east-1", Endpoint: s.url}, AccountID: s.account.ID}
}

// quickly is [awsconfig.Retryer] with short pauses.
func quickly(codes ...string) aws.Retryer {
	return retry.AddWithMaxBackoffDelay(awsconfig.Retryer(codes...), 10*time.Millisecond)
}

// open opens the platform. The server shows every write at once, so reads are not corrected by recent writes.
func (s *site) open(t *testing.T, cfg Config, now func() time.Time) *Platform {
	t.Helper()
	p, err := New(cfg, jit.Services{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	p.settling, p.retryer, p.pause = 0, quickly, 5*time.Millisecond
	return p
}

func (s *site) arn(what string) string { return "arn:aws:iam::" + s.account.ID + ":" + what }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// user, group, role and policy make one of each and return its ARN.
func (s *site) user(t *testing.T, name string, groups ...string) string {
	t.Helper()
	out, err := s.admin.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name})
	must(t, err)
	for _, g := range groups {
		_, err := s.admin.AddUserToGroup(t.Context(), &iam.AddUserToGroupInput{UserName: &name, GroupName: &g})
		must(t, err)
	}
	return *out.User.Arn
}

func (s *site) group(t *testing.T, name string) string {
	t.Helper()
	out, err := s.admin.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: &name})
	must(t, err)
	return *out.Group.Arn
}

func (s *site) role(t *testing.T, name, trusted string) string {
	t.Helper()
	trust := `{"Version": "2012-10-17", "Statement": [{"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "` + trusted + `"}, "Action": "sts:AssumeRole"}]}`
	out, err := s.admin.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	must(t, err)
	return *out.Role.Arn
}

func (s *site) policy(t *testing.T, name, document string) string {
	t.Helper()
	out, err := s.admin.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document})
	must(t, err)
	return *out.Policy.Arn
}

// version makes a document the default version of a policy.
func (s *site) version(t *testing.T, name, document string) {
	t.Helper()
	_, err := s.admin.CreatePolicyVersion(t.Context(),
		&iam.CreatePolicyVersionInput{PolicyArn: &name, PolicyDocument: &document, SetAsDefault: true})
	must(t, err)
}

// stored is the whole account, as the server has it.
func (s *site) stored(t *testing.T) *iam.GetAccountAuthorizationDetailsOutput {
	t.Helper()
	all := &iam.GetAccountAuthorizationDetailsOutput{}
	pages := iam.NewGetAccountAuthorizationDetailsPaginator(s.admin, &iam.GetAccountAuthorizationDetailsInput{
		Filter: []types.EntityType{"User", "Role", "Group", "LocalManagedPolicy"},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		all.UserDetailList = append(all.UserDetailList, page.UserDetailList...)
		all.GroupDetailList = append(all.GroupDetailList, page.GroupDetailList...)
		all.RoleDetailList = append(all.RoleDetailList, page.RoleDetailList...)
		all.Policies = append(all.Policies, page.Policies...)
	}
	return all
}

// kept is an entity as the evaluator sees it.
type kept struct {
	Name     string
	ID       string `json:",omitempty"` // of a role
	Inline   map[string]string
	Attached []string
	Groups   []string `json:",omitempty"`
	Trust    string   `json:",omitempty"`
}

func plain(document *string) string {
	text, err := url.PathUnescape(aws.ToString(document))
	if err != nil {
		return aws.ToString(document)
	}
	return text
}

// entities returns all of them by their ARN, and the documents of the account's managed policies.
func (s *site) entities(t *testing.T) (map[string]*kept, map[string]string) {
	t.Helper()
	out := s.stored(t)
	all, policies := map[string]*kept{}, map[string]string{}
	add := func(arn, name *string, inline []types.PolicyDetail, attached []types.AttachedPolicy) *kept {
		k := &kept{Name: *name, Inline: map[string]string{}}
		for _, p := range inline {
			k.Inline[*p.PolicyName] = plain(p.PolicyDocument)
		}
		for _, p := range attached {
			k.Attached = append(k.Attached, *p.PolicyArn)
		}
		all[*arn] = k
		return k
	}
	for _, u := range out.UserDetailList {
		add(u.Arn, u.UserName, u.UserPolicyList, u.AttachedManagedPolicies).Groups = u.GroupList
	}
	for _, g := range out.GroupDetailList {
		add(g.Arn, g.GroupName, g.GroupPolicyList, g.AttachedManagedPolicies)
	}
	for _, r := range out.RoleDetailList {
		k := add(r.Arn, r.RoleName, r.RolePolicyList, r.AttachedManagedPolicies)
		k.ID, k.Trust = aws.ToString(r.RoleId), plain(r.AssumeRolePolicyDocument)
	}
	for _, p := range out.Policies {
		for _, v := range p.PolicyVersionList {
			if v.IsDefaultVersion {
				policies[*p.Arn] = plain(v.Document)
			}
		}
	}
	return all, policies
}

// documents returns what is on a principal: inline, attached, and on the groups that it is in.
func (s *site) documents(t *testing.T, principal string) (documents []string, trust func(role string) string) {
	t.Helper()
	all, policies := s.entities(t)
	collect := func(k *kept) {
		for _, d := range k.Inline {
			documents = append(documents, d)
		}
		for _, name := range k.Attached {
			document, ok := policies[name]
			if !ok {
				document = s.awsManaged(t, name)
			}
			documents = append(documents, document)
		}
	}
	if k := all[principal]; k != nil {
		collect(k)
		for _, g := range k.Groups {
			collect(all[s.arn("group/"+g)])
		}
	}
	return documents, func(role string) string {
		if k := all[role]; k != nil {
			return k.Trust
		}
		return `{"Statement":[]}`
	}
}

// awsManaged is the document of a managed policy of AWS.
func (s *site) awsManaged(t *testing.T, name string) string {
	t.Helper()
	p, err := s.admin.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: &name})
	must(t, err)
	v, err := s.admin.GetPolicyVersion(t.Context(),
		&iam.GetPolicyVersionInput{PolicyArn: &name, VersionId: p.Policy.DefaultVersionId})
	must(t, err)
	return plain(v.PolicyVersion.Document)
}

// dump is everything that is not ours, the statements of trust policies as JSON values.
func (s *site) dump(t *testing.T) string {
	t.Helper()
	all, policies := s.entities(t)
	for _, k := range all {
		for name := range k.Inline {
			if strings.HasPrefix(name, "jit-") && len(name) > 41 {
				delete(k.Inline, name)
			}
		}
		k.Attached = slices.DeleteFunc(k.Attached,
			func(name string) bool { return strings.Contains(name, ":policy/jit/jit-") })
		slices.Sort(k.Attached)
		if k.Trust != "" {
			var d struct {
				Version   any
				Statement []map[string]any
			}
			must(t, json.Unmarshal([]byte(k.Trust), &d))
			d.Statement = slices.DeleteFunc(d.Statement, func(s map[string]any) bool {
				sid, _ := s["Sid"].(string)
				return strings.HasPrefix(sid, "Jit")
			})
			text, err := json.Marshal(d)
			must(t, err)
			k.Trust = string(text)
		}
	}
	for name := range policies {
		if strings.Contains(name, ":policy/jit/jit-") {
			delete(policies, name)
		}
	}
	text, err := json.MarshalIndent([]any{all, policies}, "", " ")
	must(t, err)
	return string(text)
}
