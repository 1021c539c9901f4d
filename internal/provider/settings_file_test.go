package provider_test

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

// fromFile writes main.tf with a provider block that names the settings file, and the file.
func fromFile(w *acctest.World, settings string, resources ...string) {
	configure(w, resources...)
	main := w.Read("main.tf")
	_, rest, _ := strings.Cut(main, "provider \"jit\" {")
	_, rest, _ = strings.Cut(rest, "\n}\n")
	w.Write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}

provider "jit" {
  config = %q
}
%s`, w.Path("jit.hcl"), rest))
	w.Write("jit.hcl", settings)
}

// shared returns attributes that the provider block and the settings file both have.
func shared(w *acctest.World) string {
	return fmt.Sprintf("ledger = \"sqlite://our.db\"\nowner = \"payments\"\nmax_ttl = \"3h\"\n"+
		"approvals_dir = \"signed\"\nwait_for_approval = \"2s\"\n"+
		"targets = { host = { ssh = { authorized_keys = %q } } }\n", w.Path("authorized_keys"))
}

// A settings file and the same attributes in the provider block are the same provider: plans stay empty when one
// replaces the other. Terraform needs no variable of the sweeper.
func TestSettingsFile(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		fromFile(w, "", grant("a"))
		main := w.Read("main.tf")
		before, after, _ := strings.Cut(main, fmt.Sprintf("config = %q\n", w.Path("jit.hcl")))
		w.Write("main.tf", before+shared(w)+after)
		planned := w.Plan()
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")

		w.Write("main.tf", main)
		w.Write("jit.hcl", shared(w)+`
listen_token = env("JIT_TEST_OF_THE_SWEEPER")
notify       = { ops = { url = env("JIT_TEST_OF_THE_SWEEPER") } }
approver     = env("JIT_TEST_OF_THE_SWEEPER")
`)
		unchanged(t, w, "with the file in place of the attributes")
		b := w.Runtime().Broker
		if b.Owner != "payments" || b.MaxTTL != 3*time.Hour || b.WaitForApproval != 2*time.Second ||
			b.Approvals.Dir != w.Path("signed") {
			t.Errorf("owner %q, max_ttl %s, wait_for_approval %s, approvals_dir %q", b.Owner, b.MaxTTL,
				b.WaitForApproval, b.Approvals.Dir)
		}
		w.Must("destroy", "-auto-approve")
		if lines(w) != 0 {
			t.Errorf("after the destroy:\n%s", w.Read("authorized_keys"))
		}

		for _, name := range []string{"our.db", "terraform.tfstate"} {
			if err := os.Remove(w.Path(name)); err != nil {
				t.Fatal(err)
			}
		}
		got, _, _ := strings.Cut(w.Plan().Stdout, "Warning:") // warnings name lines
		if want, _, _ := strings.Cut(planned.Stdout, "Warning:"); got != want || !strings.Contains(got, id) {
			t.Errorf("from the file, the plan is\n%s\nfrom the block\n%s", got, want)
		}
		w.Apply()
		if got := fact(t, w, "jit_grant.a", "id"); got != id || lines(w) != 1 {
			t.Errorf("from the file, the grant is %s, from the block %s:\n%s", got, id, w.Read("authorized_keys"))
		}
		fromFile(w, shared(w), grant("a", `ttl = "4h"`))
		says(t, w.Plan(), "max_ttl", "3h")
	})
}

// Errors of the settings file name file and line, and show no value. Nothing is called.
func TestSettingsFileRefused(t *testing.T) {
	t.Setenv("JIT_TEST_SECRET", "hunter2")
	cli := testenv.Terraforms(t)[0]
	w := acctest.New(t, cli, acctest.Options{})
	w.Write("authorized_keys", foreign)
	for name, tt := range map[string]struct {
		file string
		says []string
	}{
		"a wrong syntax":         {"owner = \"a\"\nledger = = 1\n", []string{"jit.hcl:2:"}},
		"an unknown attribute":   {"\nowmer = \"a\"\n", []string{"jit.hcl:2:", "owmer"}},
		"a variable that is not": {"ledger = env(\"JIT_TEST_UNSET\")\n", []string{"jit.hcl:1: env:", "JIT_TEST_UNSET"}},
		"no duration":            {"\n\nmax_ttl = \"a day\"\n", []string{"jit.hcl:3: max_ttl:", `"a day"`}},
		"no owner":               {"owner = \"Payments Team\"\n", []string{"jit.hcl:1: owner:"}},
		"an unknown platform":    {"targets = {\n  a = { telnet = {} }\n}\n", []string{"jit.hcl:2:", `"telnet"`}},
		"a target of nothing":    {"targets = {\n  a = {}\n}\n", []string{`jit.hcl:2: targets["a"]`}},
		"a wrong ledger": {"ledger = \"mysql://u:${env(\"JIT_TEST_SECRET\")}@db/jit\"\n",
			[]string{"jit.hcl:1: ledger:"}},
	} {
		fromFile(w, tt.file, grant("a"))
		r := w.Plan()
		if r.ExitCode != 1 || strings.Contains(r.Text(), "hunter2") {
			t.Errorf("%s: exit code %d\n%s", name, r.ExitCode, r.Text())
		}
		says(t, r, append(tt.says, "Error: Invalid config")...)
		w.Must("validate") // reads no file
	}
	fromFile(w, shared(w), grant("a"))
	if err := os.Remove(w.Path("jit.hcl")); err != nil {
		t.Fatal(err)
	}
	says(t, w.Plan(), "There is no file", "jit.hcl", "-chdir")

	main := w.Read("main.tf")
	for _, line := range strings.Split(strings.TrimSpace(shared(w)), "\n") {
		name, _, _ := strings.Cut(line, " ")
		w.Write("main.tf", strings.Replace(main, "config =", line+"\nconfig =", 1))
		r := w.Run("validate")
		says(t, r, "The provider block sets both config and "+name, "Write "+name+" in the settings file")
		if r.ExitCode != 1 || strings.Contains(r.Text(), "our.db") {
			t.Errorf("%s beside config: exit code %d\n%s", name, r.ExitCode, r.Text())
		}
	}
	if got := w.Calls.Count(); got != (acctest.Count{}) {
		t.Errorf("calls were made: %+v", got)
	}
}

// Until the name of the file is known, a plan leaves the grants to the apply.
func TestSettingsFileUnknown(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		fromFile(w, shared(w), grant("a"), fmt.Sprintf("resource \"terraform_data\" \"file\" {\n  input = %q\n}\n",
			w.Path("jit.hcl")))
		w.Write("main.tf", strings.Replace(w.Read("main.tf"), fmt.Sprintf("config = %q", w.Path("jit.hcl")),
			"config = terraform_data.file.output", 1))
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		w.Apply()
		if lines(w) != 1 {
			t.Errorf("after the apply:\n%s", w.Read("authorized_keys"))
		}
		unchanged(t, w, "after the apply")
	})
}

// A saved plan whose settings file changed to another owner grants nothing: the reviewed grant was another.
func TestSettingsFileThatChangesAfterThePlan(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		fromFile(w, shared(w), grant("a"))
		w.Must("plan", "-out=saved")
		w.Write("jit.hcl", strings.Replace(shared(w), "payments", "search", 1))
		if r := w.Run("apply", "saved"); r.ExitCode != 1 || lines(w) != 0 {
			t.Errorf("exit code %d\n%s\n%s", r.ExitCode, r.Text(), w.Read("authorized_keys"))
		}
	})
}

// Relative paths, of the file and in it, start in the directory that -chdir names. JIT_CONFIG is for the command alone.
func TestSettingsFileWithChdir(t *testing.T) {
	t.Parallel()
	binary := acctest.Build(t)
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			w := acctest.New(t, cli, acctest.Options{Binary: binary, Env: []string{"JIT_CONFIG=/nowhere/jit.hcl"}})
			w.Write("authorized_keys", foreign)
			fromFile(w, shared(w), grant("a"))
			if err := os.Mkdir(w.Path("team"), 0o700); err != nil {
				t.Fatal(err)
			}
			w.Write("team/main.tf", strings.Replace(w.Read("main.tf"), w.Path("jit.hcl"), "../jit.hcl", 1))
			if err := os.Remove(w.Path("main.tf")); err != nil {
				t.Fatal(err)
			}
			w.Must("-chdir=team", "apply", "-auto-approve")
			if _, err := os.Stat(filepath.Join(w.Dir, "team", "our.db")); err != nil || lines(w) != 1 {
				t.Errorf("%v\n%s", err, w.Read("authorized_keys"))
			}
			if r := w.Run("-chdir=team", "plan", "-detailed-exitcode"); r.ExitCode != 0 {
				t.Errorf("after the apply: exit code %d\n%s", r.ExitCode, r.Text())
			}
		})
	}
}
