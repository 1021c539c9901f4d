package internal_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// ciWorld is a repository with its forge, a ledger and an ssh target.
type ciWorld struct {
	t     *testing.T
	cli   testenv.CLI
	forge *ciForge
	// dir holds acme/access, which is a bare repository, and everything else that outlives a job.
	dir, keys, rc string
	// env is what every job has besides.
	env []string
}

// environment is what every job has.
func (w *ciWorld) environment(dir string) []string {
	return append([]string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + filepath.Join(dir, "home"),
		"TMPDIR=" + filepath.Join(dir, "temp"), "CI=true", "TF_CLI_CONFIG_FILE=" + w.rc, "CHECKPOINT_DISABLE=1",
		"GIT_CONFIG_NOSYSTEM=1", "JIT_PRUNE_AGE=0s"}, w.env...)
}

// folders makes a folder with these in it.
func folders(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// exec runs a program and returns what it prints.
func (w *ciWorld) exec(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(w.t.Context(), name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, env, time.Minute
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// git runs git, which must succeed, and returns its output.
func (w *ciWorld) git(dir string, args ...string) string {
	w.t.Helper()
	out, err := w.exec(dir, append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1"), "git",
		append([]string{"-c", "user.name=alice", "-c", "user.email=alice@example.com", "-c", "init.defaultBranch=main"},
			args...)...)
	if err != nil {
		w.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(out)
}

func (w *ciWorld) bare() string { return filepath.Join(w.dir, "acme", "access") }

// checkout replaces the content of a folder by a commit of the repository.
func (w *ciWorld) checkout(folder, commit string) {
	w.t.Helper()
	if err := os.RemoveAll(folder); err != nil {
		w.t.Fatal(err)
	}
	w.git(w.dir, "clone", "-q", w.bare(), folder)
	w.git(folder, "checkout", "-q", commit)
}

// push commits files on a branch, which begins at main, and returns the commit. An empty text removes a file.
func (w *ciWorld) push(branch string, files map[string]string) string {
	w.t.Helper()
	folder := filepath.Join(w.t.TempDir(), "clone")
	w.git(w.dir, "clone", "-q", w.bare(), folder)
	if w.ref(branch) != "" {
		w.git(folder, "checkout", "-q", branch)
	} else {
		w.git(folder, "checkout", "-q", "-b", branch)
	}
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	w.git(folder, "add", "-A")
	w.git(folder, "commit", "-q", "-m", "change")
	w.git(folder, "push", "-q", "origin", "HEAD:refs/heads/"+branch)
	return w.git(folder, "rev-parse", "HEAD")
}

// merge merges a branch into main and returns the commit.
func (w *ciWorld) merge(branch string) string {
	w.t.Helper()
	folder := filepath.Join(w.t.TempDir(), "clone")
	w.git(w.dir, "clone", "-q", w.bare(), folder)
	w.git(folder, "merge", "-q", "--no-ff", "-m", "merge", "origin/"+branch)
	w.git(folder, "push", "-q", "origin", "HEAD:refs/heads/main")
	return w.git(folder, "rev-parse", "HEAD")
}

// ref returns the commit of a branch; empty if there is none.
func (w *ciWorld) ref(branch string) string {
	out, err := w.exec(w.dir, os.Environ(), "git", "--git-dir", w.bare(), "rev-parse", "--verify", "-q",
		"refs/heads/"+branch)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// newCIWorld makes a repository whose main has a policy that asks bob, and what the pipelines need.
func newCIWorld(t *testing.T, cli testenv.CLI, binary string) *ciWorld {
	t.Helper()
	for _, program := range []string{"git", "jq", "curl", "bash", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Unavailable(t, program, err)
		}
	}
	w := &ciWorld{t: t, cli: cli, dir: t.TempDir(), forge: newCIForge(t)}
	w.forge.ref = w.ref
	w.keys, w.rc = filepath.Join(w.dir, "authorized_keys"), filepath.Join(w.dir, "cli.tfrc")
	mirror := filepath.Join(w.dir, "mirror")
	provider := filepath.Join(mirror, cli.Registry(), "jitaccess/jit/0.1.0/linux_amd64/terraform-provider-jit_v0.1.0")
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(w.keys, "# others\n")
	write(w.rc, fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror))
	if err := os.MkdirAll(filepath.Dir(provider), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(binary, provider); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
		filepath.Join(w.dir, "bob")).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	w.git(w.dir, "init", "-q", "--bare", w.bare())
	files := map[string]string{
		".gitignore":   ".terraform/\nreview/\n",
		"ci/jit-ci.sh": read(t, pipelines+"shell/jit-ci.sh"),
		"bob.pub":      read(t, filepath.Join(w.dir, "bob.pub")),
		"jit.hcl":      fmt.Sprintf("targets = { bastion = { ssh = { authorized_keys = %q } } }\n", w.keys),
		"main.tf": fmt.Sprintf(`terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
  backend "local" {
    path = %q
  }
}

provider "jit" {
  config = "jit.hcl"
}

resource "jit_person" "bob" {
  name         = "bob@example.com"
  groups       = ["group:leads"]
  signing_keys = [file("bob.pub")]
  github       = "bob-gh"
  gitlab       = "bob-gl"
}

resource "jit_policy" "bastion" {
  name     = "bastion"
  match    = [{ targets = ["bastion"] }]
  max_ttl  = "4h"
  approval = [{ required = 1, from = ["group:leads"], evidence = ["signature", "pull_request"] }]

  depends_on = [jit_person.bob]
}

# Something that another system changes.
resource "terraform_data" "other" {
  for_each = fileset(%q, "*")
}
`, filepath.Join(w.dir, "state", "terraform.tfstate"), filepath.Join(w.dir, "elsewhere")),
	}
	lock := filepath.Join(w.dir, "lock")
	for name, text := range files {
		write(filepath.Join(lock, name), text)
	}
	if out, err := w.exec(lock, w.environment(w.dir), cli.Path, "init", "-backend=false"); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	files[".terraform.lock.hcl"] = read(t, filepath.Join(lock, ".terraform.lock.hcl"))
	w.push("main", files)
	return w
}

// grantFile is a file with one grant for alice.
func grantFile(key, reason, ttl string) string {
	return fmt.Sprintf(`resource "jit_grant" "alice" {
  target    = "bastion"
  principal = %q
  role      = "login"
  reason    = %q
  ttl       = %q
  policy    = jit_policy.bastion.name
}
`, key, reason, ttl)
}

// longer is a change of the settings that no plan shows, and longerSays what a review says of it.
func (w *ciWorld) longer() map[string]string {
	return map[string]string{"jit.hcl": "max_ttl = \"90d\"\n" +
		fmt.Sprintf("targets = { bastion = { ssh = { authorized_keys = %q } } }\n", w.keys)}
}

const longerSays = "is changed from 1d to 90d"

// sign has bob approve the requests of a plan.json, and returns the files that he commits.
func (w *ciWorld) sign(binary, plan string) map[string]string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "approvals")
	w.jit(binary, "sqlite://none.db", "approve", "--plan", plan, "--key", filepath.Join(w.dir, "bob"), "--approver",
		"bob@example.com", "--dir", dir, "--yes")
	files := map[string]string{}
	paths, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range paths {
		files["approvals/"+filepath.Base(path)] = read(w.t, path)
	}
	if len(files) == 0 {
		w.t.Fatal("bob signed nothing")
	}
	return files
}

// allows fails the test unless the key has this access on the target.
func (w *ciWorld) allows(key string, want bool) {
	w.t.Helper()
	if got := strings.Contains(read(w.t, w.keys), key); got != want {
		w.t.Errorf("access is %t, want %t", got, want)
	}
}

// jit runs the command on a ledger, with the target. It must succeed.
func (w *ciWorld) jit(binary, ledger string, args ...string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	settings := fmt.Sprintf("ledger = %q\ntargets = { bastion = { ssh = { authorized_keys = %q } } }\n", ledger, w.keys)
	if err := os.WriteFile(filepath.Join(dir, "jit.hcl"), []byte(settings), 0o600); err != nil {
		w.t.Fatal(err)
	}
	command := exec.CommandContext(w.t.Context(), binary, args...)
	command.Args[0], command.Dir = "jit", dir
	command.Env = slices.Concat(os.Environ(), []string{"XDG_CACHE_HOME=" + dir}, w.env)
	out, err := command.CombinedOutput()
	if err != nil {
		w.t.Fatalf("jit %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// end revokes every grant of a ledger, so that no test waits for the end.
func (w *ciWorld) end(ledger, binary string) {
	w.jit(binary, ledger, "revoke", "--all", "--yes", "--reason", "over")
}

// rolesSQL is the block of the guide that makes the two roles of the ledger.
var rolesSQL = regexp.MustCompile("(?s)```sql\n(CREATE ROLE jit_apply.*?)```")

// twoRoles makes the ledger of the guide under other names, and returns the URLs of the role that plans and of the one
// that applies.
func twoRoles(t *testing.T) (plan, apply string) {
	t.Helper()
	server := testenv.Postgres(t)
	found := rolesSQL.FindStringSubmatch(read(t, "../templates/guides/ci.md"))
	if found == nil {
		t.Fatal("the guide does not say how the roles are made")
	}
	name := roleOf(t)
	sql := strings.NewReplacer("jit_apply", name+"_apply", "jit_plan", name+"_plan", "DATABASE jit", "DATABASE "+name,
		"connect jit", "connect "+name).Replace(found[1])
	psql := exec.CommandContext(t.Context(), "psql", "-v", "ON_ERROR_STOP=1", "-q", server.URL)
	psql.Stdin = strings.NewReader(sql)
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("the SQL of the guide: %v\n%s", err, out)
	}
	address := func(user, password string) string {
		return (&url.URL{Scheme: "postgres", User: url.UserPassword(user, password), RawQuery: "sslmode=disable",
			Host: net.JoinHostPort(server.Host, strconv.Itoa(server.Port)), Path: name}).String()
	}
	return address(name+"_plan", "change me too"), address(name+"_apply", "change me")
}
