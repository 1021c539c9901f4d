package lifetest_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// subscription is a subscription of Azure with a colleague who may always read. Its grants are plain role
// assignments, because grants of Privileged Identity Management last at least five minutes.
type subscription struct {
	server *azuretest.Server
}

const (
	subscriptionScope = "/subscriptions/11111111-0000-4000-8000-000000000000"
	colleague         = "cccccccc-0000-4000-8000-000000000003"
)

func newSubscription(t *testing.T) place {
	t.Helper()
	s := &subscription{azuretest.New(t)}
	s.server.AddScope(subscriptionScope)
	s.server.AddPrincipal("User", colleague, 0)
	s.server.Assign("eeeeeeee-0000-4000-8000-000000000001", colleague, azuretest.Reader, subscriptionScope,
		"jit is a colleague")
	return s
}

func (s *subscription) target() string {
	return fmt.Sprintf("{ azure = { assignment = \"rbac\", endpoint = %q } }", s.server.URL)
}
func (s *subscription) role() string           { return "Reader" }
func (s *subscription) scope() string          { return subscriptionScope }
func (s *subscription) native() bool           { return false }
func (s *subscription) begins() bool           { return false }
func (s *subscription) settles() time.Duration { return 0 }

func (s *subscription) people(_ *testing.T, n int) []string {
	all := make([]string, n)
	for i := range all {
		id := uuid.NewString()
		s.server.AddPrincipal("User", id, 0)
		all[i] = "user:" + id
	}
	return all
}

func (s *subscription) tries(_ *testing.T, principal string) bool {
	return s.server.Allowed(strings.TrimPrefix(principal, "user:"), azuretest.Reader, subscriptionScope, time.Now())
}

// maker is the text after a marker that names the grant of an assignment.
var maker = regexp.MustCompile(` made:[a-z0-9-]+:[0-9a-f-]{36}`)

func claimed(text string) bool { return ours.MatchString(maker.ReplaceAllString(text, "")) }

func (s *subscription) foreign(*testing.T) string {
	return s.server.Dump(func(text string) bool { return !claimed(text) })
}

func (s *subscription) dump(*testing.T) string {
	return s.server.Dump(func(string) bool { return true })
}

func (s *subscription) marked(*testing.T) int { return strings.Count(s.server.Dump(claimed), "\n") }

func (s *subscription) tamper(*testing.T) {
	s.server.Restrict("jit:life-", "@Resource[tags:nobody] StringEquals 'nobody'")
}
