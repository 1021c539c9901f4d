package ssh

import (
	"encoding/json"
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

// TestFilesComeBack: with the last line of ours gone, in whatever order, the file is what it was.
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
	grants := []jit.Access{grantOf(alice, "command:a", "1"), grantOf(alice, "login", "2"), grantOf(bob, "login", "3"), grantOf(alice, "login", "4")}
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
					t.Errorf("%s: what was there does not come first", name)
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

// again reads what k writes, both ways.
func again(t *testing.T, k *keys) *keys {
	t.Helper()
	data := k.bytes()
	next := k.parseAgain(data)
	if whole := parseKeys(data); len(next.lines)+len(whole.lines) > 0 && !reflect.DeepEqual(next.lines, whole.lines) {
		t.Errorf("read again, the lines are %+v, not %+v", next.lines, whole.lines)
	}
	return next
}

// TestForeignLinesAfterOurs: what others append while a grant lives stays, and stays apart.
func TestForeignLinesAfterOurs(t *testing.T) {
	for _, before := range []string{"", bob, bob + "\n"} {
		for _, appended := range []string{"# later", "# later\n", ecdsaKey + "\r\n"} {
			a := grantOf(alice, "login", "x")
			k := parseKeys([]byte(before))
			k.mustEnsure(t, a)
			k = k.parseAgain(append(k.bytes(), appended...))
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

// TestLoginComesFirst: sshd heeds the first line of a key, so the wider grant has to be it.
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
				t.Errorf("with a login the key is held to %+v (%t) in\n%s", a, ok, k.bytes())
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
		{"a foreign command that has ended", `command="backup",expiry-time="20261123115959Z" ` + alice + "\n", "login", false},
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

func TestSnapshot(t *testing.T) {
	m := grantOf(alice, "login", "x").Marker.String()
	const end = `expiry-time="20261123125959Z"`
	type observed struct{ role, end, damage string }
	const at = "2026-11-23T13:00:00Z"
	ours := map[string]observed{
		end + " " + alice + " " + m:                               {"login", at, ""},
		" " + end + " " + alice + " " + m + " ":                   {"login", at, ""},
		end + "\t" + alice + "\t" + m + "\r":                      {"login", at, ""},
		alice + " " + m:                                           {"login", "", ""},
		`expiry-time="20261123125959" ` + alice + " " + m:         {"login", local(t, "20261123125959"), "its options"},
		`expiry-time="later" ` + alice + " " + m:                  {"login", "", "ignores"},
		"no-pty," + end + " " + alice + " " + m:                   {"login", at, "its options"},
		"sudo," + end + " " + alice + " " + m:                     {"login", "", "ignores"},
		end + ` ssh-ed25519 AAAA= ` + m:                           {"login", at, "cannot be read"},
		`command="a",` + end + " " + alice + " " + m:              {"command:a", at, "its options"},
		`restrict,command="a",` + end + " " + alice + " " + m:     {"command:a", at, ""},
		`restrict,pty,command="a",` + end + " " + alice + " " + m: {"command:a", at, "its options"},
		`environment="A=b",` + end + " " + alice + " " + m:        {"login", at, "its options"},
		`expiry-time="20200101Z",` + end + " " + alice + " " + m:  {"login", "2020-01-01T00:00:01Z", "its options"},
	}
	for file, want := range ours {
		s := parseKeys([]byte(file)).snapshot()
		if len(s.Ours) != 1 || len(s.Standing) != 0 {
			t.Errorf("%q is read as %+v", file, s)
			continue
		}
		o := s.Ours[0]
		if gives := want.damage != "ignores" && want.damage != "cannot be read"; gives != (o.Principal == alice) || gives == (o.Principal == "") || o.Detail != "line 1" {
			t.Errorf("%q is read as of %q at %q", file, o.Principal, o.Detail)
		}
		if o.Role != want.role || jit.FormatTime(o.End) != want.end || (o.Damage == "") != (want.damage == "") || !strings.Contains(o.Damage, want.damage) {
			t.Errorf("%q is read as %q until %q, damage %q; want %+v", file, o.Role, jit.FormatTime(o.End), o.Damage, want)
		}
	}
	standing := map[string]jit.Standing{
		alice:                               {Principal: alice, Role: "login", Detail: "line 1"},
		"\n# x\n\t" + alice + " me\r\n":     {Principal: alice, Role: "login", Detail: "line 3"},
		`command="x \"y\"" ` + alice:        {Principal: alice, Role: `command:x "y"`, Detail: "line 1"},
		alice + " two " + m:                 {Principal: alice, Role: "login", Detail: "line 1"},
		"cert-authority " + alice:           {Principal: alice, Role: "login", Detail: "line 1, every certificate of this authority"},
		`NO-PTY,From="10.0.0.1" ` + alice:   {Principal: alice, Role: "login", Detail: "line 1"},
		`environment="x",tunnel="0" ` + bob: {Principal: bob, Role: "login", Detail: "line 1"},

		end + " " + alice:                                     {Principal: alice, Role: "login", Detail: "line 1", End: utc(2026, 11, 23, 13, 0, 0)},
		`expiry-time="99991231235959Z" ` + alice:              {Principal: alice, Role: "login", Detail: "line 1", End: utc(9999, 12, 31, 23, 59, 59)},
		`expiry-time="20990230Z" ` + alice:                    {Principal: alice, Role: "login", Detail: "line 1", End: utc(2099, 3, 2, 0, 0, 1)},
		`expiry-time="2099 1 2 3 4 5utc" ` + alice:            {Principal: alice, Role: "login", Detail: "line 1", End: utc(2099, 1, 2, 3, 4, 6)},
		"ssh-ed25519 \v" + alice[12:30] + "\f\r" + alice[30:]: {Principal: alice, Role: "login", Detail: "line 1"},
		alice + "\v": {Principal: alice, Role: "login", Detail: "line 1"},
		strings.Replace(rsaKey, "ssh-rsa", "rsa-sha2-512", 1): {Principal: rsaKey, Role: "login", Detail: "line 1"},
	}
	for file, want := range standing {
		s := parseKeys([]byte(file)).snapshot()
		if len(s.Ours) != 0 || len(s.Standing) != 1 || s.Standing[0] != want {
			t.Errorf("%q is read as %+v, want standing %+v", file, s, want)
		}
	}
	for _, nothing := range []string{
		"", "#" + alice + " " + m, "# " + alice + " " + m, " # " + alice, "ssh-ed25519", "ssh-ed25519 AAAA", "hello world " + alice, `expiry-time="?" ` + alice,
		`command="open ` + alice + " " + m, "sudo " + alice, "\x00" + alice,
		`expiry-time="19700101000000Z" ` + alice, `expiry-time="20991301Z" ` + alice, `expiry-time="2099010203+4Z" ` + alice, `expiry-time="209901020304 5 Z" ` + alice,
	} {
		if s := parseKeys([]byte(nothing)).snapshot(); len(s.Ours)+len(s.Standing) != 0 {
			t.Errorf("%q is read as %+v, want nothing", nothing, s)
		}
	}
}

// utc is a moment.
func utc(year, month, day, hour, minute, second int) time.Time {
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
}

// TestAMarkerSaysNothingOfTheEnd: what sshd heeds is reported, whatever the account has written into the marker or
// beside it.
func TestAMarkerSaysNothingOfTheEnd(t *testing.T) {
	forged := "jit:zzz:3f2b8c1e-0000-8000-8000-000000000000:20260101T000000Z:99991231T235959Z"
	for options, end := range map[string]time.Time{
		"":                                   {},
		"restrict,pty ":                      {},
		`expiry-time="20261123125959Z" `:     utc(2026, 11, 23, 13, 0, 0),
		`expiry-time="99991231235959Z" `:     utc(9999, 12, 31, 23, 59, 59),
		`pty,EXPIRY-TIME="20300101000000Z" `: utc(2030, 1, 1, 0, 0, 1),
	} {
		file := options + alice + " " + forged + "\n" + alice + " by hand\n"
		s := parseKeys([]byte(file)).snapshot()
		if len(s.Ours) != 1 || s.Ours[0].Principal != alice || !s.Ours[0].End.Equal(end) {
			t.Errorf("%q is read as %+v, want the end %s", file, s.Ours, end)
		}
		if len(s.Standing) != 1 || s.Standing[0].Principal != alice || !s.Standing[0].End.IsZero() || s.Standing[0].Detail != "line 2" {
			t.Errorf("%q has the standing access %+v, want that of line 2", file, s.Standing)
		}
		now := utc(2026, 11, 23, 12, 0, 0)
		told := jit.Records{Now: now, MaxTTL: 24 * time.Hour}.Standing(s, "/keys")
		if want := map[bool]int{true: 1, false: 2}[!end.IsZero() && end.Before(now.Add(24*time.Hour))]; len(told) != want {
			t.Errorf("%q: told of %+v, want %d", file, told, want)
		}
		if text, err := json.Marshal(s.Ours); err != nil {
			t.Errorf("%q cannot be told: %v, %s", file, err, text)
		}
	}
}

// local is the end that a time without a zone has here.
func local(t *testing.T, last string) string {
	t.Helper()
	at, err := time.ParseInLocation("20060102150405", last, time.Local)
	if err != nil {
		t.Fatal(err)
	}
	return jit.FormatTime(at.Add(time.Second))
}

// FuzzLine holds the reading of a line to the model of sshd, and to the bytes.
func FuzzLine(f *testing.F) {
	m := grantOf(alice, "login", "x").Marker.String()
	for _, seed := range []string{
		alice, alice + " me", `expiry-time="20261123125959Z" ` + alice + " " + m, "# " + alice + " " + m, `command="a\"b, c" ` + alice, "no-pty,," + alice,
		`restrict,command="` + m + `" ` + alice, "\t" + alice + "\r\n", `command="` + alice + ` ` + m, `a="b",c ` + alice, `command="\\" ` + alice, alice + "\x00" + m,
		`expiry-time="20261123115959Z",expiry-time="20300101Z" ` + alice, "cert-authority,restrict " + alice, `command="x"y ` + alice, alice[:40] + "\v\f" + alice[40:], `expiry-time="2099 1 2 3 461Z" ` + alice, `expiry-time="99991231235959Z" ` + alice, `permitopen="a:1",pty ` + alice,
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
		// Whom sshd lets in we have to know of. The other way round doubt is allowed: a line counts.
		a, ok := admit(raw, key, noon)
		if !ok {
			return
		}
		if !l.admits(noon) || l.principal != alice {
			t.Fatalf("sshd lets the key in with %q, which is read as %+v", raw, l)
		}
		if l.opts.hasCommand != a.forced || l.opts.command != a.command || l.opts.restrict != a.restricted || l.opts.forwarding != a.forwarding {
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
				t.Skip("the file knows the key or holds grants")
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
		if !gives(t, written, alice, r.String(), noon) || gives(t, written, alice, "login", noon) || gives(t, written, alice, r.String(), noon.Add(time.Hour)) {
			t.Errorf("%q does not give what it should, and when", written)
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
