package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// block writes the block of a grant.
func block(name string, g jit.Grant, lines ...string) string {
	return fmt.Sprintf("resource \"jit_grant\" %q {\n  target    = %q\n  principal = %q\n  role      = %q\n"+
		"  reason    = %q\n  ttl       = %q\n%s}\n", name, g.Target, g.Principal, g.Role, g.Reason, g.TTL.String(),
		strings.Join(append(lines, ""), "\n"))
}

// instance returns a grant as a state has it.
func (w *world) instance(name string, g jit.Grant, more object) object {
	w.t.Helper()
	rt := w.runtime()
	defer func() { _ = rt.Close() }()
	ledger, err := rt.Ledger.ID(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	o := object{
		"address": "jit_grant." + name, "mode": "managed", "type": "jit_grant", "name": name,
		"provider_name": "registry.terraform.io/jitaccess/jit", "schema_version": 0,
		"values": object{
			"id": g.ID, "target": g.Target, "principal": g.Principal, "role": g.Role, "scope": g.Scope, "reason": g.Reason,
			"renewal": 1, "ttl": g.TTL.String(), "expires_at": jit.FormatTime(g.End), "break_glass": false,
			"request_digest": g.RequestDigest(ledger),
		},
	}
	for name, v := range more {
		o[name] = v
	}
	return o
}

// state returns a state, as terraform show -json prints it.
func state(t *testing.T, instances []object, modules ...object) string {
	t.Helper()
	text, err := json.Marshal(object{"format_version": "1.0", "terraform_version": "1.14.0", "values": object{
		"root_module": object{"resources": instances, "child_modules": modules},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ended returns grants whose end their target has confirmed.
func (w *world) ended(reasons ...string) (grants []jit.Grant) {
	w.t.Helper()
	for _, reason := range reasons {
		grants = append(grants, w.grant(reason, "30m"))
	}
	w.now = w.now.Add(time.Hour)
	w.run("sweep").wantCode(exitDone)
	return grants
}

func TestPrune(t *testing.T) {
	w := newWorld(t)
	over := w.ended("INC-1: a", "INC-2: b")
	live := w.grant("INC-3: c", "2h")
	w.write("state.json", state(t, []object{
		w.instance("a", over[0], nil), w.instance("b", over[1], nil), w.instance("c", live, nil),
	}))
	const rest = "# ours\r\n\r\nlocals { a = 1 } # x\r\n"
	w.write("main.tf", rest+"\r\n# for INC-1\r\n"+strings.ReplaceAll(block("a", over[0]), "\n", "\r\n"))
	w.write("grant-b.tf", block("b", over[1]))
	w.write("grant-c.tf", block("c", live))
	before := w.read("main.tf")

	dry := w.run("prune", "--state", "state.json", "--dry-run").wantCode(exitDone).
		wantOut("--- a/grant-b.tf\n+++ /dev/null\n", "--- a/main.tf\n+++ b/main.tf\n", "-# for INC-1").
		wantErr("would be pruned", "it is not over: active")
	if w.read("main.tf") != before || w.read("grant-b.tf") != block("b", over[1]) {
		t.Error("a dry run changed files")
	}

	w.run("prune", "--state", "state.json").wantCode(exitDone).
		wantOut("jit_grant.a", "main.tf:6", "jit_grant.c", "left", string(over[1].ID)).wantErr("2 blocks pruned")
	if got := w.read("main.tf"); got != rest {
		t.Errorf("main.tf is %q, want %q", got, rest)
	}
	if exists("grant-b.tf") || w.read("grant-c.tf") != block("c", live) {
		t.Error("the files are not what was said")
	}
	w.wantAccess(live, true)

	// The diff does the same.
	w.write("main.tf", before)
	w.write("grant-b.tf", block("b", over[1]))
	w.write("a.diff", dry.out)
	git := exec.Command("git", "apply", "a.diff")
	git.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(w.dir))
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v\n%s\n%s", err, out, dry.out)
	}
	if w.read("main.tf") != rest || exists("grant-b.tf") {
		t.Error("the diff does something else")
	}

	// Again there is nothing to do, also with the old state.
	w.run("prune", "--state", "state.json").wantCode(exitDone).wantErr("Nothing to prune.")
	w.answer(w.read("state.json"), "prune", "--state", "-").wantCode(exitDone).wantErr("Nothing to prune.")
	if w.read("main.tf") != rest {
		t.Error("the second run changed something")
	}
}

func TestPruneLeaves(t *testing.T) {
	w := newWorld(t)
	names := []string{
		"count", "each", "named", "moved", "twice", "asked", "renewed", "variable", "provisioner", "link", "deposed",
		"json", "override", "later", "chain", "good", "young", "foreign",
	}
	var reasons []string
	for _, name := range names {
		reasons = append(reasons, "INC-1: "+name)
	}
	grants := map[string]jit.Grant{}
	for i, g := range w.ended(reasons...) {
		grants[names[i]] = g
	}
	foreign := grants["foreign"]
	foreign.ID = jit.ID(strings.Repeat("0", 8) + string(foreign.ID[8:]))
	unswept := w.grant("INC-1: unswept", "10m")
	failed := w.grant("INC-1: fresh", "2h")
	w.now = w.now.Add(time.Hour)
	later := grants["later"]
	later.End = later.End.Add(time.Hour)

	var instances []object
	for _, name := range names {
		g, more := grants[name], object{}
		switch name {
		case "json", "override", "twice":
		case "count":
			more = object{"address": "jit_grant.count[0]", "index": 0}
		case "each":
			more = object{"address": "jit_grant.each[\"a\"]", "index": "a"}
		case "foreign":
			g = foreign
		case "later":
			g = later
		}
		instances = append(instances, w.instance(name, g, more))
	}
	instances = append(instances, w.instance("deposed", grants["deposed"], object{"deposed_key": "1a2b3c4d"}),
		w.instance("unswept", unswept, nil), w.instance("fresh", failed, nil), w.instance("gone", grants["good"], nil))
	w.write("state.json", state(t, instances,
		object{"address": "module.m", "resources": []object{
			w.instance("in", grants["good"], object{"address": "module.m.jit_grant.in"}),
		}}))

	files := map[string]string{
		"main.tf": block("count", grants["count"], "  count = 1") +
			block("each", grants["each"], "  for_each = toset([\"a\"])") + block("named", grants["named"]) +
			block("moved", grants["moved"]) + block("twice", grants["twice"]) + block("twice", grants["twice"]) +
			strings.Replace(block("asked", grants["asked"]), "INC-1", "INC-2", 1) +
			block("renewed", grants["renewed"], "  renewal = 2") +
			strings.Replace(block("variable", grants["variable"]), "INC-1: ", "${var.a}", 1) +
			block("provisioner", grants["provisioner"], "  provisioner \"local-exec\" {", "    command = \"x\"", "  }") +
			block("deposed", grants["deposed"]) + block("override", grants["override"]) + block("later", later) +
			block("chain", grants["chain"], "  depends_on = [jit_grant.named]") +
			block("young", grants["young"], "  depends_on = [jit_grant.chain]", "  scope = null") + block("foreign", foreign) +
			block("unswept", unswept) + block("fresh", failed) + block("new", failed),
		"more.tf": "output \"o\" {\n  value = [jit_grant.named.id, jit_grant.young]\n}\n" +
			"moved {\n  from = jit_grant.old\n  to   = jit_grant.moved\n}\n",
		"a_override.tf": "resource \"jit_grant\" \"override\" {\n  ttl = \"3h\"\n}\n",
		"a.tf.json":     `{"resource": {"jit_grant": {"json": {"target": "bastion"}}}}`,
		"broken.tf":     "resource {{",
		"link.txt":      block("link", grants["link"]),
		"good.tf":       block("good", grants["good"]),
	}
	for name, text := range files {
		w.write(name, text)
	}
	if err := os.Symlink("link.txt", "link.tf"); err != nil {
		t.Fatal(err)
	}
	var report struct {
		Pruned, Left           []struct{ Address, Why string }
		Unread, Deleted, Other []string
	}
	w.run("prune", "--state", "state.json", "--json").wantCode(exitDone).decode(&report)
	left := map[string]string{}
	for _, each := range report.Left {
		left[strings.TrimPrefix(each.Address, "jit_grant.")] = each.Why
	}
	for name, why := range map[string]string{
		"count": "count or for_each", "each": "count or for_each", "named": "it is named at more.tf:2", "moved": "more.tf:6",
		"twice": "2 blocks", "asked": "its reason differs from the state", "renewed": "its renewal",
		"variable": "its reason is not literal", "provisioner": "provisioner", "link": "symbolic link",
		"deposed": "more than one instance", "json": "a.tf.json", "override": "a_override.tf",
		"later": "another end than the ledger", "chain": "it is named at main.tf:", "young": "more.tf:2",
		"foreign": "the ledger does not know it", "unswept": "has not confirmed the end", "fresh": "it is not over: active",
		"new": "the state does not have it", "module.m.jit_grant.in": "it is in a module",
	} {
		if !strings.Contains(left[name], why) {
			t.Errorf("%s is left because %q, want %q", name, left[name], why)
		}
		delete(left, name)
	}
	if len(left) > 0 {
		t.Errorf("also left: %v", left)
	}
	if len(report.Pruned) != 1 || report.Pruned[0].Address != "jit_grant.good" || exists("good.tf") ||
		!slices.Equal(report.Deleted, []string{"good.tf"}) || len(report.Unread) != 3 {
		t.Errorf("report %+v", report)
	}
	for name, text := range files {
		if name != "good.tf" && w.read(name) != text {
			t.Errorf("%s was changed", name)
		}
	}
	if info, err := os.Lstat("link.tf"); err != nil || info.Mode().IsRegular() {
		t.Errorf("the link is %v, %v", info, err)
	}
}

// Blocks that name each other go together, and a block that ended later stays.
func TestPruneOlderThan(t *testing.T) {
	w := newWorld(t)
	old := w.ended("INC-1: a", "INC-2: b")
	w.now = w.now.Add(8 * 24 * time.Hour)
	young := w.ended("INC-3: c")[0]
	w.write("state.json", state(t, []object{
		w.instance("a", old[0], nil), w.instance("b", old[1], nil), w.instance("c", young, nil),
	}))
	w.write("main.tf", block("a", old[0])+block("b", old[1], "  depends_on = [jit_grant.a]")+block("c", young))
	w.run("prune", "--state", "state.json", "--older-than", "7d").wantCode(exitDone).
		wantOut("ended 30m ago, which is less than 7d")
	if got := w.read("main.tf"); got != block("c", young) {
		t.Errorf("main.tf is %q", got)
	}
}

func TestPruneRefuses(t *testing.T) {
	w := newWorld(t)
	over := w.ended("INC-1: a")[0]
	good := state(t, []object{w.instance("a", over, nil)})
	w.write("main.tf", block("a", over))
	w.write("good.json", good)
	w.write("plan.json", `{"format_version": "1.2", "planned_values": {}, "resource_changes": []}`)
	w.write("broken.json", good[1:])
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a plan":          {[]string{"--state", "plan.json"}, exitUsage, "it is a plan, not a state"},
		"no JSON":         {[]string{"--state", "broken.json"}, exitUsage, "not a state in JSON"},
		"no state":        {[]string{"--state", "none.json"}, exitUsage, "there is no file none.json"},
		"no folder":       {[]string{"--state", "good.json", "--dir", "none"}, exitUsage, "--dir"},
		"no age":          {[]string{"--state", "good.json", "--older-than", "soon"}, exitUsage, "--older-than"},
		"an argument":     {[]string{"x"}, exitUsage, "takes no arguments"},
		"an empty state":  {[]string{"--state", "-"}, exitUsage, "not a state"},
		"a missing state": {[]string{"--state", "."}, exitUnreadable, "read the state"},
	} {
		w.run(append([]string{"prune"}, tc.args...)...).wantCode(tc.code).wantErr(tc.says)
		if w.read("main.tf") != block("a", over) {
			t.Fatalf("%s: the file was changed", name)
		}
	}
	if err := os.Chmod(w.dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		w.run("prune", "--state", "good.json").wantCode(exitNotDone).wantOut("its file could not be changed")
	}
	if err := os.Chmod(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// jit prune runs the program that the folder uses.
func TestPruneRunsTheProgram(t *testing.T) {
	for name, tc := range map[string]struct {
		installed []string
		files     map[string]string
		want      string
	}{
		"Terraform": {[]string{"terraform", "tofu"}, nil, "terraform"},
		"OpenTofu, by the lock file": {[]string{"terraform", "tofu"}, map[string]string{
			".terraform.lock.hcl": "provider \"registry.opentofu.org/jitaccess/jit\" {}\n"}, "tofu"},
		"OpenTofu, by a file": {[]string{"terraform", "tofu"}, map[string]string{"a.tofu": ""}, "tofu"},
		"only OpenTofu":       {[]string{"tofu"}, nil, "tofu"},
		"none":                {nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			over := w.ended("INC-1: a")[0]
			bin := t.TempDir()
			folder := filepath.Join(w.dir, "infra")
			write := func(path, text string, mode os.FileMode) {
				t.Helper()
				if err := os.WriteFile(path, []byte(text), mode); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, each := range tc.installed {
				write(filepath.Join(bin, each), "#!/bin/sh\necho \"$0 $PWD $*\" >> "+w.dir+"/ran\n/bin/cat state.json\n", 0o700)
			}
			for file, text := range tc.files {
				write(filepath.Join(folder, file), text, 0o600)
			}
			write(filepath.Join(folder, "state.json"), state(t, []object{w.instance("a", over, nil)}), 0o600)
			write(filepath.Join(folder, "main.tf"), block("a", over), 0o600)
			t.Setenv("PATH", bin)
			if tc.want == "" {
				w.run("prune", "--dir", "infra").wantCode(exitUsage).wantErr("neither terraform nor tofu is on the PATH")
				return
			}
			w.run("prune", "--dir", "infra").wantCode(exitDone).wantErr("the state comes from " + tc.want + " show -json")
			want := filepath.Join(bin, tc.want) + " " + folder + " show -no-color -json\n"
			if got := w.read("ran"); got != want {
				t.Errorf("ran %q, want %q", got, want)
			}
			if exists(filepath.Join(folder, "main.tf")) {
				t.Error("the block is still there")
			}
			write(filepath.Join(bin, tc.want), "#!/bin/sh\necho 'Error: no state' >&2\nexit 1\n", 0o700)
			w.run("prune", "--dir", "infra").wantCode(exitUnreadable).wantErr("Error: no state")
		})
	}
}

// A file that somebody changes meanwhile stays as they left it. The other files are done.
func TestPruneOfAChangedFile(t *testing.T) {
	w := newWorld(t)
	over := w.ended("INC-1: a", "INC-2: b")
	w.write("a.tf", block("a", over[0]))
	w.write("b.tf", block("b", over[1]))
	w.write("state.json", state(t, []object{w.instance("a", over[0], nil), w.instance("b", over[1], nil)}))
	bin := t.TempDir()
	script := "#!/bin/sh\necho '# mine' >> a.tf\n/bin/cat state.json\n"
	if err := os.WriteFile(filepath.Join(bin, "terraform"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	w.run("prune").wantCode(exitNotDone).wantOut("left", "its file could not be changed").
		wantErr("a.tf: the file has changed since it was read", "1 block pruned")
	if got := w.read("a.tf"); got != block("a", over[0])+"# mine\n" || exists("b.tf") {
		t.Errorf("a.tf is %q", got)
	}
	if files, err := filepath.Glob(".jit-*"); err != nil || len(files) > 0 {
		t.Errorf("left %v, %v", files, err)
	}
}

// Blocks stay whose grant left something on its target, or which no longer ask for a renewal that was granted.
func TestPruneLeavesRemainsAndRenewals(t *testing.T) {
	w := newWorld(t)
	over := w.ended("INC-1: a", "INC-2: b", "INC-3: c")
	w.alter("UPDATE jit_grants SET remains = 'a role' WHERE id = '" + string(over[0].ID) + "'")
	w.alter("UPDATE jit_grants SET granted_at = NULL, failed_at = requested_at WHERE id = '" + string(over[2].ID) + "'")
	renewed := w.instance("b", over[1], nil)
	renewed["values"].(object)["renewal"] = 2
	w.write("state.json", state(t, []object{w.instance("a", over[0], nil), renewed, w.instance("c", over[2], nil)}))
	text := block("a", over[0]) + block("b", over[1]) + block("c", over[2])
	w.write("main.tf", text)
	w.run("prune", "--state", "state.json").wantCode(exitDone).wantOut("its target still holds remains of it",
		"its renewal differs from the state", "it has not given access").wantErr("Nothing to prune.")
	if w.read("main.tf") != text {
		t.Error("the file was changed")
	}
}
