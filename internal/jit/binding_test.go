package jit

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

func TestNewIDIsStable(t *testing.T) {
	b := Binding{Target: "prod", Principal: "user:alice@example.com", Role: "roles/cloudsql.client",
		Scope: "projects/payments-prod"}
	got := NewID("payments", b, "INC-4211: fail over the primary", 1)

	// The construction, spelled out: eight bytes of length before each part, the renewal in eight bytes.
	text := "\x00\x00\x00\x00\x00\x00\x00\x0cjit grant v1" +
		"\x00\x00\x00\x00\x00\x00\x00\x08payments" +
		"\x00\x00\x00\x00\x00\x00\x00\x04prod" +
		"\x00\x00\x00\x00\x00\x00\x00\x16user:alice@example.com" +
		"\x00\x00\x00\x00\x00\x00\x00\x15roles/cloudsql.client" +
		"\x00\x00\x00\x00\x00\x00\x00\x16projects/payments-prod" +
		"\x00\x00\x00\x00\x00\x00\x00\x1fINC-4211: fail over the primary" +
		"\x00\x00\x00\x00\x00\x00\x00\x01"
	sum := sha256.Sum256([]byte(text))
	sum[6] = 0x80 + sum[6]%16
	sum[8] = 0x80 + sum[8]%64
	want := ID(fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]))
	if got != want {
		t.Errorf("NewID = %s, want %s", got, want)
	}
	// Ids are in ledgers and markers for ever: this one never changes.
	if got != "6a0b4e3b-575d-8286-a2be-ee9314c79d64" {
		t.Errorf("NewID = %s, which is not what it was", got)
	}
}

func TestNewIDIsSensitive(t *testing.T) {
	type input struct {
		owner   string
		b       Binding
		reason  string
		renewal int64
	}
	inputs := []input{
		{"o", Binding{"t", "p", "r", "s"}, "w", 1},
		{"x", Binding{"t", "p", "r", "s"}, "w", 1},
		{"o", Binding{"x", "p", "r", "s"}, "w", 1},
		{"o", Binding{"t", "x", "r", "s"}, "w", 1},
		{"o", Binding{"t", "p", "x", "s"}, "w", 1},
		{"o", Binding{"t", "p", "r", "x"}, "w", 1},
		{"o", Binding{"t", "p", "r", "s"}, "x", 1},
		{"o", Binding{"t", "p", "r", "s"}, "w", 2},
		{"o", Binding{"t", "p", "r", "s"}, "w", 0},
		{"o", Binding{"t", "p", "r", "s"}, "w", -1},
		{"o", Binding{"t", "p", "r", "s"}, "w", 1 << 40},
		// Text that moves from one field to the next.
		{"ot", Binding{"", "p", "r", "s"}, "w", 1},
		{"o", Binding{"tp", "", "r", "s"}, "w", 1},
		{"o", Binding{"t", "pr", "", "s"}, "w", 1},
		{"o", Binding{"t", "p", "rs", ""}, "w", 1},
		{"o", Binding{"t", "p", "r", "sw"}, "", 1},
		{"", Binding{"ot", "p", "r", "s"}, "w", 1},
		{"o", Binding{"t", "p\x00", "r", "s"}, "w", 1},
		{"o", Binding{"p", "t", "r", "s"}, "w", 1},
	}
	seen := map[ID]input{}
	for _, in := range inputs {
		id := NewID(in.owner, in.b, in.reason, in.renewal)
		if other, ok := seen[id]; ok {
			t.Errorf("%+v and %+v have the same id", in, other)
		}
		seen[id] = in
		// RFC 9562: version 8, variant 10.
		if parsed, err := ParseID(string(id)); err != nil || parsed != id || id[14] != '8' ||
			!strings.ContainsRune("89ab", rune(id[19])) {
			t.Errorf("%s is not a version 8 UUID (%v)", id, err)
		}
		if again := NewID(in.owner, in.b, in.reason, in.renewal); again != id {
			t.Errorf("the id of %+v is %s and then %s", in, id, again)
		}
	}
}

func TestParseID(t *testing.T) {
	const id = "3f2b8c1e-0000-8000-8000-00000000abcd"
	for _, s := range []string{id, strings.ToUpper(id), " " + id + "\n"} {
		if got, err := ParseID(s); err != nil || got != id {
			t.Errorf("ParseID(%q) = %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "3f2b8c1e", id[1:], id + "0", "g" + id[1:], "{" + id + "}", strings.ReplaceAll(id,
		"-", "")} {
		_, err := ParseID(s)
		wantInvalid(t, err, "id")
	}
}

func TestCheckOwner(t *testing.T) {
	for _, s := range []string{"jit", "a", "0", "team-7", strings.Repeat("a", 32)} {
		if err := CheckOwner(s); err != nil {
			t.Errorf("CheckOwner(%q) = %v", s, err)
		}
	}
	for _, s := range []string{"", "-a", "a-", "A", "a:b", "a b", "a_b", "é", "a\n", strings.Repeat("a", 33)} {
		wantInvalid(t, CheckOwner(s), "owner")
	}
}

func TestCheckReason(t *testing.T) {
	for _, s := range []string{"INC-4211: fail over the primary", "x", "Störung am Primärknoten — 修理",
		strings.Repeat("a", 500), "עברית"} {
		if err := CheckReason(s); err != nil {
			t.Errorf("CheckReason(%q) = %v", s, err)
		}
	}
	for _, s := range []string{"", " ", " \t\n", " \u3000", strings.Repeat("a", 501), strings.Repeat("é", 251), "a\nb",
		"a\rb", "a\tb", "a\x00b", "a\x1b[31mb", "a\x7fb", "a\u0085b",
		"a\u202eb", "a\u2066b", "a\u200fb", "a\u2028b", "a\u2029b", "a\xffb"} {
		wantInvalid(t, CheckReason(s), "reason")
	}
}

func TestCheckTextNamesTheCharacter(t *testing.T) {
	err := CheckText("principal", "user:a\u202e@example.com")
	wantInvalid(t, err, "principal")
	if !strings.Contains(err.Error(), "U+202E") || strings.Contains(err.Error(), "\u202e") {
		t.Errorf("%q should name U+202E and not contain it", err)
	}
}

// TestPrivateKeysAreNotPrinted: a key given in place of its .pub file stays out of every message.
func TestPrivateKeysAreNotPrinted(t *testing.T) {
	const body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
	for _, key := range []string{
		"-----BEGIN OPENSSH PRIVATE KEY-----\n" + body + "\n-----END OPENSSH PRIVATE KEY-----\n",
		"-----BEGIN PRIVATE KEY-----\r\n" + body + "\xff",
		"-----BEGIN PRIVATE KEY----- " + body + " -----END PRIVATE KEY-----",
		"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n" + body,
	} {
		_, glob := ParseGlob("match[0].principals", key)
		_, ttl := ParseTTL(key)
		for name, err := range map[string]error{
			"text": CheckText("principal", key), "name": CheckName("principal", key), "glob": glob, "ttl": ttl,
			"person": Person{Name: "alice", Principals: []string{key}}.Check(), "approver": CheckPersonName("from", key),
			"github": Person{Name: "alice", GitHub: key}.Check(),
		} {
			if err == nil {
				t.Errorf("%s accepts a private key", name)
			} else if said := err.Error(); strings.Contains(said, body) || !strings.Contains(said, ".pub") {
				t.Errorf("%s: %q prints the key, or does not name the .pub file", name, said)
			}
		}
	}
	if err := CheckReason("INC-1: replace the PRIVATE KEY of the proxy"); err != nil {
		t.Errorf("CheckReason = %v", err)
	}
}

func TestSeveralKeysInOneText(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPJgH1z"
	for s, hint := range map[string]string{
		key + " a\n" + key + " b\n": "name one key", key + " a\r\n" + key: "name one key", "a\nb": "write it on one line",
	} {
		if err := CheckText("principal", s); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %v; want %q", s, err, hint)
		}
	}
}

func TestCheckPolicyName(t *testing.T) {
	for _, s := range []string{"a", "prod-oncall", "A.b_c-0", strings.Repeat("a", 63)} {
		if err := CheckPolicyName(s); err != nil {
			t.Errorf("CheckPolicyName(%q) = %v", s, err)
		}
	}
	for _, s := range []string{"", "-a", ".a", "a b", "a/b", "é", "a\n", strings.Repeat("a", 64)} {
		wantInvalid(t, CheckPolicyName(s), "name")
	}
}

// No space but the plain one, and nothing without a width, is in a name.
// TestCheckTextOfAFile: file() returns the line break at the end of a key file too.
func TestCheckTextOfAFile(t *testing.T) {
	const hint = "trimspace(file("
	for text, want := range map[string]bool{"ssh-ed25519 AAAA\n": true, "ssh-ed25519 AAAA\r\n": true, "a\nb\n": false, "a\tb": false} {
		if err := CheckText("principal", text); err == nil || strings.Contains(err.Error(), hint) != want {
			t.Errorf("%q: %v; a hint at trimspace: want %t", text, err, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, r := range "\u00a0\u00ad\u1680\u2000\u2003\u2009\u200b\u200d\u202f\u205f\u2060\u3000\ufeff\u0085\u2028" {
		if err := CheckName("role", "Storage"+string(r)+"Reader"); err == nil || !strings.Contains(err.Error(),
			fmt.Sprintf("%U", r)) {
			t.Errorf("%U: %v", r, err)
		}
	}
	for _, name := range []string{"Storage Blob Data Reader", "ssh-ed25519 AAAA bob@laptop", "user:zoë@example.com",
		"読取", "-_/:*"} {
		if err := CheckName("role", name); err != nil {
			t.Error(err)
		}
	}
}
