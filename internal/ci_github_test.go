package internal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// gitHub is a runner with the workflows of the example.
type gitHub struct {
	*runner
	changes, scheduled actions
}

func newGitHub(t *testing.T, cli testenv.CLI, binary string) *gitHub {
	t.Helper()
	ledger := "sqlite://" + filepath.ToSlash(filepath.Join(t.TempDir(), "ledger.db"))
	return &gitHub{
		runner: &runner{ciWorld: newCIWorld(t, cli, binary),
			secrets: map[string]string{"JIT_LEDGER_PLAN": ledger, "JIT_LEDGER_APPLY": ledger}},
		changes: readActions(t, "access.yml"), scheduled: readActions(t, "scheduled.yml"),
	}
}

// pull opens pull request 12, or pushes to it, and runs what that starts.
func (g *gitHub) pull(branch string, files map[string]string) map[string]outcome {
	g.t.Helper()
	head := g.push(branch, files)
	repo := object{"full_name": "acme/access"}
	pull := object{"number": 12, "title": "$(touch /tmp/jit-ci-owned) `id` ${{ secrets.JIT_LEDGER_APPLY }}",
		"state": "open", "merged_at": nil, "user": object{"login": "alice-gh"},
		"head": object{"sha": head, "ref": branch, "repo": repo}}
	g.forge.mu.Lock()
	g.forge.pulls = []object{pull}
	g.forge.mu.Unlock()
	return g.run(g.changes, "pull_request", head, object{"pull_request": pull}, nil)
}

// mergeAndApply merges the pull request.
func (g *gitHub) mergeAndApply(branch string) outcome {
	g.t.Helper()
	commit := g.merge(branch)
	g.forge.merged(12, commit)
	return g.run(g.changes, "push", commit, object{}, nil)["apply"]
}

// byHand runs the workflow by hand on main.
func (g *gitHub) byHand() outcome {
	g.t.Helper()
	return g.run(g.changes, "workflow_dispatch", g.ref("main"), object{}, nil)["apply"]
}

func (g *gitHub) schedule(cron string) map[string]outcome {
	g.t.Helper()
	return g.run(g.scheduled, "schedule", g.ref("main"), object{"schedule": cron}, nil)
}

// comment returns the only comment of the pipeline.
func (f *ciForge) comment(t *testing.T) string {
	t.Helper()
	ours := f.ours()
	if len(ours) != 1 {
		t.Fatalf("the pipeline has %d comments, want one", len(ours))
	}
	return ours[0]
}

// A pull request becomes access and access ends: reviewed, signed, merged, applied, over, pruned. Each job has a token
// with the permissions of the example alone.
func pipelineOfGitHub(t *testing.T, binary string) {
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			t.Parallel()
			g := newGitHub(t, cli, binary)
			g.byHand().wants(t, "success")
			_, key := testenv.NewSSHKey(t)
			for i := range 3 { // the sticky comment is on the second page
				g.forge.addComment("alice-gh", "12", fmt.Sprintf("<!-- jit-review -->\nmine %d", i))
			}

			g.pull("longer", g.longer())["decided"].wants(t, "failure")
			if c := g.forge.comment(t); !strings.Contains(c, longerSays) || strings.Contains(c, "not compared") {
				t.Errorf("the comment:\n%s", c)
			}
			jobs := g.pull("ask", map[string]string{"alice.tf": grantFile(key, "INC-1: look", "2h")})
			jobs["plan"].wants(t, "success")
			jobs["decided"].wants(t, "failure", "needs a decision")
			jobs["comment"].wants(t, "success")
			if c := g.forge.comment(t); !strings.Contains(c, "INC-1: look") {
				t.Errorf("the comment:\n%s", c)
			}
			g.allows(key, false)

			g.pull("ask", map[string]string{"alice.tf": grantFile(key, "INC-1: look", "1h")})["comment"].wants(t, "success")
			if c := g.forge.comment(t); !strings.Contains(c, "`1h`") || strings.Contains(c, "`2h`") {
				t.Errorf("the comment is not of the second push:\n%s", c)
			}

			signed := g.sign(binary, filepath.Join(g.artifact(fmt.Sprint(g.number), "jit-review"), "plan.json"))
			jobs = g.pull("ask", signed)
			jobs["plan"].wants(t, "success")
			jobs["decided"].wants(t, "success")
			g.forge.comment(t)

			g.mergeAndApply("ask").wants(t, "success")
			g.allows(key, true)
			if text := read(t, g.keys); !strings.Contains(text, "expiry-time=") || !strings.HasPrefix(text, "# others\n") {
				t.Errorf("the target has:\n%s", text)
			}

			g.schedule("17 6 * * 1")["prune"].wants(t, "success")
			if g.ref("jit/prune") != "" {
				t.Error("a live grant is pruned")
			}
			g.end(g.secrets["JIT_LEDGER_APPLY"], binary)
			g.schedule("*/5 * * * *")["sweep"].wants(t, "success")
			g.allows(key, false)
			for range 2 {
				g.schedule("17 6 * * 1")["prune"].wants(t, "success")
			}
			changed := g.git(g.dir, "--git-dir", g.bare(), "diff", "--stat", "main", "jit/prune")
			if !strings.Contains(changed, "alice.tf") || strings.Contains(changed, "main.tf") || len(g.forge.pulls) != 2 {
				t.Errorf("prune changes:\n%s\nand opens %d pull requests, want one", changed, len(g.forge.pulls)-1)
			}
			if len(g.forge.refused) > 0 {
				t.Errorf("the forge refused: %q", g.forge.refused)
			}
			if _, err := os.Stat("/tmp/jit-ci-owned"); err == nil {
				t.Error("the title of the pull request was executed")
			}
		})
	}
}

// What nobody reviewed is not applied: a plan that makes more than the pull request showed, a commit without a pull
// request, and a commit that main has left behind.
func pipelineAppliesWhatWasReviewed(t *testing.T, binary string) {
	g := newGitHub(t, testenv.Terraforms(t)[0], binary)
	g.byHand().wants(t, "success")
	_, key := testenv.NewSSHKey(t)
	g.pull("ask", map[string]string{"alice.tf": grantFile(key, "INC-1: look", "2h")})
	old := g.ref("main")

	if err := os.Mkdir(filepath.Join(g.dir, "elsewhere"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "elsewhere", "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g.forge.approve(g.ref("ask"))
	g.mergeAndApply("ask").wants(t, "failure", "terraform_data.other", "nobody reviewed: nothing is applied")
	g.allows(key, false)

	if err := os.Remove(filepath.Join(g.dir, "elsewhere", "new")); err != nil {
		t.Fatal(err)
	}
	g.run(g.changes, "push", old, object{}, nil)["apply"].wants(t, "failure", "Only the run of that commit applies")
	// bob's review of the pull request is the approval.
	g.run(g.changes, "push", g.ref("main"), object{}, nil)["apply"].wants(t, "success",
		"bob@example.com approved jit_grant.alice")
	g.allows(key, true)

	direct := g.push("main", map[string]string{"note.txt": "no pull request"})
	g.run(g.changes, "push", direct, object{}, nil)["apply"].wants(t, "failure", "came without a pull request")
	if len(g.forge.refused) > 0 {
		t.Errorf("the forge refused: %q", g.forge.refused)
	}
}

// A plan that fails says so in the pull request, and a fork is neither planned nor skipped.
func pipelineThatFails(t *testing.T, binary string) {
	g := newGitHub(t, testenv.Terraforms(t)[0], binary)
	bad := "resource \"jit_grant\" \"x\" {\n  reason = \"``` <img> @team\"\n}\n"
	jobs := g.pull("bad", map[string]string{"bad.tf": bad})
	jobs["plan"].wants(t, "failure", "Missing required argument")
	jobs["decided"].wants(t, "failure")
	jobs["comment"].wants(t, "success")
	if c := g.forge.comment(t); !strings.Contains(c, "❌ **The plan failed.**") ||
		!strings.Contains(c, "\n    Error: Missing required argument") && !strings.Contains(c, "\n     Error: Missing") {
		t.Errorf("the comment:\n%s", c)
	}

	pull := object{"number": 13, "title": "x", "head": object{"sha": g.ref("bad"), "ref": "x",
		"repo": object{"full_name": "mallory/access"}}}
	jobs = g.run(g.changes, "pull_request", g.ref("bad"), object{"pull_request": pull}, nil)
	jobs["plan"].wants(t, "failure", "the code of a fork is not planned")
	jobs["comment"].wants(t, "skipped")
	jobs["apply"].wants(t, "skipped")
	// A secret that is missing makes no empty ledger.
	delete(g.secrets, "JIT_LEDGER_APPLY")
	g.byHand().wants(t, "failure", "set it to the ledger")
}

// Whoever has the grant logs in, and cannot any more at its end, with two roles on a real ledger: that of the plan
// cannot write. It waits for a minute.
func pipelineOnServers(t *testing.T, binary string) {
	testenv.Acceptance(t)
	g := newGitHub(t, testenv.Terraforms(t)[0], binary)
	g.secrets["JIT_LEDGER_PLAN"], g.secrets["JIT_LEDGER_APPLY"] = twoRoles(t)
	sshd := testenv.SSHD(t, g.keys)
	alice, key := testenv.NewSSHKey(t)
	logsIn := func(want bool) {
		t.Helper()
		if _, err := sshd.Login(t.Context(), alice, "true"); (err == nil) != want {
			t.Errorf("login: %v, want %t", err, want)
		}
	}
	g.byHand().wants(t, "success")
	jobs := g.pull("ask", map[string]string{"alice.tf": grantFile(key, "INC-1: look", "1m")})
	jobs["plan"].wants(t, "success")
	logsIn(false)
	g.pull("ask", g.sign(binary, filepath.Join(g.artifact(fmt.Sprint(g.number), "jit-review"), "plan.json")))

	apply := g.secrets["JIT_LEDGER_APPLY"]
	g.secrets["JIT_LEDGER_APPLY"] = g.secrets["JIT_LEDGER_PLAN"]
	g.mergeAndApply("ask").wants(t, "failure", "permission denied")
	logsIn(false)
	g.secrets["JIT_LEDGER_APPLY"] = apply
	g.run(g.changes, "push", g.ref("main"), object{}, nil)["apply"].wants(t, "success")
	logsIn(true)
	time.Sleep(time.Minute)
	logsIn(false)
	g.schedule("*/5 * * * *")["sweep"].wants(t, "success")
	g.allows(key, false)
	g.schedule("17 6 * * 1")["prune"].wants(t, "success")
	if g.ref("jit/prune") == "" {
		t.Error("nothing is pruned")
	}
}
