package internal_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/cli"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// rootDocuments are for readers of the code.
var rootDocuments = []string{"../README.md", "../CONTRIBUTING.md", "../SECURITY.md"}

// documents returns the documents at the root and the sources of the guides by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range rootDocuments {
		all[path] = read(t, path)
	}
	paths, err := filepath.Glob("../templates/guides/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	for _, path := range append(paths, "../templates/index.md.tmpl") {
		all[path] = read(t, path)
	}
	return all
}

var fence = regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```")

// blocks returns the fenced blocks of a document in these languages.
func blocks(document string, languages ...string) []string {
	var all []string
	for _, m := range fence.FindAllStringSubmatch(document, -1) {
		if slices.Contains(languages, m[1]) {
			all = append(all, m[2])
		}
	}
	return all
}

// commands returns the command lines of a document that begin with the word, split into words.
func commands(document, word string) [][]string {
	var all [][]string
	for _, block := range blocks(document, "shell", "text") {
		for line := range strings.Lines(block) {
			if words := split(strings.TrimPrefix(strings.TrimSpace(line), "$ ")); len(words) > 1 && words[0] == word {
				all = append(all, words[1:])
			}
		}
	}
	return all
}

// split cuts a line into words as a shell does, up to a comment or a pipe.
func split(line string) []string {
	var words []string
	for _, w := range regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`).FindAllString(line, -1) {
		if w == "|" || strings.HasPrefix(w, "#") {
			break
		}
		words = append(words, strings.Trim(w, `"'`))
	}
	return words
}

// workspace makes a workspace whose configuration is a documented block, with the key and the file that it names.
func workspace(t *testing.T, command testenv.CLI, configuration string) *acctest.World {
	t.Helper()
	w := acctest.New(t, command, acctest.Options{})
	keys := filepath.Join(filepath.Dir(w.Dir), "home", ".ssh")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(keys, "id_ed25519.pub"), []byte(exampleKey+" alice@laptop\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	w.Write("authorized_keys", "")
	const file = "/home/deploy/.ssh/authorized_keys"
	if !strings.Contains(configuration, file) {
		t.Fatalf("the configuration does not name %s", file)
	}
	w.Write("main.tf", strings.ReplaceAll(configuration, file, w.Path("authorized_keys")))
	w.Write("jit.hcl", fmt.Sprintf("ledger = %q\ntargets = { bastion = { ssh = { authorized_keys = %q } } }\n",
		"sqlite://"+w.Path(".jit/ledger.db"), w.Path("authorized_keys")))
	return w
}

// jitCommand runs the command jit in a workspace.
func jitCommand(t *testing.T, w *acctest.World, args ...string) (output string, code int) {
	t.Helper()
	var out bytes.Buffer
	code = cli.Run(t.Context(), append([]string{"--config", w.Path("jit.hcl")}, args...), strings.NewReader(""), &out,
		&out, cli.Options{Now: w.Clock.Now})
	return out.String(), code
}

// said is the output of a command that is still at work.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// daemon runs a command that goes on until it is stopped, on an address that is free, until it listens, and stops it.
func daemon(t *testing.T, w *acctest.World, args []string) {
	t.Helper()
	args = slices.Clone(args)
	if i := slices.Index(args, "--listen"); i >= 0 {
		args[i+1] = "127.0.0.1:0"
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	out, code := &said{}, make(chan int, 1)
	go func() {
		code <- cli.Run(ctx, append(args, "--config", w.Path("jit.hcl")), strings.NewReader(""), out, out,
			cli.Options{Now: w.Clock.Now})
	}()
	for !strings.Contains(out.String(), "listening") && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if c := <-code; c != 0 || !strings.Contains(out.String(), "listening") {
		t.Errorf("jit %q: exit code %d\n%s", args, c, out)
	}
}

// What the README shows first is applied, its commands are run in their order, and the access ends.
func TestReadme(t *testing.T) {
	readme := read(t, "../README.md")
	for _, command := range testenv.Terraforms(t) {
		t.Run(command.String(), func(t *testing.T) {
			t.Parallel()
			w := workspace(t, command, blocks(readme, "hcl")[0])
			w.Must("fmt", "-check", "-diff")
			w.Apply()
			if got := w.Read("authorized_keys"); !strings.Contains(got, "expiry-time=") ||
				!strings.Contains(got, exampleKey) {
				t.Errorf("authorized_keys is %q, want a line for the key with its end", got)
			}
			run := commands(readme, "jit")
			if len(run) < 4 {
				t.Fatalf("the README shows %d commands of jit, want list, revoke, sweep and audit", len(run))
			}
			for _, args := range run {
				if slices.Contains(args, "--watch") {
					daemon(t, w, args)
					continue
				}
				for i := range args { // files are written beside the configuration
					if strings.HasSuffix(args[i], ".html") {
						args[i] = w.Path(args[i])
					}
				}
				if out, code := jitCommand(t, w, args...); code != 0 {
					t.Errorf("jit %q: exit code %d\n%s", args, code, out)
				}
			}
			if got := w.Read("authorized_keys"); got != "" {
				t.Errorf("after revoke and sweep authorized_keys is %q, want nothing", got)
			}
			w.Clock.Advance(3 * time.Hour)
			if r := w.Plan(); r.ExitCode != 0 {
				t.Errorf("after the end the plan is not empty:\n%s", r.Text())
			}
		})
	}
}

// The first guide tells it as it is: refused without an end, granted with one, gone after the sweep.
func TestGettingStarted(t *testing.T) {
	guide := read(t, "../templates/guides/getting-started.md")
	w := workspace(t, testenv.Terraforms(t)[0], blocks(guide, "hcl")[0])
	if r := w.Plan(); r.ExitCode != 1 || !strings.Contains(r.Text(), "The grant has no end; no end, no grant.") {
		t.Errorf("without an end: exit code %d\n%s", r.ExitCode, r.Text())
	}
	w.Write("main.tf", strings.Replace(w.Read("main.tf"), `role      = "login"`, "role = \"login\"\nttl = \"1m\"", 1))
	w.Apply()
	w.Clock.Advance(2 * time.Minute)
	if r := w.Plan(); r.ExitCode != 0 {
		t.Errorf("after the end the plan is not empty:\n%s", r.Text())
	}
	if out, code := jitCommand(t, w, "sweep"); code != 0 || !strings.Contains(out, "its window ended at") {
		t.Errorf("sweep: exit code %d\n%s", code, out)
	}
	if got := w.Read("authorized_keys"); got != "" {
		t.Errorf("after the sweep authorized_keys is %q", got)
	}
}

// Every command line of jit in the documentation has flags and arguments that there are.
func TestDocumentedCommands(t *testing.T) {
	for path, document := range documents(t) {
		for _, args := range commands(document, "jit") {
			var out bytes.Buffer
			if code := cli.Run(t.Context(), append(args, "--help"), strings.NewReader(""), &out, &out,
				cli.Options{}); code != 0 || !strings.Contains(out.String(), "Usage:") {
				t.Errorf("%s: jit %q: exit code %d\n%s", path, args, code, out.String())
			}
		}
	}
	makefile := read(t, "../GNUmakefile")
	for _, m := range regexp.MustCompile("`?make ([a-z-]+)").FindAllStringSubmatch(strings.Join(blocks(read(t, "../README.md"), "shell"), "")+
		strings.Join(regexp.MustCompile("`make [a-z-]+`").FindAllString(read(t, "../README.md"), -1), "\n"), -1) {
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("the README names make %s, which the GNUmakefile does not have", m[1])
		}
	}
}

// The settings file of the examples, and the one of the guide, are read and name every platform.
func TestSettingsFile(t *testing.T) {
	t.Setenv("JIT_LEDGER", "sqlite://"+t.TempDir()+"/ledger.db")
	t.Setenv("HOOP_TOKEN", "hpk_any")
	t.Setenv("OPS_HOOK", "https://hooks.example.com/ops")
	t.Setenv("OPS_SECRET", strings.Repeat("x", 32))
	t.Setenv("ADMIN_URL", "postgres://jit_admin@127.0.0.1:1/postgres")
	guide := read(t, "../templates/guides/command-line.md")
	for name, settings := range map[string]string{"examples/jit.hcl": read(t, "../examples/jit.hcl"), "the guide": blocks(guide, "hcl")[0]} {
		for _, kind := range platform.Kinds() {
			if !strings.Contains(settings, kind+" = {") {
				t.Errorf("%s has no target on the platform %s", name, kind)
			}
		}
		path := filepath.Join(t.TempDir(), "jit.hcl")
		if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if code := cli.Run(t.Context(), []string{"list", "--config", path}, strings.NewReader(""), &out, &out, cli.Options{}); code != 0 {
			t.Errorf("%s: exit code %d\n%s", name, code, out.String())
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// Every relative link of the documents at the root leads to a file, and every one of the guides to a page.
func TestLinks(t *testing.T) {
	pages := map[string]bool{"../": true}
	err := filepath.WalkDir("../docs", func(path string, _ fs.DirEntry, err error) error {
		if page, ok := strings.CutSuffix(filepath.ToSlash(path), ".md"); ok {
			pages[strings.TrimPrefix(page, "../docs/")] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, document := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(document, -1) {
			switch {
			case slices.Contains(rootDocuments, path):
				if _, err := os.Stat("../" + m[1]); err != nil {
					t.Errorf("%s: the link %s leads nowhere", path, m[1])
				}
			case strings.Contains(path, "/guides/"):
				if !pages[m[1]] && !pages[filepath.ToSlash(filepath.Join("guides", m[1]))] {
					t.Errorf("%s: the link %s leads to no page", path, m[1])
				}
			case !pages[m[1]]:
				t.Errorf("%s: the link %s leads to no page", path, m[1])
			}
		}
	}
}
