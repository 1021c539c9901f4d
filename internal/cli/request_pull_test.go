package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inRepo puts the folder of the desk into a git repository with a remote. git runs git there.
func (d *desk) inRepo() (git func(args ...string) string) {
	d.t.Helper()
	for name, value := range map[string]string{
		"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com",
		"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com",
	} {
		d.t.Setenv(name, value)
	}
	git = func(args ...string) string {
		d.t.Helper()
		out, err := exec.Command("git", args...).CombinedOutput()
		if err != nil {
			d.t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	far := filepath.Join(d.t.TempDir(), "far.git")
	git("init", "--quiet", "--bare", far)
	git("init", "--quiet", "--initial-branch=main")
	d.write(".gitignore", "ledger.db*\n")
	git("add", ".")
	git("commit", "--quiet", "-m", "first")
	git("remote", "add", "origin", far)
	git("push", "--quiet", "-u", "origin", "main")
	return git
}

// The branch of the documented second run, with --pr, also configures the provider.
func TestRequestPullSetup(t *testing.T) {
	d := newDesk(t)
	git := d.inRepo()
	ask := []string{"bastion", "login", "--ttl", "1h", "--reason", "INC-1: look"}
	d.asks(ask...).wantCode(exitDone).wantOut("git add -- jit.tf grant-")
	d.asks(ask...).wantCode(exitDone).wantOut("git add -- jit.tf grant-")
	d.asks(append(ask, "--pr")...).wantCode(exitDone)
	branch := git("for-each-ref", "--format=%(refname)", "refs/heads/jit")
	if got := git("diff", "--name-only", "main", branch); !strings.Contains(got, "jit.tf") ||
		strings.Count(got, "\n") != 1 {
		t.Errorf("the branch adds %s", got)
	}
	if got := git("status", "--short"); got != "" {
		t.Errorf("left in the work tree: %s", got)
	}
}

// The path of the settings counts from the folder itself, not from a link to it.
func TestRequestThroughLink(t *testing.T) {
	d := newDesk(t)
	link := filepath.Join(t.TempDir(), "deep", "link")
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(d.dir, link); err != nil {
		t.Skip(err)
	}
	d.asks("bastion", "login", "--ttl", "1h", "--reason", "x", "--dir", link).wantCode(exitDone)
	if got := d.read("jit.tf"); !strings.Contains(got, `config = "jit.hcl"`) {
		t.Error(got)
	}
}
