package review

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// judgeChange judges a plan with one change of another provider's resource. more is added to the change.
func judgeChange(t *testing.T, resourceType, actions, before, after, more string) Report {
	t.Helper()
	marks, moved := `"after_unknown":{}`, ""
	if strings.HasPrefix(more, `"previous_address"`) {
		moved = more + ","
	} else if more != "" {
		marks = more
	}
	text := fmt.Sprintf(`{"format_version":"1.2","terraform_version":"1.14.0","complete":true,"planned_values":{},`+
		`"resource_changes":[{%[6]s"address":"%[1]s.x","mode":"managed","type":"%[1]s","name":"x",`+
		`"provider_name":"registry.terraform.io/x/x","change":{"actions":[%[2]s],`+
		`"before":%[3]s,"after":%[4]s,%[5]s}}]}`,
		resourceType, actions, before, after, marks, moved)
	p, err := plan.Read("plan", "plan.json", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Judge(context.Background(), p, Options{Now: time.Now})
	if err != nil || len(report.Doubts) > 0 {
		t.Fatal(err, report.Doubts)
	}
	return report
}

const changed, replaced, created, destroyed = `"update"`, `"delete","create"`, `"create"`, `"delete"`

// allowAll and denyAll are statements inside of a text.
const (
	allowAll = `{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}`
	denyAll  = `{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}`
)

// Access that looks the same after a change is access to decide on, whatever else the change alters.
func TestAccessThatLooksTheSame(t *testing.T) {
	q := func(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }
	allow := `{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*"}`
	own := `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/${aws:username}"}`
	deny := `{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}`
	for _, c := range []struct{ resourceType, actions, before, after string }{
		{"aws_s3_bucket_policy", changed, `{"bucket":"b","policy":"` + q(`{"Statement":[`+allow+`,`+deny+`]}`) + `"}`,
			`{"bucket":"b","policy":"` + q(`{"Statement":[`+allow+`]}`) + `"}`},
		{"aws_s3_bucket_policy", changed, `{"bucket":"b","policy":"` + q(`{"Statement":[`+allow+`,`+deny+`]}`) + `"}`,
			`{"bucket":"b","policy":"` + q(`{"Statement":[`+allow+`,{"Effect":"Deny","Principal":"*",`+
				`"Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`) + `"}`},
		{"aws_iam_user_policy", changed, `{"user":"e","name":"n","policy":"` + q(`{"Statement":[`+own+`]}`) + `"}`,
			`{"user":"e","name":"n","policy":"` + q(`{"Version":"2012-10-17","Statement":[`+own+`]}`) + `"}`},
		{"gitlab_user", changed, `{"username":"e","is_admin":false}`, `{"username":"e","is_admin":true}`},
		{"gitlab_user", changed, `{"username":"e","state":"blocked"}`, `{"username":"e","state":"active"}`},
		{"artifactory_user", changed, `{"name":"e","groups":["r"],"admin":false}`,
			`{"name":"e","groups":["r"],"admin":true}`},
		{"aws_iam_access_key", changed, `{"user":"e","status":"Inactive"}`, `{"user":"e","status":"Active"}`},
		{"aws_iam_access_key", replaced, `{"user":"a","pgp_key":"keybase:a"}`, `{"user":"a","pgp_key":"keybase:e"}`},
		{"azurerm_mssql_server", changed,
			`{"name":"s","administrator_login":"sa","azuread_administrator":[{"login_username":"alice"}]}`,
			`{"name":"s","administrator_login":"sa","azuread_administrator":[{"login_username":"eve"}]}`},
		{"postgresql_grant", replaced, `{"role":"e","privileges":["SELECT"],"objects":["t"],"columns":["id"]}`,
			`{"role":"e","privileges":["SELECT"],"objects":["t"],"columns":["ssn"]}`},
		{"databricks_token", replaced, `{"comment":"c","lifetime_seconds":3600}`,
			`{"comment":"c","lifetime_seconds":3600}`},
		{"aws_iam_policy_attachment", changed, `{"users":["a"],"groups":[],"policy_arn":"p"}`,
			`{"users":[],"groups":["a"],"policy_arn":"p"}`},
		{"acme_access_policy", changed, `{"body":"a"}`, `{"body":"b"}`},
	} {
		if r := judgeChange(t, c.resourceType, c.actions, c.before, c.after, ""); r.Outcome != Decide {
			t.Errorf("%s, from %s to %s: %s, want a decision", c.resourceType, c.before, c.after, r.Verdict())
		}
	}
}

// A change lists no access that it leaves as it is.
func TestAccessThatStaysTheSame(t *testing.T) {
	for _, c := range []struct {
		resourceType, before, after string
		want                        int
	}{
		{"google_project_iam_binding", `{"project":"p","role":"r","members":["user:a","user:b"]}`,
			`{"project":"p","role":"r","members":["user:b","user:c","user:a"]}`, 1},
		{"kubernetes_role_binding", `{"metadata":[{"namespace":"n"}],"subject":[{"kind":"User","name":"a"}]}`,
			`{"metadata":[{"namespace":"n"}],"subject":[{"kind":"User","name":"b"},{"kind":"User","name":"a"}]}`, 1},
		{"grafana_organization", `{"name":"o","admins":["a"],"editors":[]}`,
			`{"name":"o","admins":["a"],"editors":["b"]}`, 1},
		{"google_project_iam_member", `{"project":"p","role":"r","member":"m","etag":"a"}`,
			`{"project":"p","role":"r","member":"m","etag":"b"}`, 0},
		{"aws_s3_bucket_policy", `{"bucket":"b","policy":"{\"Id\":\"a\",\"Statement\":` + allowAll + `}"}`,
			`{"bucket":"b","policy":"{\"Version\":\"2012-10-17\",\"Statement\":` + allowAll + `}"}`, 0},
		{"aws_iam_access_key", `{"user":"e","tags":{"a":"b"}}`, `{"user":"e","tags":{"a":"c"}}`, 0},
	} {
		if r := judgeChange(t, c.resourceType, changed, c.before, c.after, ""); len(r.Access) != c.want {
			t.Errorf("%s, from %s to %s: %+v, want %d", c.resourceType, c.before, c.after, r.Access, c.want)
		}
	}
}

// Access that Terraform adopts or whose block moves is neither given nor taken away.
func TestAccessThatStays(t *testing.T) {
	const eve = `{"user":"eve","policy_arn":"arn:aws:iam::aws:policy/AdministratorAccess"}`
	for more, want := range map[string]Outcome{`"importing":{"id":"x"}`: Decide, `"previous_address":"x.y"`: Nothing} {
		r := judgeChange(t, "aws_iam_user_policy_attachment", `"no-op"`, eve, eve, more)
		if len(r.Access) != 1 || r.Access[0].Gives || !r.Access[0].Stays || r.Outcome != want {
			t.Fatalf("%s: %s, %+v, want access that stays: %s", more, r.Verdict(), r.Access, want)
		}
		for _, text := range []string{plain.ends(r.Access[0]), kindOf(r.Access[0]).one, r.Verdict()} {
			if strings.Contains(text, "taken") {
				t.Errorf("%s: %q", more, text)
			}
		}
	}
}

// A value that only one side of a change marks as sensitive shows on neither.
func TestAccessBecomesSensitive(t *testing.T) {
	for _, marks := range [][2]string{{`{}`, `{"role":true}`}, {`{"role":true}`, `{}`}, {`{}`, `true`}} {
		r := judgeChange(t, "postgresql_grant_role", changed, `{"role":"SECRET","grant_role":"a"}`,
			`{"role":"SECRET","grant_role":"b"}`, `"before_sensitive":`+marks[0]+`,"after_sensitive":`+marks[1])
		if len(r.Access) != 2 || strings.Contains(fmt.Sprint(r.Access), "SECRET") {
			t.Errorf("%q: %+v", marks, r.Access)
		}
	}
	lists := either([]any{map[string]any{"a": true}}, []any{false, true})
	if fmt.Sprint(lists) != "[map[a:true] true]" {
		t.Error(lists)
	}
}

// A create of each of these gives access that needs a decision.
func TestAccessIsSeen(t *testing.T) {
	for _, c := range []struct{ resourceType, values, want string }{
		{"aws_verifiedaccess_group",
			`{"policy_document":"permit(principal,action,resource) when { x like \"/*\" };"}`, ""},
		{"azapi_resource", `{"type":"Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2023-04-15"}`, ""},
		{"azapi_resource", `{"type":"microsoft.authorization/roleAssignments@2022-04-01"}`, ""},
		{"azapi_update_resource", `{"type":"Microsoft.KeyVault/vaults/accessPolicies@2022-07-01"}`, ""},
		{"kubernetes_manifest", `{"manifest":{"kind":"ConfigMap","metadata":{"name":"aws-auth"},` +
			`"data":{"mapUsers":"x"}}}`, "aws-auth"},
		{"kubectl_manifest", `{"kind":"ConfigMap","name":"aws-auth","yaml_body":"x"}`, "aws-auth"},
		{"gitlab_user", `{"username":"e","is_admin":true}`, "administrator"},
		{"grafana_user", `{"login":"e","is_admin":true}`, "administrator"},
		{"artifactory_user", `{"name":"e","groups":[],"admin":true}`, "administrator"},
		{"googleworkspace_user", `{"primary_email":"e","is_admin":true}`, "super administrator"},
		{"postgresql_role", `{"name":"e","login":false,"create_role":true}`, "creates roles"},
		{"postgresql_role", `{"name":"e","login":false,"replication":true}`, "replication"},
		{"google_compute_project_metadata", `{"project":"p","metadata":{"ssh-keys":"e:ssh-ed25519 A"}}`, "SSH keys"},
		{"google_compute_instance", `{"name":"i","metadata":{"ssh-keys":"e:ssh-ed25519 A"}}`, "SSH keys"},
		{"azurerm_linux_virtual_machine",
			`{"name":"i","admin_ssh_key":[{"username":"a","public_key":"e"}]}`, "SSH key"},
		{"azurerm_kubernetes_cluster", `{"name":"c","azure_active_directory_role_based_access_control":` +
			`[{"admin_group_object_ids":["e"]}]}`, "administrator"},
		{"azurerm_container_registry", `{"name":"r","admin_enabled":true}`, "password"},
		{"github_repository", `{"name":"r","visibility":"public"}`, "read"},
		{"google_cloud_run_v2_service", `{"name":"s","invoker_iam_disabled":true}`, "invoker"},
		{"aws_ram_resource_share", `{"name":"n","allow_external_principals":true}`, "n"},
		{"aws_rekognition_project_policy", `{"policy_name":"p","policy_document":"x"}`, ""},
		{"acme_project_policy", `{}`, ""}, {"acme_resource_policy", `{}`, ""},
	} {
		r := judgeChange(t, c.resourceType, created, "null", c.values, "")
		seen := func(a Access) bool { return a.Gives && (c.want == "" || a.Role.Text == c.want) }
		if !slices.ContainsFunc(r.Access, seen) || r.Outcome != Decide {
			t.Errorf("%s %s: %s, %+v", c.resourceType, c.values, r.Verdict(), r.Access)
		}
	}
}
