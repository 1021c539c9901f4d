package review

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// mostBytes bounds a comment. GitHub takes 65,536 characters and answers 422 to more; GitLab takes 1,000,000
	// (https://docs.gitlab.com/administration/instance_limits/). No text has more characters than bytes.
	mostBytes = 65000
	// mostDoubts, mostCommands and mostNotes bound the parts that are shown before all others.
	mostDoubts, mostCommands, mostNotes = 12000, 6000, 3000
	// roomForRest is for the lines that say what is left out.
	roomForRest = 1500
)

var icons = map[Outcome]string{Nothing: "✅", Decide: "⚠️", Refused: "❌"}

var markerKey = regexp.MustCompile(`^[A-Za-z0-9._/]([A-Za-z0-9._/]|-[A-Za-z0-9._/]){0,99}$`)

// Marker returns the hidden line by which pipelines find their comment: <!-- jit-review -->, or
// <!-- jit-review: KEY --> where one change has several reviews.
func Marker(key string) (string, error) {
	if key == "" {
		return "<!-- jit-review -->", nil
	}
	if !markerKey.MatchString(key) {
		return "", jit.Invalid("--key", `write for example --key prod/eu`,
			"%q is not a key; it takes 1 to 100 letters, "+
				"digits, dots, underscores, slashes and single hyphens between them", key)
	}
	return "<!-- jit-review: " + key + " -->", nil
}

// Markdown writes the report as a comment on a pull request of GitHub or GitLab. The first line is the verdict, the
// last one the [Marker].
func (r Report) Markdown(w io.Writer, key string) error {
	marker, err := Marker(key)
	if err != nil {
		return err
	}
	r = r.sorted()
	head := fmt.Sprintf("### %s %s\n", icons[r.Worst()], r.Verdict()) + r.markdownDoubts()
	tail := r.markdownCommands() + r.markdownNotes()
	end := "\n" + marker + "\n"
	sections := []*section{r.markdownGrants(), r.markdownAccess(), r.markdownRules()}
	left := fill(mostBytes-roomForRest-len(head)-len(tail)-len(end), sections)
	var b strings.Builder
	b.WriteString(head)
	for _, s := range sections {
		s.write(&b)
	}
	b.WriteString(tail)
	r.markdownDetails(&b, left)
	b.WriteString(end)
	_, err = io.WriteString(w, b.String())
	return err
}

// section is a part of a comment with rows, the worst first.
type section struct {
	head string
	rows []row
	// shown are the rows that fit; bytes is their size.
	shown []string
	bytes int
	full  bool
}

// row is written only if it has a chance to be shown.
type row struct {
	outcome Outcome
	text    func() string
}

// fill chooses the rows that fit: the worst of all sections first, and of equal ones that of the section that shows the
// least so far. It returns the bytes that are left.
func fill(left int, sections []*section) int {
	for _, s := range sections {
		left -= len(s.head)
	}
	for {
		open := slices.DeleteFunc(slices.Clone(sections),
			func(s *section) bool { return s.full || len(s.shown) == len(s.rows) })
		if len(open) == 0 {
			return left
		}
		s := slices.MinFunc(open, func(a, b *section) int {
			return cmp.Or(cmp.Compare(b.rows[len(b.shown)].outcome, a.rows[len(a.shown)].outcome),
				cmp.Compare(a.bytes, b.bytes))
		})
		text := s.rows[len(s.shown)].text()
		if s.full = len(text) > left; !s.full {
			left -= len(text)
			s.shown, s.bytes = append(s.shown, text), s.bytes+len(text)
		}
	}
}

func (s *section) write(b *strings.Builder) {
	if len(s.rows) == 0 {
		return
	}
	b.WriteString(s.head)
	for _, text := range s.shown {
		b.WriteString(text)
	}
	rest := s.rows[len(s.shown):]
	if len(rest) == 0 {
		return
	}
	var parts []string
	for _, o := range []Outcome{Refused, Decide, Nothing} {
		if n := count(rest, func(r row) bool { return r.outcome == o }); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, map[Outcome]string{
				Refused: "refused", Decide: "to decide", Nothing: "with nothing to decide"}[o]))
		}
	}
	fmt.Fprintf(b, "\n**And %d more, none of them worse than these: %s.** Read them with `jit review --format text`.\n",
		len(rest), strings.Join(parts, ", "))
}

func (r Report) markdownDoubts() string {
	if len(r.Doubts) == 0 {
		return ""
	}
	return "\n**This review may not be complete:**\n\n" + list("❓", r.Doubts, "more doubt", "more doubts", mostDoubts)
}

func (r Report) markdownNotes() string {
	if len(r.Notes) == 0 {
		return ""
	}
	return "\n" + list("ℹ️", r.Notes, "more note", "more notes", mostNotes)
}

// list writes sentences as a list of so many bytes.
func list(icon string, sentences []string, one, many string, most int) (b string) {
	for i, s := range sentences {
		line := "- " + icon + " " + prose(s) + "\n"
		if len(b)+len(line) > most {
			return b + fmt.Sprintf("- %s and %s: read them with `jit review --format text`\n", icon,
				counted(len(sentences)-i, one, many))
		}
		b += line
	}
	return b
}

func (r Report) markdownCommands() string {
	if len(r.Commands) == 0 {
		return ""
	}
	b := ""
	for i, c := range r.Commands {
		line := strings.ReplaceAll(jit.Printable(c), "<!--", jit.Escape('<')+"!--") + "\n"
		if len(b)+len(line) > mostCommands {
			b += fmt.Sprintf("# and %s: jit review --format text\n",
				counted(len(r.Commands)-i, "more command", "more commands"))
			break
		}
		b += line
	}
	fence := fenceOf(b, 3)
	return "\n**To approve:**\n\n" + fence + "sh\n" + b + fence + "\n"
}

func (r Report) markdownGrants() *section {
	s := &section{head: "\n" + tableRow("", "Who, what, where", "How long, ended by", "Why", "Verdict") +
		"| --- | --- | --- | --- | --- |\n"}
	for _, g := range r.Grants {
		s.rows = append(s.rows, row{g.Outcome, func() string { return grantRow(g) }})
	}
	return s
}

// grantRow has few columns, so that no table scrolls and hides the verdict.
func grantRow(g Grant) string {
	return tableRow(icons[g.Outcome], broken([]string{markdown.text(short(g.Principal)), markdown.text(g.Role),
		markdown.where(g)}),
		broken(append(markdown.lasts(g), markdown.endedBy(g)...)), markdown.text(g.Reason), broken(markdown.verdict(g)))
}

func broken(parts []string) string { return strings.Join(parts, "<br>") }

func (r Report) markdownAccess() *section {
	var counts []string
	for _, k := range kinds {
		if n := count(r.Access, func(a Access) bool { return kindOf(a) == k }); n > 0 {
			counts = append(counts, k.icon+" "+counted(n, k.one, k.many))
		}
	}
	s := &section{head: "\n**" + strings.Join(counts, ", ") + ", by other providers:**\n\n" +
		tableRow("", "Who, what, where, until when", "Resource, because") + "| --- | --- | --- |\n"}
	for _, a := range r.Access {
		s.rows = append(s.rows, row{a.Outcome, func() string {
			parts := []string{markdown.text(a.Principal), markdown.text(a.Role)}
			if a.Scope != (Text{}) {
				parts = append(parts, "on "+markdown.text(a.Scope))
			}
			parts = append(parts, markdown.ends(a))
			return tableRow(kindOf(a).icon, broken(parts),
				broken([]string{markdown.value(a.Address) + ": " + string(a.Action),
					prose(a.Why)}))
		}})
	}
	return s
}

func (r Report) markdownRules() *section {
	s := &section{head: "\n**🔓 Loosened rules:**\n\n"}
	for _, rule := range r.Rules {
		if rule.Loosens || rule.Outcome > Nothing {
			s.rows = append(s.rows, ruleRow(icons[rule.Outcome], rule))
		}
	}
	return s
}

func ruleRow(icon string, rule Rule) row {
	return row{rule.Outcome, func() string {
		return "- " + icon + " " + markdown.value(rule.Address) + ": " + prose(rule.What) + "\n"
	}}
}

func grantDetails(g Grant) string {
	text := fmt.Sprintf("- %s %s: %s\n", icons[g.Outcome], markdown.value(g.Address), g.Action)
	for _, f := range markdown.facts(g) {
		text += "  - " + strings.ReplaceAll(f.name, "_", " ") + ": " + f.value + "\n"
	}
	return text
}

// markdownDetails writes what needs no look at first, folded, and as much as fits.
func (r Report) markdownDetails(b *strings.Builder, left int) {
	s := &section{head: "\n<details><summary>Details</summary>\n\n"}
	const end = "\nText in boxes is what people wrote. Hidden characters are shown as `\\u{202e}`. " +
		"Letters that only look alike are not marked.\n\n</details>\n"
	for _, rule := range r.Rules {
		if !rule.Loosens && rule.Outcome == Nothing {
			s.rows = append(s.rows, ruleRow("🔒", rule))
		}
	}
	for _, g := range r.Grants {
		s.rows = append(s.rows, row{g.Outcome, func() string { return grantDetails(g) }})
	}
	if r.Others > 0 {
		s.rows = append(s.rows, row{Nothing, func() string {
			return "- " + counted(r.Others, "other change is", "other changes are") + " not about access\n"
		}})
	}
	if len(s.rows) == 0 {
		return
	}
	fill(left-len(end), []*section{s})
	s.write(b)
	b.WriteString(end)
}
