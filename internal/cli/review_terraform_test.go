package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// reviewWorld plans with a real CLI and reviews the plan.
type reviewWorld struct {
	*office
	*acctest.World
	principal string
}

func newReviewWorld(t *testing.T, tf testenv.CLI, binary string) *reviewWorld {
	t.Helper()
	o := &office{world: newWorld(t)}
	t.Setenv(config.EnvApprover, "")
	w := acctest.New(t, tf, acctest.Options{Binary: binary})
	t.Chdir(w.Dir)
	o.dir, o.keys = w.Dir, w.Path("authorized_keys")
	o.write("authorized_keys", foreignLine)
	o.write("jit.hcl", fmt.Sprintf("targets = { host = { ssh = { authorized_keys = %q } } }\n", o.keys))
	o.keygen("-q", "-t", "ed25519", "-N", "", "-f", "lea.key")
	return &reviewWorld{office: o, World: w, principal: o.key()}
}

// plan writes a configuration and its plan.
func (w *reviewWorld) plan(resources []string, args ...string) {
	w.t.Helper()
	w.write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}
provider "jit" {
  targets = { host = { ssh = { authorized_keys = %q } } }
}
`, w.keys)+strings.Join(resources, ""))
	w.Must(append([]string{"plan", "-out=tf.plan"}, args...)...)
	w.write("plan.json", w.Must("show", "-json", "tf.plan").Stdout)
	w.now = time.Now()
}

// seen is a part of the JSON of a review.
type seen struct {
	Outcome  string
	Doubts   []string
	Commands []string
	Grants   []struct {
		Address, Action, Outcome, Refusal, Awaits string
		Judged                                    bool
		Changes                                   []struct{ Name string }
	}
	Access []struct {
		Address, Action, Outcome string
		Gives                    bool
	}
	Rules []struct {
		Address, Action, Outcome, What string
		Loosens                        bool
	}
}

// review reviews the plan and returns what it says, after the exit code was checked.
func (w *reviewWorld) review(code int, args ...string) (s seen) {
	w.t.Helper()
	r := w.run(append([]string{"review", "plan.json", "--format", "json"}, args...)...).wantCode(code)
	if err := json.Unmarshal([]byte(r.out), &s); err != nil {
		w.t.Fatalf("%v\n%s", err, r.out)
	}
	return s
}

// lines tells a review in short lines, to compare it with.
func (s seen) lines() (lines []string) {
	for _, g := range s.Grants {
		line := strings.Join([]string{g.Address, g.Action, g.Outcome}, " ")
		if g.Awaits != "" {
			line += ", awaits " + g.Awaits
		}
		if g.Refusal != "" {
			line += ", refused"
		}
		if !g.Judged {
			line += ", not judged"
		}
		lines = append(lines, line)
	}
	for _, a := range s.Access {
		lines = append(lines, fmt.Sprintf("%s %s %s gives %t", a.Address, a.Action, a.Outcome, a.Gives))
	}
	for _, r := range s.Rules {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", r.Address, r.Action, r.Outcome, r.What))
	}
	for _, d := range s.Doubts {
		lines = append(lines, "? "+d)
	}
	return lines
}

func (w *reviewWorld) want(code int, want ...string) {
	w.t.Helper()
	got := w.review(code).lines()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		w.t.Errorf("got:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestReviewRealPlans(t *testing.T) {
	binary := acctest.Build(t)
	for _, tf := range testenv.Terraforms(t) {
		t.Run(tf.String(), func(t *testing.T) {
			w := newReviewWorld(t, tf, binary)
			person := fmt.Sprintf("resource \"jit_person\" \"lea\" {\n  name = \"lea\"\n  signing_keys = [%q]\n}\n",
				w.read("lea.key.pub"))
			policy := func(body string) string {
				return "resource \"jit_policy\" \"prod\" {\n  name = \"prod\"\n  depends_on = [jit_person.lea]\n" +
					body + "\n}\n"
			}
			const open = "  match = [{}]\n  max_ttl = \"4h\"\n  approval = [{ required = 1, from = [\"lea\"], " +
				"unless = \"grant.ttl <= duration('30m')\" }]\n"
			grant := func(name, ttl string, lines ...string) string {
				return fmt.Sprintf("resource \"jit_grant\" %q {\n  target = \"host\"\n  principal = %q\n  role = "+
					"\"login\"\n"+
					"  reason = \"INC-1: look\"\n  ttl = %q\n  policy = jit_policy.prod.name\n  %s\n}\n",
					name, w.principal, ttl, strings.Join(lines, "\n  "))
			}
			const data = "resource \"terraform_data\" \"x\" {\n  input = \"INC-3: look\"\n}\n"
			const newPerson = "jit_person.lea create decide: person lea is new, and can approve with 1 signing key"
			const newPolicy = "jit_policy.prod create decide: policy prod is new and permits every grant"
			rules := []string{person, policy(open)}
			with := func(more ...string) []string { return slices.Concat(rules, more) }

			// Nothing is recorded yet.
			w.plan(with(grant("a", "2h")))
			w.want(exitUndecided, "jit_grant.a create decide, awaits 1 of: lea", newPerson, newPolicy)
			w.plan(rules)
			w.want(exitUndecided, newPerson, newPolicy)
			w.Apply()
			w.plan(rules)
			w.want(exitDone)

			// A grant that needs approval, one that does not, and one that is not known yet.
			a, b := grant("a", "2h"), grant("b", "30m", "renewal = 2")
			w.plan(with(a, b, data, strings.Replace(grant("u", "10m"), `"INC-1: look"`, "terraform_data.x.output", 1)))
			if commands := w.review(exitUndecided).Commands; !slices.Equal(commands,
				[]string{"jit approve --plan plan.json"}) {
				t.Errorf("commands: %q", commands)
			}
			w.want(exitUndecided, "jit_grant.u create decide, not judged",
				"jit_grant.a create decide, awaits 1 of: lea", "jit_grant.b create nothing",
				"? jit_grant.u: it is not judged: reason is known only after the apply")
			w.plan(with(a, b))
			w.run("approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea", "--yes")
			w.want(exitDone, "jit_grant.a create nothing", "jit_grant.b create nothing")
			w.Apply()
			w.plan(with(a, b))
			w.want(exitDone)

			// longer, shorter, the same in other words
			a, b = grant("a", "4h"), grant("b", "20m", "renewal = 2")
			w.plan(with(a, b))
			w.want(exitUndecided, "jit_grant.a change decide, awaits 1 of: lea", "jit_grant.b change nothing")
			a = grant("a", "120m")
			w.plan(with(a, b))
			w.want(exitDone, "jit_grant.a change nothing, not judged", "jit_grant.b change nothing")
			w.Apply()

			// repaired
			w.write("authorized_keys", foreignLine)
			w.plan(with(a, b))
			w.want(exitUndecided, "jit_grant.a change decide, not judged", "jit_grant.b change decide, not judged")
			w.Apply()

			// the same grant under another address, taken out, and replaced by itself or another one
			w.plan(with(a, b), "-replace=jit_grant.a")
			w.want(exitDone, "jit_grant.a replace nothing")
			w.plan(with(grant("moved", "120m"), b))
			w.want(exitDone, "jit_grant.moved move nothing")
			w.plan(with(grant("moved", "120m"), b, "moved {\n  from = jit_grant.a\n  to = jit_grant.moved\n}\n"))
			w.want(exitDone, "jit_grant.moved move nothing, not judged")
			w.plan(with(b, "removed {\n  from = jit_grant.a\n  lifecycle {\n    destroy = false\n  }\n}\n"))
			w.want(exitDone, "jit_grant.a forget nothing, not judged")
			w.plan(with(b))
			w.want(exitDone, "jit_grant.a destroy nothing, not judged")
			w.plan(with(b), "-target=jit_grant.a")
			if tf.Kind == "terraform" { // OpenTofu does not say it
				w.want(exitUndecided, "jit_grant.a destroy nothing, not judged",
					"? the plan is not complete: it was made with -target, or changes are deferred; another apply "+
						"follows")
			}
			w.plan(with(a, grant("b", "40m", "renewal = 3")))
			w.want(exitUndecided, "jit_grant.b replace decide, awaits 1 of: lea")

			// The run that drops the approval does not decide on its own grants.
			rules[1] = policy("  match = [{ targets = [\"host\"] }]\n  max_ttl = \"8h\"\n")
			w.plan(with(a, b, grant("c", "3h", "renewal = 4")))
			w.want(exitUndecided, "jit_grant.c create decide, awaits 1 of: lea",
				"jit_policy.prod change decide: max_ttl of policy prod grows from 4h to 8h",
				"jit_policy.prod change decide: policy prod no longer asks for the approval of 1 of lea",
				"jit_policy.prod change nothing: policy prod matches only the targets host")

			// What an apply refuses cannot be planned; policies that others change after the plan can refuse it.
			rules[1] = policy(open)
			w.plan(with(a, b, grant("c", "10m", "renewal = 4")))
			w.want(exitDone, "jit_grant.c create nothing")

			// a provider with a ledger that does not exist yet
			w.plan(with(a, b, fmt.Sprintf("provider \"jit\" {\n  alias = \"b\"\n  ledger = \"sqlite://b.db\"\n"+
				"  targets = { host = { ssh = { authorized_keys = %q } } }\n}\n", w.keys),
				strings.Replace(grant("c", "10m", "renewal = 4", "provider = jit.b"), "  policy = jit_policy.prod.name\n",
					"", 1)))
			w.want(exitUndecided, "jit_grant.c create decide, not judged",
				"? jit_grant.c: it is not judged: the plan does not say for which ledger it was made (request_digest "+
					"is unknown); compare ledger in the provider block, and in those with an alias, with jit.hcl")
			w.plan(with(a, b, grant("c", "10m", "renewal = 4")))
			rt := w.runtime()
			if err := rt.Broker.PutPolicy(t.Context(), jit.Policy{Name: "freeze", Effect: jit.Forbid}); err != nil {
				t.Fatal(err)
			}
			_ = rt.Close()
			w.want(exitRefused, "jit_grant.c create refused, refused, not judged")

			// another ledger, no ledger, no settings
			doubt := func(why string) {
				t.Helper()
				w.want(exitUndecided, "jit_grant.c create decide, not judged", "? jit_grant.c: it is not judged: "+why)
			}
			w.write("jit.hcl", "ledger = \"sqlite://other.db\"\n"+w.read("jit.hcl"))
			w.want(exitUndecided, "jit_grant.c create nothing",
				"? jit does not use the ledger (it does not exist, and the plan changes what was recorded in one): it "+
					"takes policies, persons and grants from the state before the plan, and no approval counts")
			w.write("jit.hcl", "owner = \"other\"\n"+fmt.Sprintf("targets = { host = { ssh = { authorized_keys = "+
				"%q } } }\n", w.keys))
			doubt("it belongs to another owner than other, or the target has another form in jit.hcl; name the owner " +
				"with --owner")
			w.write("jit.hcl", "")
			doubt("the settings have no target \"host\"; add it to targets in jit.hcl")
			if err := os.Remove(w.Path("jit.hcl")); err != nil {
				t.Fatal(err)
			}
			doubt("there are no settings; write a jit.hcl with the targets of the provider block, or name one " +
				"with --config")
		})
	}
}
