package review

import (
	"fmt"
	"io"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The colours of a terminal.
const (
	red, yellow, green, bold, off = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[0m"
)

var colours = map[Outcome]string{Nothing: green, Decide: yellow, Refused: red}

// labels are the outcomes of single items.
var labels = map[Outcome]string{Nothing: "ok", Decide: "decide", Refused: "refused"}

// page is a text for a terminal.
type page struct {
	strings.Builder
	colour bool
}

func (p *page) painted(colour, text string) string {
	if !p.colour {
		return text
	}
	return colour + text + off
}

// heading begins a part.
func (p *page) heading(text string) { fmt.Fprintf(p, "\n%s\n", p.painted(bold, text)) }

// item writes what is decided on, with its outcome, and facts below.
func (p *page) item(o Outcome, what string, facts ...fact) {
	fmt.Fprintf(p, "  %s %s\n", p.painted(colours[o], fmt.Sprintf("%-8s", labels[o])), what)
	for _, f := range facts {
		fmt.Fprintf(p, "           %-16s %s\n", f.name, f.value)
	}
}

// Text writes the report for a terminal. colour adds colours.
func (r Report) Text(w io.Writer, colour bool) error {
	r = r.sorted()
	p := &page{colour: colour}
	fmt.Fprintln(p, p.painted(colours[r.Worst()], r.Verdict()))
	if len(r.Doubts) > 0 {
		p.heading("This review may not be complete")
		for _, d := range r.Doubts {
			p.item(Decide, plain.sentence(d))
		}
	}
	if len(r.Grants) > 0 {
		p.heading("Grants")
	}
	for _, g := range r.Grants {
		p.item(g.Outcome, plain.summary(g), append([]fact{
			{"why", plain.line(g.Reason)},
			{"end", strings.Join(plain.endedBy(g), "; ")},
			{"verdict", strings.Join(plain.verdict(g), "; ")},
			{"resource", address(g.Address) + ": " + string(g.Action)},
		}, plain.facts(g)...)...)
	}
	if len(r.Access) > 0 {
		p.heading("Access by other providers")
	}
	for _, a := range r.Access {
		p.item(a.Outcome, plain.text(a.Principal)+": "+plain.text(a.Role)+" on "+plain.text(a.Scope),
			fact{"kind", kindOf(a).one}, fact{"end", plain.ends(a)},
			fact{"resource", address(a.Address) + ": " + string(a.Action)}, fact{"because", plain.sentence(a.Why)})
	}
	if len(r.Rules) > 0 {
		p.heading("Rules")
	}
	for _, rule := range r.Rules {
		loosens := ""
		if rule.Loosens {
			loosens = "loosened: "
		}
		p.item(rule.Outcome, loosens+address(rule.Address)+": "+plain.sentence(rule.What))
	}
	if len(r.Commands) > 0 {
		p.heading("To approve")
	}
	for _, c := range r.Commands {
		fmt.Fprintf(p, "  %s\n", jit.Printable(c))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(p, "\n%s\n", plain.sentence(n))
	}
	if r.Others > 0 {
		fmt.Fprintf(p, "\n%s not about access.\n", counted(r.Others, "other change is", "other changes are"))
	}
	_, err := io.WriteString(w, p.String())
	return err
}

// address writes the address of a resource, whose keys of for_each may hold any text.
func address(s string) string { return plain.line(Text{Text: s}) }

// summary says who gets what, where and for how long.
func (s style) summary(g Grant) string {
	return s.text(short(g.Principal)) + ": " + s.text(g.Role) + " " + s.where(g) + ", " + strings.Join(s.lasts(g), ", ")
}
