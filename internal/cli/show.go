package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func (p *program) showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one grant and everything that happened to it",
		Long: `Show the recorded facts of one grant, how it stands at this moment, and its events: who asked, which
policy decided, when access began and how it ended, from which change.

--json prints an object: the grant as in jit list --json, with its events.`,
		Example:           `  jit show 3f2b8c1e-0000-8000-8000-000000000000`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := jit.ParseID(args[0])
			if err != nil {
				return err
			}
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error { return p.show(ctx, rt, id) })
		},
	}
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) show(ctx context.Context, rt *config.Runtime, id jit.ID) error {
	g, ok, err := rt.Ledger.Lookup(ctx, id)
	if err != nil {
		return unreadable(fmt.Errorf("read the ledger: %w", err))
	}
	if !ok {
		return noGrant(id)
	}
	events := []jit.Event{}
	for e, err := range rt.Ledger.EventsOf(ctx, []jit.ID{id}) {
		if err != nil {
			return unreadable(fmt.Errorf("read the events: %w", err))
		}
		events = append(events, e)
	}
	if p.json {
		return p.printJSON(struct {
			grantView
			Events []jit.Event `json:"events"`
		}{viewOf(g, p.Now()), events})
	}
	p.printFacts(g)
	fmt.Fprintln(p.out)
	t := p.table(p.out)
	t.row("AT", "EVENT", "ACTOR", "SOURCE", "CHANGE", "DETAIL")
	for _, e := range events {
		t.row(jit.FormatTime(e.At), string(e.Kind), e.Name, string(e.Source), e.Change, detail(e.ForPeople()))
	}
	t.flush()
	return nil
}

func noGrant(id jit.ID) error {
	return &jit.Error{Attribute: "id", Problem: fmt.Sprintf("the ledger has no grant %s", id), Hint: "`jit list --all` lists all that it has", Err: jit.ErrUnknown}
}

// printFacts writes the facts of a grant, one a line; what is not known or has not happened is left out.
func (p *program) printFacts(g jit.Grant) {
	now := p.Now()
	state := fmt.Sprintf("%s, %s", g.State(now), when(g, now))
	if g.Outstanding(now) {
		state += "; not removed from its target yet"
	}
	t := p.table(p.out)
	t.colour = false
	for _, fact := range [][2]string{
		{"id", string(g.ID)},
		{"state", state},
		{"owner", g.Owner},
		{"target", g.Target},
		{"principal", g.Principal},
		{"role", g.Role},
		{"scope", g.Scope},
		{"reason", g.Reason},
		{"renewal", strconv.FormatInt(g.Renewal, 10)},
		{"ttl", g.TTL},
		{"starts_at", jit.FormatTime(g.Start)},
		{"expires_at", jit.FormatTime(g.End)},
		{"start_by", jit.FormatTime(g.StartBy)},
		{"policy", g.Policy},
		{"enforcement", string(g.Enforcement)},
		{"session_tail", jit.FormatTail(g.SessionTail)},
		{"requested_at", jit.FormatTime(g.RequestedAt)},
		{"granted_at", jit.FormatTime(g.GrantedAt)},
		{"failed_at", jit.FormatTime(g.FailedAt)},
		{"failure", g.Failure},
		{"revoked_at", jit.FormatTime(g.RevokedAt)},
		{"revoked_by", g.RevokedBy},
		{"revoke_reason", g.RevokeReason},
		{"ended_at", jit.FormatTime(g.EndedAt)},
		{"remains", g.Remains},
	} {
		if fact[1] != "" {
			t.row(fact[0], fact[1])
		}
	}
	t.flush()
}

// detail writes the facts of an event in the order of their names.
func detail(facts map[string]string) string {
	parts := make([]string, 0, len(facts))
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		parts = append(parts, name+"="+facts[name])
	}
	return strings.Join(parts, " ")
}
