package ssh

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// keys are the lines of a file.
type keys struct{ lines []line }

func parseKeys(data []byte) *keys {
	k := &keys{}
	for raw := range bytes.Lines(data) {
		k.lines = append(k.lines, parseLine(raw))
	}
	return k
}

// parseAgain is [parseKeys] for a file of which most lines are in k, as in what was just written: those are not parsed
// again.
func (k *keys) parseAgain(data []byte) *keys {
	if k == nil {
		return parseKeys(data)
	}
	known := make(map[string]line, len(k.lines))
	for _, l := range k.lines {
		known[string(l.raw)] = l
	}
	again := &keys{lines: make([]line, 0, len(k.lines))}
	for raw := range bytes.Lines(data) {
		l, ok := known[string(raw)]
		if !ok {
			l = parseLine(raw)
		}
		l.raw = raw
		again.lines = append(again.lines, l)
	}
	return again
}

// bytes writes the file.
func (k *keys) bytes() []byte {
	var b bytes.Buffer
	for _, l := range k.lines {
		b.Write(l.raw)
	}
	return b.Bytes()
}

// snapshot tells ours, and the foreign lines that admit a key, with the end that sshd heeds.
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
		s.Standing = append(s.Standing, jit.Standing{Principal: l.principal, Role: l.opts.role().String(), End: l.opts.end, Detail: detail})
	}
	return s
}

// ensure leaves one line for the grant. It is refused when sshd would never reach
// that line, because an earlier one gives the same key something else.
func (k *keys) ensure(m jit.Marker, principal string, r role, now time.Time) error {
	text := render(m, principal, r)
	first, copies := -1, 0
	for i, l := range k.lines {
		if !l.is(m.Owner, m.ID) {
			continue
		}
		if copies++; first < 0 {
			first = i
		}
	}
	if copies == 1 && strings.TrimRight(strings.TrimPrefix(string(k.lines[first].raw), borrowed), "\n") == text {
		return nil
	}
	// Another key or role may belong elsewhere.
	stays := first >= 0 && k.lines[first].grants(principal, r)
	place := first
	if !stays {
		place = k.place(principal, r, m)
	}
	if err := k.reachable(place, m, principal, r, now); err != nil {
		return err
	}
	if !stays {
		k.remove(m.Owner, m.ID)
		k.insert(k.place(principal, r, m), text)
		return nil
	}
	for i := len(k.lines) - 1; i > first; i-- {
		if k.lines[i].is(m.Owner, m.ID) {
			k.cut(i)
		}
	}
	k.put(first, text)
	return nil
}

// grants reports whether the line gives the role to the principal, whatever its end.
func (l *line) grants(principal string, r role) bool {
	return l.heeded() && !l.opts.authority && l.principal == principal && l.opts.role() == r
}

// place is where a new line goes: at the end, but a login before our narrower lines of the same key.
func (k *keys) place(principal string, r role, m jit.Marker) int {
	if r == (role{}) {
		for i, l := range k.lines {
			if l.ours && l.heeded() && !l.is(m.Owner, m.ID) && l.principal == principal && l.opts.role() != r {
				return i
			}
		}
	}
	return len(k.lines)
}

// reachable refuses a line at place that sshd would not reach: it stops at the
// first line that admits the key. One that gives a login, or the same, is no loss.
func (k *keys) reachable(place int, m jit.Marker, principal string, r role, now time.Time) error {
	for i, l := range k.lines[:place] {
		if l.principal != principal || l.is(m.Owner, m.ID) || !l.admits(now) {
			continue
		}
		if first := l.opts.role(); first != (role{}) && first != r {
			what := "which is not ours"
			if l.ours {
				what = fmt.Sprintf("of grant %s, until %s", l.marker.ID, jit.FormatTime(l.opts.end))
			}
			return &jit.Error{
				Attribute: "role",
				Problem:   fmt.Sprintf("line %d (%s) gives the same key %q, and sshd heeds the first line of a key only: %q would give nothing", i+1, what, first, r),
				Hint:      "use another key for this grant, or end the other access first",
			}
		}
	}
	return nil
}

// remove cuts every line of the grant.
func (k *keys) remove(owner string, id jit.ID) {
	for i := len(k.lines) - 1; i >= 0; i-- {
		if k.lines[i].is(owner, id) {
			k.cut(i)
		}
	}
}

// borrowed begins a line of ours before which we had to end a foreign line that
// had no line feed. sshd skips it. With our last line the line feed goes too, so
// that the file is what it was.
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

// cut takes the line of ours at i out and gives back the line feed before it, if it was borrowed.
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
