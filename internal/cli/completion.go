package cli

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// completeIDs offers the ids of the open grants. A shell waits for the answer, so any error offers nothing.
func (p *program) completeIDs(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	s, err := config.Load(p.config)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	rt, err := p.open(cmd.Context(), s, jit.FromCLI, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer func() { _ = rt.Close() }()
	grants, err := (&selection{owner: rt.Broker.Owner}).grants(cmd.Context(), rt)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	offers := make([]cobra.Completion, len(grants))
	for i, g := range grants {
		offers[i] = cobra.CompletionWithDesc(string(g.ID), printable(g.Target+" "+middleCut(who(g), 37)+" "+g.Role))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) completeTargets(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	s, _ := config.Load(p.config) // without targets in case of an error
	return slices.Sorted(maps.Keys(s.Targets)), cobra.ShellCompDirectiveNoFileComp
}

func (p *program) completeReceivers(
	_ *cobra.Command, args []string, _ string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, _ := config.Load(p.config)
	return slices.Sorted(maps.Keys(s.Notify)), cobra.ShellCompDirectiveNoFileComp
}
