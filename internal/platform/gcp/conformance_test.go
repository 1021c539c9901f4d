package gcp

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// The conformance suite on each kind of resource. The server decides who has access.
func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name, scope, gone string
		principals        []string
		roles             []string
		scopes            []string
	}{
		{"project", project, "", []string{alice, deploy}, []string{sqlRole, viewer}, nil},
		{"folder", folder, "folders/404", []string{alice, "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/subject/Main"}, []string{sqlRole, admin}, nil},
		{"organization", org, "organizations/404", []string{bob, alice}, []string{sqlRole, logging}, nil},
		{"bucket", bucket, gcptest.Bucket + "gone", []string{oncall, alice}, []string{narrowed, admin}, []string{project + "/buckets"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
				s := newWorld(t)
				s.AddAccounts(c.principals...)
				target := target(s, c.scope, Config{Scopes: c.scopes})
				target.Principals, target.Roles, target.Gone = c.principals, c.roles, c.gone
				return target
			}})
		})
	}
}

// The conformance suite on a policy with so many bindings that grants share them. The writers of one process share a
// queue, as in the program.
func TestConformanceOfSharedBindings(t *testing.T) {
	t.Parallel()
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
		s := newWorld(t)
		fill(s, project)
		target := target(s, project, Config{})
		target.Principals, target.Roles, target.Early = []string{
			alice,
			deploy,
		}, []string{
			narrowed,
			sqlRole,
		}, 59*time.Second
		target.Open = func(t *testing.T) jit.Platform { return batch.Share(open(t, s, Config{}), 0, time.Now) }
		return target
	}})
}

// permission is the permission to read or write the policy of a scope.
func permission(t testing.TB, scope, verb string) string {
	t.Helper()
	at, err := parseScope(scope)
	if err != nil {
		t.Fatal(err)
	}
	return at.permission(verb)
}

// target describes one scope of the world for the suite.
func target(s *gcptest.Server, scope string, cfg Config) *platformtest.Target {
	bad := func(name, attribute, principal, role, in string) platformtest.BadBinding {
		return platformtest.BadBinding{
			Name:      name,
			Attribute: attribute,
			Binding:   jit.Binding{Principal: principal, Role: role, Scope: in},
		}
	}
	written := func(principal, role, in string) jit.Binding {
		return jit.Binding{Principal: principal, Role: role, Scope: in}
	}
	return &platformtest.Target{
		Open: func(t *testing.T) jit.Platform { return open(t, s, cfg) },
		OpenAt: func(t *testing.T, offset time.Duration) jit.Platform {
			return openAt(t, s, cfg, func() time.Time { return time.Now().Add(offset) })
		},
		Scope: scope,
		BadBindings: []platformtest.BadBinding{
			bad("a principal of no kind", "principal", "alice@example.com", sqlRole, scope),
			bad("no address", "principal", "user:alice", sqlRole, scope),
			bad("everybody, on a condition", "role", "allUsers", narrowed, scope),
			bad("everybody of a domain", "principal", "allUsers:example.com", sqlRole, scope),
			bad("a deleted principal", "principal", "deleted:user:alice@example.com?uid=1", sqlRole, scope),
			bad("a reference to a basic role", "principal", "projectViewer:payments-prod", sqlRole, scope),
			bad("a basic role, on a condition", "role", alice, "roles/editor if true", scope),
			bad("a role of no kind", "role", alice, "cloudsql.sqlRole", scope),
			bad("no condition", "role", alice, sqlRole+" if ", scope),
			bad("half a condition", "role", alice, sqlRole+" if resource.name ==", scope),
			bad("a condition that breaks out", "role", alice, sqlRole+" if true) || (true", scope),
			bad("a condition with a comment", "role", alice, sqlRole+" if true // and what follows", scope),
			bad("too many operators", "role", alice,
				sqlRole+" if a && b && c && d && e && f && g && h && i && j && k && !l",
				scope,
			),
			bad("a role of another project", "role", alice,
				"projects/elsewhere-1/roles/reader",
				"projects/payments-prod",
			),
			bad("no scope", "scope", alice, sqlRole, ""),
			bad("a project's number", "scope", alice, sqlRole, "projects/123456"),
			bad("a project in capitals", "scope", alice, sqlRole, "projects/Payments"),
			bad("a folder's name", "scope", alice, sqlRole, "folders/payments"),
			bad("a scope of no kind", "scope", alice, sqlRole, "buckets/reports"),
		},
		Aliases: []platformtest.Alias{
			{Written: written("user:Alice@Example.com", sqlRole, scope), Canonical: written(alice, sqlRole, scope)},
			{
				Written:   written(alice, "  "+sqlRole+"   if   true ", folder),
				Canonical: written(alice, sqlRole+" if true", folder),
			},
			{Written: written(alice, sqlRole, "gs://reports"), Canonical: written(alice, sqlRole, bucket)},
		},
		Impossible: &jit.Binding{Principal: "user:nobody@example.com", Role: sqlRole, Scope: scope},
		Allowed:    func(t *testing.T, b jit.Binding) bool { return allowed(s, b, time.Now()) },
		AllowedAt:  func(t *testing.T, b jit.Binding, at time.Time) bool { return allowed(s, b, at) },
		Foreign: func(t *testing.T, b jit.Binding) {
			s.Edit(scope, func(p *gcptest.Policy) {
				r, err := parseRole(b.Role)
				if err != nil {
					t.Fatal(err)
				}
				p.Bindings = append(p.Bindings,
					gcptest.Binding{Role: r.name, Members: []string{b.Principal}, BindingID: "foreign"},
				)
			})
		},
		Dump:  func(t *testing.T) string { return foreign(t, s, scope) },
		Calls: s.Calls,
		Tamper: platformtest.Tamper{
			MoveEnd: func(t *testing.T, m jit.Marker, end time.Time) {
				edit(t, s, scope, m,
					func(_ *gcptest.Policy, b *gcptest.Binding) { b.Condition.Expression = expressionUntil(end) },
				)
			},
			StripEnd: func(t *testing.T, m jit.Marker) {
				edit(t, s, scope, m, func(_ *gcptest.Policy, b *gcptest.Binding) { b.Condition.Expression = "true" })
			},
			ChangeRole: func(t *testing.T, m jit.Marker, role string) {
				edit(t, s, scope, m, func(_ *gcptest.Policy, b *gcptest.Binding) {
					b.Role, b.Condition.Expression = role, expressionUntil(m.Window.End)
				})
			},
			ChangePrincipal: func(t *testing.T, m jit.Marker, principal string) {
				edit(t, s, scope, m, func(_ *gcptest.Policy, b *gcptest.Binding) { b.Members = []string{principal} })
			},
			Duplicate: func(t *testing.T, m jit.Marker) {
				edit(t, s, scope, m, func(p *gcptest.Policy, b *gcptest.Binding) {
					second := *b
					second.Condition = &gcptest.Condition{
						Title:       b.Condition.Title,
						Description: b.Condition.Description,
						Expression:  "true",
					}
					p.Bindings = append(p.Bindings, second)
				})
			},
			Delete: func(t *testing.T, m jit.Marker) {
				edit(t, s, scope, m, func(_ *gcptest.Policy, b *gcptest.Binding) { b.Members = nil })
			},
		},
		Break: func(t *testing.T) (repair func()) {
			s.Deny("resourcemanager.projects.setIamPolicy", "resourcemanager.folders.setIamPolicy",
				"resourcemanager.organizations.setIamPolicy",
				"storage.buckets.setIamPolicy", permission(t, scope, "setIamPolicy"),
			)
			return func() { s.Deny() }
		},
	}
}

// The conformance suite on a service that carries every third write out and loses its answer, and whose reads are old.
func TestConformanceWithLostAnswersAndOldReads(t *testing.T) {
	t.Parallel()
	lag := platformtest.Lag(50 * time.Millisecond)
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
		s := newWorld(t)
		s.SetLag(lag)
		var writes atomic.Int64
		s.Inject(func(r gcptest.Request) gcptest.Fault {
			// Not every third: in step, one of three processes would lose each of its answers.
			return gcptest.Fault{Lost: r.Write() && writes.Add(1)%4 == 0, After: true}
		})
		target := target(s, project, Config{})
		target.Principals, target.Roles, target.Lag = []string{alice, deploy}, []string{sqlRole, viewer}, lag
		target.Calls, target.Break = nil, nil // they take the place of the faults
		return target
	}})
}
