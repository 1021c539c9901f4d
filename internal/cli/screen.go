package cli

import (
	"bytes"
	"cmp"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// screen is a writer to a terminal. No text, not even an error of a server, can steer the terminal through it.
type screen struct {
	io.Writer

	mu sync.Mutex
	// rest is the beginning of a character; the next write continues it.
	rest []byte
}

// Write writes text and makes its hidden characters visible, except line feeds and tabs.
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

// lasting is standard output. It remembers the first error, because much is printed without looking at the error.
type lasting struct {
	io.Writer

	mu  sync.Mutex
	err error
}

// Write writes text.
func (c *lasting) Write(text []byte) (int, error) {
	n, err := c.Writer.Write(text)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = cmp.Or(c.err, err)
	return n, err
}

// failed returns the first error of a write.
func (c *lasting) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// jsonLines writes JSON values and escapes their hidden characters as JSON does.
type jsonLines struct{ io.Writer }

// Write writes text, which must end with a whole value.
func (j jsonLines) Write(text []byte) (int, error) {
	if _, err := io.WriteString(j.Writer, jit.VisibleJSON(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// printable returns a text that stays on its line and hides nothing.
func printable(s string) string { return jit.Printable(s) }

// indented indents the further lines of a message, so that they do not look like other messages.
func indented(message string) string { return strings.ReplaceAll(message, "\n", "\n  ") }

// printJSON writes v as indented JSON, with <, > and & unchanged and hidden characters as \u202e.
func (p *program) printJSON(v any) error {
	text, err := jit.JSON(v)
	if err != nil {
		return err
	}
	_, err = p.out.Write(text)
	return err
}
