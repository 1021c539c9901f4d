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
	var prefixes []string
	cmd := p.command(&cobra.Command{
		Use:   "show ID",
		Short: "Show one grant and its events",
		Long: `Show the recorded facts of one grant, its state at this moment, and its events: who asked, which policy
decided, when access began, how it ended, and from which change. ID may be the beginning of an id.

--json prints an object: the grant as in jit list --json, with its events.`,
		Example: `  jit show 3f2b8c1e-0000-8000-8000-000000000000
  jit show 3f2b8c1e`,
		Args:              oneArgument("ID", "give the id of a grant, as jit list prints it, or its beginning"),
		ValidArgsFunction: p.completeIDs,
	}, func(args []string) (err error) {
		prefixes, err = parsePrefixes(args)
		return err
	}, func(ctx context.Context, rt *config.Runtime) error { return p.show(ctx, rt, prefixes[0]) })
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) show(ctx context.Context, rt *config.Runtime, prefix string) error {
	g, err := onlyWithPrefix(ctx, rt, prefix)
	if err != nil {
		return err
	}
	events := []jit.Event{}
	for e, err := range rt.Ledger.EventsOf(ctx, []jit.ID{g.ID}) {
		if err != nil {
			return unreadable(fmt.Errorf("read the events: %w", err))
		}
		events = append(events, e)
	}
	return p.printGrant(ctx, rt, g, events)
}

// printGrant writes one grant with its events.
func (p *program) printGrant(ctx context.Context, rt *config.Runtime, g jit.Grant, events []jit.Event) error {
	if p.json {
		return p.printJSON(struct {
			jit.View
			Events []jit.Event `json:"events"`
		}{p.views(ctx, rt, g)[0], events})
	}
	p.printFacts(g)
	fmt.Fprintln(p.out)
	t := p.table(p.out, "SOURCE", "CHANGE")
	t.row("AT", "EVENT", "ACTOR", "SOURCE", "CHANGE", "DETAIL")
	for _, e := range events {
		t.row(jit.FormatTime(e.At), string(e.Kind), e.Name, string(e.Source), e.Change, detail(e.ForPeople()))
	}
	t.flush()
	return nil
}

// printFacts writes the known facts of a grant, one a line.
func (p *program) printFacts(g jit.Grant) {
	now := p.Now()
	state := fmt.Sprintf("%s, %s", g.State(now), when(g, now))
	if g.Outstanding(now) {
		state += "; not removed from its target yet"
	}
	t := &table{w: p.out}
	for _, fact := range [][2]string{
		{"id", string(g.ID)},
		{"state", state},
		{"owner", g.Owner},
		{"target", g.Target},
		{"principal", g.Principal},
		{"principal_name", g.PrincipalName},
		{"role", g.Role},
		{"scope", g.Scope},
		{"reason", g.ReasonText()},
		{"requester", g.Requester},
		{"renewal", strconv.FormatInt(g.Renewal, 10)},
		{"ttl", g.TTL.String()},
		{"starts_at", jit.FormatTime(g.Start)},
		{"expires_at", jit.FormatTime(g.End)},
		{"start_by", jit.FormatTime(g.StartBy)},
		{"policy", g.Policy},
		{"awaits", g.Awaits},
		{"break_glass", ifTrue(g.BreakGlass)},
		{"signed_off_at", jit.FormatTime(g.SignedOffAt)},
		{"signed_off_by", g.SignedOffBy},
		{"enforcement", string(g.Enforcement)},
		{"session_tail", jit.FormatTail(g.SessionTail)},
		{"requested_at", jit.FormatTime(g.RequestedAt)},
		{"granted_at", jit.FormatTime(g.GrantedAt)},
		{"failed_at", jit.FormatTime(g.FailedAt)},
		{"failure", g.Failure},
		{"revoked_at", jit.FormatTime(g.RevokedAt)},
		{"revoked_by", g.RevokedBy},
		{"revoke_reason", g.RevokeReason},
		{"ended_at", jit.FormatTime(g.AccessEnd())},
		{"remains", g.Remains},
	} {
		if fact[1] != "" {
			t.row(fact[0], fact[1])
		}
	}
	t.flush()
}

// ifTrue returns "true", or an empty text.
func ifTrue(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// detail writes the facts of an event in the order of their names.
func detail(facts map[string]string) string {
	parts := make([]string, 0, len(facts))
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		parts = append(parts, name+"="+facts[name])
	}
	return strings.Join(parts, " ")
}
