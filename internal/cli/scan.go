package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func (p *program) scanCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "List standing access: what has no end and no grant explains",
		Long: `Read every scope of the targets that holds grants or may hold some, and list the access there that has no end and
that no grant explains. What gives the same as a live grant comes first: the end of that grant would end nothing.
After it come notes about the scopes, such as how little room there is for more grants. Nothing is written.

Exit codes:

  0    there is no standing access
  1    there is some
  2    the ledger, a target or a scope could not be read; what could be read is listed
  3    the command line or the settings are wrong
  130  interrupted`,
		Example: `  jit scan
  jit scan --json | jq -r '.standing[] | select(.shadows) | .principal'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withRuntime(cmd.Context(), jit.FromCLI, p.scan)
		},
	}
	p.jsonFlag(cmd)
	return cmd
}

// standingView is one finding, in the stable names of --json.
type standingView struct {
	jit.Place
	Principal string `json:"principal"`
	Role      string `json:"role"`
	Detail    string `json:"detail"`
	// Shadows is the id of a live grant whose end would end nothing because of it; empty for none.
	Shadows jit.ID `json:"shadows,omitempty"`
}

// noteView is something about a scope.
type noteView struct {
	jit.Place
	Principal string `json:"principal,omitempty"`
	Text      string `json:"text"`
}

func (p *program) scan(ctx context.Context, rt *config.Runtime) error {
	observed, live, unread := (&sweeper.Sweeper{Broker: rt.Broker}).Observe(ctx)
	standing, notes := findings(observed, live)
	if p.json {
		errs := make([]string, len(unread))
		for i, err := range unread {
			errs[i] = err.Error()
		}
		err := p.printJSON(struct {
			Standing []standingView `json:"standing"`
			Notes    []noteView     `json:"notes"`
			Unread   []string       `json:"unread"`
		}{standing, notes, errs})
		if err != nil {
			return notDone(err)
		}
	} else {
		p.printFindings(standing, notes)
	}
	for _, err := range unread {
		fmt.Fprintf(p.err, "error: %v\n", err)
	}
	switch {
	case len(unread) > 0:
		return unreadable(errors.New("not everything could be read"))
	case len(standing) > 0:
		return notDone(fmt.Errorf("standing access was found: %d", len(standing)))
	}
	return nil
}

// findings are the standing access, that which shadows a live grant first, and the notes of what was read.
func findings(observed map[jit.Place]jit.Snapshot, live []jit.Grant) ([]standingView, []noteView) {
	standing, notes := []standingView{}, []noteView{}
	for place, snapshot := range observed {
		for _, s := range snapshot.Standing {
			v := standingView{Place: place, Principal: s.Principal, Role: s.Role, Detail: s.Detail}
			for _, g := range live {
				if _, same := (jit.Snapshot{Standing: []jit.Standing{s}}).StandingOf(g.Binding); same && place == (jit.Place{Target: g.Target, Scope: g.Scope}) {
					v.Shadows = g.ID
				}
			}
			standing = append(standing, v)
		}
		for _, n := range snapshot.Notes {
			notes = append(notes, noteView{place, n.Principal, n.Text})
		}
	}
	byPlace := func(a, b jit.Place) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Scope, b.Scope))
	}
	slices.SortFunc(standing, func(a, b standingView) int {
		return cmp.Or(-cmp.Compare(min(len(a.Shadows), 1), min(len(b.Shadows), 1)), byPlace(a.Place, b.Place),
			cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Detail, b.Detail))
	})
	slices.SortFunc(notes, func(a, b noteView) int {
		return cmp.Or(byPlace(a.Place, b.Place), cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Text, b.Text))
	})
	return standing, notes
}

func (p *program) printFindings(standing []standingView, notes []noteView) {
	if len(standing) == 0 {
		fmt.Fprintln(p.err, "No standing access.")
	} else {
		t := p.table(p.out)
		t.row("TARGET", "SCOPE", "PRINCIPAL", "ROLE", "FOUND", "SHADOWS")
		for _, s := range standing {
			t.row(s.Target, abbreviate(s.Scope), abbreviate(s.Principal), abbreviate(s.Role), s.Detail, string(s.Shadows))
		}
		t.flush()
	}
	for _, n := range notes {
		fmt.Fprintf(p.out, "note: %s of target %s: %s\n", printable(n.Scope), printable(n.Target), printable(n.Text))
	}
}
