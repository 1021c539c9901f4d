package review

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// gfm parses Markdown as GitHub does, with footnotes.
var gfm = goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote))

// hostile are texts that do more than be read in Markdown, GitHub, GitLab or a terminal.
var hostile = []string{
	"", " ", "`", "``", "a`b``c", "a```b", "````", "run `jit sweep --watch`, or `x`", "@x `b`c", "`a` `b", "` a`",
	"```\ncode", "|", `\|`, `\\|`, `a\`, "| --- |", "a | b", "a|b|c|d|e|f|g|h|i",
	"[x](javascript:alert(1))", "![x](https://example.com/x.png)", "[x]: https://example.com", "[^1]", "[^1]: note",
	"https://example.com", "http://example.com/a", "www.example.com", "<https://example.com>", "alice@example.com",
	"mailto:alice@example.com", "@team", "@org/team", "#123", "org/repo#1", "GH-1", "INC-1",
	"a5c3785ed8d6a35868bc169f07e40e889087fd2e", "deadbeef", "by-deadbeef", "~label", `~"a label"`, "!1",
	"%milestone", "/close",
	"\n/close", "/approve\n/merge", ":smile:", "$math$", "$`math`$", "$$\nmath\n$$", "&lt;b&gt;", "&#64;team", "&amp;",
	"<b>bold</b>", "<script>alert(1)</script>", "</details>", "<!-- jit-review -->", "<!-- jit-review: other -->",
	"-->",
	"<!--", "# heading", "\n# heading", "Setext\n===", "- item", "1. item", "1)", "> quote", "***", "---", "*a*",
	"_a_", "**a**",
	"~~a~~", "- [ ] task", "a\r\nb", "a\rb", "a\u2028b", "a\u2029b", "a\u0085b", "\u202etxt.exe", "\u2066a\u2069",
	"a\u200bb",
	"\ufeffa", "\u00ada", "\x00", "\x07", "\x1b[2J", "\x1b]8;;https://example.com\x07x\x1b]8;;\x07", "\x7f", "\x9b31m",
	"\xff\xfe", "\xc3", "\u0300x", "a\u0300\u0301", "\t", "    code", "a  b", " a ", "{{ x }}", "{0}", "${x}",
	"%{if x}",
	"(known after apply)", "(sensitive)", "–", `\u{202e}`, `\u{`, "\"`\"", "'`'", "(`", "`)", "x:", "::", "...",
	"`:", ":`",
	"[[_TOC_]]", "[TOC]", "{+ a +}", "^[inline note]", "日本語", "שלום", "👩‍👧", "a<br>b", "<a href=x>", "\\", "\\\\",
	"a\\\\|b",
	strings.Repeat("x", 10000), strings.Repeat("`", 300), strings.Repeat("\u202e", 300), strings.Repeat("|", 300),
	strings.Repeat("a ", 300), strings.Repeat("\x1b", 300), strings.Repeat("[", 300),
}

// nodes describes what a parser finds in a comment: its blocks, and those inlines that a text must not make. Code and
// words are left out; they are where texts stand.
func nodes(t testing.TB, comment string) (found string, faults []string) {
	t.Helper()
	source := []byte(comment)
	var b strings.Builder
	err := ast.Walk(gfm.Parser().Parse(text.NewReader(source)), func(n ast.Node, in bool) (ast.WalkStatus, error) {
		if !in {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.CodeSpan:
			return ast.WalkSkipChildren, nil
		case *ast.Text:
			if fault := outside(string(n.Value(source))); fault != "" {
				faults = append(faults, fault)
			}
		case *ast.RawHTML:
			b.WriteString(" " + string(n.Segments.Value(source)))
		case *ast.HTMLBlock:
			b.WriteString("\n" + string(n.Lines().Value(source)))
		default:
			b.WriteString("\n" + n.Kind().String())
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(` <br>`).ReplaceAllString(b.String(), ""), faults
}

// quiet is text without anything that GitHub or GitLab make more of.
var quiet = regexp.MustCompile(`^[A-Za-z0-9 .,;:'"()…–→❌⚠️✅❓🔴🟠🟡🔵⚪🔓🔒ℹ-]*$`)

var loud = regexp.MustCompile(`[0-9a-f]{7}|://|www\.|:[a-z0-9]+:|[A-Z]-[0-9]|[a-z]\.[a-z]`)

// outside says what is wrong with text that stands outside of code.
func outside(s string) string {
	if !quiet.MatchString(s) || loud.MatchString(s) {
		return fmt.Sprintf("outside of code: %q", s)
	}
	return ""
}

// checkMarkdown fails the test if a text changes the structure of the comment.
func checkMarkdown(t *testing.T, s string) {
	t.Helper()
	want, _ := nodes(t, markdownOf(t, everything(func(string) string { return "word" })))
	comment := markdownOf(t, everything(func(string) string { return s }))
	got, faults := nodes(t, comment)
	// An empty text is no detail.
	if strings.TrimSpace(s) != "" && got != want {
		t.Errorf("with %q, the comment has another structure:\n%s\nwant\n%s\nof\n%s", s, got, want, comment)
	}
	for _, fault := range faults {
		t.Errorf("with %q, %s", s, fault)
	}
	if n := strings.Count(comment, "<!--"); n != 1 || !strings.HasSuffix(comment, "\n<!-- jit-review -->\n") {
		t.Errorf("with %q, the comment has %d markers", s, n)
	}
	for _, r := range comment {
		if r != '\n' && jit.Hidden(r) && r != '\ufe0f' {
			t.Errorf("with %q, the comment has the hidden character %U", s, r)
		}
	}
	for line := range strings.Lines(comment) {
		if strings.HasPrefix(line, "/") {
			t.Errorf("with %q, a line begins with a slash: %s", s, line)
		}
		// cmark knows rows of up to 80 in a line, goldmark all.
		if strings.HasPrefix(line, "|") && strings.Contains(line, "`````") {
			t.Errorf("with %q, a line has a long row of backticks: %s", s, line)
		}
	}
	if len(comment) > mostBytes {
		t.Errorf("with %q, the comment has %d bytes", s, len(comment))
	}
}

func FuzzMarkdown(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkMarkdown(t, s) })
}

// codeIn returns the text of all code spans.
func codeIn(markdown string) string {
	source := []byte(markdown)
	var shown strings.Builder
	_ = ast.Walk(gfm.Parser().Parse(text.NewReader(source)), func(n ast.Node, in bool) (ast.WalkStatus, error) {
		if _, is := n.(*ast.CodeSpan); is && in {
			for c := n.FirstChild(); c != nil; c = c.NextSibling() {
				shown.Write(c.(*ast.Text).Value(source))
			}
		}
		return ast.WalkContinue, nil
	})
	return shown.String()
}

// within reports whether a place is within an escape of a text.
func within(s string, place int) bool {
	for _, at := range regexp.MustCompile(`\\u\{[0-9a-f]+\}`).FindAllStringIndex(s, -1) {
		if at[0] < place && place < at[1] {
			return true
		}
	}
	return false
}

// A code span shows the text itself, whatever it is.
func FuzzCode(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		head, length := cut(s, longestValue, inCode)
		if n := utf8.RuneCountInString(head); n > longestValue || length != 0 && length != utf8.RuneCountInString(s) {
			t.Fatalf("%q is cut to %d characters and said to have %d", s, n, length)
		}
		if length == 0 && head != inCode(jit.Cell(s)) || head == "" && strings.TrimSpace(s) != "" {
			t.Fatalf("%q is cut to %q", s, head)
		}
		if length != 0 && within(inCode(jit.Cell(s)), len(head)) {
			t.Fatalf("%q is cut within an escape: %q", s, head)
		}
		if head == "" {
			return
		}
		shown := codeIn(tableRow("x", code(head, 0)) + "| --- | --- |\n")
		want := strings.ReplaceAll(head, `\|`, `\\u{7c}`)
		if shown != want {
			t.Fatalf("%q is shown as %q, want %q", head, shown, want)
		}
	})
}

// The words of an address and of a name in quotation marks are not ours: they stand in code, also where a cut ends
// them.
func TestProseNames(t *testing.T) {
	for s, want := range map[string]string{
		`jit_policy.p["x: it is fine and there is nothing to decide here"]: it cannot be compared`: "`jit_policy.p[" +
			`"x: it is fine and there is nothing to decide here"]` + "`: it cannot be compared",
		`module.m["a b"].jit_policy.p["it's \"so\" fine"] and 3 more: no`: "`module.m[" +
			`"a b"].jit_policy.p["it's \"so\" fine"]` + "` and 3 more: no",
		`jit_policy.p["it is fine`:             "`jit_policy.p[\"it is fine`",
		`jit_policy.p["it is fine\" so `:       "`jit_policy.p[\"it is fine\\\" so\\u{20}`",
		`policy p had the name "all is fine"`:  "policy p had the name \"`all is fine`\"",
		`no target "host"; add it`:             `no target "host"; add it`,
		`no target "host is fine, really; add`: "no target \"`host is fine, really; add`",
	} {
		if got := prose(s); got != want {
			t.Errorf("%s is shown as\n%s, want\n%s", s, got, want)
		}
	}
	long := `jit_policy.p["` + strings.Repeat("all is fine ", 99) + `"]: it cannot be compared`
	if words := regexp.MustCompile("`[^`]*`").ReplaceAllString(prose(long), ""); strings.Contains(words, "fine") {
		t.Errorf("outside of code: %s", words)
	}
}

// Of those to decide, what cuts leave out is not the worst.
func TestWorstFirst(t *testing.T) {
	var r Report
	for i := range 1000 {
		r.Grants = append(r.Grants, Grant{Address: fmt.Sprintf("jit_grant.a[%d]", i), Action: Create, Outcome: Decide,
			Judged: true, Awaits: "1 of: lea", Reason: Text{Text: strings.Repeat("because ", 9)}})
		r.Rules = append(r.Rules, Rule{Address: fmt.Sprintf("jit_person.p%d", i), Action: Change, Loosens: true,
			Outcome: Decide, What: "person p joins " + strings.Repeat("group ", 20)})
	}
	last := func(role string, edit func(*Grant)) {
		g := Grant{Address: "jit_grant." + role, Role: Text{Text: role}, Action: Create, Outcome: Decide, Judged: true}
		edit(&g)
		r.Grants = append(r.Grants, g)
	}
	last("unjudged", func(g *Grant) { g.Judged = false })
	last("drifted", func(g *Grant) { g.Drift = "missing" })
	last("glass", func(g *Grant) { g.Verdict.BrokeGlass = true })
	r.Rules = append(r.Rules, Rule{Address: policyType, Action: Destroy, Loosens: true, Outcome: Decide,
		What: "no policy is left"})
	comment := markdownOf(t, r)
	at := 0
	for _, role := range []string{"`glass`", "`drifted`", "`unjudged`", "1 of: lea"} {
		i := strings.Index(comment[at:], role)
		if i < 0 {
			t.Fatalf("%s is missing or too late", role)
		}
		at += i
	}
	if !strings.Contains(comment, "no policy is left") {
		t.Error("that no policy is left is left out")
	}
}

// No command ends its fence.
func TestFence(t *testing.T) {
	for _, command := range []string{"```", "````", "``` x", "~~~"} {
		found, _ := nodes(t, markdownOf(t, Report{Commands: []string{command, "# heading"}}))
		if want := "\nDocument\nHeading\nParagraph\nEmphasis\nFencedCodeBlock\n<!-- jit-review -->\n"; found != want {
			t.Errorf("%s: %q", command, found)
		}
	}
}

func TestMarker(t *testing.T) {
	for _, key := range []string{"prod", "prod/eu-1", "a_b.c"} {
		if marker, err := Marker(key); err != nil || marker != "<!-- jit-review: "+key+" -->" {
			t.Errorf("%s: %s, %v", key, marker, err)
		}
	}
	for _, key := range []string{"a b", "a--b", "-", "a-", "-->", "a\n", ">", strings.Repeat("a", 101)} {
		var b bytes.Buffer
		if err := everything(asIs).Markdown(&b, key); !errors.Is(err, jit.ErrInvalid) || b.Len() > 0 {
			t.Errorf("%q makes a marker: %v", key, err)
		}
	}
}
