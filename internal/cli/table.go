package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// table writes rows in aligned columns and, where it may, the cells that name a state in colour.
type table struct {
	w      io.Writer
	colour bool
	rows   [][]string
}

func (p *program) table(w io.Writer) *table {
	return &table{w: w, colour: w == p.out && p.Terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// row adds one row; the first one is the heading. The second column is the one in colour.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = jit.Cell(c)
	}
	t.rows = append(t.rows, cells)
}

// gap stands between two columns; no cell has it inside.
const gap = "  "

// flush writes the rows.
func (t *table) flush() {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columnsOf(cell))
		}
	}
	var b strings.Builder
	for n, row := range t.rows {
		for i, cell := range row {
			padding := ""
			if i < len(row)-1 {
				padding = strings.Repeat(" ", widths[i]-columnsOf(cell)) + gap
			}
			if i == 1 && t.colour {
				cell = colourOf(cell, n == 0) + cell + "\x1b[0m"
			}
			b.WriteString(cell + padding)
		}
		b.WriteByte('\n')
	}
	to := t.w
	if through, ok := to.(*screen); ok && t.colour {
		to = through.Writer // the cells hide nothing
	}
	_, _ = io.WriteString(to, b.String())
	t.rows = nil
}

// columnsOf is how many columns of a terminal a text takes: characters of East Asia are two wide, and marks stand on the one before.
func columnsOf(s string) (n int) {
	for _, r := range s {
		switch {
		case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r):
		case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

// colourOf tells the colour of a state or result; words after it say that something is amiss.
func colourOf(cell string, heading bool) string {
	state, rest, _ := strings.Cut(cell, " ")
	switch {
	case heading:
		return "\x1b[39m"
	case rest != "", state == stepFailed:
		return "\x1b[31m"
	case state == string(jit.StateActive), state == stepDone:
		return "\x1b[32m"
	case state == string(jit.StateScheduled), state == string(jit.StatePending), state == stepPlanned, state == stepLook:
		return "\x1b[33m"
	}
	return "\x1b[90m"
}

// screen is the one way to a terminal: whatever is written, errors of servers too, can neither steer it nor look like another line of ours.
type screen struct {
	io.Writer

	mu sync.Mutex
	// rest is the beginning of a character of which more is to come.
	rest []byte
}

// Write writes text with what is hidden in it made visible; line feeds and tabs stay.
func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole := append(s.rest, text...)
	end := len(whole)
	for n := 1; n < utf8.UTFMax && n <= len(whole); n++ {
		if tail := whole[len(whole)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				end -= n
			}
			break
		}
	}
	s.rest = bytes.Clone(whole[end:])
	if _, err := io.WriteString(s.Writer, jit.Visible(string(whole[:end]))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// jsonLines writes JSON, a value or more at a time, with what is hidden in it escaped as JSON does.
type jsonLines struct{ io.Writer }

// Write writes text, which ends where a value does.
func (j jsonLines) Write(text []byte) (int, error) {
	if _, err := io.WriteString(j.Writer, visibleJSON(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// printable is a text that stays on its line.
func printable(s string) string { return jit.Printable(s) }

// indented lets a message of several lines not look like several messages.
func indented(message string) string { return strings.ReplaceAll(message, "\n", "\n  ") }

// abbreviate cuts the middle out of what is too long for a column, such as a public key.
func abbreviate(s string) string {
	const head, tail = 24, 12
	runes := []rune(s)
	if len(runes) <= head+tail+1 {
		return s
	}
	return string(runes[:head]) + "…" + string(runes[len(runes)-tail:])
}

// printJSON writes v as indented JSON, with <, > and & as they are and what is hidden as \u202e.
func (p *program) printJSON(v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(p.out, visibleJSON(text.String()))
	return err
}

// visibleJSON is the same JSON with what is hidden in its strings escaped. Outside of strings JSON has no such characters but line feeds.
func visibleJSON(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && jit.Hidden(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || !jit.Hidden(r):
			b.WriteRune(r)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
	}
	return b.String()
}
