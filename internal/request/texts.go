package request

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/review"
)

// Pull is the pull request of a change, as text. Branch and Files are in the alphabet of names and paths. The title and
// the message hold no hidden character.
type Pull struct {
	Branch, Title, Message, Body string
	// Files are the paths of the files to commit.
	Files []string
}

// Kind is what a request asks for.
type Kind string

// The kinds.
const (
	New    Kind = "Grant"
	Longer Kind = "Extend"
	Again  Kind = "Renew"
)

// maxTitle bounds a title, in characters.
const maxTitle = 72

// NewPull writes the texts of the pull request for a verdict that does not refuse.
func NewPull(kind Kind, v Verdict, files []string) Pull {
	g := v.Decision.Grant
	branch := "jit/" + nameOf(g)
	name, length := Length{v.Asked.TTL, v.Asked.ExpiresAt}.attribute()
	if kind == Longer {
		branch += "-" + slug(length)
	}
	lasts := " for " + length
	switch {
	case name == "expires_at":
		lasts = " until " + length
	case kind == Longer:
		lasts = " to " + length
	}
	title := cut(
		jit.Printable(fmt.Sprintf("%s %s: %s on %s", kind, jit.Abbreviate(whose(g)), g.Role, g.Target)),
		maxTitle-
			utf8.RuneCountInString(lasts),
	) + lasts
	summary := jit.Printable(v.Summary())
	return Pull{
		Branch: branch, Title: title, Message: title + "\n\n" + summary + "\n", Files: files,
		Body: body(v),
	}
}

// Summary says in one line what is asked for, in the spelling of the request.
func (v Verdict) Summary() string {
	r, err := v.Asked.Request()
	if err != nil {
		return v.Asked.Reason
	}
	g := jit.Grant{Binding: r.Binding, Reason: r.Reason, Renewal: r.Renewal, TTL: r.TTL,
		StartAsked: jit.StartAsked(r.StartsAt)}
	g.End, g.Scope = r.ExpiresAt, cmp.Or(g.Scope, v.Decision.Grant.Scope)
	return g.Summary()
}

// body is the text of a pull request in Markdown.
func body(v Verdict) string {
	var b strings.Builder
	a := v.Asked
	for _, at := range a.fields() {
		switch {
		case at.yes != nil && *at.yes:
			fmt.Fprintf(&b, "- %s: yes\n", strings.ReplaceAll(at.name, "_", " "))
		case at.text != nil && *at.text != "":
			fmt.Fprintf(&b, "- %s: %s\n", strings.ReplaceAll(at.name, "_", " "), review.Code(jit.Abbreviate(*at.text)))
		}
	}
	if a.Renewal > 1 {
		fmt.Fprintf(&b, "- renewal: %d\n", a.Renewal)
	}
	fmt.Fprintf(&b, "- grant: `%s`\n\n", v.Decision.Grant.ID)
	if awaits := v.Decision.Awaits; awaits != "" {
		fmt.Fprintf(&b, "It needs the approval of %s. ", review.Prose(awaits))
	}
	fmt.Fprintf(&b, "Rule: %s.\n\nThe plan judges the request again, and `jit review` shows what to decide about it.\n",
		review.Prose(strings.TrimSuffix(v.Rule(), ".")))
	return b.String()
}

// cut shortens a text to a number of characters.
func cut(s string, limit int) string {
	if runes := []rune(s); len(runes) > limit {
		return string(runes[:max(0, limit-1)]) + "…"
	}
	return s
}

// Commands returns the commands that make the pull request by hand, for a POSIX shell in the folder of the command.
func (p Pull) Commands(folder string) []string {
	git := "git"
	if folder != "." {
		git += " -C " + Word(folder)
	}
	paths := ""
	for _, f := range p.Files {
		short, err := filepath.Rel(folder, f)
		if err != nil {
			short = f
		}
		paths += " " + Word(filepath.ToSlash(short))
	}
	subject, text, _ := strings.Cut(strings.TrimSpace(p.Message), "\n\n")
	return []string{
		git + " switch -c " + p.Branch,
		git + " add --" + paths,
		git + " commit -m " + Word(subject) + " -m " + Word(text) + " --" + paths,
		git + " push -u origin " + p.Branch,
		git + " switch -",
	}
}
