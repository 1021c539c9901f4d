package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const rules = `
resource "jit_policy" "short" {
  name           = "short"
  match          = [{ targets = ["bastion"], roles = ["login"] }]
  max_ttl        = "1h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
}
resource "jit_policy" "tunnel" {
  name     = "tunnel"
  match    = [{ roles = ["port-forward:*"] }]
  approval = [{ required = 1, from = ["lea"] }]
}
resource "jit_person" "lea" {
  name         = "lea"
  signing_keys = [file("lea.pub")]
}
`

// desk is a world in which alice asks.
type desk struct {
	*world
	principal string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{world: newWorld(t)}
	for _, name := range []string{config.EnvApprover, envRequester} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", filepath.Join(d.dir, "home"))
	d.principal = d.key()
	return d
}

// asks runs jit request for alice.
func (d *desk) asks(args ...string) result {
	d.t.Helper()
	return d.run(append([]string{"request", "--for", d.principal}, args...)...)
}

// files returns the grants' files.
func (d *desk) files() []string {
	d.t.Helper()
	files, err := filepath.Glob("grant-*.tf")
	if err != nil {
		d.t.Fatal(err)
	}
	return files
}

// request is what jit request --json prints.
func (r result) request() (v requestView) {
	r.t.Helper()
	r.decode(&v)
	return v
}

func TestRequestExitCodes(t *testing.T) {
	d := newDesk(t)
	d.write("rules.tf", rules)
	d.asks("bastion", "login", "--ttl", "1h", "--reason", "INC-1: look").wantCode(exitDone).
		wantOut("there is no ledger yet", `permitted: policy "short" permits it`, "for 1h, INC-1: look", "wrote jit.tf", "wrote grant-", "git switch -c jit/")
	d.asks("bastion", "port-forward:db:5432", "--ttl", "2h", "--reason", "look").wantCode(exitWaits).
		wantOut("needs approval: the approval of 1 of: lea", "wrote grant-")
	if n := len(d.files()); n != 2 {
		t.Fatalf("%d files", n)
	}
	refused := d.asks("bastion", "login", "--ttl", "3h", "--reason", "look", "--json").wantCode(exitForbidden).request()
	if refused.Verdict != "refused" || refused.Nearest != "jit request bastion login --for "+quote(d.principal)+
		" --reason 'INC-1: look' --ttl 1h" {
		t.Errorf("%+v", refused)
	}
	for _, args := range [][]string{
		{"bastion"}, {"bastion", "login", "--ttl", "1h"}, {"bastion", "login", "--ttl", "soon", "--reason", "x"},
		{"bastion", "login", "--ttl", "1h", "--until", "2030-01-01T00:00:00Z", "--reason", "x"}, {"--extend", "3f2b8c1e"},
		{"a", "b", "c", "d"}, {"bastion", "login", "--ttl", "1h", "--reason", "a\nb"}, {"--format", "yaml"},
		{"bastion", "login", "--ttl", "1h", "--reason", "\u202e"},
	} {
		d.asks(args...).wantCode(exitUsage)
	}
	d.asks("bastian", "login", "--ttl", "1h", "--reason", "x").wantCode(exitUsage).wantErr("did you mean bastion?")
	d.run("request", "bastian", "login", "--ttl", "1h", "--reason", "x").wantCode(exitUsage)
	d.asks("bastion").wantErr("lacks ROLE, --ttl, --reason")
	d.write("ledger.db", "not a database, whatever its name says; it is long enough to be one")
	d.asks("bastion", "login", "--ttl", "1h", "--reason", "INC-1: look").wantCode(exitNotDone)
	if n := len(d.files()); n != 2 {
		t.Errorf("%d files after refusals and errors", n)
	}
	d.run("request", "--config", "none.hcl").wantCode(exitUsage).wantErr("targets = {", "authorized_keys")
}

func quote(s string) string { return "'" + s + "'" }

// The nearest form passes as it is printed, and changes as little as possible.
func TestRequestNearest(t *testing.T) {
	for _, tt := range []struct {
		name, policies string
		ask            []string
		want           string
	}{
		{"a shorter time", `a: { max_ttl = "2h" }; b: { max_ttl = "4h" }`, []string{"bastion", "login", "--ttl", "9h", "--reason", "x"},
			"--ttl 4h"},
		{"the provider's limit", ``, []string{"bastion", "login", "--ttl", "30h", "--reason", "x"}, "--ttl 1d"},
		{"another role", `a: { match = [{ roles = ["login"] }] }`, []string{"bastion", "command:id", "--ttl", "1h", "--reason", "x"},
			"bastion login"},
		{"another target", `a: { match = [{ targets = ["other"] }] }`, []string{"bastion", "login", "--ttl", "1h", "--reason", "x"},
			"request other login"},
		{"a reason", `a: { reason_pattern = "^CHG-[0-9]+ " }`, []string{"bastion", "login", "--ttl", "1h", "--reason", "x"},
			"--reason 'CHG-1 x'"},
		{"without the policy", `a: { max_ttl = "1h" }; b: { match = [{}] }`,
			[]string{"bastion", "login", "--ttl", "2h", "--reason", "x", "--policy", "a"}, "--reason x --ttl 2h"},
		{"with approval", `a: { approval = [{ required = 1, from = ["lea"] }] }`,
			[]string{"bastion", "login", "--ttl", "2h", "--reason", "x", "--break-glass", "--requester", "lea"}, "--reason x --ttl 2h --requester lea"},
		{"an end", `a: { max_ttl = "2h" }`, []string{"bastion", "login", "--until", "2999-01-01T00:00:00Z", "--reason", "x"}, "--ttl 2h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			d.write(
				"jit.hcl",
				"owner = \"payments\"\nledger = \"sqlite://ledger.db\"\ntargets = {\n  bastion = { ssh = { "+
					"authorized_keys = \""+d.keys+"\" } }\n  other = { ssh = { authorized_keys = \""+d.keys+"\" } }\n}\n",
			)
			text := "resource \"jit_person\" \"lea\" {\n  name = \"lea\"\n}\n"
			for policy := range strings.SplitSeq(tt.policies, "; ") {
				if name, body, ok := strings.Cut(policy, ": {"); ok {
					if body = strings.TrimSuffix(body, "}"); !strings.Contains(body, "match") {
						body += "\n  match = [{}]\n"
					}
					text += "resource \"jit_policy\" \"" + name + "\" {\n  name = \"" + name + "\"\n " + body + "\n}\n"
				}
			}
			d.write("rules.tf", text)
			nearest := d.asks(append(tt.ask, "--json")...).wantCode(exitForbidden).request().Nearest
			if !strings.Contains(nearest+" ", tt.want+" ") || strings.Contains(nearest, "break-glass") ||
				strings.Contains(nearest, "--policy") {
				t.Fatalf("nearest: %s\nwant %s", nearest, tt.want)
			}
			if code := d.run(words(nearest)[1:]...).code; code != exitDone && code != exitWaits {
				t.Errorf("%s: exit code %d", nearest, code)
			}
		})
	}
}

// words splits a printed command at spaces outside of single quotes.
func words(command string) (all []string) {
	quoted, word := false, ""
	for _, r := range command + " " {
		switch {
		case r == '\'':
			quoted = !quoted
		case r == ' ' && !quoted:
			all, word = append(all, word), ""
		default:
			word += string(r)
		}
	}
	return all
}

// deaf is a platform that fails the test when it is called.
type deaf struct {
	jit.Platform
	t *testing.T
}

func (d deaf) called() error { d.t.Error("a call on the target"); return errors.New("called") }

func (d deaf) Read(context.Context, string) (jit.Snapshot, error) { return jit.Snapshot{}, d.called() }
func (d deaf) Scopes(context.Context) ([]string, error)           { return nil, d.called() }
func (d deaf) Apply(context.Context, string, []jit.Change) []error {
	return []error{d.called()}
}
func (d deaf) Given(ctx context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	g, err := d.Platform.Given(ctx, b, false)
	if g.Role.Unresolved = true; ask {
		return g, d.called()
	}
	return g, err
}
func (d deaf) Describe(context.Context, jit.Binding) (jit.Traits, error) {
	return jit.Traits{}, d.called()
}

// A request makes no call on a target and writes nothing into the ledger, also where a plan asks the target.
func TestRequestMakesNoCall(t *testing.T) {
	d := newDesk(t)
	d.wrap = func(_ string, p jit.Platform) jit.Platform { return deaf{p, t} }
	d.write(
		"rules.tf",
		rules+"resource \"jit_policy\" \"no\" {\n  name = \"no\"\n  effect = \"forbid\"\n  match = [{ roles = [\"x\"] }]\n}\n",
	)
	d.asks("bastion", "login", "--ttl", "1h", "--reason", "INC-1: look").wantCode(exitDone).
		wantOut(`jit did not ask target "bastion"`)
	d.asks("bastion", "port-forward:db:5432", "--ttl", "1h", "--reason", "look").wantCode(exitWaits)
	d.asks("bastion", "login", "--ttl", "30h", "--reason", "look").wantCode(exitForbidden)
	d.run("request", "ls").wantCode(exitDone)
	if exists("ledger.db") {
		t.Error("the ledger was made")
	}
}

// The same request twice is the same file, and a grant that is live or over writes none.
func TestRequestTwice(t *testing.T) {
	d := newDesk(t)
	ask := []string{"bastion", "login", "--ttl", "1h", "--reason", "INC-1: look"}
	d.asks(ask...).wantCode(exitDone)
	before := d.files()
	d.asks(ask...).wantCode(exitDone).wantOut("already there: grant-")
	d.asks("bastion", "login", "--ttl", "2h", "--reason", "INC-1: look").wantCode(exitNotDone).wantErr("--extend")
	long := d.asks("bastion", "login", "--ttl", "30h", "--reason", "INC-1: look", "--json").wantCode(exitForbidden).request()
	if long.Nearest != "" || !strings.Contains(strings.Join(long.Notes, "\n"), "--extend ") {
		t.Errorf("%+v", long)
	}
	if !slices.Equal(d.files(), before) || len(before) != 1 {
		t.Errorf("files %v", d.files())
	}
	g := d.request(broker.Request{
		Binding: jit.Binding{
			Target:    "bastion",
			Principal: d.principal,
			Role:      "login",
		}, Reason: "INC-1: look", Renewal: 1,
		TTL: jit.RecordedTTL("1h"),
	})
	d.asks(ask...).wantCode(exitDone).wantOut("granted already", string(g.ID))
	if err := os.Rename(before[0], "kept"); err != nil {
		t.Fatal(err)
	}
	d.asks("bastion", "login", "--ttl", "2h", "--reason", "INC-1: look").wantCode(exitForbidden).
		wantOut("--extend "+string(g.ID), "for another time")
	d.asks("bastion", "login", "--ttl", "60m", "--reason", "INC-1: look").wantCode(exitDone).wantOut("granted already")
	if err := os.Rename("kept", before[0]); err != nil {
		t.Fatal(err)
	}
	d.write(before[0], strings.Replace(d.read(before[0]), "{\n", "{\n  break_glass = true\n", 1))
	d.now = d.now.Add(2 * time.Hour)
	d.run("request", "--renew", string(g.ID[:8]), "--ttl", "30h").wantCode(exitForbidden).
		wantOut("jit request --renew " + string(g.ID[:8]) + " --ttl 1d\n")
	d.asks(ask...).wantCode(exitForbidden).wantOut("jit request --renew " + string(g.ID))
	renewed := d.run("request", "--renew", string(g.ID[:8]), "--json").wantCode(exitDone).request()
	if renewed.Request.Renewal != 2 || !slices.Equal(renewed.Written, before) {
		t.Errorf("%+v", renewed)
	}
	if text := d.read(before[0]); !strings.Contains(text, "renewal   = 2") ||
		!strings.Contains(text, "break_glass = false") {
		t.Errorf("the block says %s", text)
	}
	if err := os.Remove(before[0]); err != nil {
		t.Fatal(err)
	}
	again := d.run("request", "--renew", string(g.ID[:8]), "--json").wantCode(exitDone).request()
	if again.Request.Renewal != 2 || again.Request.Reason != "INC-1: look" || again.Request.TTL != "1h" ||
		len(d.files()) != 1 {
		t.Errorf("%+v, %v", again, d.files())
	}
	if again.ID != renewed.ID || again.ID == g.ID {
		t.Errorf("ids %s and %s", renewed.ID, again.ID)
	}
}

// An extension changes one attribute and no other byte, and is judged as a change of the grant that is live.
func TestRequestExtend(t *testing.T) {
	for _, format := range []string{"hcl", "tfvars"} {
		d := newDesk(t)
		written := d.asks("bastion", "login", "--ttl", "1h", "--reason", "${x}", "--format", format, "--json").
			wantCode(exitDone).
			request()
		path := written.Files[len(written.Files)-1]
		if format == "hcl" {
			d.write(path, "# mine, odd   spaces\n\n"+d.read(path)+"\n\n# end")
		}
		before, id := d.read(path), string(written.ID[:8])
		d.run("request", "--extend", id, "--ttl", "4h").
			wantCode(exitDone).
			wantOut("edited "+filepath.FromSlash(path), "Extend ", "to 4h")
		if got := d.read(path); got != strings.Replace(before, `"1h"`, `"4h"`, 1) {
			t.Errorf("the file says\n%s\nit was\n%s", got, before)
		}
		d.run("request", "--extend", id, "--ttl", "4h").wantCode(exitDone).wantOut("already there")
		g := d.request(broker.Request{
			Binding: jit.Binding{Target: "bastion", Principal: d.principal, Role: "login"}, Reason: "${x}", Renewal: 1,
			TTL: jit.RecordedTTL("4h"),
		})
		if g.ID != written.ID {
			t.Fatalf("ids %s and %s", g.ID, written.ID)
		}
		d.run("request", "--extend", id, "--ttl", "30h", "--config", "jit.hcl", "--pr", "--dir", "./").
			wantCode(exitForbidden).
			wantOut("jit request --extend " + id + " --ttl 1d --config jit.hcl --dir ./ --pr\n")
		d.run("request", "--extend", id, "--ttl", "4h").wantCode(exitDone).wantOut("granted already: it lasts so long")
		d.run("request", "--extend", id, "--until", "2999-01-01T00:00:00Z").wantCode(exitUsage).wantErr("by hand")
		d.write("rules.tf", "resource \"jit_policy\" \"p\" {\n  name = \"p\"\n  match = [{}]\n  max_ttl = \"6h\"\n}\n")
		d.run("request", "--extend", id, "--ttl", "8h").wantCode(exitForbidden).wantOut("--ttl 6h")
		d.run("request", "--extend", id, "--ttl", "6h").wantCode(exitDone)
		d.now = d.now.Add(2 * time.Hour)
		d.run("request", "--extend", id, "--ttl", "1h").wantCode(exitForbidden).wantOut("jit revoke " + string(g.ID))
		d.now = d.now.Add(24 * time.Hour)
		d.run("request", "--extend", id, "--ttl", "8h").wantCode(exitForbidden).wantOut("jit request --renew ")
		if got := d.read(path); got != strings.Replace(before, `"1h"`, `"6h"`, 1) {
			t.Errorf("the file says\n%s", got)
		}
	}
}

// A grant that jit cannot edit is told, with the line to change by hand.
func TestRequestByHand(t *testing.T) {
	d := newDesk(t)
	const block = "resource \"jit_grant\" \"many\" {\n  for_each = var.grants\n  target = \"bastion\"\n}\n"
	d.write("many.tf", block)
	d.run("request", "--extend", "3f2b8c1e", "--ttl", "4h").wantCode(exitUsage).
		wantErr("jit_grant.many at many.tf:1", `ttl = "4h"`, "by hand")
	if d.read("many.tf") != block {
		t.Error("the block was changed")
	}
	written := d.asks("bastion", "login", "--ttl", "1h", "--reason", "x", "--json").wantCode(exitDone).request()
	file := written.Files[len(written.Files)-1]
	d.write(file, strings.Replace(d.read(file), "{\n", "{\n  provider = jit.of_another_owner\n", 1))
	d.run("request", "--extend", string(written.ID), "--ttl", "4h").wantCode(exitUsage).wantErr(file+":1", "by hand")
}

// A policy of the folder that cannot be read lets nothing pass; one that is not literal passes with a note.
func TestRequestPolicies(t *testing.T) {
	d := newDesk(t)
	ask := []string{"bastion", "login", "--ttl", "1h", "--reason", "x", "--dry-run"}
	d.write("rules.tf", "resource \"jit_policy\" \"p\" {\n  name = \"p\"\n  match = [{ roles = [\"[\"] }]\n}\n")
	d.asks(ask...).wantCode(exitUsage).wantErr("rules.tf:1", "jit_policy.p")
	d.write("rules.tf", "resource \"jit_policy\" \"p\" {\n  name = \"p\"\n  match = [{}]\n  max_ttl = var.most\n}\n")
	d.asks(ask...).wantCode(exitDone).wantOut("rules.tf:1 has values that are not literal", "permit the most")
	d.write("rules.tf", "resource \"jit_policy\" \"p\" {\n  name = \"p\"\n  match = [{ targets = [\"x\"] }]\n}\n")
	d.asks(ask...).wantCode(exitForbidden)
	d.write("rules.tf", "")
	rt := d.runtime()
	err := rt.Broker.PutPolicy(t.Context(), jit.Policy{Name: "no", Effect: jit.Forbid})
	if err := errors.Join(err, rt.Close()); err != nil {
		t.Fatal(err)
	}
	d.asks(ask...).wantCode(exitForbidden).wantOut(`policy "no" forbids it`)
}
