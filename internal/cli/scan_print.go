package cli

import (
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// lookedView says which scopes of one target were read.
type lookedView struct {
	Target string `json:"target"`
	// Complete is false if some of the target was not read.
	Complete bool         `json:"complete"`
	Scopes   []string     `json:"scopes_read"`
	Unread   []unreadView `json:"unread"`
	Unseen   []noteView   `json:"unseen"`
}

// unreadView is a scope that could not be read; an empty one means that the scopes could not be listed.
type unreadView struct {
	Scope string `json:"scope,omitempty"`
	Error string `json:"error"`
}

func lookedViews(all []sweeper.Coverage) []lookedView {
	views := make([]lookedView, len(all))
	for i, l := range all {
		v := lookedView{
			Target: l.Target, Complete: l.Complete(), Scopes: append([]string{}, l.Read...),
			Unread: []unreadView{}, Unseen: noteViews(l.Unseen),
		}
		for _, err := range l.Unread {
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

func (p *program) printScan(views []standingView, notes []sweeper.Note, stale []string,
	seen sweeper.Observation) error {
	errs := make([]string, len(seen.Unread))
	for i, err := range seen.Unread {
		errs[i] = err.Error()
	}
	return p.printJSON(struct {
		Complete bool           `json:"complete"`
		Standing []standingView `json:"standing"`
		Notes    []noteView     `json:"notes"`
		Unused   []string       `json:"unused_acceptances,omitempty"`
		Targets  []lookedView   `json:"targets"`
		Unread   []string       `json:"unread"`
	}{seen.Complete(), views, noteViews(notes), stale, lookedViews(seen.Targets), errs})
}

func (p *program) printFindings(views []standingView, notes []sweeper.Note, stale []string, complete bool) {
	switch {
	case len(views) > 0:
		t := p.table(p.out, "ACCEPTED UNTIL", "SHADOWS", "SCOPE")
		t.row("SEVERITY", "TARGET", "SCOPE", "PRINCIPAL", "ROLE", "FOUND", "SHADOWS", "ACCEPTED UNTIL")
		for _, s := range views {
			accepted := s.AcceptedUntil
			if s.AcceptanceEnded != "" {
				accepted = "ended " + s.AcceptanceEnded
			}
			t.row(string(s.Severity), s.Target, s.Scope, s.Principal, s.Role, s.Detail, string(s.Shadows), accepted)
		}
		t.flush()
	case complete:
		fmt.Fprintln(p.err, "No standing access.")
	default:
		fmt.Fprintln(p.err, "No standing access in the scopes that could be read.")
	}
	for _, n := range notes {
		fmt.Fprintf(p.out, "note: %s of target %s: %s\n", printable(n.Scope), printable(n.Target), printable(n.Text))
	}
	for _, s := range stale {
		fmt.Fprintf(p.out, "note: the baseline accepts access that is gone: %s\n", printable(s))
	}
}

// printLooked says for each target which scopes were read.
func (p *program) printLooked(all []sweeper.Coverage) {
	for _, l := range all {
		what := counted(len(l.Read), "scope") + " read"
		if len(l.Read)+len(l.Unread) == 0 {
			what = "nothing was read: the target holds no grants and lists no scope"
		}
		if n := len(l.Unread); n > 0 {
			what += fmt.Sprintf(", %d not", n)
		}
		fmt.Fprintf(p.err, "target %s: %s\n", printable(l.Target), what)
		for _, u := range l.Unseen {
			fmt.Fprintf(p.err, "target %s: %s: not read: %s\n", printable(l.Target), printable(u.Scope),
				printable(u.Text))
		}
	}
}

// counted writes a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
