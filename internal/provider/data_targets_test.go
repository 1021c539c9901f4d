package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// A platform or target that does not exist is refused: an empty list would destroy the grants of a for_each over it.
func TestTargetsDataRefusesUnknownNames(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		for _, written := range []string{"shh", "", "g*"} {
			configure(w, fmt.Sprintf("data \"jit_targets\" \"x\" {\n  platform = %q\n}\n", written))
			says(t, w.Plan(), "Invalid platform", fmt.Sprintf("%q is not a platform", written), "aws_iam", "ssh")
		}
		configure(w, "data \"jit_targets\" \"x\" {\n  target = \"Host\"\n}\n")
		says(t, w.Plan(), "Unknown target", `"Host" is not one of the configured targets`, `Write target = "host"`)
		configure(w, "data \"jit_targets\" \"x\" {\n  target = \"\"\n}\n")
		says(t, w.Plan(), "Unknown target", "for example prod = { ssh = { … } }")
	})
}

// A module learns the targets, their platforms and their scopes from the provider, whose settings are in a file. A
// target that does not answer fails nothing.
func TestTargetsData(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		const subscription = "/subscriptions/11111111-0000-4000-8000-000000000000"
		s := azuretest.New(t)
		s.AddScope(subscription)
		fromFile(w, fmt.Sprintf(`targets = {
  prod  = { azure = { endpoint = %q } }
  hosts = { ssh = { accounts = { deploy = %q, admin = %q } } }
}`, s.URL, w.Path("authorized_keys"), w.Path("other")), `
data "jit_targets" "all" {}
data "jit_targets" "ssh" {
  platform = "ssh"
}
data "jit_targets" "prod" {
  target = "prod"
}
output "told" {
  value = jsonencode([data.jit_targets.all.targets, data.jit_targets.ssh.targets[*].name,
    data.jit_targets.prod.targets[*].name])
}
resource "jit_grant" "each" {
  for_each  = toset(data.jit_targets.ssh.targets[0].scopes)
  target    = data.jit_targets.ssh.targets[0].name
  scope     = each.key
  principal = "`+alice+`"
  role      = "login"
  reason    = "INC-1: look"
  ttl       = "2h"
}
`)
		w.Apply()
		told := strings.TrimSpace(w.Must("output", "-raw", "told").Stdout)
		want := `[[{"name":"hosts","platform":"ssh","scopes":["admin","deploy"]},` +
			`{"name":"prod","platform":"azure","scopes":["` + subscription + `"]}],["hosts"],["prod"]]`
		if told != want {
			t.Errorf("got %s, want %s", told, want)
		}
		if lines(w) != 1 {
			t.Errorf("%d grants for the account deploy", lines(w))
		}
		unchanged(t, w, "with the data source")

		s.Deny("Microsoft.Authorization/roleAssignmentScheduleRequests/read")
		r := w.Plan()
		says(t, r, "Warning: The scopes of a target are not known", `Target "prod" does not answer`)
		if r.ExitCode == 1 {
			t.Errorf("with a silent target: %s", r.Text())
		}
		w.Write("extra.tf", "data \"jit_targets\" \"odd\" {\n  target = \"prot\"\n}\n")
		says(t, w.Run("plan"), "Unknown target", `"prot" is not one of the configured targets ("hosts", "prod")`)
	})
}
