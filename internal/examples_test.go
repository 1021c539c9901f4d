package internal_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

const exampleKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBEpMmcaQDa7RrvUdYgxFOd8cmZphQCfzkQ6jWvPM4P2"

// example is a configuration made of files in examples, by their paths there.
type example struct {
	files []string
	// variables writes the values of the configuration's variables; nil where it has none without a default.
	variables func(t *testing.T, w *acctest.World) string
	// after is done to the workspace when it has been validated, before it is planned.
	after func(t *testing.T, w *acctest.World)
	// onlyValid: it depends on what a ledger holds, and is validated only.
	onlyValid bool
	// newest: only the newest command line reads it. queries: it is queried.
	newest, queries bool
	// servers: planning takes real servers.
	servers bool
	// apply: it is a whole configuration, which is applied and destroyed too.
	apply bool
	// grants is how many grants it has; 0 is one.
	grants int
}

var examples = map[string]example{
	"the provider": {files: []string{"provider/provider.tf"},
		variables: func(*testing.T, *acctest.World) string { return `admin_url = "postgres://a@127.0.0.1:1/a"` }},
	"the provider with a settings file": {files: []string{"provider/settings_file.tf"},
		after: func(t *testing.T, w *acctest.World) {
			w.Write("jit.hcl", "max_ttl = \"8h\"\n")
			w.Write("provider_settings_file.tf", strings.Replace(w.Read("provider_settings_file.tf"), "jit.hcl",
				w.Path("jit.hcl"), 1)) // the provider is served from the directory of the tests
		}},
	"resources": {
		files: []string{"provider/provider.tf", "resources/jit_grant/resource.tf",
			"resources/jit_policy/resource.tf", "resources/jit_person/resource.tf"},
		variables: resourceVariables, after: onServers, servers: true,
	},
	"imports": {
		files: []string{"provider/provider.tf", "resources/jit_grant/resource.tf", "resources/jit_policy/resource.tf",
			"resources/jit_person/resource.tf", "resources/jit_grant/import-by-string-id.tf",
			"resources/jit_policy/import-by-string-id.tf", "resources/jit_person/import-by-string-id.tf"},
		onlyValid: true,
	},
	"data jit_grants": {files: []string{"provider/provider.tf", "data-sources/jit_grants/data-source.tf"},
		variables: func(*testing.T, *acctest.World) string { return `admin_url = "postgres://a@127.0.0.1:1/a"` }},
	"data jit_grant_status": {files: []string{"provider/provider.tf",
		"data-sources/jit_grant_status/data-source.tf"}, onlyValid: true},
	"data jit_standing_access": {files: []string{"provider/provider.tf",
		"data-sources/jit_standing_access/data-source.tf"}, onlyValid: true},
	"data jit_persons": {files: []string{"provider/provider.tf", "data-sources/jit_persons/data-source.tf"},
		variables: func(*testing.T, *acctest.World) string { return `admin_url = "postgres://a@127.0.0.1:1/a"` }},
	"data jit_targets": {files: []string{"provider/provider.tf", "data-sources/jit_targets/data-source.tf"},
		onlyValid: true},
	"data jit_policy": {files: []string{"provider/provider.tf", "data-sources/jit_policy/data-source.tf"},
		onlyValid: true},
	"function ttl_seconds": {files: []string{"functions/ttl_seconds/function.tf"}},
	"ephemeral jit_grant": {files: []string{"provider/provider.tf",
		"ephemeral-resources/jit_grant/ephemeral-resource.tf"}, onlyValid: true},
	"actions": {files: []string{"provider/provider.tf", "resources/jit_grant/resource.tf",
		"resources/jit_policy/resource.tf", "resources/jit_person/resource.tf", "actions/jit_revoke/action.tf",
		"actions/jit_sweep/action.tf"}, onlyValid: true, newest: true},
	"list jit_grant": {files: []string{"provider/provider.tf", "list-resources/jit_grant/list-resource.tfquery.hcl"},
		variables: func(*testing.T, *acctest.World) string { return `admin_url = "postgres://a@127.0.0.1:1/a"` },
		newest:    true, queries: true},
	"ssh": {files: []string{"ssh/main.tf"}, variables: sshVariables, apply: true},
	"demo": {files: []string{"demo/main.tf"},
		variables: func(t *testing.T, w *acctest.World) string { return sshVariables(t, w) + "ttl = \"1m\"\n" },
		apply:     true},
	"postgresql": {files: []string{"postgresql/main.tf"}, variables: postgresVariables, servers: true,
		apply: true},
	"aws_iam": {files: []string{"aws_iam/main.tf"}, variables: iamVariables, servers: true,
		apply: true, grants: 3},
	"aws_identity_center": {files: []string{"aws_identity_center/main.tf"}, variables: identityCenterVariables,
		servers: true, apply: true},
	"azure": {files: []string{"azure/main.tf"}, variables: azureVariables, apply: true},
	"gcp":   {files: []string{"gcp/main.tf"}, variables: gcpVariables, apply: true, grants: 3},
	"hoop":  {files: []string{"hoop/main.tf"}, variables: hoopVariables, apply: true},
	"kubernetes": {files: []string{"kubernetes/main.tf"}, servers: true, apply: true,
		variables: func(t *testing.T, _ *acctest.World) string {
			return fmt.Sprintf("kubeconfig = %q\nnamespace = \"default\"\nprincipal = %q\n",
				testenv.Kubernetes(t).Kubeconfig, "user:"+roleOf(t))
		}},
}

// commands returns the command lines that read the example.
func (e example) commands(t *testing.T) []testenv.CLI {
	switch {
	case !e.newest:
		return testenv.Terraforms(t)
	case os.Getenv(testenv.EnvAcceptance) == "":
		return nil
	}
	return []testenv.CLI{testenv.NewestTerraform(t)}
}

// elsewhere are the files that only newer command lines read; the guides show them.
var elsewhere = []string{"resources/jit_grant/import-identity.tf", "resources/jit_policy/import-identity.tf",
	"resources/jit_person/import-identity.tf"}

// Every example is formatted and validates, and plans where what it needs is on hand; whole ones are applied.
func TestExamples(t *testing.T) {
	// Any key is that of an administrator of moto's first account.
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any",
		"AWS_REGION": testenv.MotoRegion, "AWS_PROFILE": "", "AWS_SESSION_TOKEN": ""} {
		t.Setenv(name, value)
	}
	for name, e := range examples {
		for _, cli := range e.commands(t) {
			t.Run(name+"/"+cli.String(), func(t *testing.T) {
				t.Parallel()
				w := acctest.New(t, cli, acctest.Options{Start: time.Now()})
				for _, file := range e.files {
					w.Write(strings.ReplaceAll(file, "/", "_"), read(t, "../examples/"+file))
				}
				w.Must("fmt", "-check", "-diff")
				w.Must("validate")
				if e.onlyValid {
					return
				}
				if e.servers {
					testenv.Acceptance(t)
				}
				if e.variables != nil {
					w.Write("terraform.tfvars", e.variables(t, w))
				}
				if e.after != nil {
					e.after(t, w)
				}
				if e.queries {
					w.Must("query")
				}
				if r := w.Plan(); r.ExitCode == 1 {
					t.Fatalf("the plan is refused:\n%s", r.Text())
				}
				if !e.apply {
					return
				}
				w.Apply()
				if got := w.Calls.Count().Ensures; got != max(1, e.grants) {
					t.Errorf("the apply granted %d times, want %d", got, max(1, e.grants))
				}
				if r := w.Plan(); r.ExitCode != 0 {
					t.Errorf("after the apply the plan is not empty:\n%s", r.Text())
				}
				w.Must("destroy", "-auto-approve")
				if got := w.Calls.Count().Removes; got != max(1, e.grants) {
					t.Errorf("the destroy revoked %d times, want %d", got, max(1, e.grants))
				}
			})
		}
	}
}

// No example is left out of TestExamples, and every platform has one.
func TestExamplesAreAllTested(t *testing.T) {
	tested := map[string]bool{}
	for _, e := range examples {
		for _, file := range e.files {
			tested[file] = true
		}
	}
	err := filepath.WalkDir("../examples", func(path string, _ fs.DirEntry, err error) error {
		relative, relErr := filepath.Rel("../examples", path)
		file := filepath.ToSlash(relative)
		module := strings.HasPrefix(file, "modules/") // TestModules
		if strings.HasSuffix(file, ".tf") && !tested[file] && !module && !slices.Contains(elsewhere, file) {
			t.Errorf("examples/%s is not tested", file)
		}
		if err != nil {
			return err
		}
		return relErr
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range platform.Kinds() {
		if !tested[kind+"/main.tf"] {
			t.Errorf("platform %s has no example examples/%s/main.tf", kind, kind)
		}
	}
}

func sshVariables(_ *testing.T, w *acctest.World) string {
	w.Write("authorized_keys", "# keys of the build machines\n")
	return fmt.Sprintf("authorized_keys = %q\nprincipal = %q\n", w.Path("authorized_keys"), exampleKey)
}

// azureVariables points the example at a server of the test that takes back at once what it gave.
func azureVariables(t *testing.T, w *acctest.World) string {
	const principal, scope = "aaaaaaaa-0000-4000-8000-000000000001",
		"/subscriptions/11111111-0000-4000-8000-000000000000"
	s := azuretest.New(t)
	s.Active = 0
	s.AddScope(scope)
	s.AddPrincipal("User", principal, 0)
	const anywhere = "azure = {}"
	if configuration := w.Read("azure_main.tf"); strings.Count(configuration, anywhere) != 1 {
		t.Fatalf("the example does not have one %q", anywhere)
	}
	w.Write("azure_main.tf", strings.Replace(w.Read("azure_main.tf"), anywhere,
		fmt.Sprintf("azure = { endpoint = %q }", s.URL), 1))
	return fmt.Sprintf("principal = %q\nscope = %q\n", "user:"+principal, scope)
}

// gcpVariables points the example at a server of the test, with the project and the account that it names.
func gcpVariables(t *testing.T, w *acctest.World) string {
	s := gcptest.New(t)
	s.Add("projects/payments-prod", "")
	s.Add("projects/payments-prod/secrets/replica", "projects/payments-prod")
	s.AddRole("roles/secretmanager.secretAccessor", "secretmanager.versions.access")
	s.Add("projects/payments-prod/datasets/sales", "projects/payments-prod")
	s.AddRole("roles/bigquery.dataViewer", "bigquery.tables.getData")
	s.AddAccounts("user:alice@example.com")
	const anywhere = "gcp = {}"
	if configuration := w.Read("gcp_main.tf"); strings.Count(configuration, anywhere) != 1 {
		t.Fatalf("the example does not have one %q", anywhere)
	}
	w.Write("gcp_main.tf", strings.Replace(w.Read("gcp_main.tf"), anywhere,
		fmt.Sprintf("gcp = { endpoint = %q }", s.URL), 1))
	return "project = \"payments-prod\"\nprincipal = \"user:alice@example.com\"\nsecret = \"replica\"\n" +
		"dataset = \"sales\"\n"
}

// hoopVariables makes a gateway with the user and the connection that the example names.
func hoopVariables(t *testing.T, w *acctest.World) string {
	s := hooptest.New(t, w.Clock.Now)
	s.AddUser("alice@example.com", "engineers")
	s.Put(hooptest.Connection{Name: "payments-db", Reviewers: []string{"sre"}, Groups: []string{"engineers"},
		Mandatory: []string{"ticket"}})
	return fmt.Sprintf("url = %q\napi_key = %q\n", s.URL, hooptest.Key)
}

// operatorSQL is the block of the guide that makes the operator's role.
var operatorSQL = regexp.MustCompile("(?s)```sql\n(CREATE ROLE jit_admin.*?)```")

// operator makes the role of the guide under another name, able to hand out role, and returns its URL.
func operator(t *testing.T, role, principal string) string {
	t.Helper()
	server := testenv.Postgres(t)
	found := operatorSQL.FindStringSubmatch(read(t, "../templates/guides/platform-postgresql.md"))
	if found == nil {
		t.Fatal("the guide does not say how the operator's role is made")
	}
	admin := role + "_admin"
	conn, err := pgx.Connect(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	statements := strings.NewReplacer("jit_admin", admin, "payments_read", role).Replace(found[1])
	if _, err := conn.Exec(t.Context(), "CREATE ROLE "+role+" NOLOGIN; CREATE ROLE "+principal+" LOGIN; "+statements); err != nil {
		t.Fatalf("the SQL of the guide: %v", err)
	}
	t.Cleanup(func() { // what the example made is gone by then
		if _, err := conn.Exec(context.Background(),
			"DROP OWNED BY "+admin+"; DROP ROLE "+principal+", "+admin+", "+role); err != nil {
			t.Errorf("remove the roles of the test: %v", err)
		}
	})
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(admin, "change me")
	return u.String()
}

// roleOf is a name of its own for each test: the servers are shared, and the same grant is the same on all of them.
func roleOf(t *testing.T) string {
	return strings.ToLower(regexp.MustCompile(`[^A-Za-z]+`).ReplaceAllString(t.Name(), "_"))
}

func postgresVariables(t *testing.T, _ *acctest.World) string {
	role := roleOf(t)
	return fmt.Sprintf("admin_url = %q\nprincipal = %q\nrole = %q\n", operator(t, role, role+"_alice"), role+"_alice",
		role)
}

// iamVariables makes a user, a shared role and a policy in moto's first account.
func iamVariables(t *testing.T, _ *acctest.World) string {
	t.Helper()
	server, name := testenv.Moto(t), roleOf(t)
	admin := iam.New(iam.Options{Region: testenv.MotoRegion, BaseEndpoint: &server.URL,
		Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
	made, err := admin.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	name += "_S3ReadOnly"
	document := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":"*"}}`
	policy, err := admin.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document})
	if err != nil {
		t.Fatal(err)
	}
	shared := *made.User.UserName + "_dev"
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRoleWithSAML",` +
		`"Principal":{"Federated":"arn:aws:iam::123456789012:saml-provider/idp"}}}`
	role, err := admin.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &shared, AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	account := strings.Split(*role.Role.Arn, ":")[4]
	return fmt.Sprintf("account_id = %q\nprincipal = %q\npolicy = %q\nbucket = \"invoices\"\nendpoint = %q\n"+
		"session = %q\n", account, *made.User.Arn, *policy.Policy.Arn, server.URL,
		"arn:aws:sts::"+account+":assumed-role/"+shared+"/alice@example.com")
}

// identityCenterVariables makes a user and a permission set in the directory of moto's first account.
func identityCenterVariables(t *testing.T, _ *acctest.World) string {
	t.Helper()
	directory := testenv.Moto(t).Directory(t,
		testenv.MotoAccount{ID: "123456789012", AccessKeyID: "any", SecretAccessKey: "any"})
	name := roleOf(t)
	directory.User(t, name)
	directory.PermissionSet(t, "ReadOnly"+name[len(name)-20:])
	return fmt.Sprintf("account_id = \"123456789012\"\nprincipal = %q\npermission_set = %q\nendpoint = %q\n",
		"user:"+name, "ReadOnly"+name[len(name)-20:], testenv.Moto(t).URL)
}

func resourceVariables(t *testing.T, _ *acctest.World) string {
	role := roleOf(t)
	return fmt.Sprintf("admin_url = %q\nkeys = { alice = %q }\n", operator(t, role, role+"_alice"), exampleKey)
}

// onServers points the targets of the provider's example at servers of the test.
func onServers(t *testing.T, w *acctest.World) {
	kube := testenv.Kubernetes(t)
	w.Write("provider_provider.tf", strings.NewReplacer(
		"~/.kube/config", kube.Kubeconfig, `context = "prod"`, fmt.Sprintf("context = %q", kube.Context),
		"/home/deploy/.ssh/authorized_keys", w.Path("authorized_keys"),
	).Replace(w.Read("provider_provider.tf")))
	// The examples name fixed times, on a day when they lie ahead.
	now := w.Clock.Now()
	w.Clock.Advance(time.Date(2026, time.November, 23, 9, 0, 0, 0, time.UTC).Sub(now))
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
