package ssh

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// keyTypes holds the key types that a current sshd accepts.
var keyTypes = map[string]bool{
	ssh.KeyAlgoED25519: true, ssh.KeyAlgoSKED25519: true,
	ssh.KeyAlgoECDSA256: true, ssh.KeyAlgoECDSA384: true, ssh.KeyAlgoECDSA521: true, ssh.KeyAlgoSKECDSA256: true,
	ssh.KeyAlgoRSA: true,
}

// minRSA is sshd's default RequiredRSASize, in bits.
const minRSA = 1024

func badPrincipal(format string, args ...any) error {
	return jit.Invalid("principal", "write the public key alone, for example "+
		`principal = "ssh-ed25519 AAAA…" (the content of ~/.ssh/id_ed25519.pub)`, format, args...)
}

// parsePrincipal returns "<type> <base64>" of a public key; a comment after it is dropped.
func parsePrincipal(s string) (string, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return "", badPrincipal("the principal is empty; it must be a public key")
	}
	if strings.Contains(s, "PRIVATE KEY") {
		return "", badPrincipal("the principal is a private key, which nobody but its owner may have")
	}
	if err := jit.CheckText("principal", s); err != nil {
		return "", err
	}
	if err := checkWords(words[0], words[1:]); err != nil {
		return "", err
	}
	return parseKey(words[0], words[1])
}

// checkWords refuses everything but a key's type, one key and a comment.
func checkWords(kind string, rest []string) error {
	switch {
	case strings.Contains(kind, "-cert-v0"):
		return badPrincipal("%q is a certificate, which has an end of its own; the principal must be the key", kind)
	case kind == "ssh-dss":
		return badPrincipal("sshd refuses DSA keys (ssh-dss)")
	case !keyTypes[kind] && slices.ContainsFunc(rest, isKeyType):
		return badPrincipal("%q stands before the key; options come from the role", kind)
	case !keyTypes[kind]:
		return badPrincipal("%q is not the type of a key that sshd accepts", kind)
	case len(rest) == 0:
		return badPrincipal("the key after %q is missing", kind)
	case slices.ContainsFunc(rest[1:], isKeyType):
		return badPrincipal("there is a second key; a grant is for one")
	}
	return nil
}

// isKeyType reports whether a word is a type of key, also one that is not accepted.
func isKeyType(word string) bool {
	return keyTypes[word] || word == "ssh-dss" || strings.Contains(word, "-cert-v0")
}

// parseKey returns the type and the key in their canonical form.
func parseKey(kind, written string) (string, error) {
	blob, err := base64.StdEncoding.DecodeString(written)
	if err != nil {
		return "", badPrincipal("the key after %q is not base64: %v", kind, err)
	}
	key, err := ssh.ParsePublicKey(blob)
	switch {
	case err != nil:
		return "", badPrincipal("the key after %q cannot be read: %v", kind, err)
	case key.Type() != kind:
		return "", badPrincipal("the key says that it is %q and stands after %q", key.Type(), kind)
	case !bytes.Equal(key.Marshal(), blob):
		return "", badPrincipal("the key after %q is not in its one canonical form", kind)
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < minRSA {
			return "", badPrincipal("the RSA key has %d bits; sshd accepts %d or more", r.N.BitLen(), minRSA)
		}
	}
	return kind + " " + base64.StdEncoding.EncodeToString(blob), nil
}

const (
	login         = "login"
	commandPrefix = "command:"
	forwardPrefix = "port-forward:"
)

// role is the access that a line gives its key: login if both fields are empty.
type role struct {
	command string // the only command that runs
	forward string // host:port, the only reachable destination
}

// String writes the role as the user does.
func (r role) String() string {
	switch {
	case r.command != "":
		return commandPrefix + r.command
	case r.forward != "":
		return forwardPrefix + r.forward
	}
	return login
}

func badRole(format string, args ...any) (role, error) {
	return role{}, jit.Invalid("role",
		`write role = "login", "command:/usr/bin/backup --now" or "port-forward:db.internal:5432"`, format, args...)
}

// parseRole reads login, command:<command> or port-forward:<host>:<port>.
func parseRole(s string) (role, error) {
	if err := jit.CheckText("role", s); err != nil {
		return role{}, err
	}
	if command, ok := strings.CutPrefix(s, commandPrefix); ok {
		return parseCommand(strings.TrimSpace(command))
	}
	if destination, ok := strings.CutPrefix(s, forwardPrefix); ok {
		return parseForward(destination)
	}
	if s != login {
		return badRole("%q is not a role; it must be login, command:… or port-forward:…", s)
	}
	return role{}, nil
}

func parseCommand(command string) (role, error) {
	switch {
	case command == "":
		return badRole("the role names no command")
	case strings.HasSuffix(command, `\`):
		// sshd would take it together with the closing quote and refuse the line.
		return badRole(`the command %q ends in a backslash, which sshd cannot read`, command)
	case command == noShell:
		return badRole("the command %q is the one that a port-forward line runs", command)
	}
	return role{command: command}, nil
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?$`)

func parseForward(destination string) (role, error) {
	host, port, err := net.SplitHostPort(destination)
	if err != nil {
		return badRole("%q is not host:port: %v", destination, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return badRole("the port %q is not a number from 1 to 65535", port)
	}
	// sshd compares the name with the client's in the same case, so the case stays.
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		host = ip.String()
	} else if !hostForm.MatchString(host) {
		return badRole("%q is not the name or address of one host", host)
	}
	return role{forward: net.JoinHostPort(host, strconv.FormatUint(number, 10))}, nil
}
