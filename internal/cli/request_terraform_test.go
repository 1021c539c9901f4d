package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/request"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// What jit request writes, Terraform applies as it was asked, whatever the reason says: in files of their own, and as
// entries of one block. Access works, gets longer, and stops.
func TestRequestTerraform(t *testing.T) {
	binary := acctest.Build(t)
	reasons := []string{
		"INC-1: ${path.module} %{if true}x%{endif} $${a} $$${b} %%{c}", `INC-2: "q" \ \n 'it''s' # // /* <<EOT`,
		"INC-3: `x` @team [x](javascript:1) <b> | 日本語 a\u200bb e\u0301", "INC-4: " + strings.Repeat("${x}", 120),
	}
	for _, tf := range testenv.Terraforms(t) {
		for _, format := range []request.Format{request.HCL, request.TFVars} {
			t.Run(fmt.Sprintf("%s, %s", tf, format), func(t *testing.T) {
				d := &desk{world: newWorld(t)}
				t.Setenv(config.EnvApprover, "")
				w := acctest.New(t, tf, acctest.Options{Binary: binary})
				t.Chdir(w.Dir)
				d.now, d.dir, d.keys, d.principal = time.Now(), w.Dir, w.Path("authorized_keys"), d.key()
				d.write("authorized_keys", foreignLine)
				d.write(
					"jit.hcl",
					fmt.Sprintf(
						"owner = \"payments\"\ntargets = { bastion = { ssh = { authorized_keys = %q } } }\n",
						d.keys,
					),
				)
				d.write(
					"rules.tf",
					"resource \"jit_policy\" \"p\" {\n  name    = \"p\"\n  match   = [{}]\n  max_ttl = \"4h\"\n}\n",
				)
				if format == request.TFVars {
					d.write("main.tf", request.EntriesBlock)
				}
				ids, files := map[string]bool{}, []string{}
				for _, reason := range reasons {
					v := d.asks("bastion", "login", "--ttl", "1h", "--reason", reason, "--format", string(format), "--json").
						wantCode(exitDone).
						request()
					ids[string(v.ID)] = true
					files = append(files, v.Files[len(v.Files)-1])
				}
				lines := func() int { return strings.Count(d.read("authorized_keys"), " jit:") }
				w.Apply()
				found := 0
				for _, r := range w.State() {
					if id, ok := r["id"].(string); ok && ids[id] {
						found++
					}
				}
				if found != len(reasons) || lines() != len(reasons) {
					t.Errorf(
						"%d of %d grants have the id that jit said; the target has %d",
						found,
						len(reasons),
						lines(),
					)
				}
				if r := w.Plan(); r.ExitCode != 0 {
					t.Errorf("a plan after the apply: exit code %d\n%s", r.ExitCode, r.Stdout)
				}
				if e := w.Run("fmt", "-check", "-diff"); e.ExitCode != 0 && format == request.HCL {
					t.Errorf("terraform fmt: %s", e.Stdout)
				}
				var id string
				for id = range ids {
				}
				d.now = time.Now()
				d.run("request", "--extend", id, "--ttl", "9h").wantCode(exitForbidden).wantOut("--ttl 4h")
				d.run("request", "--extend", id, "--ttl", "4h").wantCode(exitDone)
				if r := w.Apply(); !strings.Contains(r.Stdout, "0 added, 1 changed, 0 destroyed") {
					t.Errorf("an extension: %s", r.Stdout)
				}
				for _, f := range files {
					if err := os.Remove(filepath.FromSlash(f)); err != nil {
						t.Fatal(err)
					}
				}
				w.Apply()
				if lines() != 0 {
					t.Errorf("%d grants are left on the target", lines())
				}
				d.now = time.Now()
				again := d.run("request", "--renew", id, "--format", string(format), "--json").
					wantCode(exitDone).
					request()
				w.Apply()
				if lines() != 1 || again.Request.Renewal != 2 || string(again.ID) == id {
					t.Errorf("renewed: %d grants on the target, %+v", lines(), again.Request)
				}
			})
		}
	}
}

// In one apply with the first policy, which asks for approval, the written grant does not begin.
func TestRequestTerraformFirstPolicy(t *testing.T) {
	binary := acctest.Build(t)
	for _, tf := range testenv.Terraforms(t) {
		t.Run(tf.String(), func(t *testing.T) {
			d := &desk{world: newWorld(t)}
			t.Setenv(config.EnvApprover, "")
			w := acctest.New(t, tf, acctest.Options{Binary: binary})
			t.Chdir(w.Dir)
			d.now, d.dir, d.keys, d.principal = time.Now(), w.Dir, w.Path("authorized_keys"), d.key()
			d.write("authorized_keys", foreignLine)
			d.write("jit.hcl", fmt.Sprintf("targets = { bastion = { ssh = { authorized_keys = %q } } }\n", d.keys))
			d.write("rules.tf", "resource \"jit_policy\" \"first\" {\n  name = \"first\"\n  match = [{}]\n"+
				"  approval = [{ required = 1, from = [\"bob\"] }]\n}\n"+
				"resource \"jit_person\" \"bob\" {\n  name = \"bob\"\n  signing_keys = [\""+d.key()+"\"]\n}\n")
			for _, reason := range []string{"a", "b", "c", "d"} {
				d.asks("bastion", "login", "--ttl", "1h", "--reason", reason).wantCode(exitWaits)
			}
			r := w.Run("apply", "-auto-approve", "-no-color")
			if n := strings.Count(d.read("authorized_keys"), " jit:"); r.ExitCode == 0 || n != 0 {
				t.Errorf("exit code %d, %d grants began without approval\n%s", r.ExitCode, n, r.Text())
			}
		})
	}
}
