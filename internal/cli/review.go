package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// exitUndecided is an exit code of jit review alone. Its errors are 1, also those that are 2 for other commands.
const exitUndecided = 2

func (p *program) reviewCommand() *cobra.Command {
	var s selection
	var pending bool
	cmd := p.command(&cobra.Command{
		Use:   "review --pending",
		Short: "List the decisions that somebody must take",
		Long: `List what waits for a decision in the ledger, of every owner: the requests that need approval, and the
grants that broke the glass and that nobody signed off. Each comes with who may decide, and the command.

jit review ends with exit code 0 if nothing waits, 2 if somebody must decide, 1 after an error, and 3 if the command
line or the settings are wrong.`,
		Example: `  jit review --pending
  jit review --pending --target 'prod*' --json`,
	}, func([]string) error {
		if !pending {
			return jit.Invalid("--pending", "write jit review --pending", "say what to review")
		}
		return nil
	}, func(ctx context.Context, rt *config.Runtime) error { return p.reviewPending(ctx, rt, s) })
	cmd.Flags().BoolVar(&pending, "pending", false, "what waits in the ledger")
	s.addFlags(p, cmd)
	cmd.Flags().StringVar(&s.owner, "owner", "", "only grants of this `owner` (default '*', all owners)")
	_ = cmd.RegisterFlagCompletionFunc("owner", cobra.NoFileCompletions)
	p.jsonFlag(cmd)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		var open undecidedError
		if errors.As(err, &open) {
			return codeError{exitUndecided, open}
		}
		if err != nil && code(cmd.Context(), err) == exitUnreadable {
			return notDone(err)
		}
		return err
	}
	return cmd
}

// undecidedError is the error that somebody must decide about so many grants.
type undecidedError int

func (n undecidedError) Error() string { return counted(int(n), "decision") + " must be taken" }

// reviewPending prints what waits for a decision.
func (p *program) reviewPending(ctx context.Context, rt *config.Runtime, s selection) error {
	requests, glass := s, s
	requests.state, glass.unsigned = string(jit.StateRequested), true
	waiting, err := requests.grants(ctx, rt)
	if err != nil {
		return err
	}
	unsigned, err := glass.grants(ctx, rt)
	if err != nil {
		return err
	}
	all := append(waiting, unsigned...)
	switch {
	case p.json:
		err = p.printJSON(p.views(ctx, rt, all...))
	case len(all) == 0:
		p.printNoGrant(ctx, rt, "Nothing waits for a decision.")
	default:
		p.printGrants(p.out, all)
		fmt.Fprintln(p.out)
		for _, g := range waiting {
			fmt.Fprintf(p.out, "jit approve %s\n  approves: %s\n", g.ID, g.Awaits)
		}
		for _, g := range unsigned {
			fmt.Fprintf(p.out, "jit approve --sign-off %s\n  signs off: %s\n", g.ID, g.Awaits)
		}
	}
	if err == nil && len(all) > 0 {
		return undecidedError(len(all))
	}
	return err
}
