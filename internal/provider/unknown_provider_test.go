package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

const madeOutput = "terraform_data.made.output"

// made is a resource that makes a value for the provider block. A plan that makes another version does not know it.
func made(version int, value string) string {
	return fmt.Sprintf("resource \"terraform_data\" \"made\" {\n  triggers_replace = %d\n  input = %s\n}\n",
		version, value)
}

// everything returns a block of every kind that plans read or change. Each data block has the given line.
func everything(line string) string {
	var b strings.Builder
	for _, source := range []string{"grants", "persons", "standing_access", "targets"} {
		fmt.Fprintf(&b, "data \"jit_%s\" \"all\" {\n  %s\n}\n", source, line)
	}
	fmt.Fprintf(&b, "data \"jit_grant_status\" \"a\" {\n  id = jit_grant.a.id\n  %s\n}\n", line)
	fmt.Fprintf(&b, "data \"jit_policy\" \"all\" {\n  name = jit_policy.all.name\n  %s\n}\n", line)
	return b.String() + policy("all") + grant("a", "policy = jit_policy.all.name") +
		"resource \"jit_person\" \"bob\" {\n  name = \"bob@example.com\"\n}\n"
}

// onHost is the target of the file authorized_keys, whose path is an expression.
func onHost(path string) string { return "{ host = { ssh = { authorized_keys = " + path + " } } }" }

// unknownArguments are provider blocks with one unknown argument, and its later value.
func unknownArguments(w *acctest.World) map[string]struct{ block, value string } {
	keys := quoted(w.Path("authorized_keys"))
	beside := func(argument string) string {
		return "targets = " + onHost(keys) + "\n  " + argument + " = " + madeOutput
	}
	return map[string]struct{ block, value string }{
		"config":            {"config = " + madeOutput, quoted(w.Path("jit.hcl"))},
		"ledger":            {beside("ledger"), quoted("sqlite://" + w.Path("other.db"))},
		"owner":             {beside("owner"), quoted("payments")},
		"max_ttl":           {beside("max_ttl"), quoted("12h")},
		"approvals_dir":     {beside("approvals_dir"), quoted("signed")},
		"wait_for_approval": {beside("wait_for_approval"), quoted("1m")},
		"targets":           {"targets = " + madeOutput, onHost(keys)},
		"one target":        {"targets = " + onHost(madeOutput), keys},
	}
}

func quoted(text string) string { return fmt.Sprintf("%q", text) }

// configureBlock writes main.tf with a provider block of its own.
func configureBlock(w *acctest.World, block string, resources ...string) {
	w.Write("main.tf", fmt.Sprintf("terraform {\n  required_providers {\n    jit = { source = \"jitaccess/jit\" }\n"+
		"  }\n}\n\nprovider \"jit\" {\n  %s\n}\n%s", block, strings.Join(resources, "\n")))
}

// Each argument of the provider block is unknown in the plan of the first apply, of a change and of a destroy. Access
// works after the apply, goes on after the change, and stops with the destroy.
func TestUnknownProviderArguments(t *testing.T) {
	t.Parallel()
	for i, cli := range testenv.Terraforms(t) {
		arguments := []string{"ledger", "one target"}
		if i == 0 {
			arguments = append(arguments, "config", "owner", "max_ttl", "approvals_dir", "wait_for_approval", "targets")
		}
		for _, argument := range arguments {
			t.Run(cli.String()+"/"+argument, func(t *testing.T) {
				t.Parallel()
				w := acctest.New(t, cli, acctest.Options{})
				w.Write("authorized_keys", foreign)
				w.Write("jit.hcl", "targets = "+onHost(quoted(w.Path("authorized_keys")))+"\n")
				version := func(n int) {
					of := unknownArguments(w)[argument]
					configureBlock(w, of.block, made(n, of.value), everything("depends_on = [terraform_data.made]"))
				}
				version(1)
				if r := w.Plan("-out=plan"); r.ExitCode != 2 || w.Calls.Count() != (acctest.Count{}) {
					t.Fatalf("first plan: exit code %d, %+v\n%s", r.ExitCode, w.Calls.Count(), r.Text())
				}
				w.Must("apply", "plan")
				if lines(w) != 1 {
					t.Fatalf("nothing was granted:\n%s", w.Read("authorized_keys"))
				}
				if r := w.Plan(); r.ExitCode != 0 {
					t.Errorf("plan after the apply: exit code %d\n%s", r.ExitCode, r.Text())
				}
				w.Calls.Reset()
				version(2)
				w.Apply()
				if lines(w) != 1 || w.Calls.Count().Writes != 0 {
					t.Errorf("the change touched the access: %+v\n%s", w.Calls.Count(), w.Read("authorized_keys"))
				}
				version(3)
				w.Must("destroy", "-auto-approve")
				if got := w.Read("authorized_keys"); got != foreign {
					t.Errorf("after the destroy:\n%s", got)
				}
			})
		}
	}
}

// A data source that cannot be read yet is an error that names depends_on, and never an empty result. One about a known
// target is read beside an unknown one.
func TestDataSourcesOfAnUnknownProvider(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		const notYet = "Error: The provider is not configured yet"
		w.Write("other", foreign+alice+"\n")
		two := fmt.Sprintf("targets = merge(%s, { other = { ssh = { authorized_keys = %s } } })",
			onHost(madeOutput), quoted(w.Path("other")))
		data := "data \"jit_standing_access\" \"all\" {\n%s}\ndata \"jit_targets\" \"all\" {\n%[1]s}\n" +
			"output \"found\" {\n  value = length(data.jit_standing_access.all.findings)\n}\n"
		made := made(1, quoted(w.Path("authorized_keys")))
		for name, c := range map[string]struct {
			block, filter string
			refused       int
		}{
			"all targets":        {two, "", 2},
			"the unknown target": {two, "  target = \"host\"\n", 2},
			"the known target":   {two, "  target = \"other\"\n", 0},
			"names unknown":      {"targets = " + onHost(madeOutput) + "\n  owner = " + madeOutput, "", 2},
		} {
			configureBlock(w, c.block, made, fmt.Sprintf(data, c.filter))
			r := w.Plan()
			if got := strings.Count(r.Text(), notYet); got != c.refused || strings.Contains(r.Text(), "found = 0") {
				t.Errorf("%s: %d refusals, want %d\n%s", name, got, c.refused, r.Text())
			}
			if c.refused > 0 {
				says(t, r, "Write depends_on in this block")
			} else {
				says(t, r, "found = 1")
			}
		}
	})
}

// A run has its own access although its provider block was not known at plan.
func TestEphemeralGrantOfAnUnknownProvider(t *testing.T) {
	eachOfAll(t, func(t *testing.T, w *acctest.World) {
		w.Write("go", "")
		for n, argument := range []string{"ledger", "one target"} {
			of := unknownArguments(w)[argument]
			configureBlock(w, of.block, made(n, of.value), deploy(n, applying))
			if r := w.Plan("-out=plan"); r.ExitCode != 2 || w.Calls.Count().Writes != 0 {
				t.Fatalf("%s: the plan: exit code %d, %+v\n%s", argument, r.ExitCode, w.Calls.Count(), r.Text())
			}
			w.Must("apply", "plan")
			if !strings.Contains(w.Read("during"), " jit:") || w.Read("authorized_keys") != foreign {
				t.Errorf("%s: during the run:\n%s\nafter it:\n%s", argument, w.Read("during"), w.Read("authorized_keys"))
			}
			w.Write("during", "")
			w.Calls.Reset()
		}
		of := unknownArguments(w)["one target"]
		configureBlock(w, of.block, made(3, of.value), deploy(3, "during_plan = true"))
		r := w.Plan()
		if r.ExitCode != 1 || lines(w) != 0 {
			t.Errorf("access in a plan: exit code %d", r.ExitCode)
		}
		says(t, r, "Error: The provider is not configured yet")
	})
}

// Actions and queries work with a provider block that was not known at plan.
func TestActionsOfAnUnknownProvider(t *testing.T) {
	t.Parallel()
	w := newest(t)
	of := unknownArguments(w)["ledger"]
	configureBlock(w, of.block, made(1, of.value), grant("a"), grant("b", fmt.Sprintf("principal = %q", bob)), `
action "jit_revoke" "a" {
  config {
    id     = jit_grant.a.id
    reason = "INC-1: done early"
  }
}

resource "terraform_data" "done" {
  lifecycle {
    action_trigger {
      events  = [after_create]
      actions = [action.jit_revoke.a]
    }
  }
}
`)
	says(t, w.Apply(), "Revoked 1 of 1")
	if got := w.Read("authorized_keys"); lines(w) != 1 || !strings.Contains(got, bob) {
		t.Errorf("after the apply:\n%s", got)
	}
	w.Write("all.tfquery.hcl",
		"list \"jit_grant\" \"all\" {\n  provider = jit\n  config {\n    state = \"active\"\n  }\n}\n")
	says(t, w.Must("query"), fact(t, w, "jit_grant.b", "id"))
}
