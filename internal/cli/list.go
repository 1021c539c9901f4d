package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
)

func (p *program) listCommand() *cobra.Command {
	var s selection
	cmd := p.command(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List grants: who has what, why, and for how long",
		Long: `List the grants of every owner in the ledger, ordered by their end. Without --all or --state, jit lists
only the grants that are live, and those that are over but not yet removed from their target.

On a terminal, jit fits the table to the width: it cuts ids and long texts. A piped table is complete. --json prints an
array of grants; state, remaining_seconds and outstanding describe this moment.`,
		Example: `  jit list
  jit list --target 'prod*' --principal user:alice@example.com
  jit list --owner payments
  jit list --state requested
  jit list --state expired --json | jq -r '.[].id'`,
	}, func([]string) error {
		if s.state != "" && !slices.Contains(stateNames(), s.state) {
			return invalidChoice("--state", s.state, stateNames())
		}
		return nil
	}, func(ctx context.Context, rt *config.Runtime) error { return p.list(ctx, rt, s) })
	s.addFlags(p, cmd)
	cmd.Flags().StringVar(&s.state, "state", "", "only grants in this `state`: "+strings.Join(stateNames(), ", "))
	cmd.Flags().StringVar(&s.owner, "owner", "", "only grants of this `owner` (default '*', all owners)")
	cmd.Flags().BoolVar(&s.unsigned, "unsigned", false, "only grants that broke the glass and that nobody signed off")
	cmd.Flags().BoolVar(&s.closed, "all", false, "also grants that are over and gone")
	p.jsonFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("state",
		cobra.FixedCompletions(stateNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("owner", cobra.NoFileCompletions)
	return cmd
}

func (p *program) list(ctx context.Context, rt *config.Runtime, s selection) error {
	grants, err := s.grants(ctx, rt)
	if err == nil {
		p.warnBehind(ctx, rt)
	}
	switch {
	case err != nil:
		return err
	case p.json:
		return p.printJSON(p.views(ctx, rt, grants...))
	case len(grants) == 0:
		p.printNoGrant(ctx, rt, "No grant matches.")
	default:
		p.printGrants(p.out, grants)
	}
	return nil
}
