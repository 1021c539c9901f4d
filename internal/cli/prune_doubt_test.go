package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
)

// wantLeft prunes a folder of one block and wants it to stay.
func (w *world) wantLeft(name, why string, args ...string) {
	w.t.Helper()
	before := w.read("grant.tf")
	w.run(append([]string{"prune", "--state", "state.json"}, args...)...).wantCode(exitDone).wantOut("left", why)
	if !exists("grant.tf") || w.read("grant.tf") != before {
		w.t.Fatalf("%s: the block is gone", name)
	}
}

// The block of a grant that is live by one ledger stays, although another ledger has one of the same id that is over.
func TestPruneOfAnotherLedger(t *testing.T) {
	w := newWorld(t)
	over := w.ended("INC-1: a")[0]
	settings := w.read("jit.hcl")
	w.write("jit.hcl", strings.Replace(settings, "ledger.db", "prod.db", 1))
	live := w.request(broker.Request{Binding: over.Binding, Reason: over.Reason, Renewal: 1, TTL: over.TTL})
	if live.ID != over.ID {
		t.Fatalf("the ids are %s and %s", live.ID, over.ID)
	}
	w.write("grant.tf", block("a", over))
	held := w.instance("a", live, nil)
	held["values"].(object)["expires_at"] = over.End
	w.write("state.json", state(t, []object{held}))
	w.write("jit.hcl", settings)
	w.wantLeft("expired", "from another ledger")
	w.wantAccess(live, true)

	held = w.instance("a", over, nil)
	held["values"].(object)["expires_at"] = live.End
	w.write("state.json", state(t, []object{held}))
	w.wantLeft("another end", "another end than the ledger")
	held = w.instance("a", over, nil)
	delete(held["values"].(object), "request_digest")
	w.write("state.json", state(t, []object{held}))
	w.wantLeft("no digest", "from another ledger")
	w.write("state.json", state(t, []object{w.instance("a", over, nil)}))
	w.run("prune", "--state", "state.json").wantCode(exitDone).wantErr("1 block pruned")
}

// All blocks stay if the plan goes to another ledger or owner, or if the folder has several workspaces.
func TestPruneOfAnotherFolder(t *testing.T) {
	w := newWorld(t)
	over := w.ended("INC-1: a")[0]
	w.write("grant.tf", block("a", over))
	w.write("state.json", state(t, []object{w.instance("a", over, nil)}))
	w.write("other.hcl", "ledger = \"sqlite://prod.db\"\nowner = \"payments\"\n")
	for lines, why := range map[string]string{
		"ledger = \"sqlite://prod.db\"\n  owner = \"payments\"":    "another ledger",
		"ledger = \"sqlite://ledger.db\"\n  owner = \"search\"":    "another owner",
		"ledger = \"sqlite://ledger.db\"":                          "another owner",
		"owner = \"payments\"":                                     "another ledger",
		"config = \"other.hcl\"":                                   "another ledger",
		"config = \"none.hcl\"":                                    "cannot be read",
		"ledger = \"postgres://db/x\"\n  owner = \"payments\"":     "another ledger",
		"ledger = var.ledger\n  owner = \"search\"\n  max_ttl = 1": "another owner",
	} {
		w.write("main.tf", "provider \"jit\" {\n  "+lines+"\n}\n")
		w.wantLeft(lines, why)
	}
	const mine = "provider \"jit\" {\n  config = \"jit.hcl\"\n}\nprovider \"jit\" {\n  alias = \"b\"\n}\n"
	w.write("main.tf", mine)
	if err := os.MkdirAll("terraform.tfstate.d/two", 0o700); err != nil {
		t.Fatal(err)
	}
	w.wantLeft("a second state", "several workspaces (two)")
	if err := os.RemoveAll("terraform.tfstate.d"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TF_WORKSPACE", "three")
	w.wantLeft("the environment", "several workspaces (three)")
	t.Setenv("TF_WORKSPACE", "default")
	t.Setenv("TF_DATA_DIR", "data")
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	w.write("data/environment", "four")
	w.wantLeft("the selected one", "several workspaces (four)")
	w.run("prune", "--state", "state.json", "--ignore-workspaces").wantCode(exitDone).wantErr("1 block pruned")

	w.write("grant.tf", block("a", over))
	w.write("data/environment", "default")
	w.write("main.tf", "provider \"jit\" {\n  ledger = \"sqlite://"+w.dir+"/ledger.db\"\n  owner = \"payments\"\n}\n")
	w.run("prune", "--state", "state.json").wantCode(exitDone).wantErr("1 block pruned")
}

// A block stays if it may ask for another grant, in another workspace or once it is applied.
func TestPruneOfAnotherRequest(t *testing.T) {
	w := newWorld(t)
	over := w.ended("INC-1: a")[0]
	good := block("a", over)
	w.write("state.json", state(t, []object{w.instance("a", over, nil)}))
	for why, text := range map[string]string{
		"its target is not literal":    strings.Replace(good, `"bastion"`, "local.who[terraform.workspace]", 1),
		"its principal is not literal": strings.Replace(good, `"`+over.Principal+`"`, "var.key", 1),
		"its role is not literal":      strings.Replace(good, `"login"`, "local.role", 1),
		"its scope is not literal":     strings.Replace(good, "\n}", "\n  scope = local.scope\n}", 1),
		"its provider is not literal":  strings.Replace(good, "\n}", "\n  provider = jit.prod\n}", 1),
		"it has a lifecycle block":     strings.Replace(good, "\n}", "\n  lifecycle {}\n}", 1),
	} {
		w.write("grant.tf", text)
		w.wantLeft(why, why)
	}
	w.write("grant.tf", good)
	w.alter("UPDATE jit_grants SET scope = 'elsewhere' WHERE id = '" + string(over.ID) + "'")
	over.Scope = "elsewhere"
	w.write("state.json", state(t, []object{w.instance("a", over, nil)}))
	w.wantLeft("no scope", "its scope is not that of the state")
}
