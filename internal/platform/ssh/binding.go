package ssh

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const principalHint = `write the public key alone, for example principal = "ssh-ed25519 AAAA…" (the content of ~/.ssh/id_ed25519.pub)`

// keyTypes are the keys that a current sshd accepts.
var keyTypes = map[string]bool{
	ssh.KeyAlgoED25519: true, ssh.KeyAlgoSKED25519: true,
	ssh.KeyAlgoECDSA256: true, ssh.KeyAlgoECDSA384: true, ssh.KeyAlgoECDSA521: true, ssh.KeyAlgoSKECDSA256: true,
	ssh.KeyAlgoRSA: true,
}

// minRSA is sshd's default RequiredRSASize, in bits.
const minRSA = 1024

// parsePrincipal returns "<type> <base64>" of a public key; a comment after it is dropped.
func parsePrincipal(s string) (string, error) {
	bad := func(format string, args ...any) (string, error) {
		return "", jit.Invalid("principal", principalHint, format, args...)
	}
	if strings.TrimSpace(s) == "" {
		return bad("the principal is empty; it has to be a public key")
	}
	if strings.Contains(s, "PRIVATE KEY") {
		return bad("the principal is a private key, which nobody but its owner may have")
	}
	if err := jit.CheckText("principal", s); err != nil {
		return "", err
	}
	words := strings.Fields(s)
	kind := words[0]
	switch {
	case strings.Contains(kind, "-cert-v0"):
		return bad("%q is a certificate, which already has an end of its own; the principal has to be the key", kind)
	case kind == "ssh-dss":
		return bad("sshd refuses DSA keys (ssh-dss)")
	case !keyTypes[kind] && carriesKey(words[1:]):
		return bad("%q stands before the key; options come from the role", kind)
	case !keyTypes[kind]:
		return bad("%q is not the type of a key that sshd accepts", kind)
	case len(words) == 1:
		return bad("the key after %q is missing", kind)
	case carriesKey(words[2:]):
		return bad("there is a second key; a grant is for one")
	}
	blob, err := base64.StdEncoding.DecodeString(words[1])
	if err != nil {
		return bad("the key after %q is not base64: %v", kind, err)
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return bad("the key after %q cannot be read: %v", kind, err)
	}
	if key.Type() != kind {
		return bad("the key says that it is %q and stands after %q", key.Type(), kind)
	}
	if !bytes.Equal(key.Marshal(), blob) {
		return bad("the key after %q is not in its one canonical form", kind)
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < minRSA {
			return bad("the RSA key has %d bits; sshd accepts %d or more", r.N.BitLen(), minRSA)
		}
	}
	return kind + " " + base64.StdEncoding.EncodeToString(blob), nil
}

// carriesKey reports whether a type of key stands among the words.
func carriesKey(words []string) bool {
	for _, w := range words {
		if keyTypes[w] || w == "ssh-dss" || strings.Contains(w, "-cert-v0") {
			return true
		}
	}
	return false
}

const roleHint = `write role = "login", "command:/usr/bin/backup --now" or "port-forward:db.internal:5432"`

const (
	login         = "login"
	commandPrefix = "command:"
	forwardPrefix = "port-forward:"
)

// role is what a line lets its key do: login when both fields are empty.
type role struct {
	command string // the only command that runs
	forward string // host:port, the only place that can be reached
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

var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?$`)

// parseRole reads login, command:<command> or port-forward:<host>:<port>.
func parseRole(s string) (role, error) {
	bad := func(format string, args ...any) (role, error) {
		return role{}, jit.Invalid("role", roleHint, format, args...)
	}
	if s == "" {
		return bad("the role is empty")
	}
	if err := jit.CheckText("role", s); err != nil {
		return role{}, err
	}
	if s == login {
		return role{}, nil
	}
	if command, ok := strings.CutPrefix(s, commandPrefix); ok {
		command = strings.TrimSpace(command)
		switch {
		case command == "":
			return bad("the role %q names no command", s)
		case strings.HasSuffix(command, `\`):
			// sshd would take it together with the closing quote and refuse the line.
			return bad(`the command %q ends in a backslash, which sshd cannot read`, command)
		case command == noShell:
			return bad("the command %q is how a port-forward line refuses a shell", command)
		}
		return role{command: command}, nil
	}
	place, ok := strings.CutPrefix(s, forwardPrefix)
	if !ok {
		return bad("%q is not a role; it has to be login, command:… or port-forward:…", s)
	}
	host, port, err := net.SplitHostPort(place)
	if err != nil {
		return bad("%q is not host:port: %v", place, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return bad("the port %q is not a number from 1 to 65535", port)
	}
	// sshd compares the name with what the client asks for, letter by letter: the case stays.
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		host = ip.String()
	} else if !hostForm.MatchString(host) {
		return bad("%q is not the name or address of one host", host)
	}
	return role{forward: net.JoinHostPort(host, strconv.FormatUint(number, 10))}, nil
}
