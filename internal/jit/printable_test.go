package jit_test

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// hostile are texts that do, or could do, more than be read.
var hostile = []string{
	"", "INC-1: look", `CORP\alice`, `\u{202e}`, `\\u{5c}u{`, "\x1b[2J\x1b]0;title\x07", "\u202e\u2066txt.exe\u2069",
	"a\u200bb\u200d\ufeffc", "a\nerror: b\r\n", "\u2028\u2029\u0085\u009b31m",
	"\u3164\uffa0\u115f", "\u2800a\u2800",
	"x\ufe0f\U000e0100", "tab\there", " two  spaces ", "日本語　だ", "=1+1", "a;=cmd|' /C calc'!A0",
	"<b>&amp;</b>", "<!channel> <@U1> *b* `c`", "\xff\xfe", "\x00", "\u065f", "👩‍👧", "'quoted'", `"a";"=1"`,
}

func FuzzPrintable(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		valid := strings.ToValidUTF8(s, "\uFFFD")
		for name, shown := range map[string]string{"line": jit.Printable(s), "cell": jit.Cell(s),
			"lines": jit.PrintableLines(s)} {
			if back := jittest.Unprintable(shown); back != valid {
				t.Errorf("%s: %q reads back as %q, want %q", name, shown, back, valid)
			}
			for _, r := range shown {
				if jit.Hidden(r) && !(name == "lines" && (r == '\n' || r == '\t')) {
					t.Errorf("%s: %q has %q", name, shown, r)
				}
			}
		}
		if cell := jit.Cell(s); strings.TrimSpace(cell) != cell || strings.Contains(cell, "  ") {
			t.Errorf("%q is not set off by blanks", cell)
		}
	})
}

func TestPrintableLeavesAlone(t *testing.T) {
	for _, s := range []string{"INC-4211: fail over the primary", `CORP\alice`, "user:bücher@example.com", "日本語",
		"a=b; c 'd' \"e\" `f` <g>"} {
		if got := jit.Printable(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
	if got := jit.Cell("a\u2800b"); got != `a\u{2800}b` {
		t.Errorf("a blank is shown as %q", got)
	}
	if got := jit.Printable("a\u202eb\n"); got != `a\u{202e}b\u{a}` {
		t.Errorf("got %s", got)
	}
}
