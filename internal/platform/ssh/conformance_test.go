package ssh

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
)

// Two keys whose private halves nobody has.
const (
	alice = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHx4A+B4dUo6nKfWwCH3zPRL9q8F0hq+Yiaqcdo3xngt"
	bob   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICPT0lXvUVL1fx34AkZjydj81KV3Q6D2vCA5FVW8KE0b"
)

// foreignHead holds lines of others.
const foreignHead = "# managed by hand\r\n\n\t \nnot a key at all \xff\xfe\n" +
	`from="10.0.0.0/8",environment="A=\"b c\"" ssh-rsa AAAAB3NzaC1yc2E= somebody@example.com` + "\r\n" +
	"# jit:conformance:3f2b8c1e-0000-8000-8000-000000000000:20260101T000000Z:20260101T010000Z\n"

func TestConformance(t *testing.T) {
	suites := []struct {
		name  string
		roles []string
		head  string
		// unfinished: foreign lines are written without a line feed at the end of the file.
		unfinished bool
	}{
		{"login", []string{"login", `command:/usr/bin/printf "%s\n" 'a, b' \"`}, foreignHead, false},
		{"command", []string{"command:/usr/bin/backup --now", "login"}, "", false},
		{"port-forward", []string{"port-forward:db.internal:5432"}, foreignHead, false},
		{"no line feed at the end", []string{"login", "port-forward:[::1]:22"}, foreignHead, true},
	}
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
				target := newTarget(t, filepath.Join(t.TempDir(), "authorized_keys"), s.head, s.unfinished)
				target.Principals, target.Roles = []string{alice, bob}, s.roles
				return target
			}})
		})
	}
}

// newTarget describes the file to the conformance suite, with the model in place of sshd.
func newTarget(t *testing.T, path, head string, unfinished bool) *platformtest.Target {
	t.Helper()
	if head != "" {
		write(t, path, head)
	}
	var reads, writes atomic.Int64
	open := func(t *testing.T, now func() time.Time) jit.Platform {
		p, err := New(Config{AuthorizedKeys: path}, jit.Services{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		p.OnCall = func(op string) {
			if op == "write" {
				writes.Add(1)
			} else {
				reads.Add(1)
			}
		}
		return p
	}
	allowedAt := func(t *testing.T, b jit.Binding, at time.Time) bool {
		return gives(t, read(t, path), b.Principal, b.Role, at)
	}
	bad := func(name, attribute string, change func(*jit.Binding)) platformtest.BadBinding {
		b := jit.Binding{Target: "conformance", Principal: alice, Role: "login", Scope: path}
		change(&b)
		return platformtest.BadBinding{Name: name, Attribute: attribute, Binding: b}
	}
	alias := func(principal, role string) platformtest.Alias {
		canonical := jit.Binding{Target: "conformance", Principal: alice, Role: "login", Scope: path}
		written := canonical
		written.Principal, written.Role, written.Scope = principal, role, ""
		return platformtest.Alias{Written: written, Canonical: canonical}
	}
	return &platformtest.Target{
		Open:  func(t *testing.T) jit.Platform { return open(t, time.Now) },
		Scope: path,
		BadBindings: []platformtest.BadBinding{
			bad("options before the key", "principal", func(b *jit.Binding) { b.Principal = "no-pty " + alice }),
			bad("two keys", "principal", func(b *jit.Binding) { b.Principal = alice + " " + bob }),
			bad("a line feed in the command", "role", func(b *jit.Binding) { b.Role = "command:a\n" + alice }),
			bad("another file", "scope", func(b *jit.Binding) { b.Scope = "/etc/passwd" }),
		},
		Aliases: []platformtest.Alias{alias(alice+" alice@example.com", "login"),
			alias("  "+strings.Replace(alice, " ", "   ", 1)+" ", "login")},
		Allowed:   func(t *testing.T, b jit.Binding) bool { return allowedAt(t, b, time.Now()) },
		AllowedAt: allowedAt,
		Foreign: func(t *testing.T, b jit.Binding) {
			r, err := parseRole(b.Role)
			if err != nil {
				t.Fatal(err)
			}
			content := strings.TrimLeft(r.options(time.Time{})+" "+b.Principal+" kept by hand", " ")
			old := read(t, path)
			if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
				content = "\n" + content
			}
			if !unfinished {
				content += "\n"
			}
			write(t, path, string(old)+content)
		},
		Dump: func(t *testing.T) string {
			var foreign strings.Builder
			for _, l := range strings.SplitAfter(string(read(t, path)), "\n") {
				if markerOf(l).ID == "" {
					foreign.WriteString(l)
				} else if strings.HasPrefix(l, " ") && strings.HasSuffix(foreign.String(), "\n") {
					kept := strings.TrimSuffix(foreign.String(), "\n")
					foreign.Reset()
					foreign.WriteString(kept)
				}
			}
			return foreign.String()
		},
		Calls:  func() (int, int) { return int(reads.Load()), int(writes.Load()) },
		Tamper: tamper(path),
		Break: func(t *testing.T) func() {
			// Not by its mode: root may write to everything.
			away := path + ".away"
			if err := os.Rename(path, away); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(away, path); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
}

// markerOf reads the marker that ends a line, by its text alone.
func markerOf(l string) jit.Marker {
	words := strings.Fields(l)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return jit.Marker{}
	}
	m, _ := jit.ParseMarker(words[len(words)-1])
	return m
}

// tamper edits the lines of a marker as a person with an editor would.
func tamper(path string) platformtest.Tamper {
	edit := func(t *testing.T, m jit.Marker, change func(l string) string) {
		t.Helper()
		var b strings.Builder
		done := 0
		for _, l := range strings.SplitAfter(string(read(t, path)), "\n") {
			if found := markerOf(l); found.ID == m.ID && found.Owner == m.Owner {
				l = change(l)
				done++
			}
			b.WriteString(l)
		}
		if done == 0 {
			t.Fatalf("no line of %s to tamper with", m)
		}
		write(t, path, b.String())
	}
	expiry := func(end time.Time) string {
		return fmt.Sprintf(`expiry-time="%s"`, end.Add(-time.Second).UTC().Format("20060102150405Z"))
	}
	return platformtest.Tamper{
		MoveEnd: func(t *testing.T, m jit.Marker, end time.Time) {
			edit(t, m, func(l string) string { return strings.Replace(l, expiry(m.Window.End), expiry(end), 1) })
		},
		StripEnd: func(t *testing.T, m jit.Marker) {
			edit(t, m, func(l string) string {
				l = strings.Replace(l, ","+expiry(m.Window.End), "", 1)
				return strings.Replace(l, expiry(m.Window.End)+" ", "", 1)
			})
		},
		ChangeRole: func(t *testing.T, m jit.Marker, name string) {
			r, err := parseRole(name)
			if err != nil {
				t.Fatal(err)
			}
			edit(t, m, func(string) string { return r.options(m.Window.End) + " " + alice + " " + m.String() + "\n" })
		},
		ChangePrincipal: func(t *testing.T, m jit.Marker, principal string) {
			edit(t, m, func(l string) string { return strings.Replace(l, alice, principal, 1) })
		},
		Duplicate: func(t *testing.T, m jit.Marker) { edit(t, m, func(l string) string { return l + l }) },
		Delete:    func(t *testing.T, m jit.Marker) { edit(t, m, func(string) string { return "" }) },
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return data
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
