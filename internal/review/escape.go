package review

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The longest texts that are shown, in characters: of a value, and of a sentence with values in it.
const (
	longestValue    = 200
	longestSentence = 400
)

// cut makes a text fit for one line, as [jit.Cell] does and then escape, and shortens it to so many characters. It cuts
// into no escape. length is the length of the whole text if it was shortened, else 0. Look-alike letters stay as they
// are.
func cut(s string, most int, escape func(string) string) (head string, length int) {
	n := 0
	for i := range s {
		if n++; n > most {
			length = utf8.RuneCountInString(s)
			s = s[:i]
			break
		}
	}
	head = escape(jit.Cell(s))
	if utf8.RuneCountInString(head) <= most {
		return head, length
	}
	if length == 0 {
		length = utf8.RuneCountInString(s)
	}
	n, end := 0, 0
	for _, token := range tokens.FindAllString(head, -1) {
		if n += utf8.RuneCountInString(token); n > most {
			break
		}
		end += len(token)
	}
	return head[:end], length
}

// tokens are escapes and all other characters.
var tokens = regexp.MustCompile(`\\u\{[0-9a-f]+\}|.`)

// style is how a format writes texts that people wrote.
type style struct {
	// value writes a text of one line; sentence writes a sentence that holds such texts.
	value, sentence func(string) string
	// strange and strong write our words in the place of a value.
	strange, strong func(string) string
}

// text writes a value of a plan; an empty one is a dash.
func (s style) text(t Text) string {
	switch {
	case t.Sensitive:
		return s.strange("(sensitive)")
	case t.Unknown:
		return s.strange("(known after apply)")
	case t.Text == "":
		return "–"
	}
	return s.value(t.Text)
}

// line writes a value that has a line for itself.
func (s style) line(t Text) string {
	if t.Sensitive || t.Unknown || t.Text == "" {
		return s.text(t)
	}
	return shortened(cut(t.Text, longestValue, unchanged))
}

func unchanged(s string) string { return s }

func shortened(head string, length int) string {
	if length == 0 {
		return head
	}
	return fmt.Sprintf("%s … (%d characters)", head, length)
}

// plain writes text for terminals.
var plain = style{
	value: func(s string) string {
		head, length := cut(s, longestValue, unchanged)
		if strings.HasPrefix(head, "(") || strings.HasPrefix(head, "–") || strings.Contains(head, " ") {
			head = `"` + strings.ReplaceAll(head, `"`, jit.Escape('"')) + `"`
		}
		return shortened(head, length)
	},
	sentence: func(s string) string {
		return shortened(cut(lines.ReplaceAllString(s, " "), longestSentence, unchanged))
	},
	strange: func(s string) string { return s },
	strong:  func(s string) string { return s },
}

// markdown writes text for comments of GitHub and GitLab. What people wrote is in code spans: there, both find neither
// mentions nor references, links, labels, commands, emojis or formulas. A backslash or an entity does not keep them
// from that: they look for most of these in the text that a reader sees.
var markdown = style{
	value:    func(s string) string { return code(cut(s, longestValue, inCode)) },
	sentence: prose,
	strange:  func(s string) string { return "*" + s + "*" },
	strong:   func(s string) string { return "**" + s + "**" },
}

// lines are the line ends of hints, which have several lines.
var lines = regexp.MustCompile(`\s*\n\s*`)

// Code returns text that people wrote as a code span of Markdown, shortened.
func Code(s string) string { return markdown.value(s) }

// Prose returns a sentence that holds text of people for Markdown: its plain words as they are, and all else as code.
func Prose(s string) string { return markdown.sentence(s) }

var backticks = regexp.MustCompile("`+")

// manyBackticks is a row that is shown as escapes: cmark, GitHub's parser, takes no more than 80 for a fence.
var manyBackticks = regexp.MustCompile("`{4,}")

// inCode escapes what no code span may hold. No text can write a marker into the comment.
func inCode(s string) string {
	s = strings.ReplaceAll(s, "<!--", jit.Escape('<')+"!--")
	return manyBackticks.ReplaceAllStringFunc(s, func(row string) string {
		return strings.Repeat(jit.Escape('`'), len(row))
	})
}

// code returns a text, from cut and inCode, as a code span.
func code(head string, length int) string {
	if head == "" {
		return "–"
	}
	fence := fenceOf(head, 1)
	if strings.HasPrefix(head, "`") || strings.HasSuffix(head, "`") {
		head = " " + head + " "
	}
	return shortened(fence+head+fence, length)
}

// fenceOf returns a row of backticks that s does not have.
func fenceOf(s string, least int) string {
	for _, run := range backticks.FindAllString(s, -1) {
		least = max(least, len(run)+1)
	}
	return strings.Repeat("`", least)
}

var (
	// word is a word of ASCII letters or a small number. It means nothing to GitHub and GitLab, unless it may be a
	// commit.
	word   = regexp.MustCompile(`^(["'(]?[A-Za-z]+(['-][A-Za-z]+)*["')]?[.,;:]?|[0-9]{1,4}[smhd]?[,;]?)$`)
	commit = regexp.MustCompile(`[a-f]{7}`)
	// around are the punctuation marks before and after a text.
	around = regexp.MustCompile(`^(["'(]?)(.*?)(["')]?[.,;:]?)$`)
)

// quoted returns the text between two backticks that the words begin with, such as a command in a message, the
// punctuation mark after it, and the number of its words; 0 if they begin otherwise.
func quoted(words []string) (inner, after string, n int) {
	if !strings.HasPrefix(words[0], "`") {
		return "", "", 0
	}
	text := strings.Join(words, " ")[1:]
	inner, rest, found := strings.Cut(text, "`")
	next, _, _ := strings.Cut(rest, " ")
	if !found || strings.TrimSpace(inner) != inner || inner == "" || len(next) > 1 || !strings.Contains(".,;:", next) {
		return "", "", 0
	}
	return inner, next, strings.Count(inner, " ") + 1
}

// naming is an address with keys, or a name in quotation marks: either may hold words that are not ours. Its end may
// have been cut off.
var naming = regexp.MustCompile(`^(?:[^\s"]*\["(?:[^"\\]|\\.)*(?:"\]|$))+\S*|^[(]?"(?:[^"\\]|\\.)*(?:"|$)\S*`)

// nameIn returns the address or the name that the words begin with, and true; else the first word.
func nameIn(words []string) (text string, is bool) {
	text = naming.FindString(strings.Join(words, " "))
	if !strings.Contains(text, " ") {
		return words[0], false
	}
	return text, true
}

// prose returns a sentence: its words of letters as they are, and all else as code.
func prose(s string) string {
	head, length := cut(lines.ReplaceAllString(s, " "), longestSentence, inCode)
	if head == "" {
		return ""
	}
	var words, strange []string
	flush := func(before, after string) {
		if len(strange) > 0 {
			words = append(words, before+code(strings.Join(strange, " "), 0)+after)
			strange = nil
		}
	}
	for rest := strings.Split(head, " "); len(rest) > 0; {
		if inner, after, n := quoted(rest); n > 0 {
			flush("", "")
			words = append(words, code(inner, 0)+after)
			rest = rest[n:]
			continue
		}
		w, one := nameIn(rest)
		rest = rest[strings.Count(w, " ")+1:]
		if !one && word.MatchString(w) && !commit.MatchString(w) {
			flush("", "")
			words = append(words, w)
			continue
		}
		part := around.FindStringSubmatch(w)
		if part[1] != "" && part[2] != "" && len(strange) == 0 {
			strange = []string{part[2]}
			flush(part[1], part[3])
			continue
		}
		bare := strings.TrimRight(w, ".,;:")
		if bare == "" {
			bare = w
		}
		if strange = append(strange, bare); bare != w {
			flush("", w[len(bare):])
		}
	}
	flush("", "")
	return shortened(strings.Join(words, " "), length)
}

// tableRow returns a row of a table. A text has no cell of its own: its pipes are escaped, with a backslash unless one
// stands before them, since parsers differ about two.
func tableRow(cells ...string) string {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(strings.ReplaceAll(c, `\|`, `\`+jit.Escape('|')), "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}
