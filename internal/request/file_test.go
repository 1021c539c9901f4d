package request

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// hostile holds texts that a parser of configuration, a shell or a reader would misinterpret.
var hostile = []string{
	"INC-1: look", "${path.module}", "%{if true}x%{endif}", "$${a}", "$$${a}", "%%%{a}", "$", "${", "a\"b", `a\b`, "a\nb", "a\r\nb",
	"\"\n}\nresource \"jit_grant\" \"evil\" {", "<<EOT\nx\nEOT", "\x00\x1b[2J", "\u202etxt", "a\u200bb", "日本語", "e\u0301", "'; rm -rf /",
	"`x` @team [x](javascript:1) <b>|#", "\U0001F511", "\uFEFF", strings.Repeat("long ${x} ", 1000), "~", "#", "/*", "true", "null",
}

func asked(text string) Asked {
	return Asked{
		Target: text, Principal: text, Role: text, Scope: text, Reason: text, TTL: text, StartsAt: text, StartBy: text,
		Policy: text, Requester: text, Renewal: 2, BreakGlass: true, TerminateSessions: true,
	}.Normal()
}

// Whatever people write, the file holds one grant with exactly that, as Terraform's parser reads it, or it is not made.
func FuzzFile(f *testing.F) {
	for _, s := range append(slices.Clone(hostile), "\xff") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, format := range []Format{HCL, TFVars} {
			a := asked(text)
			file, err := a.fileOf("alice-login-bastion-3f2b8c1e", format)
			switch {
			case err == nil && text == "":
			case (err == nil) != (strings.ToValidUTF8(text, "") == text):
				t.Fatalf("%s of %q: %v", format, text, err)
			case err == nil && file.holds([]byte(string(file.text)+"\nx {}")) == nil:
				t.Errorf("%s of %q: more text is not noticed", format, text)
			}
		}
	})
}

// A file that does not say what is asked is noticed, whatever differs.
func TestFileSaysWhatIsAsked(t *testing.T) {
	a := Asked{Target: "bastion", Principal: "alice", Role: "login", Reason: "${x}", TTL: "2h", Renewal: 2}
	f, err := a.fileOf("n", HCL)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"login"`, `"root"`}, {`"2h"`, `"2h${""}0m"`}, {"$${x}", "${x}"}, {"renewal   = 2", ""}, {"}\n", "  policy = \"p\"\n}\n"},
		{"}\n", "  timeouts {}\n}\n"}, {"}\n", "}\nlocals {}\n"}, {`"n"`, `"m"`}, {"jit_grant", "jit_grants"}, {"}\n", "}\nx = 1\n"},
		{"= 2", `= "2"`}, {"\n}\n", "\n"},
	} {
		text := strings.Replace(string(f.text), change[0], change[1], 1)
		if text == string(f.text) {
			t.Fatalf("%q is not in %s", change[0], f.text)
		}
		if err := f.holds([]byte(text)); err == nil {
			t.Errorf("not noticed:\n%s", text)
		}
	}
	if err := f.holds([]byte("# mine\n" + strings.ReplaceAll(string(f.text), "   =", " ="))); err != nil {
		t.Errorf("a comment and other spaces: %v", err)
	}
}

// Names are of [a-z0-9_-], the same each time, and tell grants apart.
func TestNames(t *testing.T) {
	file, resource := regexp.MustCompile(`^[a-z0-9-]{8,120}$`), regexp.MustCompile(`^[a-z][a-z0-9_]{7,120}$`)
	for _, s := range append(hostile, "", "../../etc/passwd", "123", "CON") {
		g := jit.Grant{
			ID:      "3f2b8c1e-0000-8000-8000-000000000000",
			Binding: jit.Binding{Target: s, Principal: s, Role: s},
		}
		if name := nameOf(g); !file.MatchString(name) || !resource.MatchString(resourceName(name)) ||
			name != nameOf(g) {
			t.Errorf("%q gives %q and %q", s, name, resourceName(name))
		}
	}
	for want, g := range map[string]jit.Grant{
		"alice-cloudsql-client-prod-3f2b8c1e": {Binding: jit.Binding{Target: "prod", Principal: "user:alice@example.com",
			Role: "roles/cloudsql.client"}},
		"alice-login-bastion-3f2b8c1e": {Binding: jit.Binding{Target: "bastion", Principal: "ssh-ed25519 AAAA alice@laptop",
			Role: "login"}, PrincipalName: "alice@laptop"},
		"bob-view-prod-cluster-3f2b8c1e": {Binding: jit.Binding{Target: "prod-cluster",
			Principal: "arn:aws:iam::123456789012:user/bob", Role: "ClusterRole/view"}},
	} {
		if g.ID = "3f2b8c1e-0000-8000-8000-000000000000"; nameOf(g) != want {
			t.Errorf("got %q, want %q", nameOf(g), want)
		}
	}
}

func TestWriteOnce(t *testing.T) {
	dir := t.TempDir()
	a := Asked{Target: "bastion", Principal: "alice", Role: "login", Reason: "INC-1", TTL: "2h"}
	f, err := a.fileOf("n", HCL)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	wrote := make([]bool, 8)
	for i := range wrote {
		group.Go(func() {
			already, err := f.write(dir)
			if wrote[i] = !already; err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	n := 0
	for _, w := range wrote {
		if w {
			n++
		}
	}
	if files, _ := filepath.Glob(dir + "/*"); n != 1 || len(files) != 1 {
		t.Errorf("%d of %d wrote the file; the folder has %v", n, len(wrote), files)
	}
	other := a
	other.TTL = "3h"
	g, err := other.fileOf("n", HCL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.write(dir); !errors.Is(err, jit.ErrDenied) {
		t.Errorf("other content: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, f.path)); err != nil || string(text) != string(f.text) {
		t.Errorf("the file says %s, %v", text, err)
	}
}

// A file that does not read back, or says more than the request, is none.
func TestFileReadsBack(t *testing.T) {
	dir := t.TempDir()
	f := file{path: "a.tf", text: []byte("x"), holds: func([]byte) error { return errors.New("another text") }}
	if _, err := f.write(dir); err == nil {
		t.Error("a file that reads back otherwise is written")
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	f, err := asked("a").fileOf("n", TFVars)
	if err != nil {
		t.Fatal(err)
	}
	if more := strings.Replace(string(f.text), "{", `{"more": 1,`, 1); f.holds([]byte(more)) == nil {
		t.Errorf("more is not noticed: %s", more)
	}
	if got := (Asked{Reason: "e\u0301"}).Normal().Reason; got != "\u00e9" {
		t.Errorf("the reason is %q", got)
	}
}

// Nothing is written outside of the folder, and no link is followed.
func TestWriteStaysInTheFolder(t *testing.T) {
	a := Asked{Target: "bastion", Principal: "alice", Role: "login", Reason: "INC-1", TTL: "2h"}
	outside := t.TempDir()
	for _, format := range []Format{HCL, TFVars} {
		f, err := a.fileOf("n", format)
		if err != nil {
			t.Fatal(err)
		}
		for name, link := range map[string][2]string{
			"the file leads outside": {filepath.Join(outside, "x"), f.path}, "the folder of entries leads outside": {outside, entries},
			"the file leads to another": {"other.tf", f.path},
		} {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(link[1])), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(link[0], filepath.Join(dir, link[1])); err != nil {
				t.Skip(err)
			}
			_, err := f.write(dir)
			if reaches := format == TFVars || link[1] != entries; (err != nil) != reaches {
				t.Errorf("%s, %s: %v", format, name, err)
			}
			if found, _ := filepath.Glob(outside + "/*"); len(found) > 0 {
				t.Fatalf("%s, %s: wrote %v", format, name, found)
			}
			if _, err := os.Stat(filepath.Join(dir, "other.tf")); err == nil {
				t.Errorf("%s, %s: wrote through the link", format, name)
			}
		}
	}
}

// Every sample matches its pattern and keeps the reason.
func TestFit(t *testing.T) {
	for pattern, want := range map[string]string{
		"": "disk full", "^(INC|CHG)-[0-9]+: ": "INC-1: disk full", "^SEV1-": "SEV1-disk full", `\bINC-\d{4}\b`: "INC-1111 disk full",
		"^[A-Z]{2,5}-[0-9]+ .+": "AA-1 disk full", "disk": "disk full", "^INC-1$": "INC-1", "full$": "disk full", "[": "", "(?i)^chg ": "CHG disk full",
	} {
		if got := fit(pattern, "disk full"); got != want {
			t.Errorf("fit(%q) = %q, want %q", pattern, got, want)
		}
	}
}

// A shell reads a word as the text.
func TestCommand(t *testing.T) {
	a := Asked{
		Target:     "bastion",
		Role:       "command:/bin/ls -l",
		Reason:     `it's "$HOME"`,
		TTL:        "2h",
		BreakGlass: true,
		Principal:  "alice",
	}
	want := `jit request bastion 'command:/bin/ls -l' --reason 'it'\''s "$HOME"' --ttl 2h --break-glass`
	if got := a.Command(Asked{Principal: "alice"}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A block that waits for a policy reads back with that policy in depends_on, and with nothing else.
func TestBlockWaits(t *testing.T) {
	a := Asked{Target: "db", Principal: "bob", Role: "reader", Reason: "x", TTL: "1h"}
	waits, err := a.fileOf("n", HCL, "p")
	if err != nil {
		t.Fatal(err)
	}
	text := string(waits.text)
	for _, other := range []string{
		"", "[]", "[jit_policy.q]", "[jit_person.p]", "[jit_policy.p, jit_policy.q]", "[jit_policy.p.name]",
		"[jit_policy.p[0]]", "jit_policy.p",
	} {
		changed := strings.Replace(text, "[jit_policy.p]", other, 1)
		if other == "" {
			changed = strings.Replace(text, "depends_on = [jit_policy.p]", "", 1)
		}
		if changed == text || waits.holds([]byte(changed)) == nil {
			t.Errorf("%q holds:\n%s", other, changed)
		}
	}
	alone, err := a.fileOf("n", HCL)
	if err != nil || alone.holds([]byte(text)) == nil || waits.holds(alone.text) == nil {
		t.Errorf("a block that waits is taken for one that does not: %v", err)
	}
}
