package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// office is a world whose grants need the approval of the leads, lea and leo. Bob is on call and may break the glass.
type office struct {
	*world
	// principal is bob's key on the target.
	principal string
}

// newOffice makes an office with key files that ssh-keygen wrote: lea.key, lea.key.pub and so on.
func newOffice(t *testing.T, required int) *office {
	t.Helper()
	o := &office{world: newWorld(t)}
	t.Setenv(config.EnvApprover, "")
	t.Setenv(envAgent, "")
	o.principal = o.key()
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	for _, p := range []jit.Person{
		{Name: "lea", Groups: []string{"group:leads"}, GitHub: "lea-gh", GitLab: "lea-gl"},
		{Name: "leo", Groups: []string{"group:leads"}},
		{Name: "bob", Groups: []string{"group:leads", "group:oncall"}, Principals: []string{o.principal}},
	} {
		o.keygen("-q", "-t", "ed25519", "-N", "", "-f", p.Name+".key")
		p.SigningKeys = []string{o.read(p.Name + ".key.pub")}
		if err := rt.Broker.PutPerson(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := rt.Broker.PutPolicy(t.Context(), jit.Policy{
		Name: "prod", Effect: jit.Permit,
		Approval:   []jit.Requirement{{Required: required, From: []string{"group:leads"}}},
		BreakGlass: &jit.BreakGlass{From: []string{"group:oncall"}},
	}); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) keygen(args ...string) {
	o.t.Helper()
	path, err := exec.LookPath("ssh-keygen")
	if err != nil {
		o.t.Skip("ssh-keygen is not installed")
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		o.t.Fatalf("ssh-keygen %v: %v\n%s", args, err, out)
	}
}

func (o *office) read(name string) string {
	o.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		o.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// wish returns a request for bob.
func (o *office) wish(change ...func(*broker.Request)) broker.Request {
	r := broker.Request{
		Binding: jit.Binding{Target: "bastion", Principal: o.principal, Role: "login"}, Reason: "INC-1: look", Renewal: 1,
		TTL: jit.RecordedTTL("2h"),
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

// apply requests a grant as a new Terraform run does, with the statements of the folder.
func (o *office) apply(r broker.Request) (jit.Grant, error) {
	o.t.Helper()
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	rt.Broker.Run, rt.Broker.Approvals.Dir = rand.Text(), config.DefaultApprovalsDir
	return rt.Broker.Grant(o.t.Context(), r)
}

// intact fails the test unless jit audit verify passes.
func (o *office) intact() {
	o.t.Helper()
	o.run("audit", "verify").wantCode(exitDone).wantOut("The record is intact")
}

// granted fails the test unless the request is granted and gives access.
func (o *office) granted(r broker.Request) jit.Grant {
	o.t.Helper()
	g, err := o.apply(r)
	if err != nil {
		o.t.Fatal(err)
	}
	o.wantAccess(g, true)
	return g
}

// refused fails the test unless the request is refused with an error that contains text, and gives no access. It
// returns the recorded request.
func (o *office) refused(r broker.Request, text string) jit.Grant {
	o.t.Helper()
	g, err := o.apply(r)
	if err == nil || !strings.Contains(err.Error(), text) {
		o.t.Fatalf("granted %+v, %v; want a refusal with %q", g, err, text)
	}
	o.wantAccess(jit.Grant{Binding: r.Binding, Reason: r.Reason}, false)
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	asked, _, err := rt.Broker.Check(r)
	if err != nil {
		o.t.Fatal(err)
	}
	g, _, err = rt.Ledger.Lookup(o.t.Context(), asked.ID)
	if err != nil {
		o.t.Fatal(err)
	}
	return g
}

// object is a JSON object.
type object map[string]any

// change returns the change of terraform show -json for a grant to create.
func (o *office) change(address string, r broker.Request) object {
	o.t.Helper()
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	g, _, err := rt.Broker.Check(r)
	if err != nil {
		o.t.Fatal(err)
	}
	id, err := rt.Ledger.ID(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	g.End = r.ExpiresAt
	after := object{
		"target": r.Binding.Target, "principal": r.Binding.Principal, "role": r.Binding.Role, "scope": g.Scope,
		"reason": r.Reason, "renewal": r.Renewal, "ttl": r.TTL.String(),
		"terminate_sessions": r.TerminateSessions, "break_glass": r.BreakGlass, "requester": nil,
		"starts_at": nil, "start_by": nil, "request_digest": g.RequestDigest(id),
	}
	if r.Requester != "" {
		after["requester"] = r.Requester
	}
	return object{
		"address": address, "mode": "managed", "type": "jit_grant", "name": "a",
		"change": object{
			"actions": []string{"create"}, "before": nil, "after": after,
			"after_unknown": object{"expires_at": true, "granted_at": true}, "after_sensitive": object{},
		},
	}
}

// plan writes plan.json with these changes.
func (o *office) plan(changes ...object) {
	o.t.Helper()
	text, err := json.Marshal(object{
		"format_version": "1.2", "terraform_version": "1.14.0", "planned_values": object{}, "resource_changes": changes,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.write("plan.json", string(text))
}

// files returns the names of the statement files.
func (o *office) files() []string {
	o.t.Helper()
	files, err := filepath.Glob(filepath.Join(config.DefaultApprovalsDir, "*"))
	if err != nil {
		o.t.Fatal(err)
	}
	return files
}

// types runs a command line on a terminal with typed input.
func (o *office) types(typed string, args ...string) result {
	o.t.Helper()
	var out, errs bytes.Buffer
	options := o.options()
	options.Interactive = true
	code := Run(o.t.Context(), args, strings.NewReader(typed), &out, &errs, options)
	return result{o.t, "jit " + strings.Join(args, " "), code, out.String(), errs.String()}
}

// serveAgent starts ssh-agent, with the keys in these files.
func (o *office) serveAgent(files ...string) {
	o.t.Helper()
	path, err := exec.LookPath("ssh-agent")
	if err != nil {
		o.t.Skip("ssh-agent is not installed")
	}
	dir, err := os.MkdirTemp("", "agent") // a socket's path must be short
	if err != nil {
		o.t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	agent := exec.Command(path, "-D", "-a", socket, "-P", os.TempDir()+"/*") // of token.c
	if err := agent.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _, _, _ = agent.Process.Kill(), agent.Wait(), os.RemoveAll(dir) })
	eventually(o.t, "the agent listens", func() bool { return exists(socket) })
	o.t.Setenv(envAgent, socket)
	if out, err := exec.Command("ssh-add", append([]string{"-q"}, files...)...).CombinedOutput(); err != nil {
		o.t.Fatalf("ssh-add %v: %v\n%s", files, err, out)
	}
}
