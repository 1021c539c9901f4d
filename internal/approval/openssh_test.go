package approval_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
)

// keygen runs ssh-keygen; the test is skipped where the machine does not have it.
func keygen(t testing.TB, stdin []byte, args ...string) error {
	t.Helper()
	path, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("ssh-keygen %s: %s", strings.Join(args, " "), out)
	}
	return err
}

// TestSignedByOpenSSH accepts what ssh-keygen signs, with each kind of key, in one file and in two.
func TestSignedByOpenSSH(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			key := filepath.Join(dir, "key")
			if err := keygen(t, nil, "-q", "-t", kind, "-N", "", "-f", key); err != nil {
				t.Fatal(err)
			}
			g := grant()
			path := filepath.Join(dir, "a.approval")
			text := statement(g, "bob@example.com").Text(g.RequestFields())
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := keygen(t, nil, "-q", "-Y", "sign", "-n", approval.Namespace, "-f", key, path); err != nil {
				t.Fatal(err)
			}
			armored, err := os.ReadFile(path + ".sig")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "b.approval"), approval.Join(text, armored), 0o600); err != nil {
				t.Fatal(err)
			}
			public, err := os.ReadFile(key + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			all, bad, err := approval.ReadDir(dir)
			if err != nil || len(bad) > 0 || len(all) != 2 {
				t.Fatalf("read %d statements, %v, %v; want 2", len(all), bad, err)
			}
			for _, s := range all {
				got, err := approval.Verify(s.Text, s.Signature)
				if err != nil || line(got) != strings.Join(strings.Fields(string(public))[:2], " ") {
					t.Errorf("%s: %v, %v", s.Source, got, err)
				}
			}
		})
	}
}

// accepts reports whether ssh-keygen -Y verify accepts a signature by the key over text, in our namespace.
func accepts(t testing.TB, key ssh.PublicKey, text, armored []byte) bool {
	t.Helper()
	dir := t.TempDir()
	signers, sig := filepath.Join(dir, "signers"), filepath.Join(dir, "sig")
	if err := os.WriteFile(signers, []byte(`bob namespaces="jit-approval" `+line(key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sig, armored, 0o600); err != nil {
		t.Fatal(err)
	}
	return keygen(
		t,
		text,
		"-q",
		"-Y",
		"verify",
		"-f",
		signers,
		"-I",
		"bob",
		"-n",
		approval.Namespace,
		"-s",
		sig,
	) == nil
}

// signers returns one signer of each kind whose signatures count.
func signers(t testing.TB) []ssh.Signer {
	t.Helper()
	all := []ssh.Signer{
		newSigner(t), newToken(t, ssh.KeyAlgoSKED25519, touched, 7), newToken(t, ssh.KeyAlgoSKECDSA256, touched, 7),
	}
	for _, generate := range []func() (any, error){
		func() (any, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		func() (any, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		func() (any, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
	} {
		key, err := generate()
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, signer)
	}
	return all
}

// TestVerifyAcceptsNoMoreThanOpenSSH changes signatures at random: what Verify accepts, ssh-keygen accepts too.
func TestVerifyAcceptsNoMoreThanOpenSSH(t *testing.T) {
	g := grant()
	text := statement(g, "bob@example.com").Text(g.RequestFields())
	random := mathrand.New(mathrand.NewPCG(1, 2)) // #nosec G404 -- repeatable
	for _, signer := range signers(t) {
		armored, err := approval.Sign(text, signer)
		if err != nil {
			t.Fatal(err)
		}
		if !accepts(t, signer.PublicKey(), text, armored) {
			t.Fatal("ssh-keygen refuses our signature")
		}
		accepted := 0
		for range 100 {
			compare(t, signer.PublicKey(), text, mutate(random, armored), &accepted)
		}
		if accepted == 0 {
			t.Errorf("%s: no change kept the signature valid: the test compares nothing", signer.PublicKey().Type())
		}
	}
}

func compare(t *testing.T, key ssh.PublicKey, text, armored []byte, accepted *int) {
	t.Helper()
	if got, err := approval.Verify(text, armored); err == nil && line(got) == line(key) {
		*accepted++
		if !accepts(t, key, text, armored) {
			t.Errorf("ssh-keygen refuses what Verify accepts:\n%s", armored)
		}
	}
}

// mutate changes the armor, or one byte of what is in it.
func mutate(random *mathrand.Rand, armored []byte) []byte {
	block, _ := pem.Decode(armored)
	changed := bytes.Clone(block.Bytes)
	switch random.IntN(6) {
	case 0:
		return append([]byte("x\n"), armored...)
	case 1:
		return append(bytes.Clone(armored), '\n')
	case 2:
		changed = append(changed, byte(random.UintN(256)))
	case 3:
		changed = changed[:random.IntN(len(changed))]
	default:
		changed[random.IntN(len(changed))] ^= byte(1 << random.UintN(8))
	}
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: changed})
}

func FuzzVerify(f *testing.F) {
	all := signers(f)
	text := []byte("jit approval 1\n")
	for i, signer := range all {
		armored, err := approval.Sign(text, signer)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), armored)
	}
	f.Fuzz(func(t *testing.T, i uint8, armored []byte) {
		var accepted int
		compare(t, all[int(i)%len(all)].PublicKey(), text, armored, &accepted)
	})
}

// craft writes a signature as its format lets one (PROTOCOL.sshsig of OpenSSH), with each part as told.
type craft struct {
	version                   uint32
	key                       []byte
	namespace, reserved, hash string
	algorithm                 string
}

func (c craft) sign(t *testing.T, signer ssh.Signer, text []byte) []byte {
	t.Helper()
	magic := [6]byte{'S', 'S', 'H', 'S', 'I', 'G'}
	digest := sha512.Sum512(text)
	sum := digest[:]
	if c.hash == "sha256" {
		digest := sha256.Sum256(text)
		sum = digest[:]
	}
	data := ssh.Marshal(struct {
		Magic                     [6]byte
		Namespace, Reserved, Hash string
		Sum                       []byte
	}{magic, c.namespace, c.reserved, c.hash, sum})
	signature, err := signer.Sign(rand.Reader, data)
	if algorithms, ok := signer.(ssh.AlgorithmSigner); ok && c.algorithm != "" {
		signature, err = algorithms.SignWithAlgorithm(rand.Reader, data, c.algorithm)
	}
	if err != nil {
		t.Fatal(err)
	}
	blob := ssh.Marshal(struct {
		Magic                     [6]byte
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{magic, c.version, c.key, c.namespace, c.reserved, c.hash, ssh.Marshal(signature)})
	return pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob})
}

// TestFormsOfSignatures tries whatever the format can say. What counts, ssh-keygen accepts too.
func TestFormsOfSignatures(t *testing.T) {
	text := []byte("jit approval 1\n")
	ed25519, rsaKey := newSigner(t), signers(t)[3]
	certificate := &ssh.Certificate{Key: ed25519.PublicKey(), CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity,
		ValidPrincipals: []string{"bob"}}
	if err := certificate.SignCert(rand.Reader, newSigner(t)); err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	shortKey, err := ssh.NewSignerFromKey(short)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signer ssh.Signer
		change func(*craft)
		want   string // of the error; empty if it counts
	}{
		"plain":                  {ed25519, func(*craft) {}, ""},
		"sha256":                 {ed25519, func(c *craft) { c.hash = "sha256" }, ""},
		"RSA with SHA-256":       {rsaKey, func(c *craft) { c.algorithm = ssh.KeyAlgoRSASHA256 }, ""},
		"RSA with SHA-512":       {rsaKey, func(c *craft) { c.algorithm = ssh.KeyAlgoRSASHA512 }, ""},
		"RSA with SHA-1":         {rsaKey, func(c *craft) { c.algorithm = ssh.KeyAlgoRSA }, "ssh-rsa"},
		"a short RSA key":        {shortKey, func(c *craft) { c.algorithm = ssh.KeyAlgoRSASHA512 }, "1024 bits"},
		"no namespace":           {ed25519, func(c *craft) { c.namespace = "" }, "namespace"},
		"a longer namespace":     {ed25519, func(c *craft) { c.namespace += "\x00" }, "namespace"},
		"sha1":                   {ed25519, func(c *craft) { c.hash = "sha1" }, "sha1"},
		"md5":                    {ed25519, func(c *craft) { c.hash = "md5" }, "md5"},
		"SHA512 in capitals":     {ed25519, func(c *craft) { c.hash = "SHA512" }, "SHA512"},
		"no hash":                {ed25519, func(c *craft) { c.hash = "" }, "hash"},
		"a later version":        {ed25519, func(c *craft) { c.version = 2 }, "version"},
		"version 0":              {ed25519, func(c *craft) { c.version = 0 }, "version"},
		"something reserved":     {ed25519, func(c *craft) { c.reserved = "x" }, "more than a signature"},
		"a certificate":          {ed25519, func(c *craft) { c.key = certificate.Marshal() }, "not accepted"},
		"another key":            {ed25519, func(c *craft) { c.key = rsaKey.PublicKey().Marshal() }, "invalid signature format"},
		"a key and more":         {ed25519, func(c *craft) { c.key = append(c.key, 0) }, "cannot be read"},
		"no key":                 {ed25519, func(c *craft) { c.key = nil }, "cannot be read"},
		"a token nobody touched": {newToken(t, ssh.KeyAlgoSKED25519, 0, 1), func(*craft) {}, "does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			made := craft{
				version: 1, key: c.signer.PublicKey().Marshal(), namespace: approval.Namespace, hash: "sha512",
			}
			c.change(&made)
			armored := made.sign(t, c.signer, text)
			key, err := approval.Verify(text, armored)
			switch {
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, %v; want %q", key, err, c.want)
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want == "" && !accepts(t, key, text, armored):
				t.Error("ssh-keygen refuses it")
			}
		})
	}
}

// TestOtherNamespaces refuses signatures that were made for something else, such as a commit.
func TestOtherNamespaces(t *testing.T) {
	signer := newSigner(t)
	text := []byte("jit approval 1\n")
	for _, namespace := range []string{"git", "file", "jit-approval2", "jit"} {
		signature, err := sshsig.Sign(bytes.NewReader(text), signer, sshsig.HashSHA512, namespace)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := approval.Verify(text, sshsig.Armor(signature)); err == nil ||
			!strings.Contains(err.Error(), "namespace") {
			t.Errorf("%q: got %v, want a refusal", namespace, err)
		}
		signature.Namespace = approval.Namespace
		if _, err := approval.Verify(text, sshsig.Armor(signature)); err == nil {
			t.Errorf("%q: renaming the namespace makes it count", namespace)
		}
	}
}
