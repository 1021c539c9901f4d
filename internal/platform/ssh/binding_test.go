package ssh

import (
	"crypto/dsa" //nolint:staticcheck // a key that must be refused
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	ecdsaKey = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGQGiuljNyq/AeoWBFgZ/CRUdPsVJj9U8eefg3bu8s5SCVHiV1Vf4gdydlk4ptNm1yU38goeqKTgA+8RtVpPfE4="
	rsaKey   = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC1PuN8DyDOq1NdQQ5VCJadLaCc4LDBUGAqyUt4GBVGz46BV8w/XMnS1Vm0IVK+2MiNLG9z4O1O2rwkXz7tMC8v3hKjfVkuGiWStJSn0ZAQZ4EsU9AVoBArXZg4kTPikk8ox5UBGJ6CncRBhTHimBU270HDW1VCt89rC64fqvicfGF/j2ZHay60Of3O8supbclrYDT5X5Oz5c8pBB3dnfWi5YL5m6CZaKYskc5+EZcSFGt7+GLVvOqa6j+THPB6Kwd2iYUe17tmBX63QtCIf1KAcBpFgQPQXZACapp2UzdBnJGfrxRgBiKaAEkFlGQ6QArkODmEySh+WvqQ8v62tkNj"
)

func authorized(t *testing.T, key any) string {
	t.Helper()
	public, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

// securityKey writes an sk- key as ssh-keygen -t ed25519-sk does.
func securityKey() string {
	const kind = "sk-ssh-ed25519@openssh.com"
	blob := ssh.Marshal(struct {
		Kind        string
		Key         []byte
		Application string
	}{kind, make([]byte, ed25519.PublicKeySize), "ssh:"})
	return kind + " " + base64.StdEncoding.EncodeToString(blob)
}

// certificate writes a certificate of its own key.
func certificate(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(c)))
}

func TestPrincipal(t *testing.T) {
	for _, key := range []string{alice, ecdsaKey, rsaKey, securityKey()} {
		for _, written := range []string{key, key + " alice@example.com", " " + key + "  two words "} {
			if got, err := parsePrincipal(written); err != nil || got != key {
				t.Errorf("parsePrincipal(%q) = %q, %v; want %q", written, got, err, key)
			}
		}
	}
	weak := authorized(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(3), 700), E: 65537})
	old := authorized(t, &dsa.PublicKey{
		Parameters: dsa.Parameters{P: new(big.Int).SetBit(big.NewInt(1), 1023, 1), Q: big.NewInt(7), G: big.NewInt(2)},
		Y:          big.NewInt(3),
	})
	_, blob, _ := strings.Cut(alice, " ")
	bad := map[string]struct{ principal, says string }{
		"empty":             {"", "empty"},
		"a name":            {"alice", "not the type"},
		"no blob":           {"ssh-ed25519", "missing"},
		"options":           {`command="x" ` + alice, "before the key"},
		"authority":         {"cert-authority " + alice, "before the key"},
		"two keys":          {alice + " " + bob, "second key"},
		"two lines":         {alice + "\n" + bob, "not allowed"},
		"a carriage return": {alice + "\r", "not allowed"},
		"a certificate":     {certificate(t), "certificate"},
		"DSA":               {old, "DSA"},
		"a weak RSA key":    {weak, "702 bits"},
		"another type":      {"ssh-rsa " + blob, "stands after"},
		"not base64":        {"ssh-ed25519 AAAA!", "base64"},
		"cut off":           {alice[:len(alice)-8], "cannot be read"},
		"something after it": {"ssh-ed25519 " + base64.StdEncoding.EncodeToString(append(decode(t, blob), 0)),
			"cannot be read"},
		"a private key": {"-----BEGIN OPENSSH PRIVATE KEY-----", "private key"},
	}
	for name, tt := range bad {
		_, err := parsePrincipal(tt.principal)
		var user *jit.Error
		if !errors.As(err, &user) || user.Attribute != "principal" || user.Hint == "" ||
			!strings.Contains(user.Problem, tt.says) {
			t.Errorf("%s: %v, want an error of principal that says %q", name, err, tt.says)
		}
		if strings.Contains(name, "private") && strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: the error repeats it: %v", name, err)
		}
	}
	// A comment that looks like a marker is a comment, and dropped.
	m := grantOf(alice, "login", "x").Marker
	if got, err := parsePrincipal(alice + " " + m.String()); err != nil || got != alice {
		t.Errorf("a marker as comment: %q, %v", got, err)
	}
}

func decode(t *testing.T, blob string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(blob)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRole(t *testing.T) {
	good := map[string]string{
		"login":                           "login",
		"command: /bin/backup --now ":     "command:/bin/backup --now",
		`command:echo "a\b" \"`:           `command:echo "a\b" \"`,
		"port-forward:db.internal:5432":   "port-forward:db.internal:5432",
		"port-forward:Db_1:05432":         "port-forward:Db_1:5432",
		"port-forward:[0:0::1]:22":        "port-forward:[::1]:22",
		"port-forward:192.0.2.1:65535":    "port-forward:192.0.2.1:65535",
		"command:port-forward:db:1":       "command:port-forward:db:1",
		"command:echo grüße # no comment": "command:echo grüße # no comment",
	}
	for written, want := range good {
		r, err := parseRole(written)
		if err != nil || r.String() != want {
			t.Errorf("parseRole(%q) = %q, %v; want %q", written, r, err, want)
			continue
		}
		o, err := parseOptions(r.options(time.Now()))
		if err != nil || o.role() != r {
			t.Errorf("the options of %q are read as %q, %v", r, o.role(), err)
		}
	}
	for _, bad := range []string{
		"", "shell", "Login", "login ", "command:", "command:  ", `command:echo \`, "command:a\nb", "command:a\x00",
		"command:" + noShell, "port-forward:db",
		"port-forward:db:0", "port-forward:db:65536", "port-forward:db:http", "port-forward:*:22", "port-forward:db:*",
		`port-forward:d"b:22`,
		"port-forward:::1:22", "port-forward:a,b:22", "port-forward:[fe80::1%eth0]:22", "port-forward::22",
		"port-forward:-db:22",
	} {
		_, err := parseRole(bad)
		var user *jit.Error
		if !errors.As(err, &user) || user.Attribute != "role" || user.Hint == "" {
			t.Errorf("parseRole(%q) = %v, want an error of role with a hint", bad, err)
		}
	}
}

func TestConfig(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip("no home directory")
	}
	bad := map[string]struct {
		cfg       Config
		attribute string
	}{
		"nothing":        {Config{}, "authorized_keys"},
		"both":           {Config{AuthorizedKeys: "/a", Accounts: map[string]string{"a": "/a"}}, "accounts"},
		"blank":          {Config{AuthorizedKeys: " "}, "authorized_keys"},
		"a directory":    {Config{AuthorizedKeys: "/home/deploy/.ssh/"}, "authorized_keys"},
		"another's home": {Config{AuthorizedKeys: "~deploy/.ssh/authorized_keys"}, "authorized_keys"},
		"two lines":      {Config{AuthorizedKeys: "/a\n/b"}, "authorized_keys"},
		"no path":        {Config{Accounts: map[string]string{"deploy": ""}}, `accounts["deploy"]`},
		"no name":        {Config{Accounts: map[string]string{" ": "/a"}}, "accounts"},
		"the same file":  {Config{Accounts: map[string]string{"a": "/x/a", "b": "/x/./a"}}, `accounts["b"]`},
	}
	for name, tt := range bad {
		_, err := New(tt.cfg, jit.Services{Now: time.Now})
		var user *jit.Error
		if !errors.As(err, &user) || user.Attribute != tt.attribute || !errors.Is(err, jit.ErrInvalid) {
			t.Errorf("%s: %v, want an error of %s", name, err, tt.attribute)
		}
	}
	p, err := New(Config{AuthorizedKeys: "~/.ssh/authorized_keys"}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	b, traits, err := p.Check(jit.Binding{Principal: alice, Role: "login"})
	if err != nil || b.Scope != "~/.ssh/authorized_keys" {
		t.Errorf("the scope is %q, %v; want the path as written", b.Scope, err)
	}
	if path, _ := p.path(b.Scope); path != filepath.Join(home, ".ssh/authorized_keys") {
		t.Errorf("the file is %q", path)
	}
	if want := (jit.Traits{Enforcement: jit.Native, SessionTail: jit.Unlimited}); traits != want {
		t.Errorf("traits are %+v, want %+v", traits, want)
	}
	p, err = New(Config{Accounts: map[string]string{"b": "/home/b", "a": "/home/a"}}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if scopes, err := p.Scopes(t.Context()); err != nil || len(scopes) != 2 || scopes[0] != "a" || scopes[1] != "b" {
		t.Errorf("Scopes() = %q, %v", scopes, err)
	}
	var user *jit.Error
	if _, _, err := p.Check(jit.Binding{Principal: alice, Role: "login"}); !errors.As(err, &user) ||
		user.Attribute != "scope" {
		t.Errorf("no scope where there are two: %v", err)
	}
	p, err = New(Config{Accounts: map[string]string{"deploy": "/home/deploy/.ssh/authorized_keys"}},
		jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if b, _, err := p.Check(jit.Binding{Principal: alice, Role: "login"}); err != nil || b.Scope != "deploy" {
		t.Errorf("the scope is %q, %v; want the only account", b.Scope, err)
	}
}
