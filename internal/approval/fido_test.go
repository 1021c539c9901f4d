package approval_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
)

// token signs as a FIDO token does (PROTOCOL.u2f of OpenSSH). touched says whether somebody touched it.
type token struct {
	public  ssh.PublicKey
	private ed25519.PrivateKey
	touched bool
}

const application = "ssh:"

func newToken(t *testing.T, touched bool) *token {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, public, application}))
	if err != nil {
		t.Fatal(err)
	}
	return &token{key, private, touched}
}

func (k *token) PublicKey() ssh.PublicKey { return k.public }

func (k *token) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	rest := make([]byte, 5) // flags and a counter
	if k.touched {
		rest[0] = 1
	}
	binary.BigEndian.PutUint32(rest[1:], 7)
	app, message := sha256.Sum256([]byte(application)), sha256.Sum256(data)
	signed := append(append(app[:], rest...), message[:]...)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.private, signed), Rest: rest}, nil
}

func TestTokens(t *testing.T) {
	text := []byte("jit approval 1\n")
	for _, touched := range []bool{true, false} {
		k := newToken(t, touched)
		armored, err := approval.Sign(text, k)
		if err != nil {
			t.Fatal(err)
		}
		if key, err := approval.Verify(text, armored); (err == nil) != touched {
			t.Errorf("touched %t: %v, %v", touched, key, err)
		}
		if touched && !accepts(t, k.public, text, armored) {
			t.Error("ssh-keygen refuses the token's signature")
		}
	}
}
