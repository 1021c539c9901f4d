package approval

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// keyTypes are the types whose signatures count. Certificates are not among them: their validity is not part of a
// signature. DSA is broken.
var keyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSA,
}

// minRSA is the shortest RSA key that counts, in bits (NIST SP 800-131A).
const minRSA = 2048

// ParseKey reads a signing key: one line as in authorized_keys, without options.
func ParseKey(line string) (ssh.PublicKey, error) {
	const attribute, hint = "signing_keys", `write the line of a file such as ~/.ssh/id_ed25519.pub`
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	switch {
	case strings.Contains(line, "PRIVATE KEY"): // never repeat it
		return nil, jit.Invalid(
			attribute,
			hint,
			"this is a private key; keep it secret, and replace it if anybody has seen it",
		)
	case err != nil:
		return nil, jit.Invalid(attribute, hint, "%q is not an SSH public key", jit.Abbreviate(line))
	case len(options) > 0:
		return nil, jit.Invalid(
			attribute,
			"remove the options",
			"%q has options, which have no meaning here",
			jit.Abbreviate(line),
		)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, jit.Invalid(
			attribute,
			"write each key as an element of the list",
			"%q holds more than one line",
			jit.Abbreviate(line),
		)
	}
	if why := unusable(key); why != "" {
		return nil, jit.Invalid(
			attribute,
			"use an ed25519 key, or one of a FIDO token",
			"%q %s",
			jit.Abbreviate(line),
			why,
		)
	}
	return key, nil
}

// unusable says why signatures of the key do not count; empty if they do.
func unusable(key ssh.PublicKey) string {
	if !slices.Contains(keyTypes, key.Type()) {
		return fmt.Sprintf("is of the type %s, which is not accepted", key.Type())
	}
	if crypto, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < minRSA {
			return fmt.Sprintf("is an RSA key of %d bits; at least %d are required", r.N.BitLen(), minRSA)
		}
	}
	return ""
}
