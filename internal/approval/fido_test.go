package approval_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/big"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
)

// token signs as a FIDO token does (PROTOCOL.u2f of OpenSSH).
type token struct {
	public ssh.PublicKey
	// sign signs what the token signs.
	sign func(message []byte) []byte
	// flags say what the token saw: touched, verified. counter is how often it has signed.
	flags   byte
	counter uint32
}

const (
	application       = "ssh:"
	touched, verified = 1, 4
)

// newToken returns a token with a key of a type.
func newToken(t testing.TB, kind string, flags byte, counter uint32) *token {
	t.Helper()
	k := &token{flags: flags, counter: counter}
	var blob []byte
	if kind == ssh.KeyAlgoSKED25519 {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k.sign = func(message []byte) []byte { return ed25519.Sign(private, message) }
		blob = ssh.Marshal(struct {
			Type        string
			Key         []byte
			Application string
		}{kind, public, application})
	} else {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k.sign = func(message []byte) []byte {
			sum := sha256.Sum256(message)
			r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
			if err != nil {
				t.Fatal(err)
			}
			return ssh.Marshal(struct{ R, S *big.Int }{r, s})
		}
		point, err := private.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		blob = ssh.Marshal(struct {
			Type, Curve string
			Point       []byte
			Application string
		}{kind, "nistp256", point, application})
	}
	var err error
	if k.public, err = ssh.ParsePublicKey(blob); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *token) PublicKey() ssh.PublicKey { return k.public }

func (k *token) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	rest := make([]byte, 5)
	rest[0] = k.flags
	binary.BigEndian.PutUint32(rest[1:], k.counter)
	app, message := sha256.Sum256([]byte(application)), sha256.Sum256(data)
	signed := append(append(app[:], rest...), message[:]...)
	return &ssh.Signature{Format: k.public.Type(), Blob: k.sign(signed), Rest: rest}, nil
}

// A token's signature counts if somebody touched the token, whatever its counter says.
func TestTokens(t *testing.T) {
	text := []byte("jit approval 1\n")
	for _, kind := range []string{ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256} {
		for _, c := range []struct {
			flags   byte
			counter uint32
			want    bool
		}{
			{touched, 7, true}, {touched, 0, true}, {touched, 1<<32 - 1, true}, {touched | verified, 7, true},
			{0, 7, false}, {verified, 7, false},
		} {
			k := newToken(t, kind, c.flags, c.counter)
			armored, err := approval.Sign(text, k)
			if err != nil {
				t.Fatal(err)
			}
			key, err := approval.Verify(text, armored)
			if (err == nil) != c.want {
				t.Errorf("%s, flags %d, counter %d: %v, %v", kind, c.flags, c.counter, key, err)
			}
			if c.want && !accepts(t, k.public, text, armored) {
				t.Errorf("%s, flags %d, counter %d: ssh-keygen refuses it", kind, c.flags, c.counter)
			}
			if _, err := approval.ParseKey(line(k.public)); err != nil {
				t.Error(err)
			}
			k.sign = func([]byte) []byte { return make([]byte, 64) }
			if armored, err = approval.Sign(text, k); err != nil {
				t.Fatal(err)
			}
			if key, err := approval.Verify(text, armored); err == nil {
				t.Errorf("%s: a signature of nothing counts: %v", kind, key)
			}
		}
	}
}
