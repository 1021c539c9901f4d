package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
)

// The access is for the person who asks, under the principal that the target accepts.
func TestRequestWho(t *testing.T) {
	d := newDesk(t)
	ask := []string{"request", "bastion", "login", "--ttl", "1h", "--reason", "x", "--dry-run", "--json"}
	d.run(ask...).wantCode(exitUsage).wantErr("--for")
	d.write(
		"people.tf",
		"resource \"jit_person\" \"a\" {\n  name = \"alice\"\n  principals = [\"alice\", \""+d.principal+"\"]\n}\n",
	)
	t.Setenv(config.EnvApprover, "alice")
	if got := d.run(ask...).wantCode(exitDone).request().Request; got.Principal != d.principal ||
		got.Requester != "alice" {
		t.Errorf("%+v", got)
	}
	d.run(append(ask, "--requester", "eve")...).wantCode(exitUsage)
	d.asks(append(ask[1:], "--requester", "eve")...).wantCode(exitForbidden)
	other := d.key()
	d.write(
		"people.tf",
		"resource \"jit_person\" \"a\" {\n  name = \"alice\"\n  principals = [\""+other+"\", \""+d.principal+"\"]\n}\n",
	)
	d.run(ask...).wantCode(exitUsage).wantErr("more than one name", "--for")
	t.Setenv(config.EnvApprover, "")
	if err := os.MkdirAll("home/.ssh", 0o700); err != nil {
		t.Fatal(err)
	}
	d.write("home/.ssh/id.pub", other+"\n")
	if got := d.run(ask...).wantCode(exitDone).request(); got.Request.Principal != other ||
		!strings.Contains(strings.Join(got.Notes, " "), "id.pub") {
		t.Errorf("%+v", got)
	}
	d.write("home/.ssh/id2.pub", d.principal+"\n")
	d.run(ask...).wantCode(exitUsage).wantErr("--for")
}

func TestRequestList(t *testing.T) {
	d := newDesk(t)
	d.write("rules.tf", rules)
	d.run("request", "ls").wantCode(exitDone).wantOut("short", "login", "1h", "1 of lea", "port-forward:*",
		"jit request bastion login --reason 'INC-1: why' --ttl 1h").wantNotOut("jit request bastion port-forward")
	d.run("request", "ls", "--target", "x*").wantCode(exitDone).wantNotOut("short")
	d.write(
		"rules.tf",
		rules+"resource \"jit_policy\" \"bob\" {\n  name = \"bob\"\n  match = [{ principals = [\"bob\"] }]\n}\n",
	)
	var all []struct{ Policy string }
	d.run("request", "ls", "--for", d.principal, "--json").wantCode(exitDone).decode(&all)
	if len(all) != 2 || all[0].Policy != "short" {
		t.Errorf("%+v", all)
	}
	d.run("__complete", "request", "bastion", "").wantOut("login")
	d.run("__complete", "request", "").wantOut("bastion")
}

// A folder that configures the provider gets no other file; a module neither.
func TestRequestSetup(t *testing.T) {
	for text, wants := range map[string]bool{
		"": true,
		"provider \"jit\" {\n  config = \"jit.hcl\"\n}\n": false,
		"terraform {\n  required_providers {\n    j = { source = \"jitaccess/jit\" }\n  }\n}\n" +
			"provider \"j\" {\n  config = \"jit.hcl\"\n}\n": false,
		"terraform {\n  required_providers {\n    jit = { source = \"jitaccess/jit\" }\n  }\n}\n": false,
		"terraform {\n  required_providers {\n    aws = { source = \"hashicorp/aws\" }\n  }\n}\n": true,
	} {
		d := newDesk(t)
		d.write("main.tf", text)
		r := d.asks("bastion", "login", "--ttl", "1h", "--reason", "x").wantCode(exitDone)
		if exists("jit.tf") != wants {
			t.Errorf("with %q: jit.tf is there: %t", text, exists("jit.tf"))
		}
		if strings.Contains(text, "aws") {
			r.wantOut(`add to required_providers: jit = { source = "jitaccess/jit" }`)
			if strings.Contains(d.read("jit.tf"), "required_providers") {
				t.Error("a second required_providers block")
			}
		}
	}
}
