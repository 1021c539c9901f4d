package cli

import (
	"fmt"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// coverageView says which scopes of one target were read.
type coverageView struct {
	Target string `json:"target"`
	// Complete is false if some of the target was not read.
	Complete bool         `json:"complete"`
	Scopes   []string     `json:"scopes_read"`
	Unread   []unreadView `json:"unread"`
	Unseen   []noteView   `json:"unseen"`
}

// unreadView is a scope that could not be read; it is empty if the scopes could not be listed.
type unreadView struct {
	Scope string `json:"scope,omitempty"`
	Error string `json:"error"`
}

func coverageViews(all []sweeper.Coverage) []coverageView {
	views := make([]coverageView, len(all))
	for i, c := range all {
		v := coverageView{
			Target: c.Target, Complete: c.Complete(), Scopes: append([]string{}, c.Read...),
			Unread: []unreadView{}, Unseen: noteViews(c.Unseen),
		}
		for _, err := range c.Unread {
			v.Unread = append(v.Unread, unreadView{err.Scope, err.Err.Error()})
		}
		views[i] = v
	}
	return views
}

func noteViews(notes []sweeper.Note) []noteView {
	views := make([]noteView, len(notes))
	for i, n := range notes {
		views[i] = noteView{n.Place, n.Principal, n.Text}
	}
	return views
}

func (p *program) printScan(s scanned) error {
	if !p.json {
		p.printFindings(s)
		p.printCoverage(s.Targets)
		return nil
	}
	return p.printJSON(struct {
		Complete bool           `json:"complete"`
		Standing []standingView `json:"standing"`
		Notes    []noteView     `json:"notes"`
		Unused   []string       `json:"unused_acceptances,omitempty"`
		Targets  []coverageView `json:"targets"`
		Unread   []string       `json:"unread"`
	}{s.Complete(), s.views, noteViews(s.notes), s.stale, coverageViews(s.Targets), messages(s.Unread)})
}

// messages returns the texts of errors.
func messages(errs []error) []string {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return texts
}

func (p *program) printFindings(found scanned) {
	switch {
	case len(found.views) > 0:
		t := p.table(p.out, "ACCEPTED UNTIL", "SHADOWS", "SCOPE")
		t.row("SEVERITY", "TARGET", "SCOPE", "PRINCIPAL", "ROLE", "FOUND", "SHADOWS", "ACCEPTED UNTIL")
		for _, s := range found.views {
			accepted := s.AcceptedUntil
			if s.AcceptanceEnded != "" {
				accepted = "ended " + s.AcceptanceEnded
			}
			t.row(string(s.Severity), s.Target, s.Scope, s.Principal, s.Role, s.Detail, string(s.Shadows), accepted)
		}
		t.flush()
	case found.Complete() && !slices.ContainsFunc(found.Targets, func(c sweeper.Coverage) bool { return len(c.Read) == 0 }):
		fmt.Fprintln(p.err, "No standing access.")
	case found.Complete():
		fmt.Fprintln(p.err, "No standing access in the scopes that were read.")
	default:
		fmt.Fprintln(p.err, "No standing access in the scopes that could be read.")
	}
	for _, n := range found.notes {
		fmt.Fprintf(p.out, "note: %s of target %s: %s\n", printable(n.Scope), printable(n.Target), printable(n.Text))
	}
	for _, s := range found.stale {
		fmt.Fprintf(p.out, "note: the baseline accepts access that is gone: %s\n", printable(s))
	}
}

// printCoverage says for each target which scopes were read.
func (p *program) printCoverage(all []sweeper.Coverage) {
	for _, l := range all {
		summary := counted(len(l.Read), "scope") + " read"
		if len(l.Read)+len(l.Unread) == 0 {
			summary = "nothing was read: the target holds no grants and lists no scope"
		}
		if n := len(l.Unread); n > 0 {
			summary += fmt.Sprintf(", %d not", n)
		}
		fmt.Fprintf(p.err, "target %s: %s\n", printable(l.Target), summary)
		for _, u := range l.Unseen {
			fmt.Fprintf(p.err, "target %s: %s: not read: %s\n", printable(l.Target), printable(u.Scope),
				printable(u.Text))
		}
	}
}

// counted writes a number of things.
func counted[N int | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
