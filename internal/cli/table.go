package cli

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// table writes rows in aligned columns. On a terminal it fits the width and colours the second column.
type table struct {
	w      io.Writer
	colour bool
	// width is the space for one row; 0 is unlimited.
	width int
	// optional are the headings of the columns that a narrow table leaves out, in this order.
	optional []string
	rows     [][]string
}

// table returns an empty table that is written to w.
func (p *program) table(w io.Writer, optional ...string) *table {
	t := &table{w: w, optional: optional}
	if p.Terminal {
		t.width = p.Width
		if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && columns > 0 {
			t.width = columns
		}
	}
	t.colour = p.colours(w)
	return t
}

// colours reports whether what is written to w may have colours.
func (p *program) colours(w io.Writer) bool {
	return p.Terminal && w == p.out && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// row adds a row; the first row is the heading.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = jit.Cell(c)
	}
	t.rows = append(t.rows, cells)
}

const (
	// gap separates two columns; no cell contains it.
	gap = "  "
	// minColumn, minLast and minID are the least widths to which columns, the last column and ids are cut.
	minColumn, minLast, minID = 12, 16, 8
)

// flush writes the rows, as lines that fit, or else each as a block of lines.
func (t *table) flush() {
	widths := t.fit()
	var b strings.Builder
	if t.fits(widths) || len(t.rows) == 1 {
		t.lines(&b, widths)
	} else {
		t.blocks(&b)
	}
	to := t.w
	if through, ok := to.(*screen); ok && t.colour {
		to = through.Writer // the cells hide nothing
	}
	_, _ = io.WriteString(to, b.String())
	t.rows = nil
}

// fit returns the widths of the columns. If the rows are too wide, it first shortens ids, then cuts the widest columns,
// then leaves out optional columns. That may not be enough.
func (t *table) fit() []int {
	widths := t.widths()
	if t.fits(widths) {
		return widths
	}
	t.shortenIDs()
	widths = t.widths()
	for !shrink(widths, t.width) && len(t.optional) > 0 {
		t.drop(t.optional[0])
		t.optional = t.optional[1:]
		widths = t.widths()
	}
	return widths
}

func (t *table) fits(widths []int) bool { return t.width == 0 || lineWidth(widths) <= t.width }

// widths returns the width of each column.
func (t *table) widths() []int {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columnsOf(cell))
		}
	}
	return widths
}

func lineWidth(widths []int) int {
	sum := len(gap) * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	return sum
}

// shrink narrows the widest columns until a line fits into limit, and reports whether it does.
func shrink(widths []int, limit int) bool {
	for excess := lineWidth(widths) - limit; excess > 0; excess-- {
		widest, room := -1, 0
		for i, w := range widths {
			least := minColumn
			if i == len(widths)-1 {
				least = minLast
			}
			if w-least > room {
				widest, room = i, w-least
			}
		}
		if widest < 0 {
			return false
		}
		widths[widest]--
	}
	return true
}

// shortenIDs cuts ids to the shortest beginning, of minID characters or more, that is unique in its column.
func (t *table) shortenIDs() {
	for column := range t.rows[0] {
		ids := map[string]bool{}
		for _, row := range t.rows[1:] {
			if _, err := jit.ParseID(row[column]); err == nil {
				ids[row[column]] = true
			}
		}
		length := uniqueLength(ids)
		for _, row := range t.rows[1:] {
			if ids[row[column]] {
				row[column] = row[column][:length]
			}
		}
	}
}

// uniqueLength returns the least length, from minID on, at which the beginnings of the ids differ.
func uniqueLength(ids map[string]bool) int {
	for length := minID; ; length++ {
		beginnings := map[string]bool{}
		for id := range ids {
			beginnings[id[:length]] = true
		}
		if len(beginnings) == len(ids) {
			return length
		}
	}
}

// drop removes the column with this heading.
func (t *table) drop(heading string) {
	if i := slices.Index(t.rows[0], heading); i >= 0 {
		for n := range t.rows {
			t.rows[n] = slices.Delete(t.rows[n], i, i+1)
		}
	}
}

// lines writes the rows as lines of columns of these widths.
func (t *table) lines(b *strings.Builder, widths []int) {
	for n, row := range t.rows {
		for i, cell := range row {
			before, after := "", ""
			if i == 1 && t.colour {
				before, after = colourOf(cell, n == 0), colourOff
			}
			if i == len(row)-1 {
				b.WriteString(before + endCut(cell, widths[i]) + after)
				continue
			}
			cell = middleCut(cell, widths[i])
			b.WriteString(before + cell + after + strings.Repeat(" ", widths[i]-columnsOf(cell)) + gap)
		}
		b.WriteByte('\n')
	}
}

// blocks writes each row as lines of a heading and a cell, without the empty cells.
func (t *table) blocks(b *strings.Builder) {
	headings := t.rows[0]
	indent := 0
	for _, h := range headings {
		indent = max(indent, columnsOf(h))
	}
	for n, row := range t.rows[1:] {
		if n > 0 {
			b.WriteByte('\n')
		}
		for i, cell := range row {
			if cell == "" {
				continue
			}
			if i == 1 && t.colour {
				cell = colourOf(cell, false) + cell + colourOff
			}
			b.WriteString(headings[i] + strings.Repeat(" ", indent-columnsOf(headings[i])) + gap + cell + "\n")
		}
	}
}

// middleCut shortens a text to a number of columns by leaving out its middle: both ends of a name stay.
func middleCut(s string, limit int) string {
	if columnsOf(s) <= limit {
		return s
	}
	head := endCut(s, limit-limit/3)
	runes := []rune(s)
	tail := len(runes)
	for tail > 0 && columnsOf(head)+columnsOf(string(runes[tail-1:])) <= limit {
		tail--
	}
	return head + string(runes[tail:])
}

// endCut shortens a text to a number of columns by leaving out its end.
func endCut(s string, limit int) string {
	if columnsOf(s) <= limit {
		return s
	}
	runes := []rune(s)
	head := len(runes)
	for head > 0 && columnsOf(string(runes[:head])) >= limit {
		head--
	}
	return string(runes[:head]) + "…"
}

// columnsOf returns the width of a text on a terminal: wide characters of East Asia count two, combining marks none.
func columnsOf(s string) (n int) {
	for _, r := range s {
		switch {
		case r < utf8.RuneSelf:
			n++
		case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r):
		case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

const colourOff = "\x1b[0m"

// colourOf returns the colour of a state or result. Words after it report a problem.
func colourOf(cell string, heading bool) string {
	state, rest, _ := strings.Cut(cell, " ")
	switch {
	case heading:
		return "\x1b[39m"
	case rest != "", state == stepFailed:
		return "\x1b[31m"
	case state == string(jit.StateActive), state == stepDone:
		return "\x1b[32m"
	case state == string(jit.StateScheduled),
		state == string(jit.StatePending),
		state == stepPlanned,
		state == stepLook:
		return "\x1b[33m"
	}
	return "\x1b[90m"
}
