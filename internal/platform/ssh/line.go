package ssh

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// line is one line of the file with its meaning for sshd.
type line struct {
	raw []byte // with its line feed, if it has one
	// principal is the key in its canonical form if it has one, else as written; empty if the line has no key.
	principal string
	written   string // the options as written
	opts      options
	// ignored says why sshd ignores the line though it has a key; empty if sshd reads it.
	ignored string
	// ours: the line bears the marker.
	ours   bool
	marker jit.Marker
}

// parseLine reads a line as sshd does (auth_check_authkey_line). A line is ours if a marker, and nothing else, follows
// the key. Every other line stays as it is.
func parseLine(raw []byte) *line {
	l := &line{raw: raw}
	text, _, _ := bytes.Cut(raw, []byte{0}) // sshd reads a C string
	s := strings.TrimLeft(strings.TrimRight(string(text), "\r\n"), blanks)
	if s == "" || s[0] == '#' {
		return l
	}
	kind, blob, comment := cutKey(s)
	readable := isKey(kind, blob)
	if !readable {
		n, ok := optionsLength(s)
		if !ok {
			return l
		}
		l.written = s[:n]
		kind, blob, comment = cutKey(strings.TrimLeft(s[n:], blanks))
		readable = isKey(kind, blob)
	}
	l.marker, l.ours = jit.ParseMarker(strings.TrimRight(comment, blanks))
	if !readable && !l.ours {
		return l
	}
	l.principal = kind + " " + blob
	if canonical, err := parsePrincipal(l.principal); err == nil {
		l.principal = canonical
	}
	var err error
	if l.opts, err = parseOptions(l.written); err != nil {
		l.ignored = fmt.Sprintf("sshd ignores the line because of its options %q: %v", l.written, err)
	}
	if !readable {
		// A line of ours counts even so: it must be found to be removed.
		l.ignored = "sshd ignores the line because its key cannot be read"
	}
	return l
}

const blanks = " \t"

// cutKey cuts a line without options into type, key and comment. It drops the characters of the key that b64_pton of
// sshd skips, and replaces the name of a signature type by that of its key, as sshd does.
func cutKey(s string) (kind, blob, comment string) {
	word := func() string {
		n := strings.IndexAny(s+blanks, blanks)
		w := s[:n]
		s = strings.TrimLeft(s[n:], blanks)
		return w
	}
	kind, blob = word(), passedOver.Replace(word())
	if plain, ok := signatureKinds[kind]; ok {
		kind = plain
	}
	return kind, blob, s
}

// signatureKinds holds key types by the names of their signatures, which peek_type_nid of sshd accepts too.
var signatureKinds = map[string]string{
	ssh.KeyAlgoRSASHA256: ssh.KeyAlgoRSA, ssh.KeyAlgoRSASHA512: ssh.KeyAlgoRSA,
	"webauthn-" + ssh.KeyAlgoSKECDSA256: ssh.KeyAlgoSKECDSA256,
}

var passedOver = strings.NewReplacer("\v", "", "\f", "", "\r", "", "\n", "")

// isKey reports whether the blob is base64 of a key that names that kind as its own.
func isKey(kind, blob string) bool {
	decoded, err := base64.StdEncoding.DecodeString(blob)
	if err != nil || len(decoded) < 4 {
		return false
	}
	n := uint64(binary.BigEndian.Uint32(decoded))
	return kind != "" && n <= uint64(len(decoded)-4) && string(decoded[4:4+n]) == kind
}

// optionsForm matches options without escaped quotes, up to the first blank outside quotes.
var optionsForm = regexp.MustCompile(`^(?:[^" \t]|"[^"]*")*`)

// optionsLength is where the options end (sshkey_advance_past_options). ok is false if a quote is left open.
func optionsLength(s string) (n int, ok bool) {
	plain := strings.ReplaceAll(s, `\"`, `__`) // of the same length
	n = len(optionsForm.FindString(plain))
	return n, !strings.HasPrefix(plain[n:], `"`)
}

// is reports whether the line belongs to the grant of the marker.
func (l *line) is(m jit.Marker) bool {
	return l.ours && l.marker.Owner == m.Owner && l.marker.ID == m.ID
}

// heeded reports whether sshd reads the line as that of a key.
func (l *line) heeded() bool { return l.principal != "" && l.ignored == "" }

// admits reports whether the line lets its key in at now.
func (l *line) admits(now time.Time) bool {
	return l.heeded() && !l.opts.authority && (l.opts.end.IsZero() || now.Before(l.opts.end))
}

// observed returns the access of a line of ours, and how the line differs from the one written. The end is that of
// expiry-time, whatever the marker says. A line that sshd ignores gives nobody access.
func (l *line) observed(detail string) jit.Observed {
	r := l.opts.role()
	seen := jit.Observed{
		Marker: l.marker, Principal: l.principal, Role: r.String(), End: l.opts.end, Detail: detail, Damage: l.ignored,
	}
	switch want := r.options(l.opts.end); {
	case !l.heeded():
		seen.Principal = ""
	case l.written != want:
		seen.Damage = fmt.Sprintf("its options are %q, not %q", l.written, want)
	}
	return seen
}

// render writes the line of a grant, without the line feed.
func render(m jit.Marker, principal string, r role) string {
	return r.options(m.Window.End) + " " + principal + " " + m.String()
}
