package lifetest_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// project is a project of Google Cloud with two colleagues: one always has access, the other until a condition ends.
type project struct {
	server *gcptest.Server
}

const (
	projectScope = "projects/payments-prod"
	nobody       = "user:nobody@example.com"
)

func newProject(t *testing.T) place {
	t.Helper()
	p := &project{gcptest.New(t)}
	p.server.Add(projectScope, "")
	p.server.AddAccounts("user:colleague@example.com", nobody)
	p.server.Edit(projectScope, func(policy *gcptest.Policy) {
		policy.AuditConfigs = []any{map[string]any{"service": "allServices"}}
		policy.Bindings = []gcptest.Binding{
			{Role: p.role(), Members: []string{"user:colleague@example.com"}, BindingID: "b-1"},
			{Role: p.role(), Members: []string{"user:colleague@example.com"}, Condition: &gcptest.Condition{
				Title: "jit is a colleague", Description: "jit:colleague",
				Expression: `request.time < timestamp("2030-01-01T00:00:00Z")`}},
		}
	})
	return p
}

func (p *project) target() string         { return fmt.Sprintf("{ gcp = { endpoint = %q } }", p.server.URL) }
func (p *project) role() string           { return "roles/cloudsql.client" }
func (p *project) scope() string          { return projectScope }
func (p *project) native() bool           { return true }
func (p *project) begins() bool           { return true }
func (p *project) settles() time.Duration { return 0 }

func (p *project) people(_ *testing.T, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = "user:" + strings.ToLower(rand.Text()[:8]) + "@example.com"
	}
	p.server.AddAccounts(all...)
	return all
}

func (p *project) tries(_ *testing.T, principal string) bool {
	return p.server.Allowed(
		gcptest.Ask{Member: principal, Permission: "cloudsql.instances.connect", Scope: projectScope, At: time.Now()})
}

// mine reports whether a binding has our marker.
func mine(b gcptest.Binding) bool {
	return b.Condition != nil && ours.MatchString(b.Condition.Description)
}

// foreign returns the policy without our bindings, and the audit settings.
func (p *project) foreign(t *testing.T) string {
	t.Helper()
	policy := p.server.Policy(projectScope)
	var kept []gcptest.Binding
	for _, b := range policy.Bindings {
		if !mine(b) {
			kept = append(kept, b)
		}
	}
	return written(t, []any{kept, policy.AuditConfigs})
}

func (p *project) dump(t *testing.T) string { return written(t, p.server.Policy(projectScope)) }

func written(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (p *project) marked(*testing.T) int {
	n := 0
	for _, b := range p.server.Policy(projectScope).Bindings {
		if mine(b) {
			n++
		}
	}
	return n
}

func (p *project) tamper(*testing.T) {
	p.server.Edit(projectScope, func(policy *gcptest.Policy) {
		for i, b := range policy.Bindings {
			if mine(b) {
				policy.Bindings[i].Members = []string{nobody}
			}
		}
	})
}
