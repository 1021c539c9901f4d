package cli

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// world is a directory with a jit.hcl, a SQLite ledger and one host's key file, and a clock.
type world struct {
	t    *testing.T
	dir  string
	keys string
	now  time.Time
	wrap func(name string, p jit.Platform) jit.Platform
}

const foreignLine = "# the line of somebody else\n"

func newWorld(t *testing.T) *world {
	t.Helper()
	for _, name := range []string{
		config.EnvFile, config.EnvLedger, config.EnvChange, "CI", "TFC_RUN_ID", "ATLANTIS_TERRAFORM_VERSION",
		"GITHUB_ACTIONS", "GITLAB_CI",
	} {
		t.Setenv(name, "")
	}
	t.Setenv(config.EnvActor, "alice")
	w := &world{t: t, dir: t.TempDir(), now: time.Now().UTC().Truncate(time.Second)}
	t.Chdir(w.dir)
	w.keys = filepath.Join(w.dir, "authorized_keys")
	w.write("authorized_keys", foreignLine)
	w.write(
		"jit.hcl",
		fmt.Sprintf(
			"ledger  = \"sqlite://ledger.db\"\nowner   = \"payments\"\ntargets = {\n  bastion = { ssh = { authorized_keys = %q } }\n}\n",
			w.keys,
		),
	)
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) options() Options {
	return Options{Now: func() time.Time { return w.now }, Version: "1.2.3", Wrap: w.wrap}
}

// result holds the exit code and the output of one command line.
type result struct {
	t        *testing.T
	line     string
	code     int
	out, err string
}

func (w *world) run(args ...string) result { return w.answer("", args...) }

// answer runs a command line with typed input.
func (w *world) answer(typed string, args ...string) result {
	w.t.Helper()
	var out, errs bytes.Buffer
	code := Run(w.t.Context(), args, strings.NewReader(typed), &out, &errs, w.options())
	return result{w.t, "jit " + strings.Join(args, " "), code, out.String(), errs.String()}
}

func (r result) wantCode(code int) result {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("%s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", r.line, r.code, code, r.out, r.err)
	}
	return r
}

func (r result) wantOut(texts ...string) result { r.t.Helper(); return r.want("stdout", r.out, texts) }
func (r result) wantErr(texts ...string) result { r.t.Helper(); return r.want("stderr", r.err, texts) }

func (r result) want(name, got string, texts []string) result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(got, text) {
			r.t.Errorf("%s: %s does not have %q:\n%s", r.line, name, text, got)
		}
	}
	return r
}

func (r result) wantNotOut(texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if strings.Contains(r.out, text) {
			r.t.Errorf("%s: stdout has %q:\n%s", r.line, text, r.out)
		}
	}
	return r
}

// decode reads the JSON of stdout into v.
func (r result) decode(v any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.out), v); err != nil {
		r.t.Fatalf("%s: stdout is not JSON: %v\n%s", r.line, err, r.out)
	}
}

// grant makes a grant for a new key.
func (w *world) grant(reason, ttl string) jit.Grant {
	w.t.Helper()
	return w.request(broker.Request{
		Binding: jit.Binding{Target: "bastion", Principal: w.key(), Role: "login"}, Reason: reason, Renewal: 1,
		TTL: jit.RecordedTTL(ttl),
	})
}

// key returns a new public key.
func (w *world) key() string {
	w.t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// runtime opens the configuration of jit.hcl, as the provider does.
func (w *world) runtime() *config.Runtime {
	w.t.Helper()
	s, err := config.Load("")
	if err != nil {
		w.t.Fatal(err)
	}
	rt, err := config.Open(w.t.Context(), s, config.Options{Now: w.options().Now, Source: jit.FromTerraform})
	if err != nil {
		w.t.Fatal(err)
	}
	return rt
}

func (w *world) request(r broker.Request) jit.Grant {
	w.t.Helper()
	rt := w.runtime()
	defer func() { _ = rt.Close() }()
	g, err := rt.Broker.Grant(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// access returns the lines of the key file that give access for the grant.
func (w *world) access(g jit.Grant) int {
	w.t.Helper()
	text, err := os.ReadFile(w.keys)
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(string(text), foreignLine) {
		w.t.Errorf("the line of somebody else is gone:\n%s", text)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil && strings.Contains(line, g.Principal) {
			n++
		}
	}
	return n
}

func (w *world) wantAccess(g jit.Grant, want bool) {
	w.t.Helper()
	if n := w.access(g); (n == 1) != want || n > 1 {
		w.t.Fatalf("the key file has %d lines for %q, want access %v", n, g.Reason, want)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
