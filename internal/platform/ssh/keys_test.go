package ssh

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// grantOf is a grant from noon to one o'clock.
func grantOf(key, roleName, why string) jit.Access {
	b := jit.Binding{Target: "host", Principal: key, Role: roleName, Scope: "file"}
	return jit.Access{Binding: b, Marker: jit.Marker{
		Owner: "jit", ID: jit.NewID("jit", b, why, 1), Window: jit.Window{Start: noon, End: noon.Add(time.Hour)},
	}}
}

func (k *keys) mustEnsure(t testing.TB, a jit.Access) {
	t.Helper()
	r, err := parseRole(a.Binding.Role)
	if err == nil {
		err = k.ensure(a.Marker, a.Binding.Principal, r, noon)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (k *keys) drop(a jit.Access) { k.remove(a.Marker) }

func TestTheLineOfEachRole(t *testing.T) {
	const expiry = `expiry-time="20261123125959Z"`
	for roleName, options := range map[string]string{
		"login":             expiry,
		`command:say "hi"`:  `restrict,command="say \"hi\"",` + expiry,
		"port-forward:db:1": `restrict,port-forwarding,permitopen="db:1",permitlisten="NOWHERE:1",command="echo this key is for port forwarding only; exit 1",` + expiry,
	} {
		a := grantOf(alice, roleName, "line")
		k := parseKeys(nil)
		k.mustEnsure(t, a)
		want := options + " " + alice + " " + a.Marker.String() + "\n"
		if got := string(k.bytes()); got != want {
			t.Errorf("%s is written\n%swant\n%s", roleName, got, want)
		}
	}
}

// TestFilesComeBack: once our last line is gone, in any order, the file is as before.
func TestFilesComeBack(t *testing.T) {
	files := map[string]string{
		"empty":                   "",
		"ordinary":                "# head\n" + bob + " bob\n",
		"no line feed at the end": "# head\n" + bob + " bob",
		"one line, no line feed":  bob,
		"CRLF":                    "# head\r\n" + bob + " bob\r\n",
		"CRLF, then none":         "# head\r\n" + bob + " bob\r",
		"blank lines":             "\n\n" + bob + "\n\n  \n",
		"only blanks":             "  ",
		"invalid UTF-8 and NUL":   "\xff\xfe\x00\n" + bob + " \xf0\x28\x8c\n",
		"a very long line":        "# " + strings.Repeat("x", 1<<20) + "\n" + bob + " " + strings.Repeat("y", 1<<20),
	}
	grants := []jit.Access{grantOf(alice, "command:a", "1"), grantOf(alice, "login", "2"), grantOf(bob, "login", "3"),
		grantOf(alice, "login", "4")}
	orders := [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}}
	for name, file := range files {
		for _, in := range orders {
			for _, out := range orders {
				k := parseKeys([]byte(file))
				for _, i := range in {
					k.mustEnsure(t, grants[i])
					k = again(t, k)
				}
				if got := k.snapshot(); len(got.Ours) != len(grants) {
					t.Fatalf("%s: %d lines of ours, want %d", name, len(got.Ours), len(grants))
				}
				if !strings.HasPrefix(string(k.bytes()), file) {
					t.Errorf("%s: the old content does not come first", name)
				}
				for _, i := range out {
					k.drop(grants[i])
					k = again(t, k)
				}
				if got := string(k.bytes()); got != file {
					t.Errorf("%s, in %v, out %v: the file is %.200q, was %.200q", name, in, out, got, file)
				}
			}
		}
	}
}

// again reads what k writes: the lines must be those of k, because a later edit starts from them.
func again(t *testing.T, k *keys) *keys {
	t.Helper()
	read := parseKeys(k.bytes())
	if len(read.lines)+len(k.lines) > 0 && !reflect.DeepEqual(read.lines, k.lines) {
		t.Errorf("the file is read as\n%+v\nand was written from\n%+v", read.snapshot(), k.snapshot())
	}
	return read
}

// TestForeignLinesAfterOurs: lines that others append during a grant stay, and stay separate.
func TestForeignLinesAfterOurs(t *testing.T) {
	for _, before := range []string{"", bob, bob + "\n"} {
		for _, appended := range []string{"# later", "# later\n", ecdsaKey + "\r\n"} {
			a := grantOf(alice, "login", "x")
			k := parseKeys([]byte(before))
			k.mustEnsure(t, a)
			k = parseKeys(append(k.bytes(), appended...))
			longer := a
			longer.Marker.Window.End = longer.Marker.Window.End.Add(time.Hour)
			k.mustEnsure(t, longer)
			if got := string(k.bytes()); !strings.HasSuffix(got, longer.Marker.String()+"\n"+appended) {
				t.Errorf("after %q and %q the renewed grant left its place: %q", before, appended, got)
			}
			k.drop(a)
			want := before + appended
			if before == bob {
				want = before + "\n" + appended // two lines must not become one
			}
			if got := string(k.bytes()); got != want {
				t.Errorf("after %q and %q the file is %q", before, appended, got)
			}
		}
	}
}

// TestLoginComesFirst: sshd heeds the first line of a key, so the wider grant must come first.
func TestLoginComesFirst(t *testing.T) {
	narrow, wide := grantOf(alice, "command:a", "narrow"), grantOf(alice, "login", "wide")
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(alice))
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range [][]jit.Access{{narrow, wide}, {wide, narrow}} {
		for _, file := range []string{"", bob, bob + "\n"} {
			k := parseKeys([]byte(file))
			for _, a := range order {
				k.mustEnsure(t, a)
			}
			if a, ok := admit(k.bytes(), key, noon); !ok || a.forced {
				t.Errorf("with a login the key is restricted to %+v (%t) in\n%s", a, ok, k.bytes())
			}
			k.drop(wide)
			if a, ok := admit(k.bytes(), key, noon); !ok || a.command != "a" {
				t.Errorf("without the login the key has %+v (%t)", a, ok)
			}
			k.drop(narrow)
			if got := string(k.bytes()); got != file {
				t.Errorf("the file is %q, was %q", got, file)
			}
		}
	}
}

// TestAGrantThatWouldGiveNothingIsRefused: a narrower line of the same key stands before it.
func TestAGrantThatWouldGiveNothingIsRefused(t *testing.T) {
	tests := []struct {
		name, file, role string
		refused          bool
	}{
		{"another command of ours", "", "command:b", true},
		{"the same command of ours", "", "command:a", false},
		{"login before it", "", "login", false},
		{"a foreign command", `command="backup" ` + alice + "\n", "login", true},
		{"a foreign login", alice + "\n", "command:b", false},
		{"a foreign command that has ended",
			`command="backup",expiry-time="20261123115959Z" ` + alice + "\n", "login", false},
		{"a foreign command that sshd ignores", `command="backup",sudo ` + alice + "\n", "login", false},
		{"a foreign command of another key", `command="backup" ` + bob + "\n", "login", false},
	}
	for _, tt := range tests {
		k := parseKeys([]byte(tt.file))
		if tt.file == "" {
			k.mustEnsure(t, grantOf(alice, "command:a", "first"))
		}
		before := string(k.bytes())
		a := grantOf(alice, tt.role, "second")
		r, err := parseRole(tt.role)
		if err != nil {
			t.Fatal(err)
		}
		err = k.ensure(a.Marker, alice, r, noon)
		var user *jit.Error
		if tt.refused != errors.As(err, &user) {
			t.Errorf("%s: %v, want refused: %t", tt.name, err, tt.refused)
		}
		if tt.refused && string(k.bytes()) != before {
			t.Errorf("%s: the refusal changed the file", tt.name)
		}
		if !tt.refused && !gives(t, k.bytes(), alice, tt.role, noon) {
			t.Errorf("%s: it gives nothing", tt.name)
		}
	}
}

// FuzzLine holds the reading of a line to the model of sshd, and to the bytes.
func FuzzLine(f *testing.F) {
	m := grantOf(alice, "login", "x").Marker.String()
	for _, seed := range []string{
		alice, alice + " me", `expiry-time="20261123125959Z" ` + alice + " " + m, "# " + alice + " " + m,
		`command="a\"b, c" ` + alice, "no-pty,," + alice,
		`restrict,command="` + m + `" ` + alice, "\t" + alice + "\r\n", `command="` + alice + ` ` + m,
		`a="b",c ` + alice, `command="\\" ` + alice, alice + "\x00" + m,
		`expiry-time="20261123115959Z",expiry-time="20300101Z" ` + alice, "cert-authority,restrict " + alice,
		`command="x"y ` + alice, alice[:40] + "\v\f" + alice[40:], `expiry-time="2099 1 2 3 461Z" ` + alice,
		`expiry-time="99991231235959Z" ` + alice, `permitopen="a:1",pty ` + alice,
	} {
		f.Add([]byte(seed))
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(alice))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if i := strings.IndexByte(string(raw), '\n'); i >= 0 {
			raw = raw[:i+1]
		}
		l := parseLine(raw)
		if string(l.raw) != string(raw) {
			t.Fatalf("the line %q became %q", raw, l.raw)
		}
		if l.ours && !strings.Contains(string(raw), l.marker.String()) {
			t.Errorf("the marker %s is not in %q", l.marker, raw)
		}
		// A key that sshd lets in must be reported. A key that it refuses may be.
		a, ok := admit(raw, key, noon)
		if !ok {
			return
		}
		if !l.admits(noon) || l.principal != alice {
			t.Fatalf("sshd lets the key in with %q, which is read as %+v", raw, l)
		}
		if l.opts.hasCommand != a.forced || l.opts.command != a.command || l.opts.restrict != a.restricted ||
			l.opts.forwarding != a.forwarding {
			t.Errorf("%q is read as %+v, sshd reads %+v", raw, l.opts, a)
		}
		end := a.expires.Add(time.Second)
		if end.After(latest) {
			end = latest
		}
		if !a.expires.IsZero() && !l.opts.end.Equal(end) || a.expires.IsZero() != l.opts.end.IsZero() {
			t.Errorf("%q ends %s, with sshd after %s", raw, l.opts.end, a.expires)
		}
	})
}

// FuzzEdit puts a grant of any command into any file and takes it out again.
func FuzzEdit(f *testing.F) {
	for _, file := range []string{"", bob, bob + "\n", "# x\r\n\r\n", "\x00\xff\n ", `command="x" ` + bob} {
		for _, command := range []string{"ls", `echo "a\" \\`, `",no-restrict x`, "a # b"} {
			f.Add([]byte(file), command)
		}
	}
	f.Fuzz(func(t *testing.T, file []byte, command string) {
		for _, l := range parseKeys(file).lines {
			if l.ours || l.principal == alice {
				t.Skip("the file has the key or grants")
			}
		}
		r, err := parseRole("command:" + command)
		if err != nil {
			t.Skip("not a command")
		}
		a := grantOf(alice, r.String(), "fuzz")
		k := parseKeys(file)
		k.mustEnsure(t, a)
		written := k.bytes()
		if !strings.HasPrefix(string(written), string(file)) {
			t.Fatalf("%q became %q", file, written)
		}
		if !gives(t, written, alice, r.String(), noon) || gives(t, written, alice, "login", noon) ||
			gives(t, written, alice, r.String(), noon.Add(time.Hour)) {
			t.Errorf("%q gives the wrong access or window", written)
		}
		k = again(t, k)
		s := k.snapshot()
		if len(s.Ours) != 1 || s.Ours[0].Marker != a.Marker || s.Ours[0].Role != r.String() || s.Ours[0].Damage != "" {
			t.Errorf("%q is read as %+v", written, s.Ours)
		}
		k.drop(a)
		if got := k.bytes(); string(got) != string(file) {
			t.Errorf("the file is %q, was %q", got, file)
		}
	})
}
