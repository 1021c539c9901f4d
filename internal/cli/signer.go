package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/term"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// signer reads a private key, or a public key whose private half is in the SSH agent. Without a file there is no
// signer. Call done after the last signature. flag is the flag that names the file.
func (p *program) signer(ctx context.Context, flag, file string) (signer ssh.Signer, done func(), err error) {
	done = func() {}
	if file == "" {
		return nil, done, nil
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the user names it
	if err != nil {
		return nil, nil, jit.Invalid(flag, "name the file of an SSH key", "the key cannot be read: %v", err)
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
		return agentSigner(ctx, flag, public, file)
	}
	signer, err = p.privateKey(ctx, flag, text, file)
	return signer, done, err
}

// agentSigner signs with the key of that file, which is in the SSH agent.
func agentSigner(
	ctx context.Context, flag string, public ssh.PublicKey, file string,
) (signer ssh.Signer, done func(), err error) {
	if os.Getenv(envAgent) == "" {
		return nil, nil, jit.Invalid(flag, agentHint, "%s is a public key, and %s names no agent", file, envAgent)
	}
	signers, done, err := agentSigners(ctx, flag)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range signers {
		if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
			return s, done, nil
		}
	}
	done()
	return nil, nil, jit.Invalid(flag, "add it with ssh-add", "the SSH agent does not have the key of %s", file)
}

const (
	// envAgent is the environment variable that names the socket of the SSH agent.
	envAgent  = "SSH_AUTH_SOCK"
	agentHint = "name the private key, or start an SSH agent that has it"
)

// agentSigners returns the keys of the SSH agent. Call done after the last signature.
func agentSigners(ctx context.Context, flag string) (signers []ssh.Signer, done func(), err error) {
	socket := os.Getenv(envAgent)
	if socket == "" {
		return nil, nil, jit.Invalid(flag, agentHint, "there is no key: %s names no agent", envAgent)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, jit.Invalid(flag, agentHint, "the SSH agent cannot be reached: %v", err)
	}
	signers, err = agent.NewClient(conn).Signers()
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("ask the SSH agent for its keys: %w", err)
	}
	return signers, func() { _ = conn.Close() }, nil
}

// onlySigner returns the one key of the SSH agent that may sign for the approver; fault says why a key may not.
func onlySigner(
	ctx context.Context, flag string, fault func(ssh.PublicKey) error, whose string,
) (signer ssh.Signer, done func(), err error) {
	all, done, err := agentSigners(ctx, flag)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, s := range all {
		if fault(s.PublicKey()) == nil {
			signer = s
			names = append(names, ssh.FingerprintSHA256(s.PublicKey()))
		}
	}
	switch len(names) {
	case 1:
		return signer, done, nil
	case 0:
		done()
		return nil, nil, jit.Invalid(flag, agentHint, "the SSH agent has no key%s", whose)
	}
	done()
	return nil, nil, jit.Invalid(flag, "name the file of one of their public keys",
		"the SSH agent has more than one key%s: %s", whose, strings.Join(names, ", "))
}

// privateKey reads a private key.
func (p *program) privateKey(ctx context.Context, flag string, text []byte, file string) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return p.lockedKey(ctx, flag, text, file)
	}
	if err != nil {
		return nil, jit.Invalid(flag, "name the file of an SSH key; of a FIDO token name the public key, and load it "+
			"with ssh-add", "%s is not an SSH key that can sign by itself", file)
	}
	return signer, nil
}

// lockedKey reads a private key and asks for its passphrase on a terminal.
func (p *program) lockedKey(ctx context.Context, flag string, text []byte, file string) (ssh.Signer, error) {
	terminal, ok := p.in.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return nil, jit.Invalid(flag, "run it on a terminal, load the key with ssh-add and name its public key, or sign "+
			"with a dedicated key without a passphrase",
			"the key %s has a passphrase, and there is no terminal to ask for it", file)
	}
	fmt.Fprintf(p.err, "Passphrase of %s: ", printable(file))
	phrase, err := readPassword(ctx, int(terminal.Fd()))
	fmt.Fprintln(p.err)
	if err != nil {
		return nil, fmt.Errorf("read the passphrase: %w", err)
	}
	signer, err := ssh.ParsePrivateKeyWithPassphrase(text, phrase)
	if err != nil {
		return nil, jit.Invalid(flag, "try again", "the passphrase does not open %s", file)
	}
	return signer, nil
}

// readPassword reads a line from a terminal that does not show it. If ctx ends before, the terminal shows lines again.
func readPassword(ctx context.Context, terminal int) ([]byte, error) {
	shows, err := term.GetState(terminal)
	if err != nil {
		return nil, err
	}
	type answer struct {
		phrase []byte
		err    error
	}
	read := make(chan answer, 1)
	go func() { // nothing interrupts a read from a terminal
		phrase, err := term.ReadPassword(terminal)
		read <- answer{phrase, err}
	}()
	select {
	case a := <-read:
		return a.phrase, a.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(terminal, shows))
	}
}
