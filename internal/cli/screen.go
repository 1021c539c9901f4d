package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// screen is the one way to a terminal: whatever is written, errors of servers too, can neither steer it nor look like
// another line of ours.
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

// visibleJSON is the same JSON with what is hidden in its strings escaped. Outside of strings JSON has no such
// characters but line feeds.
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
