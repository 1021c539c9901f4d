package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func (p *program) listCommand() *cobra.Command {
	var s selection
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List grants: who has what, why, and for how long",
		Long: `List the grants of every owner in the ledger, in the order of their end. Without --all or --state these are the
grants that are live, and those that are over but not removed from their target yet.

--json prints an array; each grant has its recorded facts and, computed for this moment, state,
remaining_seconds and outstanding.`,
		Example: `  jit list
  jit list --target 'prod*' --principal user:alice@example.com
  jit list --owner payments
  jit list --state expired --json | jq -r '.[].id'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error { return p.list(ctx, rt, s) })
		},
	}
	s.addFlags(p, cmd)
	cmd.Flags().StringVar(&s.state, "state", "", "only grants in this `state`: "+strings.Join(states, ", "))
	cmd.Flags().StringVar(&s.owner, "owner", "", "only grants of this `owner` (default '*', all owners)")
	cmd.Flags().BoolVar(&s.over, "all", false, "also grants that are over and gone")
	p.jsonFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("owner", cobra.NoFileCompletions)
	return cmd
}

func (p *program) list(ctx context.Context, rt *config.Runtime, s selection) error {
	grants, err := s.grants(ctx, rt)
	if err != nil {
		return err
	}
	now := p.Now()
	if p.json {
		return p.printJSON(viewsOf(grants, now))
	}
	if len(grants) == 0 {
		fmt.Fprintln(p.err, "No grant matches.")
		return nil
	}
	p.printGrants(p.table(p.out), grants, now)
	return nil
}
