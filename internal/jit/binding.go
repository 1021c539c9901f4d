package jit

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Binding describes access: who (Principal) may do what (Role) where (Target and Scope). It is comparable. The platform
// defines the forms of Principal, Role and Scope; [Platform.Check] returns the canonical form.
type Binding struct {
	Target    string `json:"target"`
	Principal string `json:"principal"`
	Role      string `json:"role"`
	Scope     string `json:"scope"`
}

// Place is one scope of one target.
type Place struct {
	Target string `json:"target"`
	Scope  string `json:"scope"`
}

// Compare orders places by target, then scope.
func (p Place) Compare(other Place) int {
	return cmp.Or(cmp.Compare(p.Target, other.Target), cmp.Compare(p.Scope, other.Scope))
}

// Binding returns the binding of a principal and a role at the place.
func (p Place) Binding(principal, role string) Binding {
	return Binding{Target: p.Target, Principal: principal, Role: role, Scope: p.Scope}
}

// Place returns the place of the binding.
func (b Binding) Place() Place { return Place{b.Target, b.Scope} }

// ID identifies a grant for ever: a UUID in its canonical lower-case text form.
type ID string

var idForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// ParseID accepts the text form of a grant id, in either case.
func ParseID(s string) (ID, error) {
	id := strings.ToLower(strings.TrimSpace(s))
	if !idForm.MatchString(id) {
		return "", Invalid("id", "copy the id from `jit list`",
			"%q is not a grant id; it looks like 3f2b8c1e-0000-8000-8000-000000000000", s)
	}
	return ID(id), nil
}

// NewID derives the id of a grant from the parts that identify it: the same grant has the same id on every machine, and
// another reason or renewal is another grant. The id is a version 8 UUID (RFC 9562, 5.8): SHA-256 over the
// length-prefixed parts.
func NewID(owner string, b Binding, reason string, renewal int64) ID {
	h := hashParts("jit grant v1", owner, b.Target, b.Principal, b.Role, b.Scope, reason)
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(renewal))
	h.Write(n[:])
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	s := hex.EncodeToString(u)
	return ID(s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:])
}

// hashParts returns SHA-256 over the parts, each after its length, so that no part can run into the next.
func hashParts(parts ...string) hash.Hash {
	h := sha256.New()
	for _, part := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return h
}

// DefaultOwner is the owner of grants whose configuration names none.
const DefaultOwner = "jit"

const (
	ownerCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	maxOwner        = 32
)

// CheckOwner accepts 1 to 32 lower-case letters, digits and inner hyphens, which fit into the marker of every platform.
func CheckOwner(owner string) error {
	if owner == "" || len(owner) > maxOwner || strings.Trim(owner, ownerCharacters) != "" ||
		strings.Trim(owner, "-") != owner {
		return Invalid("owner", `write for example owner = "payments"`, "%q is not an owner; it takes 1 to 32 "+
			"lower-case letters, digits and hyphens, and begins and ends with a letter or digit", owner)
	}
	return nil
}

// maxReason is the length of the longest reason, in bytes.
const maxReason = 500

// CheckReason accepts a reason that a reviewer can read: not blank, one line, at most 500 bytes.
func CheckReason(reason string) error {
	const hint = `say why, for example reason = "INC-4211: fail over the primary"`
	switch {
	case strings.TrimSpace(reason) == "":
		return Invalid("reason", hint, "the reason is empty")
	case len(reason) > maxReason:
		return Invalid("reason", "shorten it and link to the rest",
			"the reason has %d bytes; at most %d are kept", len(reason), maxReason)
	}
	return CheckText("reason", reason)
}

// keyLine finds the beginnings of lines with SSH public keys.
var keyLine = regexp.MustCompile(`(?m)^(ssh-|ecdsa-|sk-)\S+ AAAA`)

// CheckText refuses text that must never reach a platform, a log or a page: invalid UTF-8, control characters (a line
// feed would start a new line of a key file) and characters that change the direction of the text around them. It also
// refuses private keys.
func CheckText(attribute, s string) error {
	if privateKey.MatchString(s) {
		return Invalid(attribute, "", "%q is a private key", s)
	}
	if !utf8.ValidString(s) {
		return Invalid(attribute, "write it in UTF-8", "%q is not valid UTF-8", s)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			hint := "write it on one line, without control characters"
			if whole := strings.TrimRight(s, "\r\n"); whole != s && CheckText(attribute, whole) == nil {
				hint = "remove the line break at its end; for a file, write trimspace(file(…))"
			}
			if len(keyLine.FindAllString(s, 2)) == 2 {
				hint = "name one key"
			}
			return Invalid(attribute, hint, "%q contains the character %U, which is not allowed", s, r)
		}
	}
	return nil
}

// OfFile returns a name without the line break at its end: file() returns that of a file too.
func OfFile(name string) string { return strings.TrimRight(name, "\r\n") }

// CheckName is [CheckText] for names and keys. It also refuses white space other than a plain space, and invisible
// characters, which the target would take for a part of the name.
func CheckName(attribute, s string) error {
	if err := CheckText(attribute, s); err != nil {
		return err
	}
	for _, r := range s {
		if r > unicode.MaxASCII && (unicode.IsSpace(r) || unicode.In(r, unicode.Zs, unicode.Cf)) {
			return Invalid(attribute, "delete the character, or write a plain space",
				"%q contains the invisible character %U", s, r)
		}
	}
	return nil
}
