package cli

import (
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// lookedView is what was looked at on one target.
type lookedView struct {
	Target string `json:"target"`
	// Complete is false when something on the target was not looked at.
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

func lookedViews(all []sweeper.Looked) []lookedView {
	views := make([]lookedView, len(all))
	for i, l := range all {
		v := lookedView{Target: l.Target, Complete: l.Complete(), Scopes: append([]string{}, l.Read...), Unread: []unreadView{}, Unseen: noteViews(l.Unseen)}
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

func (p *program) printScan(views []standingView, notes []sweeper.Note, stale []string, seen sweeper.Observation) error {
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
		t := p.table(p.out)
		t.row("SEVERITY", "TARGET", "SCOPE", "PRINCIPAL", "ROLE", "FOUND", "SHADOWS", "ACCEPTED UNTIL")
		for _, s := range views {
			accepted := s.AcceptedUntil
			if s.AcceptanceEnded != "" {
				accepted = "ended " + s.AcceptanceEnded
			}
			t.row(string(s.Severity), s.Target, abbreviate(s.Scope), abbreviate(s.Principal), abbreviate(s.Role), s.Detail, string(s.Shadows), accepted)
		}
		t.flush()
	case complete:
		fmt.Fprintln(p.err, "No standing access.")
	default:
		fmt.Fprintln(p.err, "No standing access was found in what could be read.")
	}
	for _, n := range notes {
		fmt.Fprintf(p.out, "note: %s of target %s: %s\n", printable(n.Scope), printable(n.Target), printable(n.Text))
	}
	for _, s := range stale {
		fmt.Fprintf(p.out, "note: the baseline accepts what is not there any more: %s\n", printable(s))
	}
}

// printLooked says for each target what was looked at and what was not.
func (p *program) printLooked(all []sweeper.Looked) {
	for _, l := range all {
		what := counted(len(l.Read), "scope") + " read"
		if len(l.Read)+len(l.Unread) == 0 {
			what = "nothing was looked at: the target holds no grants and lists no scope"
		}
		if n := len(l.Unread); n > 0 {
			what += fmt.Sprintf(", %d not", n)
		}
		fmt.Fprintf(p.err, "target %s: %s\n", printable(l.Target), what)
		for _, u := range l.Unseen {
			fmt.Fprintf(p.err, "target %s: %s: not looked at: %s\n", printable(l.Target), printable(u.Scope), printable(u.Text))
		}
	}
}

// counted writes a number with what is counted.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
