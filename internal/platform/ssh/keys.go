package ssh

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// keys holds the lines of a file. A line never changes, so several keys may share it.
type keys struct{ lines []*line }

func parseKeys(data []byte) *keys {
	k := &keys{}
	for raw := range bytes.Lines(data) {
		k.lines = append(k.lines, parseLine(raw))
	}
	return k
}

// clone returns a copy to edit.
func (k *keys) clone() *keys { return &keys{slices.Clone(k.lines)} }

// bytes writes the file.
func (k *keys) bytes() []byte {
	raw := make([][]byte, len(k.lines))
	for i, l := range k.lines {
		raw[i] = l.raw
	}
	return slices.Concat(raw...)
}

// snapshot returns our lines, and the foreign lines that admit a key, with the end that sshd enforces.
func (k *keys) snapshot() jit.Snapshot {
	var s jit.Snapshot
	for i, l := range k.lines {
		detail := fmt.Sprintf("line %d", i+1)
		if l.ours {
			s.Ours = append(s.Ours, l.observed(detail))
			continue
		}
		if !l.heeded() {
			continue
		}
		if l.opts.authority {
			detail += ", every certificate of this authority"
		}
		s.Standing = append(s.Standing, jit.Standing{
			Principal: l.principal, Role: l.opts.role().String(), End: l.opts.end, Detail: detail,
		})
	}
	return s
}

// of returns the indexes of a grant's lines.
func (k *keys) of(m jit.Marker) []int {
	var own []int
	for i, l := range k.lines {
		if l.is(m) {
			own = append(own, i)
		}
	}
	return own
}

// ensure leaves one line for the grant. It refuses if sshd would never reach that line, because an earlier one gives
// the same key something else.
func (k *keys) ensure(m jit.Marker, principal string, r role, now time.Time) error {
	text := render(m, principal, r)
	own := k.of(m)
	if len(own) == 1 && k.lines[own[0]].text() == text {
		return nil
	}
	// A line of another key or role may belong elsewhere.
	stays := len(own) > 0 && k.lines[own[0]].grants(principal, r)
	at := k.position(principal, r, m)
	if stays {
		at = own[0]
	}
	if err := k.reachable(at, m, principal, r, now); err != nil {
		return err
	}
	if !stays {
		if len(own) > 0 {
			k.remove(m)
			at = k.position(principal, r, m)
		}
		k.insert(at, text)
		return nil
	}
	for _, copied := range slices.Backward(own[1:]) {
		k.cut(copied)
	}
	k.put(at, text)
	return nil
}

// text is a line of ours as [render] wrote it.
func (l *line) text() string {
	return strings.TrimRight(strings.TrimPrefix(string(l.raw), borrowed), "\n")
}

// grants reports whether the line gives the role to the principal, whatever its end.
func (l *line) grants(principal string, r role) bool {
	return l.heeded() && !l.opts.authority && l.principal == principal && l.opts.role() == r
}

// position is where a new line goes: at the end, but a login before our narrower lines of the same key.
func (k *keys) position(principal string, r role, m jit.Marker) int {
	narrower := -1
	if r == (role{}) {
		narrower = slices.IndexFunc(k.lines, func(l *line) bool {
			return l.opts.role() != r && l.ours && l.heeded() && !l.is(m) && l.principal == principal
		})
	}
	if narrower < 0 {
		return len(k.lines)
	}
	return narrower
}

// reachable refuses a line at a position that sshd would not reach: it stops at the first line that admits the key. A
// line that gives a login, or the same role, may come first.
func (k *keys) reachable(at int, m jit.Marker, principal string, r role, now time.Time) error {
	i := slices.IndexFunc(k.lines[:at], func(l *line) bool {
		return l.opts.role() != (role{}) && l.opts.role() != r && l.principal == principal && !l.is(m) && l.admits(now)
	})
	if i < 0 {
		return nil
	}
	first := k.lines[i]
	whose := "which is not ours"
	if first.ours {
		whose = fmt.Sprintf("of grant %s, until %s", first.marker.ID, jit.FormatTime(first.opts.end))
	}
	return &jit.Error{
		Attribute: "role",
		Problem: fmt.Sprintf("line %d (%s) gives the same key %q, and sshd heeds the first line of a key only: "+
			"%q would give nothing", i+1, whose, first.opts.role(), r),
		Hint: "use another key for this grant, or end the other access first",
	}
}

// remove cuts every line of the grant.
func (k *keys) remove(m jit.Marker) {
	for _, i := range slices.Backward(k.of(m)) {
		k.cut(i)
	}
}

// borrowed begins a line of ours before which we had to end a foreign line that had no line feed. sshd skips it. When
// our last line goes, the line feed goes too, so that the file is as before.
const borrowed = " "

func (l *line) borrows() bool { return l.ours && bytes.HasPrefix(l.raw, []byte(borrowed)) }

// put replaces the line of ours at i.
func (k *keys) put(i int, text string) {
	if k.lines[i].borrows() {
		text = borrowed + text
	}
	k.lines[i] = parseLine([]byte(text + "\n"))
}

// insert puts a line of ours before the one at i.
func (k *keys) insert(i int, text string) {
	switch {
	case i < len(k.lines) && k.lines[i].borrows():
		k.lines[i] = parseLine(bytes.TrimPrefix(k.lines[i].raw, []byte(borrowed)))
		text = borrowed + text
	case i > 0 && !bytes.HasSuffix(k.lines[i-1].raw, []byte("\n")):
		last := k.lines[i-1]
		k.lines[i-1] = parseLine(append(slices.Clone(last.raw), '\n'))
		if !last.ours {
			text = borrowed + text
		}
	}
	k.lines = slices.Insert(k.lines, i, parseLine([]byte(text+"\n")))
}

// cut removes the line of ours at i and gives back the line feed before it, if that was borrowed.
func (k *keys) cut(i int) {
	owed := k.lines[i].borrows()
	k.lines = slices.Delete(k.lines, i, i+1)
	switch {
	case !owed || i == 0:
	case i == len(k.lines):
		if last := k.lines[i-1]; !last.ours {
			k.lines[i-1] = parseLine(bytes.TrimSuffix(last.raw, []byte("\n")))
		}
	case k.lines[i].ours && !k.lines[i].borrows():
		k.lines[i] = parseLine(append([]byte(borrowed), k.lines[i].raw...))
	}
}
