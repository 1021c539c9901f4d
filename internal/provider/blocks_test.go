package provider_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// Two provider blocks on one ledger are one run: one block changes the rules, and the grant of the other is judged by
// those from before. Terraform starts a process for each block.
func TestProviderBlocksAreOneRun(t *testing.T) {
	t.Parallel()
	binary := acctest.Build(t)
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			w := acctest.New(t, cli, acctest.Options{Binary: binary, Start: time.Now().Truncate(time.Second)})
			w.Write("authorized_keys", foreign)
			oneRun(t, w)
		})
	}
}

func oneRun(t *testing.T, w *acctest.World) {
	second := fmt.Sprintf("provider \"jit\" {\n  alias = \"second\"\n"+
		"  targets = { host = { ssh = { authorized_keys = %q } } }\n}\n", w.Path("authorized_keys"))
	late := func(name, after string, lines ...string) string {
		return grant(name, append(lines, "provider = jit.second", "policy = jit_policy.prod.name",
			"depends_on = ["+after+"]")...)
	}
	// refused applies a change that may not grant, and then once more what is left of it, which may.
	refused := func(when string, grants int, parts ...string) {
		t.Helper()
		r := w.Run("apply", "-auto-approve")
		if r.ExitCode != 1 || lines(w) != grants-1 {
			t.Errorf("%s: exit code %d, %d lines\n%s", when, r.ExitCode, lines(w), r.Text())
		}
		says(t, r, append(parts, "Error: The grant needs approval")...)
		w.Apply()
		if lines(w) != grants {
			t.Errorf("%s: %d lines after the next run, want %d", when, lines(w), grants)
		}
	}
	configure(w, office(t), approved())
	w.Apply()

	a := late("a", "jit_policy.prod")
	configure(w, second, office(t), policy("prod", `description = "open"`), a)
	refused("the policy asks for nobody any more", 1, "as it was before this run")

	configure(w, second, office(t), approved(), a)
	w.Apply()
	joe := person(t, "joe", leads)
	configure(w, second, office(t), approved(), a, joe, late("b", "jit_person.joe", "renewal = 2"))
	signs(t, w, "joe", "jit_grant.b")
	refused("joe is new", 2, "belongs to nobody")
}
