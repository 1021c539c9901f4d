package cli

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// records puts policies into the ledger.
func (d *desk) records(policies ...jit.Policy) {
	d.t.Helper()
	rt := d.runtime()
	var errs []error
	for _, p := range policies {
		errs = append(errs, rt.Broker.PutPolicy(d.t.Context(), p))
	}
	if err := errors.Join(append(errs, rt.Close())...); err != nil {
		d.t.Fatal(err)
	}
}

// A block waits for the policy that decides about it, if the ledger does not have it so. It is extended, renewed and
// pruned like others.
func TestRequestWaitsForThePolicy(t *testing.T) {
	d := newDesk(t)
	const rule = "resource \"jit_policy\" \"long\" {\n  name = \"p\"\n  match = [{}]\n  max_ttl = \"4h\"\n}\n"
	d.write("rules.tf", rule)
	ask := []string{"bastion", "login", "--ttl", "2h", "--reason", "x"}
	d.records(jit.Policy{Name: "p", Effect: jit.Permit, Match: jit.Matches{{}}, MaxTTL: time.Hour})
	v := d.asks(append(ask, "--json")...).wantCode(exitDone).request()
	const waits, first = "the block depends on jit_policy.long", "in this form yet; apply it before the grant"
	notes := strings.Join(v.Notes, "\n")
	const once = `only once the changed policy "p" is applied; by the policies of the ledger, it is: refused`
	if !strings.Contains(notes, once) || !strings.Contains(notes, waits) {
		t.Errorf("notes %s", notes)
	}
	file := d.files()[0]
	text := d.read(file)
	if !strings.Contains(text, "depends_on = [jit_policy.long]") {
		t.Fatalf("the block says\n%s", text)
	}
	d.asks(ask...).wantCode(exitDone).wantOut("already there: "+file, waits).wantNotOut(first)
	d.asks("bastion", "login", "--ttl", "2h", "--reason", "y", "--format", "tfvars").wantCode(exitDone).
		wantOut(first, "only once the changed policy").wantNotOut(waits)
	if err := os.RemoveAll("grants"); err != nil {
		t.Fatal(err)
	}

	id := string(v.ID)
	d.run("request", "--extend", id, "--ttl", "3h").wantCode(exitDone).wantOut("edited", first)
	if got := d.read(file); got != strings.Replace(text, `"2h"`, `"3h"`, 1) {
		t.Errorf("extended, the block says\n%s", got)
	}
	d.records(jit.Policy{Name: "p", Effect: jit.Permit, Match: jit.Matches{{}}, MaxTTL: 4 * time.Hour})
	g := d.request(broker.Request{
		Binding: jit.Binding{Target: "bastion", Principal: d.principal, Role: "login"}, Reason: "x", Renewal: 1,
		TTL: jit.RecordedTTL("3h"),
	})
	d.run("request", "--extend", id, "--ttl", "4h").wantCode(exitDone).wantNotOut(first, "only once")
	d.run("request", "--extend", id, "--ttl", "3h").wantCode(exitDone)
	d.now = d.now.Add(4 * time.Hour)
	d.run("sweep").wantCode(exitDone)
	d.wantAccess(g, false)
	kept := d.read(file)
	d.run("request", "--renew", id).wantCode(exitDone).wantOut("edited").wantNotOut(first)
	if got := d.read(file); !strings.Contains(got, "renewal    = 2") || !strings.Contains(got, "[jit_policy.long]") {
		t.Errorf("renewed, the block says\n%s", got)
	}
	d.write(file, kept)
	rt := d.runtime()
	over, _, err := rt.Ledger.Lookup(t.Context(), g.ID)
	if err := errors.Join(err, rt.Close()); err != nil {
		t.Fatal(err)
	}
	_, name, _ := strings.Cut(kept, "\"jit_grant\" \"")
	name, _, _ = strings.Cut(name, "\"")
	d.write("state.json", state(t, []object{d.instance(name, over, nil)}))
	d.run("prune", "--state", "state.json").wantCode(exitDone).wantErr("1 block pruned")
}

// An empty ledger permits what the first policy lets wait for approval, so the block waits for that policy. A verdict
// that the ledger alone gives has no note.
func TestRequestWaitsForTheFirstPolicy(t *testing.T) {
	d := newDesk(t)
	d.write("rules.tf", rules)
	const once = "holds only once"
	ask := []string{"bastion", "port-forward:db:5432", "--ttl", "1h", "--reason", "look"}
	d.asks(ask...).wantCode(exitWaits).
		wantOut(`once the changed policy "tunnel" is applied`, "it is: permitted", "depends on jit_policy.tunnel")
	file := d.files()[0]
	text := d.read(file)
	if !strings.Contains(text, `policy    = "tunnel"`) {
		t.Errorf("the first policy is not named:\n%s", text)
	}
	d.asks(ask...).wantCode(exitWaits).wantOut("already there: " + file)
	d.asks(append(ask, "--format", "tfvars")...).wantCode(exitWaits).wantOut("already there: " + file)
	_, id, _ := strings.Cut(strings.TrimSuffix(file, ".tf"), "bastion-")
	d.write(file, strings.Replace(text, `policy    = "tunnel"`, "", 1))
	d.run("request", "--extend", id, "--ttl", "50m").wantCode(exitWaits).wantOut("edited")
	if got := d.read(file); !strings.Contains(got, `"tunnel"`) || !strings.Contains(got, `"50m"`) {
		t.Errorf("extended, the first policy is not named:\n%s", got)
	}
	d.write(file, text)
	d.asks("bastion", "login", "--ttl", "1h", "--reason", "INC-1: look", "--dry-run").wantCode(exitDone).
		wantNotOut(once)
	d.asks("bastion", "login", "--ttl", "9h", "--reason", "look", "--dry-run").wantCode(exitForbidden).
		wantNotOut(once, "depends on")

	d.records(jit.Policy{Name: "mine", Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"none"}}}})
	d.asks(ask...).wantCode(exitWaits).wantOut("already there: " + file) // what it names makes no other request
	d.records(jit.Policy{Name: "mine", Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"command:id"}}}})
	const lost = `the policy "mine" is in the ledger, and in no literal block`
	d.asks("bastion", "command:id", "--ttl", "1h", "--reason", "x", "--dry-run").wantCode(exitDone).wantOut(lost)
	if err := os.Remove("rules.tf"); err != nil {
		t.Fatal(err)
	}
	d.asks("bastion", "command:id", "--ttl", "1h", "--reason", "x", "--dry-run").wantCode(exitDone).wantNotOut(lost)
	d.write("main.tf", "module \"team\" {\n  source = \"./team\"\n}\n")
	d.asks("bastion", "command:id", "--ttl", "1h", "--reason", "x", "--dry-run").wantCode(exitDone).
		wantOut("does not read the policies and persons in modules: team")
}

// jit judges by the settings of the provider block, as the plan does, or not at all.
func TestRequestOfAnotherProvider(t *testing.T) {
	d := newDesk(t)
	ask := []string{"bastion", "login", "--ttl", "2h", "--reason", "x", "--dry-run"}
	const same = "  owner = \"payments\"\n  ledger = \"sqlite://ledger.db\"\n"
	d.write("other.hcl", strings.Replace(d.read("jit.hcl"), "payments", "search", 1))
	for lines, name := range map[string]string{
		same + "  max_ttl = \"1h\"\n":           "max_ttl",
		"  owner = \"payments\"\n":              "ledger",
		"  ledger = \"sqlite://ledger.db\"\n":   "owner",
		"  config = \"other.hcl\"\n":            "owner",
		"  config = \"none.hcl\"\n":             "config",
		same + "  max_ttl = \"soon\"\n":         "max_ttl",
		"  owner = var.a\n  max_ttl = \"1h\"\n": "ledger",
	} {
		d.write("main.tf", "provider \"jit\" {\n"+lines+"}\n")
		d.asks(ask...).wantCode(exitUsage).wantErr("error: " + name + ": ").wantNotOut("permitted")
	}
	for lines, note := range map[string]string{
		same + "  max_ttl = \"1440m\"\n":                "",
		"  config = \"jit.hcl\"\n":                      "",
		same + "  max_ttl = var.most\n":                 "does not say its max_ttl literally",
		"  config = var.file\n":                         "does not say its ledger literally",
		"  alias = \"b\"\n  owner = \"someone else\"\n": "",
	} {
		d.write("main.tf", "provider \"jit\" {\n"+lines+"}\n")
		r := d.asks(ask...).wantCode(exitDone).wantOut(note)
		if note == "" {
			r.wantNotOut("literally")
		}
	}
	d.write("main.tf", "terraform {\n  required_providers {\n    j = { source = \"jitaccess/jit\" }\n  }\n}\n"+
		"provider \"j\" {}\n")
	d.asks(ask...).wantCode(exitUsage).wantErr("error: owner: ")
}

// A pull request does not have what is not committed.
func TestRequestPullUncommitted(t *testing.T) {
	d := newDesk(t)
	d.write("rules.tf", "resource \"jit_policy\" \"p\" {\n  name = \"p\"\n  match = [{}]\n  max_ttl = \"1h\"\n}\n")
	git := d.inRepo()
	const note = "the pull request lacks your changes of rules.tf, "
	ask := func(reason string) result {
		return d.asks("bastion", "login", "--ttl", "1h", "--reason", reason, "--pr").wantCode(exitDone)
	}
	ask("a").wantNotOut("lacks")
	d.write("rules.tf", strings.Replace(d.read("rules.tf"), "1h", "2h", 1))
	ask("b").wantOut(note)
	d.asks("bastion", "login", "--ttl", "1h", "--reason", "c").wantCode(exitDone).wantOut(note)
	git("checkout", "--quiet", "--", "rules.tf")
	git("add", ".")
	git("commit", "--quiet", "-m", "second")
	git("push", "--quiet")
	file := d.files()[0]
	_, id, _ := strings.Cut(strings.TrimSuffix(file, ".tf"), "bastion-")
	d.run("request", "--extend", id, "--ttl", "30m", "--pr").wantCode(exitDone).wantNotOut("lacks")
	d.write("rules.tf", strings.Replace(d.read("rules.tf"), "1h", "2h", 1))
	d.run("request", "--extend", id, "--ttl", "40m", "--pr").wantCode(exitDone).wantOut(note)
}
