package request

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A failed commit takes the edit back, so that a second run commits the same and nothing else.
func TestPublishUndoes(t *testing.T) {
	c := newCheckout(t)
	c.write(".git/hooks/pre-commit", "#!/bin/sh\nexit 1\n")
	if err := os.Chmod(filepath.Join(c.dir, ".git/hooks/pre-commit"), 0o700); err != nil {
		t.Fatal(err)
	}
	e := Edit{Path: c.write("main.tf", "# edited\n"), before: []byte("# main\n"), after: []byte("# edited\n")}
	_, err := c.publish(Pull{Branch: "jit/e", Title: "t", Message: "m\n", Files: []string{e.Path, c.pull().Files[0]}}, e)
	if got := c.git("diff"); err == nil || got != "" || c.git("branch", "--list", "jit/e") != "" {
		t.Errorf("%v, left %s", err, got)
	}
}

// A killed run leaves its worktree behind. It keeps no later run from the branch.
func TestPublishAfterKill(t *testing.T) {
	c := newCheckout(t)
	p := c.pull()
	hook := c.write(".git/hooks/pre-commit", "#!/bin/sh\nkill -9 $PPID\nsleep 1\n")
	if err := os.Chmod(hook, 0o700); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	// This git removes no worktree, as if the run had been killed too.
	script := "#!/bin/sh\n[ \"$1 $2\" = 'worktree remove' ] || exec " + git + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+path)
	if _, err := c.publish(p, Edit{}); err == nil {
		t.Fatal("the commit was not killed")
	}
	t.Setenv("PATH", path)
	if err := os.Remove(hook); err != nil {
		t.Fatal(err)
	}
	if _, err := c.publish(p, Edit{}); err != nil || c.git("rev-parse", "origin/"+p.Branch) == "" {
		t.Error(err)
	}
}

// Commits of the checked out branch that are not pushed do not go out with a pull request.
func TestPublishUnpushed(t *testing.T) {
	c := newCheckout(t)
	c.write("private.txt", "x")
	c.git("add", "private.txt")
	c.git("commit", "--quiet", "-m", "private")
	if done, err := c.publish(c.pull(), Edit{}); !errors.Is(err, jit.ErrDenied) || len(done.Done) > 0 ||
		c.git("branch", "--list", "jit/*") != "" {
		t.Errorf("%+v, %v", done, err)
	}
}

// No error shows the password in the address of a remote.
func TestPublishHidesPassword(t *testing.T) {
	c := newCheckout(t)
	p := c.pull()
	for _, setting := range []string{"branch.main.remote", "branch.main.pushRemote"} {
		c.git("config", setting, "https://alice:s3cr3t@127.0.0.1:1/x.git")
		if _, err := c.publish(p, Edit{}); err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

// A hook that rewrites the file of a grant makes no branch of it: what was judged is what is proposed.
func TestPublishAfterAHookThatRewrites(t *testing.T) {
	c := newCheckout(t)
	p := c.pull()
	name, err := filepath.Rel(c.dir, p.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{name, "other.tf"} {
		hook := c.write(".git/hooks/pre-commit", "#!/bin/sh\necho '# more' >> "+file+"\ngit add "+file+"\n")
		if err := os.Chmod(hook, 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := c.publish(p, Edit{})
		if err == nil || !strings.Contains(err.Error(), "a commit hook") || c.git("branch", "--list", p.Branch) != "" {
			t.Errorf("%s: %v, branch %q", file, err, c.git("branch", "--list", p.Branch))
		}
	}
}
