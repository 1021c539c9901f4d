package cli

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The commands of a second try commit also the file that the first try wrote, and the notes name what a plan in another
// clone would miss.
func TestRequestUntracked(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	d := newDesk(t)
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	git := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "--quiet")
	d.write("rules.tf", rules)
	ask := []string{"bastion", "login", "--ttl", "1h", "--reason", "INC-1: look"}
	for range 2 {
		d.asks(ask...).wantCode(exitDone).wantOut("git add -- jit.tf grant-",
			"the plan reads jit.hcl, rules.tf, which git does not track")
	}
	git("add", "rules.tf", "jit.tf")
	d.write(".gitignore", "jit.hcl\n")
	d.asks(ask...).wantCode(exitDone).wantNotOut("does not track")
}

// A policy that orders its apply is literal. A policy that only the folder has is to be applied before the grant.
func TestRequestBeforeThePolicyIsApplied(t *testing.T) {
	d := newDesk(t)
	ask := []string{"bastion", "login", "--ttl", "1h", "--reason", "x", "--dry-run"}
	d.write("rules.tf", "resource \"jit_policy\" \"p\" {\n  name = \"p\"\n  match = [{}]\n  max_ttl = \"1h\"\n"+
		"  depends_on = [jit_person.lea]\n}\n")
	d.asks(ask...).wantCode(exitDone).wantNotOut("is not literal").wantOut("depends on jit_policy.p")
	rt := d.runtime()
	p := jit.Policy{Name: "p", Effect: jit.Permit, Match: jit.Matches{{}}, MaxTTL: time.Hour}
	if err := rt.Broker.PutPolicy(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	d.asks(ask...).wantCode(exitDone).wantNotOut("depends on", "yet")
}

// Errors name what was written, and the command that goes on.
func TestRequestSaysHowToGoOn(t *testing.T) {
	d := newDesk(t)
	ask := []string{"bastion", "login", "--ttl", "1h", "--reason", "x"}
	d.asks(ask...).wantCode(exitDone).wantOut("wrote grant-")
	d.asks("bastion", "login", "--ttl", "2h", "--reason", "x", "--requester", "ana").wantCode(exitNotDone).
		wantErr("with another value of ttl, requester")
	d.run("request", "--renew", "3f2b8c1e", "--requester", "ana").wantCode(exitUsage).wantErr("--renew: ")
	d.run("request", "bastion", "login", "--ttl", "1h", "--reason", "x", "--requester", "ana").wantCode(exitUsage).
		wantErr("into your jit_person", "principals = [")
	d.run("review").wantCode(exitUsage).wantErr("terraform show -json tfplan > plan.json")
	r := broker.Request{
		Binding: jit.Binding{Target: "bastion", Principal: d.principal, Role: "login"}, Reason: "x", Renewal: 1,
		TTL: jit.RecordedTTL("1h"),
	}
	g := d.request(r)
	rt := d.runtime()
	_, _, err := rt.Broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: broker.Destroyed, Destroys: true})
	if err := errors.Join(err, rt.Close()); err != nil {
		t.Fatal(err)
	}
	d.asks(ask...).wantCode(exitForbidden).wantOut("jit request --renew " + string(g.ID))
}

// The policy that jit request shows to a newcomer works as it stands, with keys.
func TestRequestShowsAFirstPolicy(t *testing.T) {
	d := newDesk(t)
	ask := []string{"bastion", "login", "--ttl", "1h", "--reason", "x", "--dry-run"}
	said := d.asks(ask...).wantCode(exitDone).err
	_, example, _ := strings.Cut(said, "Apply it before the grant:\n")
	example = strings.Replace(example, "ssh-ed25519 AAAA…", d.key(), 1)
	d.write("rules.tf", strings.Replace(example, "ssh-ed25519 AAAA…", d.principal, 1))
	r := d.run(append([]string{"request", "--requester", "ana"}, ask...)...).wantCode(exitWaits).
		wantOut("the approval of 1 of: bob")
	if strings.Contains(r.err, "resource") {
		t.Errorf("the example is shown again:\n%s", r.err)
	}
	d.asks("bastion", "login", "--ttl", "9h", "--reason", "x").wantCode(exitForbidden).wantOut("--ttl 8h")
}
