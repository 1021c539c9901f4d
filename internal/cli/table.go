package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// table writes rows in aligned columns and, where it may, the cells that name a state in colour.
type table struct {
	w      *tabwriter.Writer
	colour bool
	rows   int
}

func (p *program) table(w io.Writer) *table {
	return &table{
		w:      tabwriter.NewWriter(w, 0, 0, 2, ' ', 0),
		colour: p.Terminal && w == p.out && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

// row writes one row; the first one is the heading. The second column is the one in colour.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
		if i == 1 && t.colour {
			// All codes are equally long, or the columns after this one would not line up.
			cells[i] = colourOf(c, t.rows == 0) + cells[i] + "\x1b[0m"
		}
	}
	t.rows++
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) flush() { _ = t.w.Flush() }

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

// printable keeps what was recorded from steering the terminal or breaking a table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return '\uFFFD'
		}
		return r
	}, s)
}

// abbreviate cuts the middle out of what is too long for a column, such as a public key.
func abbreviate(s string) string {
	const head, tail = 24, 12
	runes := []rune(s)
	if len(runes) <= head+tail+1 {
		return s
	}
	return string(runes[:head]) + "…" + string(runes[len(runes)-tail:])
}

// printJSON writes v as indented JSON, with <, > and & as they are.
func (p *program) printJSON(v any) error {
	encoder := json.NewEncoder(p.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
