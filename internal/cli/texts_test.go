package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// hostile holds texts that a spreadsheet, a terminal or a parser would misinterpret.
var hostile = []string{
	"", "INC-1: look", "=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "a;=cmd|' /C calc'!A0", `a;"=1"`, ` "=1`, "a; -1",
	"'=1", "a;'b", "＝1", "a\n=1", "a=b c=d", `{"a":"b"}`,
	"\x1b[2J", "\u202etxt", "a\u200bb", "two  spaces ", " led", "日本語 の 理由", "é̂", "\u065f", "🔑 key", `\u{202e}`, "a,b",
	`say "hi"`, "\xff", "\x00", "a\r\nb", "<@U1> `x` &amp;", "👩‍👧 family",
}

// apostrophe matches the apostrophes that disarm formulas.
var apostrophe = regexp.MustCompile(`(^|;)'`)

func fromCSV(cell string) string { return jittest.Unprintable(apostrophe.ReplaceAllString(cell, "$1")) }

// formulas matches the beginning of a formula wherever a spreadsheet may start a cell.
var formulas = regexp.MustCompile("(^|[;\t\r\n])[ \"]*[=+\\-@\t\r＝＋－＠]")

// With any text, a row of the CSV export has as many cells as columns, reads back as the same fields, and holds no
// formula.
func FuzzCSV(f *testing.F) {
	for i, s := range hostile {
		f.Add(s, hostile[len(hostile)-1-i])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = strings.ToValidUTF8(a, "\uFFFD"), strings.ToValidUTF8(b, "\uFFFD")
		e := jit.Event{Chain: "payments", Seq: 7, At: time.Unix(1, 0), Kind: jit.EventRequested, Grant: jit.ID(b), Policy: a,
			Actor:  jit.Actor{Name: b, Change: a, Source: jit.FromCLI},
			Detail: map[string]string{"reason": a, "principal": b, b: a}, Hash: "h"}
		var out bytes.Buffer
		if err := csvWriter(&out)(e); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(bytes.NewReader(out.Bytes())).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != 13 {
			t.Fatalf("%v: %q", err, out.String())
		}
		row := rows[1]
		for i, want := range map[int]string{
			0: "payments", 1: "7", 3: "requested", 4: b, 5: a, 6: b, 7: a, 8: "cli", 10: "0", 12: "h",
		} {
			if got := fromCSV(row[i]); got != want {
				t.Errorf("cell %d %q reads back as %q, want %q", i, row[i], got, want)
			}
			if formulas.MatchString(row[i]) {
				t.Errorf("cell %d %q holds a formula", i, row[i])
			}
		}
		var detail map[string]string
		if err := json.Unmarshal([]byte(row[9]), &detail); err != nil || !maps.Equal(detail, e.Detail) ||
			formulas.MatchString(row[9]) {
			t.Errorf("details %s, %v, want %q", row[9], err, e.Detail)
		}
		if strings.Count(out.String(), "\n") != 2 {
			t.Errorf("%q is not two lines", out.String())
		}
	})
}

// byColumn splits a line at the terminal columns where the headings begin.
func byColumn(line string, heading []string) []string {
	var cells []string
	runes, at := []rune(line), 0
	for i, h := range heading {
		upTo := columnsOf(h)
		var cell []rune
		for len(runes) > 0 && (i == len(heading)-1 || at < upTo || columnsOf(string(runes[0])) == 0) {
			at += columnsOf(string(runes[0]))
			cell, runes = append(cell, runes[0]), runes[1:]
		}
		at -= upTo
		cells = append(cells, strings.TrimRight(string(cell), " "))
	}
	return cells
}

// With any text in the cells, a table has one line a row, its columns begin under their headings, and it reads back as
// the same cells.
func FuzzTable(f *testing.F) {
	for i, s := range hostile {
		f.Add(s, hostile[len(hostile)-1-i], "end")
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		var out bytes.Buffer
		p := &program{out: &out, err: &out}
		table := p.table(&out)
		table.row("FIRST", "SECOND", "THIRD")
		rows := [][]string{{a, b, c}, {"x", "y", "z"}, {c, a, b}}
		for _, row := range rows {
			table.row(append([]string(nil), row...)...)
		}
		table.flush()
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines: %q", len(lines), out.String())
		}
		second, third := strings.Index(lines[0], "SECOND"), strings.Index(lines[0], "THIRD")
		heading := []string{lines[0][:second], lines[0][second:third], lines[0][third:]}
		for i, row := range rows {
			for k, cell := range byColumn(lines[i+1], heading) {
				if got, want := jittest.Unprintable(cell), strings.ToValidUTF8(row[k], "\uFFFD"); got != want {
					t.Errorf("row %d, cell %d reads back as %q, want %q\n%s", i, k, got, want, out.String())
				}
			}
		}
	})
}

// JSON is the same on a terminal and in a file, and makes hidden characters visible.
func FuzzJSON(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var out bytes.Buffer
		p := &program{out: &screen{Writer: &out}, Options: Options{Terminal: true}}
		if err := p.printJSON(map[string]string{"reason": s}); err != nil {
			t.Fatal(err)
		}
		var back map[string]string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil ||
			back["reason"] != strings.ToValidUTF8(s, "\uFFFD") && !strings.Contains(back["reason"], "\uFFFD") {
			t.Errorf("%s reads back as %q, %v", out.String(), back, err)
		}
		if strings.ContainsFunc(strings.ReplaceAll(out.String(), "\n", ""), jit.Hidden) {
			t.Errorf("%q has hidden characters", out.String())
		}
	})
}

// A character split over two writes stays one character.
func TestScreenPutsCharactersTogether(t *testing.T) {
	const text = "日本語 \u202e 🔑 é\n"
	for size := 1; size < 6; size++ {
		var out bytes.Buffer
		s := &screen{Writer: &out}
		for rest := []byte(text); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if _, err := s.Write(rest[:min(size, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if out.String() != jit.Visible(text) {
			t.Errorf("in pieces of %d bytes: %q", size, out.String())
		}
	}
}

// Hostile texts in error messages do not steer the terminal.
func TestNothingSteersTheTerminal(t *testing.T) {
	w := newWorld(t)
	r := w.run("list", "--target", "\x1b]0;title\x07\u202e[").wantCode(exitUsage)
	if strings.ContainsFunc(strings.ReplaceAll(r.err, "\n", ""), jit.Hidden) {
		t.Errorf("stderr has %q", r.err)
	}
	if got := indented("cannot read\nerror: forged"); got != "cannot read\n  error: forged" {
		t.Errorf("got %q", got)
	}
}
