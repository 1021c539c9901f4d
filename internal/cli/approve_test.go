package cli

import (
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

// A signature of ssh-keygen counts if the file with the signed text lies beside it.
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

// The command asks about each request separately.
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

// The command names the grants of a plan that cannot be approved yet, and leaves out those that request nothing new.
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
		{"two unknown values", func(_, change, after object) {
			delete(after, "reason")
			change["after_unknown"] = object{"reason": true, "starts_at": true, "scope": true, "request_digest": true}
		}, exitNotDone, "approved yet: reason, starts_at are known only after the apply"},
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
		{"a renewal in words", func(_, _, after object) { after["renewal"] = "two" }, exitNotDone, `renewal: "two"`},
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

// A replacement and an extension are requests of their own. Each is signed as the configuration spells it.
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

// An approval of a recorded request is recorded in the ledger and counts for that request only.
func TestApproveRecorded(t *testing.T) {
	o := newOffice(t, 1)
	r := o.wish()
	g := o.refused(r, "1 of: lea, leo")
	o.run("list", "--state", "requested").wantCode(exitDone).wantOut(string(g.ID), "requested")
	o.run("list").wantCode(exitDone).wantNotOut(string(g.ID))
	o.run("review", "--pending").wantCode(exitUndecided).wantOut("jit approve "+string(g.ID), "1 of: lea, leo").
		wantErr("1 decision must be taken")
	o.run("show", string(g.ID)).wantCode(exitDone).wantOut("awaits", "1 of: lea, leo")
	var views []jit.View
	o.run("list", "--state", "requested", "--json").wantCode(exitDone).decode(&views)
	if len(views) != 1 || views[0].Awaits != "1 of: lea, leo" || views[0].State != jit.StateRequested {
		t.Errorf("got %+v", views)
	}
	id := string(g.ID[:8])
	o.run("approve", id, "--yes", "--key", "bob.key", "--approver", "bob").wantCode(exitNotDone).
		wantErr("bob is the principal", "somebody else must decide: 1 of: lea, leo")
	o.run("approve", id, "--yes", "--key", "bob.key", "--approver", "lea").wantCode(exitUsage).
		wantErr("belongs to bob, not to lea", "signing_keys of jit_person lea")
	o.keygen("-q", "-t", "ed25519", "-N", "", "-f", "new.key")
	o.run("approve", id, "--yes", "--key", "new.key", "--approver", "lea").wantCode(exitUsage).
		wantErr("belongs to nobody, not to lea", "first apply the change that adds this one")
	o.run("approve", id, "--yes", "--key", "lea.key", "--approver", "eve").wantCode(exitUnknown).wantErr(`no person "eve"`)
	o.types("n\n", "approve", id, "--key", "lea.key", "--approver", "lea").wantCode(exitNotDone)
	o.refused(r, "1 of: lea, leo")
	// The approver is the actor of jit approve; the approval still counts.
	t.Setenv(config.EnvActor, "lea")
	o.serveAgent("bob.key", "lea.key")
	o.types("y\n", "approve", id, "--approver", "LEA").wantCode(exitDone).
		wantOut("The approval of lea is recorded").wantErr("INC-1: look", "approver: lea")
	o.intact()
	o.refused(r, "lea started this run")
	t.Setenv(config.EnvActor, "alice")
	o.granted(r)
	o.run("approve", id, "--yes", "--approver", "lea").wantCode(exitNotDone).wantErr("does not wait for approval")
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

// A break-glass grant stays listed until one of the skipped approvers signs it off.
func TestSignOff(t *testing.T) {
	o := newOffice(t, 1)
	glass := func(reason string) broker.Request {
		return o.wish(func(r *broker.Request) { r.Reason, r.Requester, r.BreakGlass = reason, "bob", true })
	}
	g := o.granted(glass("SEV1-1: down"))
	o.run("list", "--unsigned").wantCode(exitDone).wantOut(string(g.ID), "active (not signed off)")
	o.run("review", "--pending", "--json").wantCode(exitUndecided).wantOut(string(g.ID))
	o.run("review", "--pending", "--owner", "other").wantCode(exitDone).wantErr("Nothing waits for a decision.")
	o.run("review").wantCode(exitUsage).wantErr("jit review --pending")
	o.run("approve", string(g.ID), "--yes", "--key", "lea.key", "--approver", "lea").wantCode(exitNotDone).
		wantErr("does not wait for approval")
	signOff := []string{"approve", string(g.ID), "--sign-off", "--yes", "--comment", "SEV1-1: reviewed"}
	o.run(append(signOff, "--key", "bob.key", "--approver", "bob")...).wantCode(exitNotDone)
	if _, err := o.apply(glass("SEV1-2: down")); err == nil {
		t.Error("bob broke the glass twice")
	}
	o.now = o.now.Add(24 * time.Hour)
	o.run("list", "--unsigned").wantCode(exitDone).wantOut(string(g.ID))
	o.run(append(signOff, "--key", "lea.key", "--approver", "lea")...).wantCode(exitDone).wantOut("The sign-off of lea")
	o.run("list", "--unsigned").wantCode(exitDone).wantNotOut(string(g.ID))
	o.run("review", "--pending").wantCode(exitDone).wantErr("Nothing waits for a decision.")
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
	o.run(args...).wantCode(exitUsage).wantErr("jit.hcl") // which may name the folder
	o.run(append(args, "--dir", "approvals")...).wantCode(exitDone)
	if err := os.Remove("jit.hcl"); err != nil {
		t.Fatal(err)
	}
	o.now = o.now.Add(time.Second)
	o.run(args...).wantCode(exitDone)
	t.Setenv(config.EnvApprover, "")
	o.run(args...).wantCode(exitUsage).wantErr("nothing says who you are")
}

// The folder comes from the flag, else from jit.hcl, else from the default.
func TestApprovalsDir(t *testing.T) {
	o := newOffice(t, 1)
	o.plan(o.change("jit_grant.a", o.wish()))
	settings := o.read("jit.hcl")
	for i, tt := range []struct{ settings, flag, want string }{
		{settings, "", config.DefaultApprovalsDir},
		{settings + "\napprovals_dir = \"in-the-file\"\n", "", "in-the-file"},
		{settings + "\napprovals_dir = \"in-the-file\"\n", "by-flag", "by-flag"},
		{settings, "by-flag", "by-flag"},
	} {
		o.now = o.now.Add(time.Second)
		o.write("jit.hcl", tt.settings)
		args := []string{"approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea", "--yes"}
		if tt.flag != "" {
			args = append(args, "--dir", tt.flag)
		}
		path := strings.TrimSpace(o.run(args...).wantCode(exitDone).out)
		if filepath.Dir(path) != tt.want || !exists(path) {
			t.Errorf("%d: wrote %q, want it in %s", i, path, tt.want)
		}
	}
	o.write("jit.hcl", settings+"\napprovals_dir = \"in-the-file\"\n")
	g := o.refused(o.wish(func(r *broker.Request) { r.Reason = "INC-2: look" }), "1 of: lea, leo")
	p := o.run("approve", string(g.ID), "--print", "--approver", "lea").wantCode(exitDone)
	if path := strings.TrimSpace(p.out); filepath.Dir(path) != "in-the-file" {
		t.Errorf("printed into %q", path)
	}
}

func TestWrongInputToApprove(t *testing.T) {
	o := newOffice(t, 1)
	o.plan(o.change("jit_grant.a", o.wish()))
	o.write("bad.json", "{")
	o.write("state.json", `{"format_version":"1.0","values":{}}`)
	o.write("main.tf", "resource \"jit_grant\" \"a\" {}\n")
	o.write("tfplan", "PK\x03\x04")
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
		{[]string{"approve", "00000000", "--yes"}, exitUnknown, []string{"no grant 00000000", "jit list --all"}},
		{[]string{"approve", "--plan", "plan.json"}, exitUsage, []string{"no terminal to ask on", "--yes"}},
		{[]string{"approve", "--plan", "plan.json", "--sign-off", "--yes"}, exitUsage, []string{"jit list --unsigned"}},
		{[]string{"approve", "3f2b8c1e", "--dir", "x", "--yes"}, exitUsage, []string{"--dir", "ledger"}},
		{[]string{"approve", "--plan", "none.json", "--yes"}, exitUsage, []string{"none.json", "terraform show -json"}},
		{[]string{"approve", "--plan", "bad.json", "--yes"}, exitUsage, []string{"bad.json is not a plan"}},
		{[]string{"approve", "--plan", "future.json", "--yes"}, exitUsage, []string{"9.0"}},
		{[]string{"approve", "--plan", "state.json", "--yes"}, exitUsage, []string{"holds no plan", "-json PLANFILE"}},
		{[]string{"approve", "--plan", "main.tf", "--yes"}, exitUsage, []string{"main.tf is not a plan", "-json PLANFILE"}},
		{[]string{"approve", "--plan", "tfplan", "--yes"}, exitUsage, []string{"tfplan is not a plan", "-json PLANFILE"}},
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
		{with("--key", "locked.key"), exitUsage, []string{"--key", "passphrase", "no terminal", "ssh-add"}},
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
