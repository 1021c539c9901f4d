package lifetest_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// directory is an account with a permission set of IAM Identity Center and a colleague who has access.
type directory struct {
	*testenv.MotoDirectory
	account testenv.MotoAccount
	set     string // ARN
	url     string
	writes  atomic.Int64

	mu  sync.Mutex
	ids map[string]string // of people, by principal
}

func newDirectory(t *testing.T) place {
	t.Helper()
	server := testenv.Moto(t)
	d := &directory{account: server.Account(t), ids: map[string]string{}}
	d.MotoDirectory = server.Directory(t, d.account)
	d.set = d.PermissionSet(t, "LifeReadOnly")
	d.Assign(t, testenv.Assignment{Kind: types.PrincipalTypeUser, ID: d.User(t, "colleague"), Set: d.set})
	moto, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(moto) }}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); action {
		case "CreateAccountAssignment", "DeleteAccountAssignment":
			d.writes.Add(1)
		case "ListAccountAssignmentCreationStatus", "ListAccountAssignmentDeletionStatus":
			w.Header().Set("Content-Type", "application/x-amz-json-1.1") // moto lacks it, and finishes all at once
			_, _ = io.WriteString(w, `{}`)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	d.url = proxy.URL
	return d
}

func (d *directory) target() string {
	return fmt.Sprintf("{ aws_identity_center = { region = %q, endpoint = %q } }", d.account.Region, d.url)
}

// environment has the operator's credentials, which are in no configuration.
func (d *directory) environment() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + d.account.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + d.account.SecretAccessKey}
}

func (d *directory) role() string           { return "LifeReadOnly" }
func (d *directory) scope() string          { return d.Account }
func (d *directory) native() bool           { return false }
func (d *directory) begins() bool           { return false }
func (d *directory) settles() time.Duration { return 0 }

func (d *directory) people(t *testing.T, n int) []string {
	t.Helper()
	all := make([]string, n)
	for i := range all {
		name := strings.ToLower(rand.Text()[:10]) + "@example.com"
		id := d.User(t, name)
		all[i] = "user:" + name
		d.mu.Lock()
		d.ids[all[i]] = id
		d.mu.Unlock()
	}
	return all
}

func (d *directory) tries(t *testing.T, principal string) bool {
	t.Helper()
	d.mu.Lock()
	id := d.ids[principal]
	d.mu.Unlock()
	return slices.ContainsFunc(d.Assignments(t, d.set), func(a testenv.Assignment) bool { return a.ID == id })
}

// assigned lists the assignments of people, either ours or the others.
func (d *directory) assigned(t *testing.T, people bool) []testenv.Assignment {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	isOurs := map[string]bool{}
	for _, id := range d.ids {
		isOurs[id] = true
	}
	return slices.DeleteFunc(d.Assignments(t, d.set), func(a testenv.Assignment) bool { return isOurs[a.ID] != people })
}

func (d *directory) foreign(t *testing.T) string { return fmt.Sprint(d.assigned(t, false)) }

func (d *directory) dump(t *testing.T) string {
	return fmt.Sprintf("%v after %d writes", d.Assignments(t, d.set), d.writes.Load())
}

func (d *directory) marked(t *testing.T) int { return len(d.assigned(t, true)) }

func (d *directory) tamper(t *testing.T) {
	t.Helper()
	for _, a := range d.assigned(t, true) {
		d.Unassign(t, a)
	}
}

// unmarked implements [unmarked].
func (d *directory) unmarked() {}

// The state has the session tail of the permission set, and a policy can limit it.
func TestSessionTailOfThePermissionSet(t *testing.T) {
	t.Parallel()
	d := newDirectory(t)
	s := newSite(t, testenv.Terraforms(t)[0], d, released)
	policy := func(limit string) string {
		return fmt.Sprintf(`resource "jit_policy" "short" {
  name             = "short"
  match            = [{ targets = ["here"] }]
  max_session_tail = %q
}
`, limit)
	}
	s.configure(policy("1h"), s.grant("a", "policy = jit_policy.short.name"))
	planned := s.Plan()
	says(t, planned, "Only the ledger remembers the access")
	silent(t, planned, "can go on for 1h") // the policy decides on session tails
	s.Apply()
	s.may(true, "after the apply")
	if got := s.fact("a", "session_tail"); got != "1h" {
		t.Errorf("session_tail is %q, want 1h", got)
	}
	s.configure(policy("30m"), s.grant("a", "policy = jit_policy.short.name"),
		s.grant("b", "policy = jit_policy.short.name"))
	says(t, s.Plan(), "the session tail is 1h")
}
