package gcp

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// In a policy with many conditional bindings, new grants that have the same owner, role and condition and end in the
// same minute share one binding. It ends at the beginning of that minute: up to 59 seconds early for each grant, and
// never late. Its description holds the marker of each.
const (
	// shareFrom is the number of conditional bindings from which grants share. Beyond a hundred, the policy may become
	// too large.
	shareFrom = advisedConditional * 4 / 5
	// shareWorth is how long a grant must still run to share: its last minute then matters little.
	shareWorth = 30 * time.Minute
	// maxDescription is the length in bytes that is known to be accepted.
	maxDescription = 256
	sharedTitle    = "shared"
)

// digits are the digits of numbers in a description, six bits each.
const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// A description is jit:<owner>:<minute><entry><entry>…. The minute, counted from 1970, has 5 digits. An entry has the
// id (22), a digest of the principal (3), the seconds from the minute to the end of the grant (1), and those from its
// beginning to its end (4).
const (
	minuteSize    = 5
	idSize        = 22
	principalSize = 3
	secondSize    = 1
	lengthSize    = 4
	entrySize     = idSize + principalSize + secondSize + lengthSize
)

// maxLength is the shortest window that an entry cannot hold, 194 days.
const maxLength = (1 << (6 * lengthSize)) * time.Second

// mark is the marker of one grant in a binding, with its principal.
type mark struct {
	jit.Marker
	// of is the digest of the principal; empty in a binding that is not shared.
	of string
	// member is the principal's index in the members, or -1.
	member int
}

func number(n int64, size int) string {
	text := make([]byte, size)
	for i := range slices.Backward(text) {
		text[i] = digits[n&63]
		n >>= 6
	}
	return string(text)
}

func parseNumber(s string) (n int64, ok bool) {
	for i := range len(s) {
		digit := strings.IndexByte(digits, s[i])
		if digit < 0 {
			return 0, false
		}
		n = n<<6 | int64(digit)
	}
	return n, true
}

// digest distinguishes the principals of one binding. An account keeps its digest when it is deleted.
func digest(member string) string {
	sum := sha256.Sum256([]byte(canonicalMember(undeleted(member))))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:principalSize]
}

// describe writes the description of a shared binding that ends at minute.
func describe(owner string, minute time.Time, marks []mark) string {
	var s strings.Builder
	s.WriteString(titlePrefix + owner + ":" + number(minute.Unix()/60, minuteSize))
	for _, m := range marks {
		id, err := hex.DecodeString(strings.ReplaceAll(string(m.ID), "-", ""))
		if err != nil {
			panic(err) // an id is hexadecimal
		}
		s.WriteString(base64.RawURLEncoding.EncodeToString(id) + m.of + number(int64(m.Window.End.Second()),
			secondSize) + number(int64(m.Window.Length()/time.Second), lengthSize))
	}
	return s.String()
}

// parseDescription reads only what [describe] wrote.
func parseDescription(s string) (owner string, minute time.Time, marks []mark, ok bool) {
	rest, ok := strings.CutPrefix(s, titlePrefix)
	owner, rest, found := strings.Cut(rest, ":")
	if !ok || !found || jit.CheckOwner(owner) != nil || len(rest) < minuteSize+entrySize ||
		(len(rest)-minuteSize)%entrySize != 0 {
		return "", time.Time{}, nil, false
	}
	minutes, ok := parseNumber(rest[:minuteSize])
	minute = time.Unix(minutes*60, 0).UTC()
	for entry := range slices.Chunk([]byte(rest[minuteSize:]), entrySize) {
		m, readable := parseEntry(string(entry), minute)
		if !ok || !readable {
			return "", time.Time{}, nil, false
		}
		m.Owner = owner
		marks = append(marks, m)
	}
	return owner, minute, marks, describe(owner, minute, marks) == s
}

// parseEntry reads one entry of a description, without its owner.
func parseEntry(text string, minute time.Time) (mark, bool) {
	id, err := base64.RawURLEncoding.DecodeString(text[:idSize])
	second, readable := parseNumber(text[idSize+principalSize:][:secondSize])
	length, whole := parseNumber(text[idSize+principalSize+secondSize:])
	if err != nil || !readable || !whole || second > 59 {
		return mark{}, false
	}
	plain := hex.EncodeToString(id)
	end := minute.Add(time.Duration(second) * time.Second)
	return mark{member: -1, of: text[idSize:][:principalSize], Marker: jit.Marker{
		ID:     jit.ID(strings.Join([]string{plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]}, "-")),
		Window: jit.Window{Start: end.Add(-time.Duration(length) * time.Second), End: end},
	}}, true
}

// readMarks finds the markers of a binding, and the member of each.
func (b *binding) readMarks() {
	b.marks, b.minute = nil, time.Time{}
	if m, ok := markerOf(b.Condition); ok {
		b.marks = []mark{{Marker: m, member: min(0, len(b.Members)-1)}}
		return
	}
	if b.Condition == nil {
		return
	}
	_, minute, marks, ok := parseDescription(b.Condition.Description)
	if !ok {
		return
	}
	b.marks, b.minute = marks, minute
	taken := make([]bool, len(b.Members))
	assign := func(fits func(m mark, member string) bool) {
		for k, m := range b.marks {
			for i, member := range b.Members {
				if m.member < 0 && !taken[i] && fits(m, member) {
					b.marks[k].member, taken[i] = i, true
					break
				}
			}
		}
	}
	assign(func(m mark, member string) bool { return digest(member) == m.of })
	// A member without a mark, in place of a missing one, was put there by somebody else.
	assign(func(mark, string) bool { return true })
}

// shared reports whether several grants can share the binding.
func (b binding) shared() bool { return !b.minute.IsZero() }

// shareable reports whether a grant that is written at now may share a binding.
func shareable(m jit.Marker, now time.Time) bool {
	return !m.Window.Start.After(now) && m.Window.End.Sub(now) >= shareWorth && m.Window.Length() < maxLength &&
		m.Window.Length() > 0
}

// newShared is a binding for a grant and others to come.
func newShared(a jit.Access, r role) binding {
	minute := a.Marker.Window.End.Truncate(time.Minute)
	b := binding{Role: r.name, minute: minute, Condition: &condition{
		Title: titlePrefix + a.Marker.Owner + ":" + sharedTitle, Expression: limits{end: minute,
			when: r.when}.expression()}}
	return b.with(a)
}

// with returns the binding with one more grant.
func (b binding) with(a jit.Access) binding {
	marks := append(slices.Clone(b.marks),
		mark{Marker: a.Marker, of: digest(a.Binding.Principal), member: len(b.Members)})
	return b.sharedBy(append(slices.Clone(b.Members), a.Binding.Principal), marks)
}

// less returns the binding without one grant and its principal.
func (b binding) less(k int) binding {
	members, marks := slices.Clone(b.Members), slices.Delete(slices.Clone(b.marks), k, k+1)
	if at := b.marks[k].member; at >= 0 {
		members = slices.Delete(members, at, at+1)
	}
	return b.sharedBy(members, marks)
}

func (b binding) sharedBy(members []string, marks []mark) binding {
	c := *b.Condition
	c.Description = describe(marks[0].Owner, b.minute, marks)
	b.Members, b.Condition, b.sent = members, &c, nil
	b.readMarks()
	return b
}

// takes reports whether a grant can be added to the binding. Cheap checks come first, because most bindings are full.
func (b binding) takes(a jit.Access, r role) bool {
	if !b.shared() || len(b.Condition.Description)+entrySize > maxDescription {
		return false
	}
	minute, of := a.Marker.Window.End.Truncate(time.Minute), digest(a.Binding.Principal)
	return b.marks[0].Owner == a.Marker.Owner && b.Role == r.name && b.minute.Equal(minute) &&
		len(b.Members) == len(b.marks) && !slices.ContainsFunc(b.marks, func(m mark) bool { return m.of == of }) &&
		b.Condition.Expression == limits{end: minute, when: r.when}.expression() && len(damageOf(b, minute)) == 0
}
