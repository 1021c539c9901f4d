package cli

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// office is a world whose grants need the approval of leads: lea and leo. Bob is on call and may break the glass.
type office struct {
	*world
	// principal is bob's key on the target.
	principal string
}

// newOffice makes an office with real key files of ssh-keygen: lea.key, lea.key.pub and so on.
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

// wish is a request for bob.
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

// apply asks for a grant as another run of Terraform does, with the statements of the folder.
func (o *office) apply(r broker.Request) (jit.Grant, error) {
	o.t.Helper()
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	rt.Broker.OneRun, rt.Broker.Approvals.Dir = true, defaultApprovals
	return rt.Broker.Grant(o.t.Context(), r)
}

// intact fails unless the record proves everything that it says.
func (o *office) intact() {
	o.t.Helper()
	o.run("audit", "verify").wantCode(exitDone).wantOut("The record is intact")
}

// granted fails unless the request is granted and gives access.
func (o *office) granted(r broker.Request) jit.Grant {
	o.t.Helper()
	g, err := o.apply(r)
	if err != nil {
		o.t.Fatal(err)
	}
	o.wantAccess(g, true)
	return g
}

// refused fails unless the request is refused in words with text, and gives nothing. It returns the recorded request.
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

// object is JSON.
type object map[string]any

// change is what terraform show -json says about a grant that is to be created.
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
		"reason": r.Reason, "renewal": strconv.FormatInt(r.Renewal, 10), "ttl": r.TTL.String(),
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

// plan writes plan.json with changes.
func (o *office) plan(changes ...object) {
	o.t.Helper()
	text, err := json.Marshal(object{"format_version": "1.2", "terraform_version": "1.14.0", "resource_changes": changes})
	if err != nil {
		o.t.Fatal(err)
	}
	o.write("plan.json", string(text))
}

// files returns the statements of the folder.
func (o *office) files() []string {
	o.t.Helper()
	files, err := filepath.Glob(filepath.Join(defaultApprovals, "*"))
	if err != nil {
		o.t.Fatal(err)
	}
	return files
}

// types runs a command line on a terminal, and types at it.
func (o *office) types(typed string, args ...string) result {
	o.t.Helper()
	var out, errs bytes.Buffer
	options := o.options()
	options.Interactive = true
	code := Run(o.t.Context(), args, strings.NewReader(typed), &out, &errs, options)
	return result{o.t, "jit " + strings.Join(args, " "), code, out.String(), errs.String()}
}

// serveAgent starts an SSH agent with the keys in these files.
func (o *office) serveAgent(files ...string) {
	o.t.Helper()
	keys := agent.NewKeyring()
	for _, file := range files {
		key, err := ssh.ParseRawPrivateKey([]byte(o.read(file) + "\n"))
		if err != nil {
			o.t.Fatal(err)
		}
		if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			o.t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "agent") // the path of a socket is short
	if err != nil {
		o.t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _, _ = listener.Close(), os.RemoveAll(dir) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, conn) }()
		}
	}()
	o.t.Setenv(envAgent, socket)
}

// Two people approve what a plan asks for: one by a key file, one by an agent. Then the grant begins.
func TestApprovePlan(t *testing.T) {
	o := newOffice(t, 2)
	r := o.wish()
	o.refused(r, "jit approve --plan")
	o.plan(o.change("jit_grant.a", r))
	first := o.types("y\n", "approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea",
		"--comment", "fine for me").wantCode(exitDone).
		wantErr("jit_grant.a", "reason: INC-1: look", "ttl: 2h", "approver: lea", "Approve this request? Type y:")
	path := strings.TrimSpace(first.out)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^0o022 != 0o644 || filepath.Dir(path) != "approvals" {
		t.Errorf("wrote %q with mode %v, %v", path, info.Mode(), err)
	}
	o.refused(r, "1 of: leo")
	o.serveAgent("leo.key")
	t.Setenv(config.EnvApprover, "leo")
	o.run("approve", "--plan", "plan.json", "--yes").wantCode(exitDone)
	if err := os.Rename(path, "elsewhere"); err != nil {
		t.Fatal(err)
	}
	o.refused(r, "1 of: lea")
	if err := os.Rename("elsewhere", path); err != nil {
		t.Fatal(err)
	}
	o.refused(o.wish(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") }), "2 of: lea, leo")
	o.granted(r)
	o.intact()
	var report struct {
		Grants []struct {
			ApprovedBy []string `json:"approved_by"`
		}
	}
	o.run("report", "--json").wantCode(exitDone).decode(&report)
	if len(report.Grants) != 1 || !slices.Equal(report.Grants[0].ApprovedBy, []string{"lea", "leo"}) {
		t.Errorf("reported as %+v", report.Grants)
	}
	o.run("report", "-o", "-").wantCode(exitDone).wantOut("approved by lea, leo")
}

// What ssh-keygen signs counts, beside its text.
func TestApproveBySSHKeygen(t *testing.T) {
	o := newOffice(t, 1)
	r := o.wish()
	o.plan(o.change("jit_grant.a", r))
	p := o.run("approve", "--plan", "plan.json", "--print", "--approver", "lea").wantCode(exitDone)
	path := strings.TrimSpace(p.out)
	p.wantErr("ssh-keygen -Y sign -n jit-approval -f KEY " + path)
	o.refused(r, "1 of: lea, leo")
	o.keygen("-q", "-Y", "sign", "-n", "jit-approval", "-f", "lea.key", path)
	o.granted(r)
}

// Each request is a question of its own.
func TestApproveSome(t *testing.T) {
	o := newOffice(t, 1)
	a := o.wish()
	b := o.wish(func(r *broker.Request) { r.Reason = "INC-2: more" })
	o.plan(o.change("jit_grant.a", a), o.change("jit_grant.b", b))
	o.types("n\ny\n", "approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea").wantCode(exitNotDone).
		wantErr("nothing was decided on 1 request")
	if n := len(o.files()); n != 1 {
		t.Errorf("%d statements, want 1", n)
	}
	o.refused(a, "1 of: lea, leo")
	o.granted(b)
	for _, typed := range []string{"", "\n", "yes\n"} {
		o.now = o.now.Add(time.Second)
		o.types(typed, "approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea").wantCode(exitNotDone)
	}
	if n := len(o.files()); n != 1 {
		t.Errorf("%d statements, want 1", n)
	}
}

// A statement is never overwritten.
func TestApproveTwice(t *testing.T) {
	o := newOffice(t, 1)
	o.plan(o.change("jit_grant.a", o.wish()))
	args := []string{"approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea", "--yes"}
	path := strings.TrimSpace(o.run(args...).wantCode(exitDone).out)
	before := o.read(path)
	o.run(append(args, "--comment", "other")...).wantCode(exitNotDone).wantErr("exists")
	if o.read(path) != before {
		t.Error("the statement was overwritten")
	}
	o.run("deny", "--plan", "plan.json", "--key", "leo.key", "--approver", "leo", "--yes", "--comment", "not now").
		wantCode(exitDone)
	o.refused(o.wish(), "leo denied it")
}

// A plan shows what cannot be approved yet, and leaves out what asks for nothing new.
func TestPlansWithNothingToApprove(t *testing.T) {
	o := newOffice(t, 1)
	for _, tt := range []struct {
		name string
		edit func(all, change, after object)
		code int
		says string
	}{
		{"an unknown reason", func(_, change, after object) {
			delete(after, "reason")
			delete(after, "request_digest")
			change["after_unknown"] = object{"reason": true, "request_digest": true, "expires_at": true}
		}, exitNotDone, "jit_grant.a cannot be approved yet: reason is known only after the apply"},
		{"no ledger yet", func(_, change, after object) {
			delete(after, "request_digest")
			change["after_unknown"] = object{"request_digest": true, "expires_at": true}
		}, exitNotDone, "apply the policies and persons first"},
		{"another type", func(all, _, _ object) { all["type"] = "jit_policy" }, exitDone, "no request"},
		{"a data source", func(all, _, _ object) { all["mode"] = "data" }, exitDone, "no request"},
		{"no change", func(_, change, _ object) { change["actions"] = []string{"no-op"} }, exitDone, "no request"},
		{"a destroy", func(_, change, _ object) { change["actions"] = []string{"delete"} }, exitDone, "no request"},
		{"a repair", func(_, change, after object) {
			change["actions"], change["before"] = []string{"update"}, after
		}, exitDone, "no request"},
		{"a renewal in words", func(_, _, after object) { after["renewal"] = "two" }, exitNotDone, `its renewal, "two"`},
		{"a length in words", func(_, _, after object) { after["ttl"] = "long" }, exitNotDone, `"long"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := o.change("jit_grant.a", o.wish())
			change := c["change"].(object)
			tt.edit(c, change, change["after"].(object))
			o.plan(c)
			o.run("approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea", "--yes").
				wantCode(tt.code).wantErr(tt.says)
			if len(o.files()) > 0 {
				t.Errorf("wrote %v", o.files())
			}
		})
	}
}

// A replacement and a longer window are requests of their own; each is signed as it was written.
func TestPlansThatChange(t *testing.T) {
	o := newOffice(t, 1)
	for _, actions := range [][]string{{"update"}, {"delete", "create"}, {"create", "delete"}} {
		o.principal = o.key()
		r := o.wish(func(r *broker.Request) { r.Reason = "INC-3: " + strings.Join(actions, " ") })
		c := o.change("jit_grant.a", r)
		change := c["change"].(object)
		change["actions"], change["before"] = actions, object{"request_digest": strings.Repeat("0", 64)}
		change["after_sensitive"] = object{"reason": true}
		o.plan(c)
		o.run("approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea", "--yes").wantCode(exitDone).
			wantErr("the plan marks reason as sensitive")
		o.granted(r)
	}
}

// A request in the ledger is approved there, and counts for it alone.
func TestApproveRecorded(t *testing.T) {
	o := newOffice(t, 1)
	r := o.wish()
	g := o.refused(r, "1 of: lea, leo")
	o.run("list", "--state", "requested").wantCode(exitDone).wantOut(string(g.ID), "requested")
	o.run("list").wantCode(exitDone).wantNotOut(string(g.ID))
	o.run("show", string(g.ID)).wantCode(exitDone).wantOut("awaits", "1 of: lea, leo")
	var views []jit.View
	o.run("list", "--state", "requested", "--json").wantCode(exitDone).decode(&views)
	if len(views) != 1 || views[0].Awaits != "1 of: lea, leo" || views[0].State != jit.StateRequested {
		t.Errorf("got %+v", views)
	}
	id := string(g.ID[:8])
	o.run("approve", id, "--yes", "--key", "bob.key", "--approver", "bob").wantCode(exitNotDone).
		wantErr("bob is the principal")
	o.run("approve", id, "--yes", "--key", "bob.key", "--approver", "lea").wantCode(exitNotDone).
		wantErr("belongs to bob, not to lea")
	o.run("approve", id, "--yes", "--key", "lea.key", "--approver", "eve").wantCode(exitUnknown).wantErr(`no person "eve"`)
	o.types("n\n", "approve", id, "--key", "lea.key", "--approver", "lea").wantCode(exitNotDone)
	o.refused(r, "1 of: lea, leo")
	// Whoever approves is the actor of the command; that is no reason against it.
	t.Setenv(config.EnvActor, "lea")
	o.serveAgent("bob.key", "lea.key")
	o.types("y\n", "approve", id, "--approver", "LEA").wantCode(exitDone).
		wantOut("The approval of lea is recorded").wantErr("INC-1: look", "approver: lea")
	o.intact()
	o.refused(r, "lea started this run")
	t.Setenv(config.EnvActor, "alice")
	o.granted(r)
	o.run("approve", id, "--yes", "--approver", "lea").wantCode(exitNotDone).wantErr("waits for nobody's approval")
}

func TestDenyRecorded(t *testing.T) {
	o := newOffice(t, 1)
	g := o.refused(o.wish(), "1 of: lea, leo")
	o.run("deny", string(g.ID), "--yes", "--key", "leo.key", "--approver", "leo", "--comment", "use the replica").
		wantCode(exitDone).wantOut("The denial of leo is recorded")
	o.run("show", string(g.ID)).wantOut("denied", "comment: use the replica")
	o.run("approve", string(g.ID), "--yes", "--key", "lea.key", "--approver", "lea")
	o.refused(o.wish(), "leo denied it")
	o.intact()
}

// A grant that broke the glass is listed until one of those who were skipped signs it off.
func TestSignOff(t *testing.T) {
	o := newOffice(t, 1)
	glass := func(reason string) broker.Request {
		return o.wish(func(r *broker.Request) { r.Reason, r.Requester, r.BreakGlass = reason, "bob", true })
	}
	g := o.granted(glass("SEV1-1: down"))
	o.run("list", "--unsigned").wantCode(exitDone).wantOut(string(g.ID), "active (not signed off)")
	o.run("approve", string(g.ID), "--yes", "--key", "lea.key", "--approver", "lea").wantCode(exitNotDone).
		wantErr("waits for nobody's approval")
	signOff := []string{"approve", string(g.ID), "--sign-off", "--yes", "--comment", "SEV1-1: reviewed"}
	o.run(append(signOff, "--key", "bob.key", "--approver", "bob")...).wantCode(exitNotDone)
	if _, err := o.apply(glass("SEV1-2: down")); err == nil {
		t.Error("bob broke the glass twice")
	}
	o.now = o.now.Add(24 * time.Hour)
	o.run("list", "--unsigned").wantCode(exitDone).wantOut(string(g.ID))
	o.run(append(signOff, "--key", "lea.key", "--approver", "lea")...).wantCode(exitDone).wantOut("The sign-off of lea")
	o.run("list", "--unsigned").wantCode(exitDone).wantNotOut(string(g.ID))
	o.run("show", string(g.ID)).wantOut("signed_off_by", "lea", "break_glass", "true")
	o.run(append(signOff, "--key", "lea.key", "--approver", "lea")...).wantCode(exitNotDone).wantErr("needs no sign-off")
	if _, err := o.apply(glass("SEV1-2: down")); err != nil {
		t.Error(err)
	}
	o.intact()
}

// The approver comes from the flag, the environment or jit.hcl, which may need variables that the approver lacks.
func TestApprover(t *testing.T) {
	o := newOffice(t, 1)
	o.plan(o.change("jit_grant.a", o.wish()))
	args := []string{"approve", "--plan", "plan.json", "--key", "lea.key", "--yes"}
	o.run(args...).wantCode(exitUsage).wantErr("--approver NAME", config.EnvApprover, "jit.hcl")
	o.write("jit.hcl", "approver = \"lea\"\nledger = env(\"NOT_SET\")\n")
	o.run(args...).wantCode(exitDone)
	o.now = o.now.Add(time.Second)
	o.write("jit.hcl", "approver = \"lea\nledger")
	o.run(args...).wantCode(exitUsage).wantErr("jit.hcl")
	t.Setenv(config.EnvApprover, "lea")
	o.run(args...).wantCode(exitDone)
	if err := os.Remove("jit.hcl"); err != nil {
		t.Fatal(err)
	}
	o.now = o.now.Add(time.Second)
	o.run(args...).wantCode(exitDone)
	t.Setenv(config.EnvApprover, "")
	o.run(args...).wantCode(exitUsage).wantErr("nothing says who you are")
}

func TestWrongInputToApprove(t *testing.T) {
	o := newOffice(t, 1)
	o.plan(o.change("jit_grant.a", o.wish()))
	o.write("bad.json", "{")
	o.write("state.json", `{"format_version":"1.0","values":{}}`)
	o.write("future.json", `{"format_version":"9.0"}`)
	o.keygen("-q", "-t", "ed25519", "-N", "a passphrase", "-f", "locked.key")
	o.serveAgent("lea.key", "leo.key")
	t.Setenv(config.EnvApprover, "lea")
	with := func(args ...string) []string {
		return slices.Concat([]string{"approve", "--plan", "plan.json", "--yes"}, args)
	}
	for _, tt := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"approve"}, exitUsage, []string{"nothing says what to decide", "Usage: jit approve {ID | --plan FILE}"}},
		{[]string{"approve", "3f2b", "--plan", "plan.json"}, exitUsage, []string{"not clear"}},
		{[]string{"approve", "3f2b", "4f2b", "--yes"}, exitUsage, []string{"not clear"}},
		{[]string{"approve", "x", "--yes"}, exitUsage, []string{`"x"`}},
		{[]string{"approve", "00000000", "--yes"}, exitUnknown, []string{"no grant 00000000"}},
		{[]string{"approve", "--plan", "plan.json"}, exitUsage, []string{"no terminal to ask on", "--yes"}},
		{[]string{"approve", "--plan", "plan.json", "--sign-off", "--yes"}, exitUsage, []string{"jit list --unsigned"}},
		{[]string{"approve", "3f2b8c1e", "--dir", "x", "--yes"}, exitUsage, []string{"--dir", "ledger"}},
		{[]string{"approve", "--plan", "none.json", "--yes"}, exitUsage, []string{"none.json", "terraform show -json"}},
		{[]string{"approve", "--plan", "bad.json", "--yes"}, exitUsage, []string{"bad.json is not a plan"}},
		{[]string{"approve", "--plan", "future.json", "--yes"}, exitUsage, []string{"9.0"}},
		{[]string{"approve", "--plan", "state.json", "--yes"}, exitDone, []string{"no request"}},
		{[]string{"deny", "3f2b8c1e", "--yes"}, exitUsage, []string{"a denial needs a comment"}},
		{[]string{"deny", "3f2b8c1e", "--yes", "--sign-off"}, exitUsage, []string{"--sign-off"}},
		{with("--valid-for", "soon"), exitUsage, []string{"--valid-for", `"soon"`}},
		{with("--valid-for", "0s"), exitUsage, []string{"--valid-for"}},
		{with("--valid-for", "400d"), exitUsage, []string{"--valid-for", "366d"}},
		{with("--approver", "group:leads"), exitUsage, []string{"--approver", "group:leads"}},
		{with("--comment", "a\nb"), exitUsage, []string{"--comment"}},
		{with("--comment", strings.Repeat("x", 501)), exitUsage, []string{"--comment", "501 bytes"}},
		{with("--key", "none.key"), exitUsage, []string{"--key", "none.key"}},
		{with("--key", "plan.json"), exitUsage, []string{"--key", "is not an SSH key"}},
		{with("--key", "locked.key"), exitUsage, []string{"--key", "passphrase", "no terminal"}},
		{with("--key", "bob.key.pub"), exitUsage, []string{"--key", "does not have the key", "ssh-add"}},
		{with("--key", "lea.key", "--print"), exitUsage, []string{"--print signs nothing"}},
		{with(), exitUsage, []string{"--key", "more than one key", "SHA256:"}},
	} {
		r := o.run(tt.args...).wantCode(tt.code).wantErr(tt.says...)
		if r.out != "" {
			t.Errorf("%s: stdout has %q", r.line, r.out)
		}
	}
	t.Setenv(envAgent, filepath.Join(o.dir, "none"))
	o.run(with()...).wantCode(exitUsage).wantErr("the SSH agent cannot be reached")
	t.Setenv(envAgent, "")
	o.run(with()...).wantCode(exitUsage).wantErr("SSH_AUTH_SOCK names no agent")
	o.run(with("--key", "lea.key.pub")...).wantCode(exitUsage).wantErr("SSH_AUTH_SOCK names no agent")
	o.write("file", "")
	o.run(with("--key", "lea.key", "--dir", "file")...).wantCode(exitNotDone).wantErr("write the statement")
	if len(o.files()) > 0 {
		t.Errorf("wrote %v", o.files())
	}
}
