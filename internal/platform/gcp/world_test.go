package gcp

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

const (
	project = "projects/payments-prod"
	folder  = "folders/123456789"
	org     = "organizations/987654321"
	bucket  = gcptest.Bucket + "reports"

	alice   = "user:alice@example.com"
	bob     = "user:bob@example.com"
	deploy  = "serviceAccount:deploy@payments-prod.iam.gserviceaccount.com"
	oncall  = "group:oncall@example.com"
	sqlRole = "roles/cloudsql.client"
	viewer  = "roles/storage.objectViewer"
	admin   = "roles/storage.objectAdmin"
	logging = "roles/logging.viewer"
	// basicViewer and basicEditor take no condition.
	basicViewer = "roles/viewer"
	basicEditor = "roles/editor"
	// narrowed is a role with a condition of the user's.
	narrowed = viewer + ` if resource.name.startsWith("projects/_/buckets/reports/objects/2026/")`
	object   = "projects/_/buckets/reports/objects/2026/november.csv"
)

// permissions has the permission with which the tests try each role.
var permissions = map[string]string{
	sqlRole: "cloudsql.instances.connect", viewer: "storage.objects.get", narrowed: "storage.objects.get", admin: "storage.objects.create", logging: "logging.logEntries.list",
	basicViewer: "resourcemanager.projects.get", basicEditor: "*",
}

// newWorld is an organization with a folder, a project and a bucket, each with bindings of others.
func newWorld(t testing.TB) *gcptest.Server {
	t.Helper()
	s := gcptest.New(t)
	s.AddAccounts(alice, bob, deploy, "user:carol@example.com", "domain:example.com")
	s.AddGroup(oncall, bob)
	for scope, parent := range map[string]string{org: "", folder: org, project: folder, bucket: project, "projects/other-project": org, gcptest.Bucket + "backups": project} {
		s.Add(scope, parent)
		s.Edit(scope, func(p *gcptest.Policy) {
			p.AuditConfigs = []any{map[string]any{"service": "allServices"}}
			p.Bindings = []gcptest.Binding{
				{Role: "roles/owner", Members: []string{"user:carol@example.com"}, BindingID: "kept"},
				{
					Role:    logging,
					Members: []string{"user:carol@example.com"},
					Condition: &gcptest.Condition{
						Title:      "until the audit <&>",
						Expression: `request.time < timestamp("2030-01-01T00:00:00Z")`,
					},
				},
			}
		})
	}
	return s
}

// open opens the platform on a server.
func open(t testing.TB, s *gcptest.Server, cfg Config) *Platform {
	t.Helper()
	return openAt(t, s, cfg, time.Now)
}

func openAt(t testing.TB, s *gcptest.Server, cfg Config, now func() time.Time) *Platform {
	t.Helper()
	if cfg.Endpoint == "" {
		cfg.Endpoint = s.URL
	}
	p, err := New(cfg, jit.Services{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	p.ledger = &jittest.Claims{}
	return p
}

// allowed asks the server.
func allowed(s *gcptest.Server, b jit.Binding, at time.Time) bool {
	return s.Allowed(
		gcptest.Ask{Member: b.Principal, Permission: permissions[b.Role], Scope: b.Scope, Name: object, At: at},
	)
}

// access is a grant for an hour that began a minute ago.
func access(scope, principal, role, why string) jit.Access {
	b := jit.Binding{Target: "test", Principal: principal, Role: role, Scope: scope}
	start := jit.Second(time.Now()).Add(-time.Minute)
	return jit.Access{
		Binding: b,
		Marker: jit.Marker{
			Owner:  "test",
			ID:     jit.NewID("test", b, why, 1),
			Window: jit.Window{Start: start, End: start.Add(time.Hour)},
		},
	}
}

func ensured(all ...jit.Access) []jit.Change { return changed(jit.Ensure, all) }
func removed(all ...jit.Access) []jit.Change { return changed(jit.Remove, all) }

func changed(op jit.Op, all []jit.Access) []jit.Change {
	changes := make([]jit.Change, len(all))
	for i, a := range all {
		changes[i] = jit.Change{Op: op, Access: a}
	}
	return changes
}

// apply makes changes that must succeed.
func apply(t testing.TB, p *Platform, scope string, changes ...jit.Change) {
	t.Helper()
	for i, err := range p.Apply(t.Context(), scope, changes) {
		if err != nil {
			t.Fatalf(
				"change %d, %s %s for %s: %v",
				i,
				changes[i].Op,
				changes[i].Access.Binding.Role,
				changes[i].Access.Binding.Principal,
				err,
			)
		}
	}
}

// ours reports whether a binding of the server bears a marker, by its text alone.
func ours(b gcptest.Binding) bool {
	return b.Condition != nil &&
		(strings.HasPrefix(b.Condition.Title, "jit:") || strings.HasPrefix(b.Condition.Description, "jit:"))
}

// foreign is everything in a policy that is not ours, with the audit configuration.
func foreign(t testing.TB, s *gcptest.Server, scope string) string {
	t.Helper()
	return foreignIn(t, s.Policy(scope))
}

func foreignIn(t testing.TB, p gcptest.Policy) string {
	t.Helper()
	var kept []gcptest.Binding
	for _, b := range p.Bindings {
		if !ours(b) {
			kept = append(kept, b)
		}
	}
	text, err := json.MarshalIndent(map[string]any{"bindings": kept, "auditConfigs": p.AuditConfigs}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// edit changes the binding of a grant behind the platform's back.
func edit(
	t testing.TB, s *gcptest.Server, scope string, m jit.Marker, change func(p *gcptest.Policy, b *gcptest.Binding),
) {
	t.Helper()
	s.Edit(scope, func(p *gcptest.Policy) {
		for i := range p.Bindings {
			if b := &p.Bindings[i]; ours(*b) &&
				(strings.Contains(b.Condition.Title, m.Owner+":"+string(m.ID)) || strings.Contains(b.Condition.Description, short(t, m.ID))) {
				change(p, b)
				return
			}
		}
		t.Errorf("no binding of %s in the policy of %s", m, scope)
	})
}

// short is an id as in the description of a shared binding.
func short(t testing.TB, id jit.ID) string {
	t.Helper()
	bytes, err := hex.DecodeString(strings.ReplaceAll(string(id), "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(bytes)
}

// fill gives a policy so many bindings with a condition that new grants share.
func fill(s *gcptest.Server, scope string) {
	who := make([]string, shareFrom)
	for i := range who {
		who[i] = fmt.Sprintf("user:shift%d@example.com", i)
	}
	s.AddAccounts(who...)
	s.Edit(scope, func(p *gcptest.Policy) {
		for i, who := range who {
			p.Bindings = append(p.Bindings,
				gcptest.Binding{Role: logging, Members: []string{who}, Condition: &gcptest.Condition{
					Title: fmt.Sprintf("shift %d", i), Expression: `request.time < timestamp("2030-01-01T00:00:00Z")`}},
			)
		}
	})
}

// expressionUntil is a condition with another end.
func expressionUntil(end time.Time) string {
	return `request.time < timestamp("` + jit.FormatTime(end) + `")`
}
