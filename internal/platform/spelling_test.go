package platform

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
	awsiam "github.com/jitaccess/terraform-provider-jit/internal/platform/aws_iam"
	awsidentitycenter "github.com/jitaccess/terraform-provider-jit/internal/platform/aws_identity_center"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/azure"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/gcp"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/hoop"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/kubernetes"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/postgresql"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/ssh"
)

// judged is one platform on which nothing is called.
type judged struct {
	jit.Platform
	usual jit.Binding // what a case of a table does not say
}

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILr2L+9Rkgqh5ODNV5/tDj0q2SXAIHDgyRZPJe0rDzpW"

// clusterAccount is a Kubernetes service account as Google's pool names it.
const clusterAccount = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p.svc.id.goog/" +
	"subject/ns/jobs/sa/nightly"

func judgedPlatforms(t *testing.T) map[string]judged {
	t.Helper()
	all := map[string]judged{}
	add := func(kind string, cfg Config, usual jit.Binding) {
		p, err := Open("prod", cfg, jit.Services{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		usual.Target = "prod"
		all[kind] = judged{p, usual}
	}
	const account = "arn:aws:iam::123456789012:"
	add("aws_iam", Config{AWSIAM: &awsiam.Config{}}, jit.Binding{Principal: account + "user/alice",
		Role: "arn:aws:iam::aws:policy/ReadOnlyAccess", Scope: "123456789012"})
	add("aws_identity_center", Config{AWSIdentityCenter: &awsidentitycenter.Config{}},
		jit.Binding{Principal: "user:alice", Role: "ReadOnlyAccess", Scope: "123456789012"})
	add("azure", Config{Azure: &azure.Config{}}, jit.Binding{Principal: "user:aaaaaaaa-0000-4000-8000-000000000001",
		Role: "Reader", Scope: subscription})
	add("gcp", Config{GCP: &gcp.Config{}}, jit.Binding{Principal: "user:alice@example.com",
		Role: "roles/cloudsql.client", Scope: "projects/payments-prod"})
	add("hoop", Config{Hoop: &hoop.Config{URL: "https://hoop.example.com", APIKey: "xapi-key"}},
		jit.Binding{Principal: "alice@example.com", Role: "connect", Scope: "payments-db"})
	add("kubernetes", Config{Kubernetes: &kubernetes.Config{Host: "https://127.0.0.1:6443", Token: "none"}},
		jit.Binding{Principal: "user:alice", Role: "ClusterRole/view", Scope: "namespaces/payments"})
	add("postgresql", Config{PostgreSQL: &postgresql.Config{URL: "postgres://jit@127.0.0.1/postgres"}},
		jit.Binding{Principal: "alice", Role: "payments_read", Scope: "cluster"})
	add("ssh", Config{SSH: &ssh.Config{AuthorizedKeys: "/home/deploy/.ssh/authorized_keys"}},
		jit.Binding{Principal: key, Role: "login", Scope: "/home/deploy/.ssh/authorized_keys"})
	return all
}

const subscription = "/subscriptions/11111111-0000-4000-8000-000000000000"

// judge says what the policies make of a binding as it is written, or why the platform does not have it. What
// only a call could tell counts as refused.
func (p judged) judge(t *testing.T, written jit.Binding, policies ...jit.Policy) (jit.Verdict, error) {
	t.Helper()
	b, traits, err := p.Check(written)
	if err != nil {
		return jit.Verdict{}, err
	}
	given, err := p.Given(t.Context(), b, false)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Judge(policies, policy.Request{Owner: "jit", Platform: p.Kind(), Binding: b, Reason: "INC-1: look",
		Length: time.Hour, Traits: traits, Given: given})
}

// with fills in what a case leaves out.
func (p judged) with(principal, role, scope string) jit.Binding {
	b := p.usual
	for _, part := range []struct {
		into *string
		text string
	}{{&b.Principal, principal}, {&b.Role, role}, {&b.Scope, scope}} {
		if part.text != "" {
			*part.into = part.text
		}
	}
	return b
}

var (
	permitAll = jit.Policy{Name: "all", Effect: jit.Permit}
	principal = func(globs ...string) jit.Match { return jit.Match{Principals: globs} }
	role      = func(globs ...string) jit.Match { return jit.Match{Roles: globs} }
	scope     = func(globs ...string) jit.Match { return jit.Match{Scopes: globs} }
)

// What a policy forbids stays forbidden however it is written, and under whatever narrows it.
func TestForbiddenUnderEverySpelling(t *testing.T) {
	platforms := judgedPlatforms(t)
	for _, c := range []struct {
		kind, principal, role, scope string
		forbid                       jit.Match
		otherwise                    bool // permitted
	}{
		{"azure", "", "owner", "", role("Owner"), false},
		{"azure", "", "OWNER", "", role("Own*"), false},
		{"azure", "", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "", role("8E3AF657-A8FF-443C-A75C-2FE8C4BCB635"), false},
		{"azure", "", "/providers/Microsoft.Authorization/roleDefinitions/8E3AF657-a8ff-443c-a75c-2fe8c4bcb635", "",
			role("8e3af657-*"), false},
		{"azure", "", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "", role("*/roleDefinitions/8e3af657-*"), false},
		{"azure", "", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "",
			role(subscription +
				"/providers/microsoft.authorization/roledefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"), false},
		{"azure", "", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "", role("Owner"), false}, // nobody has looked it up
		{"azure", "", "", subscription + "/resourceGroups/PROD-db", scope("*/resourceGroups/prod*"), false},
		{"azure", "", "", strings.ToUpper(subscription) + "/RESOURCEGROUPS/prod-db/", scope("*/resourceGroups/prod*"),
			false},
		{"azure", "", "", subscription + "/resourceGroups/dev", scope("*/resourceGroups/prod*"), true},
		{"azure", "", "", subscription, scope("*/resourceGroups/prod*"), false},
		{"azure", "", "", "/providers/microsoft.management/managementgroups/ALL", scope("*/resourceGroups/prod*"),
			false},
		{"azure", "group:AAAAAAAA-0000-4000-8000-000000000001", "", "",
			principal("user:aaaaaaaa-0000-4000-8000-000000000001"), false},
		{"azure", "group:00000000-0000-0000-0000-000000000000", "", "", principal("user:aaaaaaaa-*"), false},

		{"aws_identity_center", "", "arn:aws:sso:::permissionSet/ssoins-0123456789abcdef/ps-0123456789abcdef", "",
			role("AdministratorAccess"), false},
		{"aws_identity_center", "user:90677c2f-0000-4000-8000-000000000001", "", "", principal("user:alice"), false},
		{"aws_identity_center", "user:ALICE", "", "", principal("user:alice"), false},

		{"aws_iam", "", "arn:aws:iam::aws:policy/AdministratorAccess on arn:*:*:*:*:*", "",
			role("arn:aws:iam::aws:policy/AdministratorAccess"), false},
		{"aws_iam", "", "arn:aws:iam::aws:policy/AdministratorAccess on arn:aws:s3:::*", "",
			role("*/AdministratorAccess"), false},
		{"aws_iam", "", "arn:aws:iam::aws:policy/AdministratorAccess on arn:aws:s3:::*", "",
			role("*/AdministratorAccess on arn:aws:s3:::secret/*"), false},
		{"aws_iam", "", "arn:aws:iam::aws:policy/AdministratorAccess on arn:aws:s3:::a arn:aws:s3:::s?cret/x", "",
			role("*/AdministratorAccess on arn:aws:s3:::secret/*"), false},
		{"aws_iam", "", "arn:aws:iam::aws:policy/AdministratorAccess", "",
			role("*/AdministratorAccess on arn:aws:s3:::secret/*"), false},
		{"aws_iam", "", "arn:aws:iam::aws:policy/AdministratorAccess on arn:aws:s3:::logs/*", "",
			role("*/AdministratorAccess on arn:aws:s3:::secret/*"), true},
		{"aws_iam", "arn:aws-cn:iam::123456789012:user/alice", "arn:aws-cn:iam::aws:policy/AdministratorAccess", "",
			role("arn:aws:iam::aws:policy/AdministratorAccess"), false},

		{"aws_iam", "", "arn:aws:iam::210987654321:role/deployer", "123456789012", scope("210987654321"), false},

		{"gcp", "serviceAccount:alice@example.com", "", "", principal("user:alice@example.com"), false},
		{"gcp", "", "roles/cloudsql.admin if true", "", role("roles/cloudsql.admin"), false},
		{"gcp", "", "roles/cloudsql.admin   if  request.path == 'x'", "", role("roles/*.admin"), false},
		{"gcp", "", "roles/cloudsql.admin", "", role("roles/cloudsql.admin if resource.name == 'x'"), false},
		{"gcp", "", "roles/cloudsql.client if true", "", role("roles/cloudsql.admin"), true},
		{"gcp", "", "", "folders/0123", scope("folders/123"), false},
		{"gcp", "", "", "organizations/00123", scope("organizations/123"), false},
		{"gcp", "", "", "folders/123", scope("projects/payments-*"), false},
		{"gcp", "", "", "gs://reports", scope("//storage.googleapis.com/projects/_/buckets/reports"), false},
		{"gcp", "", "", "//storage.googleapis.com/projects/_/buckets/reports", scope("gs://reports"), false},
		{"gcp", "", "", "//secretmanager.googleapis.com/projects/payments-prod/secrets/key",
			scope("projects/payments-prod/secrets/key"), false},
		{"gcp", "", "", "projects/payments-prod/secrets/key",
			scope("//secretmanager.googleapis.com/projects/payments-*/secrets/*"), false},
		{"gcp", "", "", "projects/payments-prod/serviceAccounts/CI@payments-prod.iam.gserviceaccount.com",
			scope("*/serviceAccounts/ci@*"), false},
		{"gcp", "", "", "//spanner.googleapis.com/projects/payments-prod/instances/main",
			scope("projects/payments-prod/instances/main"), false},
		{"gcp", "", "", "//spanner.googleapis.com/projects/payments-prod/instances/main",
			scope("projects/payments-prod/*"), false},
		{"gcp", "", "", "//spanner.googleapis.com/projects/payments-prod/instances/main",
			scope("projects/payments-prod/instances/main/databases/orders"), false},
		{"gcp", "", "", "//bigtable.googleapis.com/projects/payments-prod/instances/main",
			scope("//spanner.googleapis.com/*"), true},
		{"gcp", "", "", "projects/payments-prod/locations/global/keyRings/r",
			scope("projects/payments-prod/locations/global/keyRings/r/cryptoKeys/k"), false},
		{"gcp", "", "", "projects/payments-prod", scope("projects/payments-prod/secrets/*"), false},
		{"gcp", "", "", "projects/payments-prod", scope("//pubsub.googleapis.com/projects/*/topics/orders"), false},
		{"gcp", "", "", "projects/payments-prod", scope("projects/other-prod/*"), true},
		{"gcp", "", "", "projects/payments-prod", scope("*/secrets*"), false},
		{"gcp", "", "", "projects/payments-prod", scope("projects/payments-prod[/]secrets/key"), false},
		{"gcp", "", "", "projects/payments-dev", scope("projects/*-prod"), true},
		{"gcp", "", "", "projects/payments-dev", scope("projects/*prod*"), true},
		{"gcp", "", "", "projects/payments-dev", scope("*-prod"), true},
		{"gcp", "", "", "projects/payments-prod", scope("*-PROD"), false},
		{"gcp", "", "", "projects/payments-dev", scope("projects/*/serviceAccounts/*-prod@*"), false},
		{"gcp", "", "", "projects/payments-dev/locations/global/keyRings/r", scope("projects/*-prod"), true},
		{"gcp", "", "", "projects/payments-dev/locations/global/keyRings/r", scope("*/cryptoKeys/*-prod"), false},
		{"gcp", "", "", "//spanner.googleapis.com/projects/payments-dev/instances/main", scope("projects/*-prod"), true},
		{"gcp", "", "", "folders/123", scope("projects/*-prod"), false},
		{"gcp", "", "", "folders/123", scope("gs://*-prod"), false},
		{"gcp", "", "", "gs://reports", scope("gs://*-prod"), true},
		{"gcp", "", "", "gs://reports", scope("*-prod"), true},
		{"gcp", "", "", "gs://reports", scope("//storage.googleapis.com/projects/_/buckets/*-prod"), true},
		{"gcp", "", "", "gs://reports", scope("gs://reports/*-prod/"), false},
		{"gcp", "", "", "gs://reports/a/", scope("gs://*-prod/"), true},
		{"gcp", "", "", "projects/payments-prod/secrets/key", scope("projects/payments-prod"), true},
		{"gcp", "", "", "projects/payments-prod/secrets/key", scope("projects/payments-prod/topics/*"), true},
		{"gcp", "", "", "projects/payments-prod/topics/orders", scope("projects/*/secrets/*"), true},
		{"gcp", "", "", "projects/payments-prod/locations/global/keyRings/r", scope("projects/*/secrets/*"), true},
		{"gcp", "", "", "projects/payments-prod/locations/global/keyRings/r",
			scope("projects/*/locations/*/secrets/*"), true},
		{"gcp", "", "", "projects/payments-prod/locations/global/keyRings/r", scope("projects/*/cryptoKeys/*"), false},
		{"gcp", "", "", "projects/payments-prod/datasets/sales", scope("projects/*/secrets/*"), true},
		{"gcp", "", "", "projects/payments-prod/datasets/sales", scope("projects/*/tables/payroll"), false},
		{"gcp", "", "", "projects/payments-prod/iap_tunnel", scope("projects/*/secrets/*"), true},
		{"gcp", "", "", "projects/payments-prod/iap_tunnel", scope("projects/*/zones/*/instances/*"), false},
		{"gcp", "", "", "projects/payments-prod/iap_tunnel/zones/europe-west6-a", scope("projects/*/instances/*"), false},
		{"gcp", "", "", "gs://reports", scope("gs://*/secrets/*"), false},
		{"gcp", "", "", "projects/payments-prod/locations/global/secrets/key", scope("projects/*/secrets/*"), false},
		{"gcp", "", "", "//spanner.googleapis.com/projects/payments-prod/instances/main",
			scope("projects/*/databases/orders"), false},
		{"gcp", "", "", "organizations/1", scope("//bigtable.googleapis.com/projects/payments-prod/*"), false},
		{"gcp", "", "", "gs://reports", scope("//storage.googleapis.com/projects/_/buckets/reports/managedFolders/a/"),
			false},
		{"gcp", "", "", "gs://reports/a/b/", scope("//storage.googleapis.com/projects/_/buckets/reports/*"), false},
		{"gcp", "", "", "gs://reports/a/b/", scope("gs://reports/a/b/"), false},
		{"gcp", "", "", "gs://reports/a/", scope("gs://reports/a/b/"), false},
		{"gcp", "", "", "gs://reports/ab/", scope("gs://reports/a/*"), true},
		{"gcp", "user:ALICE@Example.com", "", "", principal("user:alice@example.com"), false},
		{"gcp", "allUsers", "", "", principal("user:alice@example.com"), false},
		{"gcp", "allAuthenticatedUsers", "", "", principal("serviceAccount:*"), false},
		{"gcp", "domain:Example.com", "", "", principal("user:alice@example.com"), false},
		{"gcp", "domain:example.org", "", "", principal("user:alice@example.com"), true},
		{"gcp", "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/*", "", "",
			principal("principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/subject/main"), false},
		{"gcp", "serviceAccount:p.svc.id.goog[jobs/nightly]", "", "", principal(clusterAccount), false},
		{"gcp", "serviceAccount:p.svc.id.goog[jobs/daily]", "", "", principal(clusterAccount), true},
		{"gcp", clusterAccount, "", "", principal("serviceAccount:p.svc.id.goog[jobs/*"), false},

		{"kubernetes", "group:system:serviceaccounts:prod", "", "", principal("serviceaccount:prod/*"), false},
		{"kubernetes", "group:system:serviceaccounts:prod", "", "", principal("serviceaccount:prod/deployer"), false},
		{"kubernetes", "group:system:serviceaccounts:dev", "", "", principal("serviceaccount:prod/*"), true},
		{"kubernetes", "group:system:serviceaccounts", "", "", principal("serviceaccount:prod/*"), false},
		{"kubernetes", "group:system:serviceaccounts", "", "", principal("group:system:serviceaccounts:prod"), false},
		{"kubernetes", "group:system:authenticated", "", "", principal("serviceaccount:prod/*"), false},
		{"kubernetes", "group:system:nodes", "", "", principal("user:system:node:*"), false},
		{"kubernetes", "group:system:authenticated", "", "", principal("user:alice"), false},
		{"kubernetes", "user:system:serviceaccount:prod:deployer", "", "", principal("serviceaccount:prod/*"), false},
		{"kubernetes", "serviceaccount:prod/deployer", "", "", principal("user:system:serviceaccount:prod:*"), false},
		{"kubernetes", "", "", "cluster", scope("namespaces/prod"), false},

		{"ssh", "", "command:exec bash -l", "", role("login"), false},
		{"ssh", "", "command:/usr/bin/env -i /bin/zsh", "", role("login"), false},
		{"ssh", "", "command:$SSH_ORIGINAL_COMMAND", "", role("login"), false},
		{"ssh", "", "command:/usr/bin/backup; b'as'h -i", "", role("login"), false},
		{"ssh", "", "command:/bin/b?sh", "", role("login"), false},
		{"ssh", "", "command:sudo -i", "", role("login"), false},
		{"ssh", "", "command:echo" + strings.Repeat(" x", 2000), "", role("login"), false},
		{"ssh", "", "command:/usr/bin/rsync --rsh=/bin/bash x y", "", role("login"), false},
		{"ssh", "", "command:python3 -c 'import pty'", "", role("login"), false},
		{"ssh", "", "command:/usr/bin/python3 /opt/backup.py --all", "", role("login"), true},
		{"ssh", "", "command:/usr/bin/backup --now", "", role("login"), true},
		{"ssh", "", "command:true && exec /usr//bin/./rm -r /srv", "", role("command:/usr/bin/rm *"), false},
		{"ssh", "", "login", "", role("command:/usr/bin/rm *"), false},
		{"ssh", "", "port-forward:DB.internal:5432", "", role("port-forward:db.internal:*"), false},
		{"ssh", "", "port-forward:2130706433:5432", "", role("port-forward:127.0.0.1:*"), false},
		{"ssh", "", "port-forward:127.1:5432", "", role("port-forward:localhost:5432"), false},
		{"ssh", "", "port-forward:[::ffff:10.0.0.1]:5432", "", role("port-forward:10.0.0.1:5432"), false},
		{"ssh", "", "port-forward:db.internal:05432", "", role("port-forward:db.internal:5432"), false},
		{"ssh", "", "port-forward:web.internal:5432", "", role("port-forward:db.internal:*"), true},
		{"ssh", key + " alice@laptop", "", "", principal(key), false},

		{"postgresql", "", "pg_execute_server_program", "", role("PG_execute_*"), false},
		{"hoop", "user:alice@example.com", "", "", principal("alice@example.com"), false},
		{"hoop", "alice@example.com", "", "", principal("user:alice@example.com"), false},
	} {
		p := platforms[c.kind]
		b := p.with(c.principal, c.role, c.scope)
		v, err := p.judge(t, b, permitAll, jit.Policy{Name: "deny", Effect: jit.Forbid, Match: jit.Matches{c.forbid}})
		if err != nil {
			t.Errorf("%s: Check(%+v): %v", c.kind, b, err)
		} else if guarded := v.Policy == "all" && !v.Permitted(); v.Permitted() != c.otherwise &&
			(!guarded || !c.otherwise) {
			t.Errorf("%s: %+v beside a forbid of %+v: %+v, want permitted %t", c.kind, b, c.forbid, v, c.otherwise)
		} else if !c.otherwise && v.Policy != "deny" {
			t.Errorf("%s: %+v is refused by %+v, want by the forbid of %+v", c.kind, b, v, c.forbid)
		}
	}
}

// A policy permits what each part of a grant is named by, and nothing that a wildcard was not meant for.
func TestPermittedInEveryPart(t *testing.T) {
	platforms := judgedPlatforms(t)
	const (
		x    = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
		logs = `roles/storage.objectViewer if resource.name.startsWith("projects/_/buckets/x/objects/logs/")`
		sa   = "group:system:serviceaccounts:prod"
	)
	for _, c := range []struct {
		kind, principal, role, scope string
		permit                       jit.Match
		permitted                    bool
	}{
		{"aws_iam", "", x + " on arn:aws:s3:::logs-a", "", role(x + " on arn:aws:s3:::logs-*"), true},
		{"aws_iam", "", x + " on arn:aws:s3:::logs-*", "", role(x + " on arn:aws:s3:::logs-*"), true},
		{"aws_iam", "", x + " on arn:aws:s3:::logs-a arn:aws:s3:::secret", "", role(x + " on arn:aws:s3:::logs-*"),
			false},
		{"aws_iam", "", x + " on arn:aws:s3:::logs-a arn:aws:s3:::web", "", role(x+" on arn:aws:s3:::logs-*",
			"*/AmazonS3* on *:web"), true},
		{"aws_iam", "", x + " on arn:aws:s3:::logs-*", "", role(x + " on arn:aws:s3:::logs-?"), false},
		{"aws_iam", "", x + " on arn:aws:s3:::*", "", role(x + " on arn:aws:s3:::[l]ogs"), false},
		{"aws_iam", "", x, "", role(x + " on *"), false},
		{"aws_iam", "", x + " on arn:aws:s3:::logs", "", role(x), false},
		{"aws_iam", "", x + " on arn:aws:s3:::logs", "", role("*"), false},
		{"aws_iam", "", x + " on arn:aws:s3:::logs", "", jit.Match{}, true},

		{"gcp", "", logs, "", role(logs), true},
		{"gcp", "", logs, "", role("roles/storage.* if *"), true},
		{"gcp", "", logs + ` || resource.name.startsWith("")`, "", role("roles/storage.* if *"), true},
		{"gcp", "", logs + ` || resource.name.startsWith("")`, "", role(strings.Replace(logs, `")`, `*")`, 1),
			strings.TrimSuffix(logs, `logs/")`)+`*")`), false},
		{"gcp", "", `roles/storage.objectViewer if resource.name.startsWith("")`, "",
			role(strings.TrimSuffix(logs, `x/objects/logs/")`) + "*"), false},
		{"gcp", "", logs, "", role("roles/storage.*"), false},
		{"gcp", "", "roles/storage.objectViewer", "", role("roles/storage.* if *"), false},
		{"gcp", "allUsers", "", "", principal("*"), false},
		{"gcp", "allUsers", "", "", principal("allUsers"), true},
		{"gcp", "domain:example.com", "", "", principal("*example.com"), false},
		{"gcp", "domain:example.com", "", "", jit.Match{}, false},
		{"gcp", "", "", "folders/0123", scope("folders/123"), true},
		{"gcp", "", "", "projects/payments-prod/secrets/key", scope("projects/payments-prod"), false},
		{"gcp", "", "", "projects/payments-prod/secrets/key", scope("projects/payments-prod/*"), true},
		{"gcp", "", "", "projects/payments-prod/secrets/key", scope("projects/*"), true},
		{"gcp", "", "", "projects/payments-prod", scope("projects/payments-prod/*"), false},
		{"gcp", "", "", "//secretmanager.googleapis.com/projects/payments-prod/secrets/key",
			scope("projects/payments-prod/secrets/key"), true},
		{"gcp", "", "", "projects/payments-prod/secrets/key",
			scope("//secretmanager.googleapis.com/projects/payments-prod/secrets/key"), true},
		{"gcp", "", "", "//spanner.googleapis.com/projects/payments-prod/instances/main",
			scope("projects/payments-prod/*"), false},
		{"gcp", "", "", "//spanner.googleapis.com/projects/payments-prod/instances/main",
			scope("projects/payments-prod/instances/main"), false},
		{"gcp", "", "", "//spanner.googleapis.com/projects/payments-prod/instances/main",
			scope("//spanner.googleapis.com/projects/payments-prod/*"), true},
		{"gcp", "", "", "gs://reports/a/", scope("//storage.googleapis.com/projects/_/buckets/reports"), false},
		{"gcp", "", "", "gs://reports/a/", scope("//storage.googleapis.com/projects/_/buckets/reports/*"), true},

		{"kubernetes", "group:system:authenticated", "", "", principal("group:*"), false},
		{"kubernetes", "group:system:authenticated", "", "", jit.Match{}, false},
		{"kubernetes", "group:system:authenticated", "", "", principal("group:system:authenticated"), true},
		{"kubernetes", "group:system:masters", "", "", principal("group:*"), false},
		{"kubernetes", sa, "", "", principal("group:*"), false},
		{"kubernetes", sa, "", "", principal(sa), true},
		{"kubernetes", "group:oncall", "", "", principal("group:*"), true},

		{"azure", "", "", subscription + "/resourceGroups/PROD-db", scope("*/resourceGroups/prod-*"), true},
		{"azure", "", "", subscription + "/resourceGroups/PROD-db", scope("*/resourceGroups/[!p]*"), false},
		{"azure", "", "reader", "", role("Reader"), true},
		{"azure", "", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "", role("[!O]*"), false}, // nobody has looked it up
		{"azure", "", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "", role("*"), true},
		{"azure", "group:00000000-0000-0000-0000-000000000000", "", "", principal("group:*"), false},
		{"aws_identity_center", "user:90677c2f-0000-4000-8000-000000000001", "", "", principal("user:[!r]*"), false},

		{"ssh", "", "command:/usr/bin/backup --now", "", role("command:/usr/bin/backup *"), true},
		{"ssh", "", "command:/usr/bin/backup ; exec bash -i", "", role("command:/usr/bin/backup *"), false},
		{"ssh", "", "command:/usr/bin/backup/../bash", "", role("command:/usr/bin/backup*"), false},
		{"ssh", "", "command:/usr/bin/backup > /dev/null", "", role("command:/usr/bin/backup > /dev/null"), true},
		{"ssh", "", "command:/usr/bin/backup *", "", role(`command:/usr/bin/backup \*`), true},
		{"ssh", "", "command:/usr/bin/backup | gzip", "", jit.Match{}, true},
		{"ssh", "", "command:bash -l", "", role("command:*"), false},
		{"ssh", "", "command:bash -l", "", role("command:bash -l"), true},
		{"ssh", "", "command:bash -l", "", role("command:*", "login"), true},
		{"ssh", "", "port-forward:DB.internal:5432", "", role("port-forward:[!d]*"), false},
		{"ssh", "", "port-forward:DB.internal:5432", "", role("port-forward:*.internal:5432"), true},

		{"postgresql", "", "pg_execute_server_program", "", role("*"), false},
		{"postgresql", "", "pg_read_all_data", "", role("pg_read*"), false},
		{"postgresql", "", "pg_read_all_data", "", role("pg_read_all_data"), true},
		{"postgresql", "", "pg_read_all_data", "", jit.Match{}, false},
		{"postgresql", "", "payments_read", "", role("payments_read"), true},
		{"postgresql", "", "payments_read", "", role("payments_*"), false}, // nobody has looked what it includes
	} {
		p := platforms[c.kind]
		b := p.with(c.principal, c.role, c.scope)
		v, err := p.judge(t, b, jit.Policy{Name: "some", Effect: jit.Permit, Match: jit.Matches{c.permit}})
		if err != nil {
			t.Errorf("%s: Check(%+v): %v", c.kind, b, err)
		} else if v.Permitted() != c.permitted {
			t.Errorf("%s: %+v by a permit of %+v: %+v, want permitted %t", c.kind, b, c.permit, v, c.permitted)
		}
	}
}
