package approval_test

import (
	"bytes"
	"encoding/pem"
	"math/rand/v2"
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

// TestVerifyAcceptsNoMoreThanOpenSSH changes signatures at random: what Verify accepts, ssh-keygen accepts too.
func TestVerifyAcceptsNoMoreThanOpenSSH(t *testing.T) {
	signer := newSigner(t)
	g := grant()
	text := statement(g, "bob@example.com").Text(g.RequestFields())
	armored, err := approval.Sign(text, signer)
	if err != nil {
		t.Fatal(err)
	}
	if !accepts(t, signer.PublicKey(), text, armored) {
		t.Fatal("ssh-keygen refuses our signature")
	}
	random := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- repeatable
	accepted := 0
	for range 300 {
		compare(t, signer.PublicKey(), text, mutate(random, armored), &accepted)
	}
	if accepted == 0 {
		t.Error("no change kept the signature valid: the test compares nothing")
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
func mutate(random *rand.Rand, armored []byte) []byte {
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
	signer := newSigner(f)
	text := []byte("jit approval 1\n")
	armored, err := approval.Sign(text, signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(armored)
	f.Fuzz(func(t *testing.T, armored []byte) {
		var accepted int
		compare(t, signer.PublicKey(), text, armored, &accepted)
	})
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
