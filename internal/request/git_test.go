package request

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// checkout is a clone of a bare repository, with a branch main that follows origin.
type checkout struct {
	t        *testing.T
	dir, far string
}

func newCheckout(t *testing.T) *checkout {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	for name, value := range map[string]string{
		"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "Alice", "GIT_AUTHOR_EMAIL": "a@example.com",
		"GIT_COMMITTER_NAME": "Alice", "GIT_COMMITTER_EMAIL": "a@example.com",
	} {
		t.Setenv(name, value)
	}
	root := t.TempDir()
	c := &checkout{t: t, dir: filepath.Join(root, "work"), far: filepath.Join(root, "far.git")}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", c.far}, {"init", "--quiet", "--initial-branch=main", c.dir},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	c.write("main.tf", "# main\n")
	c.git("add", ".")
	c.git("commit", "--quiet", "-m", "first")
	c.git("remote", "add", "origin", c.far)
	c.git("push", "--quiet", "-u", "origin", "main")
	return c
}

func (c *checkout) git(args ...string) string {
	c.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (c *checkout) write(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// forge makes strict stand-ins for gh and glab the only such tools.
func (c *checkout) forge(tools ...string) {
	c.t.Helper()
	bin := c.t.TempDir()
	for _, tool := range []string{"git", "sh", "cat", "env"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			c.t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, tool := range tools {
		script, err := filepath.Abs(filepath.Join("testdata", tool+".sh"))
		if err != nil {
			c.t.Fatal(err)
		}
		if err := os.Symlink(script, filepath.Join(bin, tool)); err != nil {
			c.t.Fatal(err)
		}
	}
	c.t.Setenv("PATH", bin)
	c.t.Setenv("FORGE", c.t.TempDir())
}

// opened returns what the stand-in of a forge has recorded.
func (c *checkout) opened(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(os.Getenv("FORGE"), name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// pull is a pull request with one new file.
func (c *checkout) pull() Pull {
	path := c.write("infra/grant-a.tf", "# grant\n")
	return Pull{
		Branch: "jit/a-3f2b8c1e", Title: "-t $(id) `x` \"q\"", Message: "# subject $(id)\n\n-- it's\n", Body: "-body $(id)\n'x' `y`\n",
		Files: []string{path},
	}
}

func (c *checkout) publish(p Pull, e Edit) (Published, error) {
	c.t.Helper()
	r, err := OpenRepo(c.t.Context(), filepath.Join(c.dir, "infra"), false)
	if err != nil {
		return Published{}, err
	}
	return r.Publish(c.t.Context(), p, e)
}

// A pull request has one commit with its file alone; the checked out branch, its index and other files stay.
func TestPublish(t *testing.T) {
	c := newCheckout(t)
	c.forge("gh", "glab")
	p := c.pull()
	c.write("main.tf", "# changed\n")
	c.write("other.tf", "# other\n")
	done, err := c.publish(p, Edit{})
	if err != nil || done.Opened || done.Address != "" {
		t.Fatalf("%+v, %v", done, err)
	}
	if got := c.git("show", "--format=%B", "--name-only", "origin/"+p.Branch); got != "# subject $(id)\n\n-- it's\n\n\ninfra/grant-a.tf" {
		t.Errorf("committed %q", got)
	}
	if got := c.git("rev-parse", p.Branch+"^"); got != c.git("rev-parse", "main") {
		t.Errorf("the commit stands on %s", got)
	}
	if got := c.git("status", "--short", "--branch"); got != "## main...origin/main\n M main.tf\n?? other.tf" {
		t.Errorf("the work tree: %s", got)
	}
	if got := c.git("worktree", "list"); strings.Count(got, "\n") != 0 {
		t.Errorf("worktrees: %s", got)
	}
}

// After each failure a second run goes on, and makes nothing twice.
func TestPublishGoesOn(t *testing.T) {
	c := newCheckout(t)
	c.forge("gh")
	c.git("remote", "set-url", "origin", "https://user:secret@github.example.com/acme/access.git")
	c.git("remote", "set-url", "--push", "origin", filepath.Join(t.TempDir(), "missing.git"))
	p := c.pull()
	_, err := c.publish(p, Edit{})
	if err == nil || !strings.Contains(err.Error(), "committed on the new branch "+p.Branch) ||
		!strings.Contains(err.Error(), "git push -u") {
		t.Fatalf("a push that fails: %v", err)
	}
	commit := c.git("rev-parse", p.Branch)
	c.git("config", "--unset", "remote.origin.pushurl")
	c.git("config", "url."+c.far+".pushInsteadOf", "nothing")
	c.git("remote", "set-url", "--push", "origin", c.far)
	p = c.pull() // the same request writes the file again
	done, err := c.publish(p, Edit{})
	if err != nil || c.git("rev-parse", "origin/"+p.Branch) != commit {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := os.Stat(p.Files[0]); err == nil {
		t.Error("the file is still in the work tree")
	}
	p.Files[0] = c.write("infra/grant-a.tf", "# another\n")
	if _, err := c.publish(p, Edit{}); !errors.Is(err, jit.ErrDenied) {
		t.Errorf("a branch with something else: %v", err)
	}
	if text, err := os.ReadFile(p.Files[0]); err != nil || string(text) != "# another\n" {
		t.Errorf("the file says %s, %v", text, err)
	}
}

// An interrupted run has left the branch without the commit.
func TestPublishOnAnEmptyBranch(t *testing.T) {
	c := newCheckout(t)
	p := c.pull()
	c.git("branch", p.Branch)
	if done, err := c.publish(p, Edit{}); err != nil ||
		c.git("diff", "--name-only", "main", p.Branch) != "infra/grant-a.tf" {
		t.Errorf("%+v, %v", done, err)
	}
}

// What the checked out branch has already is not proposed again.
func TestPublishNothing(t *testing.T) {
	c := newCheckout(t)
	p := c.pull()
	c.git("add", ".")
	c.git("commit", "--quiet", "-m", "merged")
	if done, err := c.publish(p, Edit{}); err != nil || c.git("branch", "--list", p.Branch) != "" {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := os.Stat(p.Files[0]); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestPublishRefuses(t *testing.T) {
	for name, change := range map[string]func(*checkout){
		"staged changes": func(c *checkout) { c.write("main.tf", "x"); c.git("add", "main.tf") },
		"HEAD is detached": func(c *checkout) {
			c.git("checkout", "--quiet", "--detach")
		},
		"not in a git work tree": func(c *checkout) {
			if err := os.RemoveAll(filepath.Join(c.dir, ".git")); err != nil {
				c.t.Fatal(err)
			}
		},
	} {
		c := newCheckout(t)
		p := c.pull()
		change(c)
		done, err := c.publish(p, Edit{})
		if err == nil || !strings.Contains(err.Error(), name) || len(done.Done) > 0 {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
	}
}

// A hook of git names its own repository, and a request stays in that of its folder.
func TestPublishStaysInItsRepository(t *testing.T) {
	c := newCheckout(t)
	p := c.pull()
	r, err := OpenRepo(t.Context(), c.dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Alone(t.Context(), Edit{Path: filepath.Join(t.TempDir(), "x.tf")}); !errors.Is(err, jit.ErrDenied) {
		t.Errorf("a file elsewhere: %v", err)
	}
	t.Setenv("GIT_DIR", c.far)
	if done, err := c.publish(p, Edit{}); err != nil || len(done.Done) == 0 {
		t.Errorf("%+v, %v", done, err)
	}
}

// The edit of a tracked file goes into the commit and out of the work tree. A file with other changes is refused.
func TestPublishAnEdit(t *testing.T) {
	c := newCheckout(t)
	r, err := OpenRepo(t.Context(), c.dir, false)
	if err != nil {
		t.Fatal(err)
	}
	e := Edit{
		Path: filepath.Join(c.dir, "main.tf"), before: []byte("# main\n"), after: []byte("# edited\n"),
		of: func(text []byte) ([]byte, error) {
			return bytes.Replace(text, []byte("main"), []byte("edited"), 1), nil
		},
	}
	if err := errors.Join(r.Alone(t.Context(), e), e.Write()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Publish(t.Context(), Pull{Branch: "jit/e", Title: "t", Message: "m\n", Files: []string{e.Path}}, e); err != nil {
		t.Fatal(err)
	}
	if got := c.git("show", "origin/jit/e:main.tf"); got != "# edited" || c.git("status", "--short") != "" {
		t.Errorf("committed %q, left %q", got, c.git("status", "--short"))
	}
	for text, want := range map[string]error{"# main\n": nil, "# edited\n": nil, "# edited\n# more\n": jit.ErrDenied} {
		c.write("main.tf", text)
		e.before = []byte(text)
		if e.after, err = e.of(e.before); err != nil {
			t.Fatal(err)
		}
		if err := r.Alone(t.Context(), e); !errors.Is(err, want) {
			t.Errorf("a file that says %q: %v", text, err)
		}
	}
}

// gh and glab get what their manuals document, with texts that no shell reads, and open one pull request.
func TestPropose(t *testing.T) {
	for tool, tt := range map[string]struct{ url, want string }{
		"gh":   {"git@github.example.com:acme/access.git", "https://github.example.com/acme/access/pull/7"},
		"glab": {"https://gitlab.example.com/acme/access.git", "https://gitlab.example.com/acme/access/-/merge_requests/7"},
	} {
		c := newCheckout(t)
		c.git("remote", "set-url", "origin", tt.url)
		p := c.pull()
		r, err := OpenRepo(t.Context(), c.dir, false)
		if err != nil {
			t.Fatal(err)
		}
		c.forge()
		address, opened, err := r.Propose(t.Context(), p)
		if err != nil || opened || !strings.Contains(address, "3f2b8c1e") || !strings.HasPrefix(address, tt.want[:35]) {
			t.Errorf("without %s: %q, %t, %v", tool, address, opened, err)
		}
		c.forge(tool)
		for range 2 {
			address, opened, err := r.Propose(t.Context(), p)
			if err != nil || !opened || address != tt.want {
				t.Errorf("%s: %q, %t, %v", tool, address, opened, err)
			}
		}
		if got := []string{c.opened("title"), c.opened("body"), c.opened("base"), c.opened("head")}; !slices.Equal(got,
			[]string{p.Title, p.Body, "main", p.Branch}) {
			t.Errorf("%s got %q", tool, got)
		}
		if got := c.opened("created"); got != "1" {
			t.Errorf("%s opened %s", tool, got)
		}
	}
}

func TestRepositoryOf(t *testing.T) {
	for address, want := range map[string][2]string{
		"git@github.com:acme/access.git":                   {"github.com", "acme/access"},
		"https://user:secret@gitlab.com/acme/a/access.git": {"gitlab.com", "acme/a/access"},
		"ssh://git@git.example.com:2222/acme/access":       {"git.example.com", "acme/access"},
		"https://git.example.com:8443/acme/access":         {"git.example.com:8443", "acme/access"},
		"/srv/git/access.git":                              {"", "srv/git/access"}, "../far.git": {"", "../far"}, "file:///srv/git/x.git": {"", "srv/git/x"},
	} {
		if host, path := repositoryOf(address); host != want[0] || host != "" && path != want[1] {
			t.Errorf("%s: %q, %q", address, host, path)
		}
	}
	if got := (remote{host: "github.com", path: "acme/access"}).compare("jit/a", "main", false); got !=
		"https://github.com/acme/access/compare/main...jit/a?expand=1" {
		t.Error(got)
	}
}
