package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// After jit prune, a plan destroys the grants that are over and does nothing else, the apply calls no target, and the
// same block is refused with a hint to renewal.
func TestPruneRealState(t *testing.T) {
	for _, tf := range testenv.Terraforms(t) {
		t.Run(tf.String(), func(t *testing.T) {
			w := newWorld(t)
			acc := acctest.New(t, tf, acctest.Options{Start: w.now})
			t.Chdir(acc.Dir)
			w.dir, w.keys = acc.Dir, acc.Path("authorized_keys")
			w.write("authorized_keys", foreignLine)
			w.write("jit.hcl", fmt.Sprintf("targets = { host = { ssh = { authorized_keys = %q } } }\n", w.keys))
			w.write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}
provider "jit" {
  targets = { host = { ssh = { authorized_keys = %q } } }
}
`, w.keys))
			grant := func(name, ttl string) string {
				return fmt.Sprintf("# %[1]s\nresource \"jit_grant\" %[1]q {\n  target    = \"host\"\n  principal = %q\n"+
					"  role      = \"login\"\n  reason    = \"INC-1: %[1]s\"\n  ttl       = %[3]q\n}\n", name, w.key(), ttl)
			}
			a, b, c, d := grant("a", "30m"), grant("b", "30m"), grant("c", "20h"), grant("d", "30m")
			w.write("grant-a.tf", a)
			w.write("more.tf", b+"\n"+c+"\n"+strings.Replace(d, "\n}", "\n  for_each  = toset([\"x\"])\n}", 1))
			lines := func(want int) {
				t.Helper()
				if n := strings.Count(w.read("authorized_keys"), " jit:"); n != want {
					t.Errorf("%d grants on the target, want %d", n, want)
				}
			}
			prune := func(args ...string) result {
				t.Helper()
				w.write("state.json", acc.Must("show", "-json").Stdout)
				return w.run(append([]string{"prune", "--state", "state.json"}, args...)...).wantCode(exitDone)
			}
			acc.Apply()
			lines(4)
			prune().wantErr("Nothing to prune.")
			acc.Clock.Advance(time.Hour)
			w.now = acc.Clock.Now()
			prune().wantOut("its target has not confirmed the end; run jit sweep").wantErr("Nothing to prune.")
			w.run("sweep").wantCode(exitDone)
			lines(1)

			prune("--dry-run").wantOut("+++ /dev/null")
			if r := acc.Plan(); r.ExitCode != 0 {
				t.Errorf("after a dry run: exit code %d\n%s", r.ExitCode, r.Text())
			}
			prune().wantErr("2 blocks pruned").wantOut("jit_grant.d", "count or for_each")
			if exists("grant-a.tf") {
				t.Error("the empty file is still there")
			}
			r := acc.Plan("-out=tf.plan")
			for _, want := range []string{
				"jit_grant.a will be destroyed", "jit_grant.b will be destroyed", "Plan: 0 to add, 0 to change, 2 to destroy.",
			} {
				if r.ExitCode != 2 || !strings.Contains(r.Text(), want) {
					t.Errorf("the plan does not say %q: exit code %d\n%s", want, r.ExitCode, r.Text())
				}
			}
			acc.Calls.Reset()
			acc.Must("apply", "tf.plan")
			if n := acc.Calls.Count(); n != (acctest.Count{}) {
				t.Errorf("the apply called the target: %+v", n)
			}
			lines(1)
			prune().wantErr("Nothing to prune.")
			if r := acc.Plan(); r.ExitCode != 0 {
				t.Errorf("after the apply: exit code %d\n%s", r.ExitCode, r.Text())
			}

			w.write("grant-a.tf", a)
			if r := acc.Plan(); r.ExitCode != 1 || !strings.Contains(r.Text(), "renewal = 2") {
				t.Errorf("the same block: exit code %d\n%s", r.ExitCode, r.Text())
			}
			lines(1)
		})
	}
}

// jit prune reads the state by itself where Terraform keeps it.
func TestPruneRunsTerraform(t *testing.T) {
	binary := acctest.Build(t)
	for _, tf := range testenv.Terraforms(t) {
		t.Run(tf.String(), func(t *testing.T) {
			w := newWorld(t)
			acc := acctest.New(t, tf, acctest.Options{Binary: binary})
			t.Chdir(acc.Dir)
			w.dir, w.keys = acc.Dir, acc.Path("authorized_keys")
			w.write("authorized_keys", foreignLine)
			w.write("jit.hcl", fmt.Sprintf("targets = { host = { ssh = { authorized_keys = %q } } }\n", w.keys))
			w.write("main.tf", fmt.Sprintf("terraform {\n  required_providers {\n    jit = { source = \"jitaccess/jit\" }\n"+
				"  }\n}\nprovider \"jit\" {\n  targets = { host = { ssh = { authorized_keys = %q } } }\n}\n", w.keys))
			w.write("a.tf", fmt.Sprintf("resource \"jit_grant\" \"a\" {\n  target = \"host\"\n  principal = %q\n"+
				"  role = \"login\"\n  reason = \"INC-1: a\"\n  ttl = \"1h\"\n}\n", w.key()))
			acc.Apply()
			w.now = time.Now()
			id := fmt.Sprint(acc.State()["jit_grant.a"]["id"])
			w.run("revoke", id, "--yes", "--reason", "INC-1: done").wantCode(exitDone)
			bin := t.TempDir()
			if err := os.Symlink(tf.Path, filepath.Join(bin, tf.Kind)); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin)
			t.Setenv("TF_CLI_CONFIG_FILE", filepath.Join(filepath.Dir(acc.Dir), "cli.tfrc"))
			t.Setenv("TF_DATA_DIR", filepath.Join(filepath.Dir(acc.Dir), "data"))
			w.now = time.Now()
			w.run("prune").wantCode(exitDone).wantOut("jit_grant.a", "pruned").wantErr("show -json")
			if exists("a.tf") {
				t.Error("the file is still there")
			}
			if r := acc.Plan(); r.ExitCode != 2 || !strings.Contains(r.Text(), "0 to add, 0 to change, 1 to destroy") {
				t.Errorf("exit code %d\n%s", r.ExitCode, r.Text())
			}
		})
	}
}
