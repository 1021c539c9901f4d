package internal_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/cli"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// walk follows a guide in one clone of a repository with a remote.
type walk struct {
	t *testing.T
	w *acctest.World
	// id is the beginning of the grant's id, known once it is asked for.
	id string
}

// guided is the id in the guide.
const guided = "e216a6c2"

// git runs git in the clone, which must succeed.
func (k *walk) git(args ...string) string {
	k.t.Helper()
	cmd := exec.CommandContext(k.t.Context(), "git", args...)
	cmd.Dir = k.w.Dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		k.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// command runs a command line of the guide as a person does on a terminal, and returns its exit code.
func (k *walk) command(line string) (output string, code int) {
	k.t.Helper()
	k.w.Clock.Advance(time.Second)
	words := split(line)
	if words[0] == "terraform" {
		args, into, redirected := words[1:], "", len(words) > 2 && words[len(words)-2] == ">"
		if redirected {
			args, into = words[1:len(words)-2], words[len(words)-1]
		}
		r := k.w.Run(args...)
		if redirected {
			k.w.Write(into, r.Stdout)
		}
		return r.Stdout + r.Stderr, r.ExitCode
	}
	for i, word := range words {
		words[i] = strings.NewReplacer("~", os.Getenv("HOME"), guided, k.id).Replace(word)
	}
	var out bytes.Buffer
	code = cli.Run(k.t.Context(), words[1:], strings.NewReader("y\n"), &out, &out,
		cli.Options{Now: k.w.Clock.Now, Terminal: true, Interactive: true, Width: 120})
	return out.String(), code
}

var (
	shownID     = regexp.MustCompile(`[0-9a-f]{8,12}`)
	shownNumber = regexp.MustCompile(`\d+`)
)

// shown returns the pattern of a line that the guide shows. What it shortens, and ids, numbers and paths of its own,
// may be others.
func shown(line string) *regexp.Regexp {
	words := strings.Fields(line)
	for i, word := range words {
		switch {
		case strings.Contains(word, "…"), strings.Contains(word, "/home/deploy"):
			words[i] = `\S+`
		default:
			word = shownID.ReplaceAllString(regexp.QuoteMeta(word), "[0-9a-f]{8,12}")
			if !strings.Contains(word, "[0-9a-f]") {
				word = shownNumber.ReplaceAllString(word, `\d+`)
			}
			words[i] = word
		}
	}
	return regexp.MustCompile(`(?m)(?:^|Type y: )\s*` + strings.Join(words, `\s+`))
}

// follow runs the commands of a block and compares what they print with what the guide shows. codes are the exit codes
// that are not 0, by the beginning of the command.
func (k *walk) follow(block string, codes map[string]int) {
	k.t.Helper()
	var printed, command string
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		if next, is := strings.CutPrefix(line, "$ "); is {
			want := 0
			for begins, code := range codes {
				if strings.HasPrefix(next, begins) {
					want = code
				}
			}
			var code int
			command = next
			if printed, code = k.command(next); code != want {
				k.t.Fatalf("%s: exit code %d, want %d\n%s", next, code, want, printed)
			}
			continue
		}
		line, _, _ = strings.Cut(line, "Type y: ")
		if line = strings.TrimSpace(line); line == "" || line == "…" {
			continue
		}
		at := shown(line).FindStringIndex(printed)
		if at == nil {
			k.t.Fatalf("%s does not print\n%s\nit prints\n%s", command, line, printed)
		}
		printed = printed[at[1]:]
	}
}

// person makes a key pair; the private key is the one that ssh uses by default.
func (k *walk) person(home string) (public string) {
	k.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	private, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		k.t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err := errors.Join(err, os.MkdirAll(filepath.Join(home, ".ssh"), 0o700),
		os.WriteFile(filepath.Join(home, ".ssh", "id_ed25519"), pem.EncodeToMemory(private), 0o600)); err != nil {
		k.t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// The guide's way from a question to access and back: its files, its commands and their answers.
func TestFiveMinutes(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	guide := read(t, "../templates/guides/five-minutes.md")
	shows := blocks(guide, "text")
	if len(shows) != 8 {
		t.Fatalf("the guide has %d blocks, want jit.hcl, jit.tf, policy.tf and five steps", len(shows))
	}
	command := testenv.Terraforms(t)[0]
	w := acctest.New(t, command, acctest.Options{})
	k := &walk{t: t, w: w}
	home, programs := t.TempDir(), t.TempDir()
	if err := os.Symlink(command.Path, filepath.Join(programs, "terraform")); err != nil {
		t.Fatal(err)
	}
	for _, variable := range append(w.Env(), "HOME="+home, "PATH="+programs+":"+os.Getenv("PATH"), "NO_COLOR=1",
		"GIT_CONFIG_GLOBAL="+filepath.Join(home, ".gitconfig"), "GIT_CONFIG_NOSYSTEM=1", "JIT_LEDGER=", "JIT_CONFIG=",
		"CI=") {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	t.Chdir(w.Dir)
	bob, ana := k.person(home), k.person(t.TempDir())+" ana"
	w.Write("authorized_keys", "")
	w.Write("jit.hcl", strings.Replace(shows[0], "/home/deploy/.ssh/authorized_keys", w.Path("authorized_keys"), 1))
	w.Write("jit.tf", shows[1])
	rules := strings.Replace(shows[2], "ssh-ed25519 AAAA…", bob, 1)
	w.Write("policy.tf", strings.Replace(rules, "ssh-ed25519 AAAA…", ana, 1))
	w.Write(".gitignore", ".jit/\nterraform.tfstate*\ntfplan\nplan.json\nauthorized_keys*\n")

	remote := t.TempDir()
	k.git("init", "--quiet", "--bare", "--initial-branch=main", remote)
	k.git("init", "--quiet", "--initial-branch=main")
	k.git("config", "--global", "user.name", "ana")
	k.git("config", "--global", "user.email", "ana@example.com")
	k.git("remote", "add", "origin", remote)
	w.Apply()
	commit := func() {
		t.Helper()
		k.git("add", ".")
		k.git("commit", "--quiet", "--message", "change")
		k.git("push", "--quiet", "--set-upstream", "origin", "HEAD")
	}
	commit()

	k.follow(shows[3], map[string]int{"jit request": 4})
	branch := k.git("branch", "--list", "--remotes", "--format=%(refname:lstrip=3)", "origin/jit/*")
	k.id = branch[strings.LastIndex(branch, "-")+1:]
	k.git("checkout", "--quiet", branch)
	if r := w.Plan(); !strings.Contains(r.Text(), "Warning: The grant needs approval") {
		t.Fatalf("the plan says\n%s", r.Text())
	}
	k.follow(shows[4], map[string]int{"jit review": 2})
	k.follow(shows[5], nil)
	commit()
	k.follow("$ terraform plan -out=tfplan\n$ terraform show -json tfplan > plan.json\n"+
		"$ jit review plan.json\nNothing to decide\n", nil)
	k.git("checkout", "--quiet", "main")
	k.git("merge", "--quiet", branch)
	if strings.Contains(w.Read("authorized_keys"), "ssh-ed25519") {
		t.Fatal("there is access before the apply")
	}
	k.follow(shows[6], nil)
	line, key := w.Read("authorized_keys"), strings.Fields(ana)[1]
	if !strings.Contains(line, key) || !strings.Contains(line, "expiry-time=") {
		t.Fatalf("authorized_keys is %q, want a line for ana's key with its end", line)
	}
	w.Clock.Advance(61 * time.Second)
	k.follow(shows[7], nil)
	if got := w.Read("authorized_keys"); got != "" {
		t.Errorf("after the sweep authorized_keys is %q", got)
	}
	w.Apply()
	if r := w.Plan(); r.ExitCode != 0 {
		t.Errorf("after the guide the plan is not empty:\n%s", r.Text())
	}
	k.follow("$ jit show "+guided+"\n$ jit audit verify\n$ jit request --renew "+guided,
		map[string]int{"jit request": 4})
}
