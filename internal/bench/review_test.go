package bench_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// reviewed is how many resources the reviewed plan has; half of them are grants.
const reviewed = 5000

// review times jit review beside terraform show -json of the same plan file, as programs of their own.
func (t *table) review(cli testenv.CLI) {
	binary := acctest.Build(t.b)
	jit := filepath.Join(t.b.TempDir(), "jit")
	if err := os.Symlink(binary, jit); err != nil {
		t.b.Fatal(err)
	}
	w := acctest.New(t.b, cli, acctest.Options{Binary: binary, Timeout: 10 * time.Minute})
	targets := fmt.Sprintf("targets = { host = { ssh = { authorized_keys = %q } } }\n", w.Path("authorized_keys"))
	w.Write("authorized_keys", "# nobody yet\n")
	w.Write("jit.hcl", targets)
	w.Write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}
provider "jit" {
  %s
}
resource "jit_policy" "login" {
  name    = "login"
  match   = [{ targets = ["host"], roles = ["login"] }]
  max_ttl = "4h"
}
resource "jit_grant" "all" {
  count     = %[2]d
  target    = "host"
  principal = %[3]q
  role      = "login"
  reason    = "INC-${count.index}: measure"
  ttl       = "2h"
  policy    = jit_policy.login.name
}
resource "terraform_data" "all" {
  count = %[2]d
  input = "value ${count.index}"
}
`, targets, reviewed/2, key))
	w.Must("apply", "-auto-approve", "-target=jit_policy.login")
	w.Must("plan", "-out=tf.plan")
	// Other work on the machine distorts wall time.
	pairs := make([]struct{ ours, peer time.Duration }, 5)
	for i := range pairs {
		pairs[i].peer = works(func() { w.Write("plan.json", w.Must("show", "-json", "tf.plan").Stdout) })
		pairs[i].ours = works(func() {
			var out, problems bytes.Buffer
			cmd := exec.CommandContext(t.b.Context(), jit, "review", "plan.json", "--format", "markdown")
			cmd.Dir, cmd.Stdout, cmd.Stderr = w.Dir, &out, &problems
			err := cmd.Run()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != 0 ||
				!bytes.Contains(out.Bytes(), []byte("Nothing to decide")) {
				t.b.Fatalf("jit review: %v\n%.500s%.500s", err, out.Bytes(), problems.Bytes())
			}
		})
	}
	slices.SortFunc(pairs, func(a, b struct{ ours, peer time.Duration }) int {
		return cmp.Compare(a.ours.Seconds()/a.peer.Seconds(), b.ours.Seconds()/b.peer.Seconds())
	})
	middle := pairs[len(pairs)/2]
	t.ratio("jit review of a plan of 5,000 beside terraform show -json, processor time, median of 5 pairs",
		middle.ours, middle.peer, 0.5)
}
