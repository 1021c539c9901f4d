package internal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// bobsKey and leasKey are keys of other people than [exampleKey].
const (
	bobsKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINcXJZKAGU5adoqfIPXdP+49DfL2avm3cHfxj/BLJFnd"
	leasKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8mX0ppCkB8rFRG4sWgV1TEu8B2A8r9v2w3k4x5y6z7"
)

// modules are the modules in examples/modules, with the targets and the number of grants of their READMEs.
var modules = map[string]struct {
	targets []string
	grants  int
}{
	"people-access": {[]string{"bastion", "prod"}, 4},
	"on-call":       {[]string{"bastion"}, 2},
	"break-glass":   {[]string{"bastion"}, 1},
	"from-yaml":     {[]string{"prod"}, 2},
}

// moduleWorld makes a workspace with a module and the configuration, which calls it.
func moduleWorld(t *testing.T, cli testenv.CLI, module, configuration string) *acctest.World {
	t.Helper()
	targets := modules[module].targets
	start := time.Date(2026, time.November, 23, 9, 0, 0, 0, time.UTC)
	if targets[len(targets)-1] == "prod" {
		start = time.Now() // the server of the test has the clock of this machine
	}
	w := worldAt(t, cli, module, configuration, start)
	w.Write("provider.tf", requires+"provider \"jit\" {\n  targets = {\n"+moduleTargets(t, w, targets)+"  }\n}\n")
	if strings.Contains(configuration, `variable "keys"`) {
		w.Write("terraform.tfvars", fmt.Sprintf("keys = { alice = %q, bob = %q, lea = %q }\n", exampleKey, bobsKey, leasKey))
	}
	w.Must("get")
	return w
}

// worldAt makes a workspace with a module and the configuration, whose clock says now.
func worldAt(t *testing.T, cli testenv.CLI, module, configuration string, now time.Time) *acctest.World {
	t.Helper()
	w := acctest.New(t, cli, acctest.Options{Start: now})
	dir := w.Path("modules/" + module)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.Write("modules/"+module+"/main.tf", read(t, "../examples/modules/"+module+"/main.tf"))
	w.Write("authorized_keys", "# keys of the build machines\n")
	w.Write("main.tf", configuration)
	return w
}

// servedModules are calls of the modules for a database, an AWS account and a Google Cloud project. What is in braces is
// filled in.
var servedModules = map[string]struct {
	arguments string
	grants    int
}{
	"people-access": {`
  bundles = {
    read = [
      { target = "db", role = "{role}" },
      { target = "aws", role = "{policy} on arn:aws:s3:::{bucket}/*" },
      { target = "prod", role = "roles/cloudsql.client", scope = "projects/payments-prod" },
    ]
  }
  people = {
    alice = {
      bundles    = ["read"]
      principals = { db = "{role}_alice", aws = "{principal}", prod = "user:alice@example.com" }
      reason     = "INC-4211: find the stuck transfers"
    }
  }
}`, 3},
	"on-call": {`
  rota   = "payments"
  shifts = {
    first = {
      principals = { db = "{role}_alice", aws = "{principal}", prod = "user:alice@example.com" }
      ends_at    = "{until}"
    }
  }
  accesses = {
    db      = { target = "db", role = "{role}" }
    storage = { target = "aws", role = "{policy} on arn:aws:s3:::{bucket}/*" }
    cloud   = { target = "prod", role = "roles/cloudsql.client", scope = "projects/payments-prod" }
  }
}`, 3},
	"break-glass": {`
  depends_on = [jit_person.all]
  name       = "payments"
  covers     = [{ targets = ["db", "aws", "prod"] }]
  approvers  = ["lea"]
  responders = ["alice", "bob", "carol"]
  emergencies = {
    db  = { requester = "alice", target = "db", principal = "{role}_alice", role = "{role}", reason = "SEV1-12: down" }
    aws = {
      requester = "bob", target = "aws", principal = "{principal}", role = "{policy}", reason = "SEV1-13: down"
    }
    cloud = {
      requester = "carol", target = "prod", principal = "user:bob@example.com", role = "roles/cloudsql.client"
      scope     = "projects/payments-prod", reason = "SEV1-14: down"
    }
  }
}
resource "jit_person" "all" {
  for_each     = { alice = ["` + exampleKey + `"], bob = [], carol = [], lea = ["` + leasKey + `"] }
  name         = each.key
  signing_keys = each.value
}`, 3},
	"from-yaml": {`
  file   = "access.yaml"
  policy = "from-yaml"
}`, 3},
}

const servedAccess = `people:
  - { name: alice, accounts: { db: "{role}_alice", aws: "{principal}", prod: "user:alice@example.com" } }
permissions:
  - { name: read, targets: [db], roles: ["{role}"], people: [alice] }
  - { name: list, targets: [aws], roles: ["{policy} on arn:aws:s3:::{bucket}/*"], people: [alice] }
  - { name: sql, targets: [prod], roles: [roles/cloudsql.client], scopes: [projects/payments-prod], people: [alice] }
requests:
  - { person: alice, permission: read, ticket: INC-1, why: find the stuck transfers, ttl: 1h }
  - { person: alice, permission: list, ticket: INC-1, why: find the stuck transfers, ttl: 1h }
  - { person: alice, permission: sql, ticket: INC-1, why: find the stuck transfers, ttl: 1h }
`

// The modules give access on real servers too, of three kinds in one call.
func TestModulesOnServers(t *testing.T) {
	testenv.Acceptance(t)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any",
		"AWS_REGION": testenv.MotoRegion, "AWS_PROFILE": "", "AWS_SESSION_TOKEN": ""} {
		t.Setenv(name, value)
	}
	variable := regexp.MustCompile(`(\w+) = "(.*)"`)
	for name, module := range servedModules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			role := roleOf(t)
			text := "{role}\n" + role + "\n{until}\n" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
			for _, m := range variable.FindAllStringSubmatch(iamVariables(t, nil), -1) {
				text += "\n{" + m[1] + "}\n" + m[2]
			}
			filled := strings.NewReplacer(strings.Split(text, "\n")...).Replace
			w := worldAt(t, testenv.Terraforms(t)[0], name, filled(
				"module \"this\" {\n  source = \"./modules/"+name+"\""+module.arguments+"\n"), time.Now())
			w.Write("access.yaml", filled(servedAccess))
			w.Write("provider.tf", requires+filled(fmt.Sprintf(`provider "jit" {
  targets = {
    db  = { postgresql = { url = %q } }
    aws = { aws_iam = { account_id = "{account_id}", endpoint = "{endpoint}" } }
    %s
  }
}
`, operator(t, role, role+"_alice"), moduleTargets(t, w, []string{"prod"}))))
			w.Must("get")
			w.Apply()
			if got := w.Calls.Count().Ensures; got != module.grants {
				t.Errorf("the apply granted %d times, want %d", got, module.grants)
			}
			empty(t, w, "after the apply")
			w.Clock.Advance(3 * time.Hour)
			empty(t, w, "after the end")
			w.Must("destroy", "-auto-approve")
		})
	}
}

func moduleTargets(t *testing.T, w *acctest.World, names []string) (text string) {
	for _, name := range names {
		switch name {
		case "bastion":
			text += fmt.Sprintf("bastion = { ssh = { authorized_keys = %q } }\n", w.Path("authorized_keys"))
		case "prod":
			s := gcptest.New(t)
			s.Add("projects/payments-prod", "")
			s.AddAccounts("user:alice@example.com", "user:bob@example.com")
			text += fmt.Sprintf("prod = { gcp = { endpoint = %q } }\n", s.URL)
		}
	}
	return text
}

// shownPlan are the lines of a plan that a README shows: what is created, in one line each, and the sum.
func shownPlan(w *acctest.World, plan string) string {
	var lines []string
	for line := range strings.Lines(plan) {
		line = strings.Join(strings.Fields(line), " ")
		switch {
		case strings.HasPrefix(line, "# ") && strings.HasSuffix(line, " will be created"), strings.HasPrefix(line, "Plan: "):
			lines = append(lines, line)
		case strings.HasPrefix(line, "+ summary = "):
			lines = append(lines, "    "+line)
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "\n")+"\n", w.Dir, "/home/deploy/.ssh")
}

// Every module of the examples does what its README shows: the plan is that of the README, the apply grants, and the
// plan is empty after it and after the end.
func TestModules(t *testing.T) {
	for name, module := range modules {
		readme := read(t, "../examples/modules/"+name+"/README.md")
		for _, cli := range testenv.Terraforms(t) {
			t.Run(name+"/"+cli.String(), func(t *testing.T) {
				t.Parallel()
				w := moduleWorld(t, cli, name, strings.Join(blocks(readme, "hcl"), "\n"))
				for _, file := range blocks(readme, "yaml") {
					w.Write("access.yaml", file)
				}
				w.Must("fmt", "-check", "-diff", "modules/"+name+"/main.tf", "main.tf")
				r := w.Plan()
				if got, want := shownPlan(w, r.Stdout), strings.Join(blocks(readme, "text"), ""); got != want || r.ExitCode != 2 {
					t.Fatalf("the README shows another plan than\n%s%s", got, r.Stderr)
				}
				w.Apply()
				if got := w.Calls.Count().Ensures; got != module.grants {
					t.Errorf("the apply granted %d times, want %d", got, module.grants)
				}
				empty(t, w, "after the apply")
				w.Clock.Advance(10 * time.Hour)
				empty(t, w, "after the end")
				w.Must("destroy", "-auto-approve")
			})
		}
	}
	found, err := filepath.Glob("../examples/modules/*")
	if err != nil || len(found) != len(modules) {
		t.Errorf("examples/modules has %d modules, %d are tested: %v", len(found), len(modules), err)
	}
}

// The tests of a module run with its own files, with no target and no ledger. The guide shows their mock.
func TestTestsOfModules(t *testing.T) {
	_, mock, _ := strings.Cut(read(t, "../examples/modules/people-access/tests/module.tftest.hcl"), "mock_provider")
	mock, _, _ = strings.Cut(mock, "\n}\n")
	if guide := read(t, "../templates/guides/modules.md"); mock == "" || !strings.Contains(guide, mock) {
		t.Errorf("the guide does not show the mock\n%s", mock)
	}
	for name := range modules {
		for _, cli := range testenv.Terraforms(t) {
			t.Run(name+"/"+cli.String(), func(t *testing.T) {
				t.Parallel()
				w := acctest.New(t, cli, acctest.Options{})
				if err := os.CopyFS(w.Dir, os.DirFS("../examples/modules/"+name)); err != nil {
					t.Fatal(err)
				}
				w.Must("fmt", "-check", "-diff", "-recursive")
				r := w.Must("test")
				runs := strings.Count(w.Read("tests/module.tftest.hcl"), "\nrun ")
				if want := fmt.Sprintf("Success! %d passed, 0 failed.", runs); runs == 0 || !strings.Contains(r.Text(), want) {
					t.Errorf("the output does not say %q:\n%s", want, r.Text())
				}
			})
		}
	}
}

func empty(t *testing.T, w *acctest.World, when string) {
	t.Helper()
	if r := w.Plan(); r.ExitCode != 0 {
		t.Errorf("%s: plan: exit code %d\n%s", when, r.ExitCode, r.Text())
	}
}

// On call are Alice, then Bob, then Alice again: each has the access for their own shift.
func TestOnCallOverThreeShifts(t *testing.T) {
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			t.Parallel()
			readme := blocks(read(t, "../examples/modules/on-call/README.md"), "hcl")[0]
			const first = `    "2026-11-23 day" = { principals = { bastion = var.keys.alice }, ends_at = "2026-11-23T18:00:00Z" }` + "\n"
			if !strings.Contains(readme, first) {
				t.Fatal("the README has another first shift")
			}
			w := moduleWorld(t, cli, "on-call", readme)
			for _, shift := range []struct{ name, who, key, ends string }{
				{"2026-11-23 day", "alice", exampleKey, "2026-11-23T18:00:00Z"},
				{"2026-11-23 night", "bob", bobsKey, "2026-11-24T03:00:00Z"},
				{"2026-11-24 day", "alice", exampleKey, "2026-11-24T12:00:00Z"},
			} {
				now := fmt.Sprintf("%q = { principals = { bastion = var.keys.%s }, ends_at = %q }\n", shift.name, shift.who,
					shift.ends)
				w.Write("main.tf", strings.Replace(readme, first, now, 1))
				w.Apply()
				if got := working(t, w); !slices.Equal(got, []string{shift.key, shift.key}) {
					t.Errorf("%s: these keys work: %q", shift.name, got)
				}
				empty(t, w, shift.name)
				w.Clock.Advance(9 * time.Hour)
				if got := working(t, w); len(got) != 0 {
					t.Errorf("after %s these keys work: %q", shift.name, got)
				}
				empty(t, w, "after "+shift.name)
			}
		})
	}
}

// working returns the keys in authorized_keys that sshd still accepts, one for each line.
func working(t *testing.T, w *acctest.World) (keys []string) {
	t.Helper()
	for _, m := range keyLine.FindAllStringSubmatch(w.Read("authorized_keys"), -1) {
		until, err := time.Parse("20060102150405Z", m[1])
		if err != nil {
			t.Fatal(err)
		}
		if !w.Clock.Now().After(until) {
			keys = append(keys, m[2])
		}
	}
	return keys
}

var keyLine = regexp.MustCompile(`expiry-time="(\d+Z)" (ssh-ed25519 \S+)`)
