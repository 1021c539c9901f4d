package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// A plan of Terraform is approved as terraform show -json prints it: new grants of two owners, one with a value that is
// not known yet, then a replacement and a longer window.
func TestApproveRealPlan(t *testing.T) {
	binary := acctest.Build(t) // of which each provider block starts one
	for _, tf := range testenv.Terraforms(t) {
		t.Run(tf.String(), func(t *testing.T) {
			o := &office{world: newWorld(t)}
			t.Setenv(config.EnvApprover, "")
			w := acctest.New(t, tf, acctest.Options{Binary: binary})
			t.Chdir(w.Dir)
			o.dir, o.keys = w.Dir, w.Path("authorized_keys")
			o.write("authorized_keys", foreignLine)
			o.keygen("-q", "-t", "ed25519", "-N", "", "-f", "lea.key")
			principal := o.key()
			base := fmt.Sprintf(`
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}
provider "jit" {
  targets = { host = { ssh = { authorized_keys = %[1]q } } }
}
provider "jit" {
  alias   = "payments"
  owner   = "payments"
  targets = { host = { ssh = { authorized_keys = %[1]q } } }
}
resource "jit_person" "lea" {
  name         = "lea"
  signing_keys = [%[2]q]
}
resource "jit_policy" "prod" {
  name       = "prod"
  match      = [{}]
  approval   = [{ required = 1, from = ["lea"] }]
  depends_on = [jit_person.lea]
}
`, o.keys, o.read("lea.key.pub"))
			grant := func(name, reason, ttl string, lines ...string) string {
				return fmt.Sprintf("resource \"jit_grant\" %q {\n  target = \"host\"\n  principal = %q\n  role = \"login\"\n"+
					"  reason = %s\n  ttl = %q\n  policy = jit_policy.prod.name\n  %s\n}\n",
					name, principal, reason, ttl, strings.Join(lines, "\n  "))
			}
			const incident = "resource \"terraform_data\" \"incident\" {\n  input = \"INC-3: look\"\n}\n"
			plan := func(resources ...string) {
				t.Helper()
				o.write("main.tf", base+strings.Join(resources, ""))
				w.Must("plan", "-out=tf.plan")
				o.write("plan.json", w.Must("show", "-json", "tf.plan").Stdout)
			}
			approve := func(code, files int, says ...string) {
				t.Helper()
				before := len(o.files())
				o.now = time.Now()
				o.run("approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea", "--yes").
					wantCode(code).wantErr(says...)
				if n := len(o.files()) - before; n != files {
					t.Errorf("wrote %d files, want %d", n, files)
				}
			}
			granted := func(when string, want int) {
				t.Helper()
				if n := strings.Count(o.read("authorized_keys"), " jit:"); n != want {
					t.Errorf("%s: %d grants on the target, want %d", when, n, want)
				}
			}

			plan()
			approve(exitDone, 0, "no request to decide on")
			w.Apply()

			a, b := grant("a", `"INC-1: look"`, "2h"), grant("b", `"INC-2: look"`, "2h", "provider = jit.payments")
			c := grant("c", "terraform_data.incident.output", "2h")
			plan(a, b, incident, c)
			approve(exitNotDone, 2, "jit_grant.c cannot be approved yet: reason is known only after the apply",
				"nothing was decided on 1 request")
			if r := w.Run("apply", "-auto-approve"); r.ExitCode != 1 || !strings.Contains(r.Text(), "with jit_grant.c") {
				t.Errorf("apply: exit code %d\n%s", r.ExitCode, r.Text())
			}
			granted("two of three", 2)
			plan(a, b, incident, c)
			approve(exitDone, 1, "reason: INC-3: look")
			w.Apply()
			granted("known", 3)

			// The window of a live grant grows, another grant is replaced, and a third stays as it is.
			a = grant("a", `"INC-1: look"`, "4h")
			b = grant("b", `"INC-2: look"`, "2h", "provider = jit.payments", "renewal = 2")
			plan(a, b, incident, c)
			r := w.Run("apply", "-auto-approve")
			if r.ExitCode != 1 || strings.Count(r.Text(), "Error: The grant needs approval") != 2 {
				t.Errorf("unsigned: exit code %d\n%s", r.ExitCode, r.Text())
			}
			plan(a, b, incident, c)
			approve(exitDone, 2, "jit_grant.a", "ttl: 4h", "jit_grant.b", "renewal: 2")
			w.Apply()
			granted("changed", 3)
			plan(a, b, incident, c)
			approve(exitDone, 0, "no request to decide on")

			// A state is no plan, and neither is the plan file itself.
			o.write("plan.json", w.Must("show", "-json").Stdout)
			approve(exitUsage, 0, "holds no plan")
			o.run("approve", "--plan", "tf.plan", "--key", "lea.key", "--approver", "lea", "--yes").wantCode(exitUsage).
				wantErr("tf.plan is not a plan in JSON", "terraform show -json")
		})
	}
}
