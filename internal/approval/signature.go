package approval

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// Namespace is that of every signature on a statement, as in `ssh-keygen -Y sign -n jit-approval`. A signature made for
// anything else, such as a commit, does not count.
const Namespace = "jit-approval"

// Sign signs a statement's text. The result has the form that `ssh-keygen -Y sign` writes.
func Sign(text []byte, signer ssh.Signer) ([]byte, error) {
	if why := unusable(signer.PublicKey()); why != "" {
		return nil, fmt.Errorf("the key %s %s", ssh.FingerprintSHA256(signer.PublicKey()), why)
	}
	signature, err := sshsig.Sign(bytes.NewReader(text), signer, sshsig.HashSHA512, Namespace)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sshsig.Armor(signature), nil
}

// Verify returns the key that made an armored signature over text (PROTOCOL.sshsig of OpenSSH). Whose key it is, is for
// the caller to find out.
func Verify(text, armored []byte) (ssh.PublicKey, error) {
	block, rest := pem.Decode(armored)
	switch {
	case block == nil || !bytes.HasPrefix(armored, []byte(begin+"\n")):
		return nil, errors.New("there is no SSH signature")
	case len(bytes.TrimSpace(rest)) > 0 || len(block.Headers) > 0:
		return nil, errors.New("there is more than one SSH signature")
	}
	signature, err := sshsig.ParseSignature(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the signature cannot be read: %w", err)
	}
	if !bytes.Equal(signature.Marshal(), block.Bytes) {
		return nil, errors.New("the signature holds more than a signature")
	}
	if why := unusable(signature.PublicKey); why != "" {
		return nil, fmt.Errorf("the key %s %s", ssh.FingerprintSHA256(signature.PublicKey), why)
	}
	if signature.Namespace != Namespace {
		return nil, fmt.Errorf("the signature is for the namespace %q, not %q", signature.Namespace, Namespace)
	}
	err = sshsig.Verify(bytes.NewReader(text), signature, signature.PublicKey, signature.HashAlgorithm, Namespace)
	if err != nil {
		return nil, fmt.Errorf("the signature does not match the text: %w", err)
	}
	return signature.PublicKey, nil
}
