package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Exit codes of jit review alone. Its errors are 1, also those that are 2 for other commands.
const (
	exitUndecided = 2
	exitRefused   = 4
)

func (p *program) reviewCommand() *cobra.Command {
	var s selection
	var pending bool
	var r planReview
	cmd := &cobra.Command{
		Use:   "review {PLAN.json | --pending}",
		Short: "List what a person must decide about a plan, or the decisions that wait",
		Long: `List what a person must decide about a plan: the grants that it begins, changes or ends, with the verdict of
the policies; the access that resources of other providers give and take away; and the rules that it loosens. PLAN.json
is the output of terraform show -json PLANFILE; - is stdin.

jit judges each grant as the plan did: by the policies and persons of the ledger and of the plan, and by the approvals
in the approvals folder. It calls no target and writes nothing. If it cannot read the ledger, it takes the rules from
the state before the plan, and says so. If only the apply knows a value of a rule, jit assumes that it permits more. To
compare the provider block and jit.hcl too, name a folder with the configuration of the base branch: --base FOLDER.

With --pending, jit lists the decisions that wait in the ledger, of every owner: requests that need approval, and grants
that broke the glass and that nobody has signed off. For each, it names who may decide, and the command.

jit review ends with one of these exit codes:

  0    nothing to decide
  1    an error
  2    somebody must decide
  3    the command line or the settings are wrong
  4    an apply refuses a part of the plan`,
		Example: `  terraform show -json tfplan > plan.json
  jit review plan.json
  jit review plan.json --format markdown --base ../main > comment.md
  jit review --pending --target 'prod*' --json`,
		Args: cobra.ArbitraryArgs,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&pending, "pending", false, "what waits in the ledger")
	s.addFlags(p, cmd)
	flags.StringVar(&s.owner, "owner", "",
		"the `owner`s of the plan, separated by commas (default owner of jit.hcl); with "+
			"--pending, only grants of this owner (default '*', all owners)")
	r.addFlags(cmd)
	p.jsonFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("owner", cobra.NoFileCompletions)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkReview(cmd, args, pending); err != nil {
			return usage(err)
		}
		if pending {
			return reviewed(cmd, p.withRuntime(cmd.Context(), jit.FromCLI,
				func(ctx context.Context, rt *config.Runtime) error { return p.reviewPending(ctx, rt, s) }))
		}
		r.file, r.owners = args[0], s.owner
		return reviewed(cmd, p.reviewPlan(cmd.Context(), r))
	}
	return leaf(cmd)
}

// checkReview refuses a command line without a clear subject, and flags of the other one.
func checkReview(cmd *cobra.Command, args []string, pending bool) error {
	const hint = "write jit review plan.json, or jit review --pending; terraform plan -out=tfplan && " +
		"terraform show -json tfplan > plan.json writes it"
	others := []string{"target", "principal"}
	switch {
	case len(args) == 0 && !pending:
		return jit.Invalid("PLAN.json", hint, "nothing says what to review")
	case len(args) > 0 && pending:
		return jit.Invalid("--pending", hint, "a plan and the ledger are two reviews")
	case len(args) > 1:
		return jit.Invalid("PLAN.json", "review one plan at a time", "there are %d plans", len(args))
	case pending:
		others = []string{"format", "base", "key"}
	}
	for _, name := range others {
		if cmd.Flags().Changed(name) {
			return jit.Invalid("--"+name, "leave it out", "it has no effect here")
		}
	}
	return nil
}

// reviewed gives the error of a review its exit code.
func reviewed(cmd *cobra.Command, err error) error {
	var open undecidedError
	if errors.As(err, &open) {
		return codeError{exitUndecided, open}
	}
	if err != nil && code(cmd.Context(), err) == exitUnreadable && !errors.As(err, &codeError{}) {
		return notDone(err)
	}
	return err
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
