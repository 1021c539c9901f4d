package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// revocation holds the arguments of jit revoke.
type revocation struct {
	selection
	prefixes  []string
	reason    string
	all       bool
	yes       bool
	terminate bool
	// gone: the target is gone for good, and jit closes the records without a check.
	gone bool
}

func (p *program) revokeCommand() *cobra.Command {
	var r revocation
	cmd := p.command(&cobra.Command{
		Use:   "revoke {ID... | --target NAME | --principal NAME | --all} --reason TEXT",
		Short: "End grants now",
		Long: `End grants now: the grants with these ids, the grants that match both --target and --principal, or with
--all every grant of this owner. You may shorten an id to a beginning that only one grant has. Without ids, jit lists
the grants and asks you to confirm; --yes skips the question.

You can repeat the command: a grant that is over stays as it is, and counts as success. A principal without grants also
counts as success, unless the name may be a mistake: no target (with --target: none of those that match) accepts it as a
principal, it resembles a recorded one, or there is no ledger.

If jit cannot read the ledger, or the ledger does not know an id, jit searches the targets for the grant's marker, the
text that jit writes on the access itself, and ends the access all the same. The exit code is then 1, because the
revocation is not on record.

If the target of a grant is gone for good, --target-gone closes the record without a check, and the record says so. jit
refuses it while the target answers.

A revocation is final: the same Terraform configuration grants nothing again until you raise its renewal.

` + exitCodes,
		Example: `  jit revoke 3f2b8c1e --reason "INC-4211: done early"
  jit revoke --principal 'user:mallory@example.com' --reason "SEC-12: laptop stolen" --terminate-sessions
  jit revoke --all --reason "SEC-13: stop everything" --yes`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: p.completeIDs,
	}, r.check, func(ctx context.Context, rt *config.Runtime) error { return p.revoke(ctx, rt, r) })
	r.addFlags(p, cmd)
	cmd.Flags().StringVar(&r.reason, "reason", "", "why; the record keeps it (required)")
	cmd.Flags().BoolVar(&r.all, "all", false, "every grant of this owner")
	cmd.Flags().BoolVar(&r.yes, "yes", false, "do not ask for confirmation")
	cmd.Flags().BoolVar(&r.terminate, "terminate-sessions", false, "also end open sessions, if the platform can")
	cmd.Flags().BoolVar(&r.gone, "target-gone", false, "close the records of these ids: their target is gone for good")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions)
	p.jsonFlag(cmd)
	return cmd
}

// check reads the ids. It refuses arguments that do not say clearly which grants to revoke, and why.
func (r *revocation) check(args []string) (err error) {
	ways := 0
	for _, used := range []bool{len(args) > 0, r.target+r.principal != "", r.all} {
		if used {
			ways++
		}
	}
	switch {
	case ways > 1:
		return jit.Invalid("revoke", "give ids, or --target and --principal, or --all",
			"it is not clear which grants to revoke")
	case r.gone && len(args) == 0:
		return jit.Invalid("--target-gone", "give ids from `jit list`", "it closes records by their ids only")
	case ways == 0:
		return jit.Invalid("ID", "give ids from `jit list`, or --target, --principal or --all",
			"nothing says which grants to revoke")
	case r.reason == "":
		return jit.Invalid("--reason", `say why, for example --reason "INC-4211: done early"`,
			"a revocation needs a reason")
	}
	if err := jit.CheckReason(r.reason); err != nil {
		return err
	}
	r.prefixes, err = parsePrefixes(args)
	return err
}

func (p *program) revoke(ctx context.Context, rt *config.Runtime, r revocation) error {
	find := p.bySelection
	if len(r.prefixes) > 0 {
		find = p.byID
	}
	unresolved := r.resolve(ctx, rt)
	grants, err := find(ctx, rt, r)
	switch {
	case len(grants) == 0 && unresolved != nil && (err == nil || errors.Is(err, errNoPrincipal)):
		return unresolved
	case errors.Is(err, errNoPrincipal):
		return p.nothingOf(ctx, rt, r, err)
	case len(grants) == 0 && err != nil:
		return err
	case len(grants) == 0:
		p.printNoGrant(ctx, rt, "No grant matches; nothing is left to revoke.")
		return p.printNoOutcome("")
	case len(r.prefixes) == 0 && !r.yes:
		if err := p.confirm(ctx, grants); err != nil {
			return err
		}
	}
	outcomes := p.revokeEach(ctx, rt, grants, r)
	if printErr := p.printOutcomes(outcomes); printErr != nil {
		return notDone(printErr)
	}
	// An unknown id does not stop the others, nor does a target that does not tell who the principal is.
	return errors.Join(unfinishedOutcomes(outcomes), err, unresolved)
}

// nothingOf reports success if no record names the principal: it has no access to end. If the target is unknown, or no
// selected target accepts the text as a principal, the command line is wrong, and nothingOf returns an error.
func (p *program) nothingOf(ctx context.Context, rt *config.Runtime, r revocation, unknown error) error {
	if err := r.checkTarget(ctx, rt); err != nil {
		return err
	}
	if !r.vouched(rt) {
		return unknown
	}
	fmt.Fprintf(p.err, "note: %v\n", unknown)
	return p.printNoOutcome("No grant of " + printable(r.principal) + ".\n")
}

// printNoOutcome prints an empty array as JSON, or else the text.
func (p *program) printNoOutcome(text string) error {
	if p.json {
		return p.printJSON([]outcome{})
	}
	_, err := io.WriteString(p.out, text)
	return err
}

// confirm lists the grants and asks for a typed confirmation.
func (p *program) confirm(ctx context.Context, grants []jit.Grant) error {
	p.printGrants(p.err, grants)
	want := fmt.Sprintf("revoke %d", len(grants))
	fmt.Fprintf(p.err, "\nType %q to end all of these now: ", want)
	if p.typed(ctx) == want {
		return nil
	}
	fmt.Fprintln(p.err)
	return notDone(errors.New("not confirmed; nothing was revoked"))
}
