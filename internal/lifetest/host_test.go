package lifetest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// host is an account with an authorized_keys file. Keys are tried on a real sshd if real servers are enabled, and
// otherwise on a model of sshd.
type host struct {
	file   string
	server *testenv.SSHServer // nil without real servers

	mu   sync.Mutex
	keys map[string]ssh.Signer
}

func newHost(t *testing.T) place { return hostIn(t, t.TempDir()) }

// hostIn puts the file into the directory.
func hostIn(t *testing.T, dir string) *host {
	t.Helper()
	h := &host{file: filepath.Join(dir, "authorized_keys"), keys: map[string]ssh.Signer{}}
	_, colleague := testenv.NewSSHKey(t)
	lines := "# keys of the build machines\n\nfrom=\"10.0.0.0/8\",no-pty  " + colleague + "  jit:is a colleague \r\n\t" +
		strings.ToUpper(colleague) + "\n"
	if err := os.WriteFile(h.file, []byte(lines), 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(testenv.EnvAcceptance) != "" {
		h.server = testenv.SSHD(t, h.file)
	}
	return h
}

func (h *host) target() string         { return fmt.Sprintf("{ ssh = { authorized_keys = %q } }", h.file) }
func (h *host) role() string           { return "login" }
func (h *host) scope() string          { return h.file }
func (h *host) native() bool           { return true }
func (h *host) begins() bool           { return false }
func (h *host) settles() time.Duration { return 0 }

func (h *host) people(t *testing.T, n int) []string {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]string, n)
	for i := range all {
		var key ssh.Signer
		key, all[i] = testenv.NewSSHKey(t)
		h.keys[all[i]] = key
	}
	return all
}

func (h *host) tries(t *testing.T, principal string) bool {
	t.Helper()
	if h.server == nil {
		return h.admits(t, principal)
	}
	h.mu.Lock()
	key := h.keys[principal]
	h.mu.Unlock()
	out, err := h.server.Login(t.Context(), key, "echo through")
	switch {
	case errors.Is(err, testenv.ErrRefused):
		return false
	case err != nil || out != "through\n":
		t.Fatalf("log in: %q, %v", out, err)
	}
	return true
}

var expiry = regexp.MustCompile(`expiry-time="([0-9]{14}Z)"`)

// admits is the model of sshd: a line with the key admits it until the line's expiry-time has passed.
func (h *host) admits(t *testing.T, principal string) bool {
	t.Helper()
	for line := range strings.Lines(h.read(t)) {
		if strings.HasPrefix(line, "#") || !strings.Contains(line, principal) {
			continue
		}
		found := expiry.FindStringSubmatch(line)
		if found == nil {
			return true
		}
		end, err := time.Parse("20060102150405Z", found[1])
		if err != nil {
			t.Fatal(err)
		}
		if !time.Now().After(end.Add(time.Second)) {
			return true
		}
	}
	return false
}

func (h *host) read(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// ours matches the marker at the end of a line.
var ours = regexp.MustCompile(`jit:[a-z0-9-]+:[0-9a-f-]{36}:[0-9TZ]+:[0-9TZ]+\n?$`)

func (h *host) foreign(t *testing.T) string {
	t.Helper()
	var kept strings.Builder
	for line := range strings.Lines(h.read(t)) {
		if !ours.MatchString(line) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func (h *host) dump(t *testing.T) string {
	t.Helper()
	info, err := os.Stat(h.file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s %s\n%s", identity(info), info.ModTime().UTC().Format(time.RFC3339Nano), info.Mode(),
		h.read(t))
}

func (h *host) marked(t *testing.T) int {
	t.Helper()
	n := 0
	for line := range strings.Lines(h.read(t)) {
		if ours.MatchString(line) {
			n++
		}
	}
	return n
}

func (h *host) tamper(t *testing.T) {
	t.Helper()
	over := expiry.ReplaceAllString(h.read(t), `expiry-time="20200101000000Z"`)
	if err := os.WriteFile(h.file, []byte(over), 0o640); err != nil {
		t.Fatal(err)
	}
}
