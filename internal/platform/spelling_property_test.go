package platform

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
)

// speller draws bindings of one platform, and other ways to write them.
type speller struct {
	bindings []jit.Binding
	// same writes the same access in another way.
	same func(t *rapid.T, b jit.Binding) jit.Binding
	// wider writes access that includes this one, or this one under a condition that always holds. Optional.
	wider func(t *rapid.T, b jit.Binding) jit.Binding
}

func binding(principal, role, scope string) jit.Binding {
	return jit.Binding{Target: "prod", Principal: principal, Role: role, Scope: scope}
}

// anyCase changes the case of some letters.
func anyCase(t *rapid.T, s string) string {
	flips := rapid.SliceOfN(rapid.Bool(), len(s), len(s)).Draw(t, "flips")
	at := -1
	return strings.Map(func(r rune) rune {
		at++
		switch {
		case at >= len(flips) || !flips[at]:
			return r
		case unicode.IsUpper(r):
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

func pick(t *rapid.T, of ...string) string { return rapid.SampledFrom(of).Draw(t, "spelling") }

var spellers = map[string]speller{
	"azure": {
		bindings: []jit.Binding{
			binding("user:aaaaaaaa-0000-4000-8000-000000000001", "Owner", subscription+"/resourceGroups/prod-db"),
			binding("group:aaaaaaaa-0000-4000-8000-000000000002", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", subscription),
			binding("user:aaaaaaaa-0000-4000-8000-000000000001", "Storage Blob Data Reader",
				subscription+"/resourceGroups/logs/providers/microsoft.storage/storageaccounts/logs"),
		},
		same: func(t *rapid.T, b jit.Binding) jit.Binding {
			kind, id, _ := strings.Cut(b.Principal, ":")
			b.Principal, b.Scope = kind+":"+anyCase(t, id), anyCase(t, b.Scope)+pick(t, "", "/")
			if b.Role = anyCase(t, b.Role); strings.Count(b.Role, "-") == 4 {
				b.Role = pick(t, "", "/providers/Microsoft.Authorization/roleDefinitions/",
					subscription+"/providers/Microsoft.Authorization/RoleDefinitions/") + b.Role
			}
			return b
		},
		wider: func(t *rapid.T, b jit.Binding) jit.Binding {
			_, id, _ := strings.Cut(b.Principal, ":")
			b.Principal = pick(t, "user:", "group:", "servicePrincipal:") + id
			b.Scope = pick(t, b.Scope, subscription, "/providers/Microsoft.Management/managementGroups/all")
			return b
		},
	},
	"gcp": {
		bindings: []jit.Binding{
			binding("user:alice@example.com", "roles/cloudsql.admin", "projects/payments-prod"),
			binding("domain:example.com", "roles/storage.objectViewer",
				"//storage.googleapis.com/projects/_/buckets/reports"),
			binding("serviceAccount:ci@payments-prod.iam.gserviceaccount.com",
				"organizations/12/roles/reader if request.path == \"x\"", "organizations/12"),
			binding("allUsers", "roles/viewer", "folders/123"),
			binding("user:alice@example.com", "roles/secretmanager.admin", "projects/payments-prod/secrets/Key"),
			binding("user:alice@example.com", "roles/spanner.admin", "//spanner.googleapis.com/projects/payments-prod/instances/main"),
		},
		same: func(t *rapid.T, b jit.Binding) jit.Binding {
			if kind, name, ok := strings.Cut(b.Principal, ":"); ok {
				b.Principal = kind + ":" + anyCase(t, name)
			}
			zeros := "/" + pick(t, "", "0", "000")
			if !strings.HasPrefix(b.Scope, "projects/") && !strings.HasPrefix(b.Scope, "//") {
				b.Scope = strings.Replace(b.Scope, "/", zeros, 1)
			}
			b.Scope = strings.Replace(b.Scope, "//storage.googleapis.com/projects/_/buckets/",
				pick(t, "gs://", "//storage.googleapis.com/projects/_/buckets/"), 1)
			if strings.Contains(b.Scope, "/secrets/") {
				b.Scope = pick(t, "", "//secretmanager.googleapis.com/") + b.Scope
			}
			if strings.HasPrefix(b.Role, "organizations/") {
				b.Role = strings.Replace(b.Role, "/", zeros, 1)
			}
			b.Role = pick(t, "", " ") + strings.Replace(b.Role, " if ", pick(t, " if ", "  if   "), 1)
			return b
		},
		wider: func(t *rapid.T, b jit.Binding) jit.Binding {
			b.Scope = pick(t, b.Scope, "organizations/12")
			if b.Role == "roles/viewer" || strings.Contains(b.Role, " if ") {
				return b
			}
			b.Role += pick(t, "", " if true", ` if resource.name.startsWith("")`)
			return b
		},
	},
	"aws_iam": {
		bindings: []jit.Binding{
			binding("arn:aws:iam::123456789012:user/alice", "arn:aws:iam::aws:policy/AdministratorAccess",
				"123456789012"),
			binding("arn:aws:iam::123456789012:role/ops/oncall",
				"arn:aws:iam::aws:policy/AmazonS3FullAccess on arn:aws:s3:::logs-a arn:aws:s3:::logs-b/*",
				"123456789012"),
		},
		same: func(t *rapid.T, b jit.Binding) jit.Binding {
			role, list, ok := strings.Cut(b.Role, " on ")
			if !ok {
				return b
			}
			list = strings.Join(rapid.Permutation(strings.Fields(list)).Draw(t, "order"), pick(t, " ", "  "))
			b.Role = role + " on " + list + pick(t, "", " "+strings.Fields(list)[0])
			return b
		},
		wider: func(t *rapid.T, b jit.Binding) jit.Binding {
			if strings.Contains(b.Role, " on ") {
				b.Role += pick(t, "", " arn:*:*:*:*:*")
				return b
			}
			b.Role += pick(t, "", " on arn:*:*:*:*:*", " on arn:aws:*:*:*:* arn:aws:s3:::x")
			return b
		},
	},
	"kubernetes": {
		bindings: []jit.Binding{
			binding("serviceaccount:prod/deployer", "ClusterRole/edit", "namespaces/prod"),
			binding("group:system:serviceaccounts:prod", "Role/deployer", "namespaces/prod"),
			binding("group:system:authenticated", "ClusterRole/view", "cluster"),
		},
		same: func(t *rapid.T, b jit.Binding) jit.Binding {
			if namespace, name, ok := strings.Cut(strings.TrimPrefix(b.Principal, "serviceaccount:"), "/"); ok {
				b.Principal = pick(t, b.Principal, "user:system:serviceaccount:"+namespace+":"+name)
			}
			return b
		},
		wider: func(t *rapid.T, b jit.Binding) jit.Binding {
			if b.Principal != "group:system:authenticated" {
				b.Principal = pick(t, b.Principal, "group:system:serviceaccounts:prod", "group:system:serviceaccounts",
					"group:system:authenticated")
			}
			if strings.HasPrefix(b.Role, "ClusterRole/") {
				b.Scope = pick(t, b.Scope, "cluster")
			}
			return b
		},
	},
	"ssh": {
		bindings: []jit.Binding{
			binding(key, "login", "/home/deploy/.ssh/authorized_keys"),
			binding(key, "port-forward:db.internal:5432", "/home/deploy/.ssh/authorized_keys"),
			binding(key, "port-forward:127.0.0.1:80", "/home/deploy/.ssh/authorized_keys"),
			binding(key, "command:/usr/bin/backup --now", "/home/deploy/.ssh/authorized_keys"),
		},
		same: func(t *rapid.T, b jit.Binding) jit.Binding {
			b.Principal += pick(t, "", " alice@laptop", "  ")
			if place, ok := strings.CutPrefix(b.Role, "port-forward:"); ok {
				host, port, _ := strings.Cut(place, ":")
				if host == "127.0.0.1" {
					host = pick(t, host, "127.1", "0x7f000001", "2130706433", "0177.0.0.1")
				}
				b.Role = "port-forward:" + anyCase(t, host) + ":" + pick(t, "", "0") + port
			}
			b.Role = strings.Replace(b.Role, "command:", "command:"+pick(t, "", " "), 1)
			b.Scope = pick(t, "", b.Scope)
			return b
		},
		wider: func(t *rapid.T, b jit.Binding) jit.Binding {
			if command, ok := strings.CutPrefix(b.Role, "command:"); ok {
				b.Role = "command:" + pick(t, "", "exec ", "true; ", "/usr/bin/env -i ", "nice -n 5 ") +
					strings.Replace(command, "/usr/bin/b", pick(t, "/usr/bin/b", "/usr//bin/b", "/usr/bin/./b",
						"/usr/lib/../bin/b", `/usr/bin/"b"`), 1)
			}
			if b.Role == "login" {
				return b
			}
			b.Role = pick(t, b.Role, b.Role, "login")
			return b
		},
	},
	"hoop": {
		bindings: []jit.Binding{binding("alice@example.com", "connect", "payments-db")},
		same: func(t *rapid.T, b jit.Binding) jit.Binding {
			b.Principal = pick(t, "", "user:") + b.Principal
			return b
		},
	},
	"postgresql": {
		bindings: []jit.Binding{binding("alice", "payments_read", "cluster"), binding("alice", "pg_read_all_data",
			"cluster")},
		same: func(t *rapid.T, b jit.Binding) jit.Binding {
			b.Scope = pick(t, "", "cluster")
			return b
		},
	},
	"aws_identity_center": { // names and ids are tried in the platform's own tests
		bindings: []jit.Binding{binding("user:alice", "ReadOnlyAccess", "123456789012")},
		same:     func(_ *rapid.T, b jit.Binding) jit.Binding { return b },
	},
}

// No other spelling turns a refusal into a permission.
func TestRespellingNeverPermits(t *testing.T) {
	platforms := judgedPlatforms(t)
	for _, kind := range Kinds() {
		p, judged := platforms[kind]
		s, ok := spellers[kind]
		if !ok || !judged {
			t.Errorf("nothing respells the bindings of %s", kind)
			continue
		}
		t.Run(kind, func(t *testing.T) {
			judge := func(r *rapid.T, b jit.Binding, policies ...jit.Policy) jit.Verdict {
				v, err := p.judge(t, b, policies...)
				if err != nil {
					r.Fatalf("Check(%+v): %v", b, err)
				}
				return v
			}
			rapid.Check(t, func(r *rapid.T) {
				b := rapid.SampledFrom(s.bindings).Draw(r, "binding")
				var permits []jit.Policy
				for i := range rapid.IntRange(1, 2).Draw(r, "permits") {
					permits = append(permits, jit.Policy{Name: fmt.Sprintf("permit%d", i), Effect: jit.Permit,
						Match: jit.Matches{platformtest.DrawMatch(r, s.bindings)}})
				}
				again := s.same(r, b)
				if v := judge(r, b, permits...); !v.Permitted() && judge(r, again, permits...).Permitted() {
					r.Fatalf("%+v is permitted by %+v, and %+v is not: %s", again, permits, b, v.Rule)
				}
				forbid := jit.Policy{Name: "forbid", Effect: jit.Forbid, Match: jit.Matches{platformtest.DrawMatch(r, s.bindings)}}
				if rapid.Bool().Draw(r, "wider") && s.wider != nil {
					again = s.same(r, s.wider(r, b))
				}
				if v := judge(r, b, permitAll, forbid); !v.Permitted() && v.Policy == "forbid" &&
					judge(r, again, permitAll, forbid).Permitted() {
					r.Fatalf("%+v is permitted in spite of %+v, and %+v is not: %s", again, forbid.Match, b, v.Rule)
				}
			})
		})
	}
}
