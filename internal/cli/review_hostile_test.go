package cli

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// hostileTexts are reasons and keys of for_each that do more than be read.
var hostileTexts = []string{
	"`", "a`b``c", "```\ncode", "|", `\|`, `a\`, "| --- |", "[x](javascript:alert(1))",
	"![x](https://example.com/x.png)",
	"[^1]", "https://example.com", "www.example.com", "alice@example.com", "@team", "#123", "GH-1",
	"a5c3785ed8d6a35868bc169f07e40e889087fd2e", "~label", "!1", "%milestone", "/close", "x\n/close", ":smile:",
	"$math$",
	"&#64;team", "<script>alert(1)</script>", "</details>", "<!-- jit-review -->", "x\n# heading", "a\r\nb", "a\u2028b",
	"\u202etxt.exe", "a\u200bb", "\x1b[2J", "x\n===", "*a* _a_ ~~a~~", "${x} %{if x}", strings.Repeat("x", 2000),
}

// Texts of people pass through a real plan and change nothing of a comment but the words.
func TestReviewHostilePlan(t *testing.T) {
	binary := acctest.Build(t)
	for _, tf := range testenv.Terraforms(t) {
		t.Run(tf.String(), func(t *testing.T) {
			w := newReviewWorld(t, tf, binary)
			planned := func(texts []string) string {
				reasons := map[string]string{} // by the key of for_each, which may be any text
				for i, text := range texts {
					reasons[fmt.Sprintf("%02d %s", i, text)] = reasonOf(text)
				}
				asked, err := json.Marshal(reasons)
				if err != nil {
					t.Fatal(err)
				}
				w.write("texts.json", string(asked))
				w.plan([]string{fmt.Sprintf("resource \"jit_grant\" \"g\" {\n  for_each = "+
					"jsondecode(file(\"texts.json\"))\n  target = \"host\"\n  principal = %q\n  role = \"login\"\n"+
					"  reason = each.value\n  ttl = \"1h\"\n}\n", w.principal)})
				return w.run("review", "plan.json", "--format", "markdown").wantCode(exitUndecided).out
			}
			harmless := slices.Repeat([]string{"word"}, len(hostileTexts))
			want, got := planned(harmless), planned(hostileTexts)
			if a, b := structure(want), structure(got); a != b {
				t.Errorf("the structure is\n%s\nwant\n%s\nof\n%s", b, a, got)
			}
			if strings.Count(got, "<!--") != 1 || regexp.MustCompile(`(?m)^/`).MatchString(got) {
				t.Errorf("a marker or a command is forged in\n%s", got)
			}
			for _, format := range []string{"markdown", "text", "json", "sarif"} {
				out := w.run("review", "plan.json", "--format", format).wantCode(exitUndecided).out
				for _, r := range strings.ReplaceAll(out, "\ufe0f", "") {
					if r != '\n' && jit.Hidden(r) {
						t.Errorf("%s shows the hidden character %U", format, r)
					}
				}
			}
			var reasons struct {
				Grants []struct{ Reason struct{ Text string } }
			}
			if err := json.Unmarshal([]byte(w.run("review", "plan.json", "--json").out), &reasons); err != nil {
				t.Fatal(err)
			}
			for _, asked := range hostileTexts {
				if !slices.ContainsFunc(reasons.Grants, func(g struct{ Reason struct{ Text string } }) bool {
					return g.Reason.Text == reasonOf(asked)
				}) {
					t.Errorf("no grant has the reason %q", asked)
				}
			}
		})
	}
}

// reasonOf returns a text as a reason. The provider refuses hidden characters and long texts there.
func reasonOf(text string) string {
	if strings.ContainsFunc(text, jit.Hidden) || len(text) > 400 {
		return "INC-1: look"
	}
	return "INC-1: " + text
}

// structure tells what a comment consists of, without the words and the code spans.
func structure(comment string) string {
	var b strings.Builder
	source := []byte(comment)
	parser := goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote)).Parser()
	_ = ast.Walk(parser.Parse(text.NewReader(source)), func(n ast.Node, in bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.CodeSpan:
			return ast.WalkSkipChildren, nil
		case *ast.Text, *ast.RawHTML:
		default:
			if in {
				b.WriteString(n.Kind().String() + "\n")
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// On a terminal, a review has its own emojis and colours, and no others.
func TestReviewOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	o := newReviewOffice(t)
	all, _, _ := o.whole(o.wish()) // which waits for an approval
	all["address"] = "jit_grant.a[\"\x1b[31mred\u202e\"]"
	o.planOf(object{"resource_changes": []object{all}})
	comment := o.onTerminal(200, "review", "plan.json", "--format", "markdown").out
	if !regexp.MustCompile(`^### ⚠️ `).MatchString(comment) || !strings.Contains(comment, `\u{1b}[31mred\u{202e}`) {
		t.Errorf("the comment is\n%s", comment)
	}
	text := o.onTerminal(200, "review", "plan.json").out
	if !regexp.MustCompile("^\x1b\\[33m").MatchString(text) || !strings.Contains(text, `\u{1b}[31mred\u{202e}`) {
		t.Errorf("the text is\n%s", text)
	}
}
