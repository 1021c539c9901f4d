package notice

import (
	"html"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// spans returns the values of a message by their labels.
func spans(text string) map[string][]string {
	all := map[string][]string{}
	for line := range strings.Lines(text) {
		label, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		for i, part := range strings.Split(rest, "`") {
			if i%2 == 1 { // between two backquotes
				all[label] = append(all[label], jittest.Unprintable(html.UnescapeString(part)))
			}
		}
	}
	return all
}

// With any text, a message reads back as the same fields. No value becomes a mention, a link, formatting or a new line.
func FuzzSlack(f *testing.F) {
	for _, s := range []string{
		"INC-1: look", "<!channel> <@U1> <https://evil.example|x>", "a`b```c", "x\nWho: `root`", "&amp; &lt;",
		"\u202e\u200b\x1b[2J", " lead  and trail ", `\u{60}`, "*b* _i_ ~s~", "\xff", "日本語",
	} {
		f.Add(s, "user:alice@example.com")
		f.Add("role", s)
	}
	f.Fuzz(func(t *testing.T, reason, principal string) {
		m := slackNotice(jit.EventGranted,
			func(g *jit.Grant, _ *jit.Event) { g.Reason, g.Principal = reason, principal })
		got := spans(m.Text)
		for label, written := range map[string]string{"Why": reason, "Who": principal} {
			written = strings.ToValidUTF8(written, "\uFFFD")
			shown := strings.ReplaceAll(jit.Cell(written), "`", jit.Escape('`'))
			if written == "" || utf8.RuneCountInString(shown) > maxValue {
				continue // left out or cut
			}
			if len(got[label]) != 1 || got[label][0] != written {
				t.Errorf("%s reads back as %q, want %q:\n%s", label, got[label], written, m.Text)
			}
		}
		if strings.ContainsAny(m.Text, "<>") {
			t.Errorf("%q mentions or links", m.Text)
		}
	})
}
