package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// revokeAtOnce bounds how many grants are revoked at the same time. Those of one scope share their calls.
const revokeAtOnce = 64

// revocation holds the flags of jit revoke.
type revocation struct {
	selection
	reason    string
	all       bool
	yes       bool
	terminate bool
	// gone: the target is gone for good, and records are closed without a check.
	gone bool
}

func (p *program) revokeCommand() *cobra.Command {
	var r revocation
	cmd := p.command(&cobra.Command{
		Use:   "revoke {ID... | --target NAME | --principal NAME | --all} --reason TEXT",
		Short: "End grants now",
		Long: `End grants now: those with these ids, those that --target and --principal choose together, or with --all
every grant of this owner. An id may be shortened to a beginning that only one grant has. Without ids, jit
lists the chosen grants and asks you to confirm; --yes skips the question.

You can repeat the command: a grant that is over stays as it is, and counts as success. So does a principal
that has no grants, if a target accepts it as a principal.

If the ledger cannot be read, or does not know an id, jit searches the targets for the grant's marker and ends
the access all the same. The exit code is then 1, because the revocation is not on record.

If the target of a grant is gone for good, --target-gone closes the record without a check, and the record
says so. It is refused while the target answers.

The end is final: the same Terraform configuration grants nothing again until you raise its renewal.

` + exitCodes,
		Example: `  jit revoke 3f2b8c1e --reason "INC-4211: done early"
  jit revoke --principal 'user:mallory@example.com' --reason "SEC-12: laptop stolen" --terminate-sessions
  jit revoke --all --reason "SEC-13: stop everything" --yes`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: p.completeIDs,
	}, func(args []string) (action, error) {
		prefixes, err := r.check(args)
		return func(ctx context.Context, rt *config.Runtime) error { return p.revoke(ctx, rt, prefixes, r) }, err
	})
	r.addFlags(p, cmd)
	cmd.Flags().StringVar(&r.reason, "reason", "", "why; the record keeps it (required)")
	cmd.Flags().BoolVar(&r.all, "all", false, "every grant of this owner")
	cmd.Flags().BoolVar(&r.yes, "yes", false, "do not ask for confirmation")
	cmd.Flags().BoolVar(&r.terminate, "terminate-sessions", false, "also end open sessions, where the platform can")
	cmd.Flags().BoolVar(&r.gone, "target-gone", false, "close the records of these ids: their target is gone for good")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions)
	p.jsonFlag(cmd)
	return cmd
}

// check reads the ids, and refuses arguments that do not say clearly what to revoke and why.
func (r *revocation) check(args []string) (prefixes []string, err error) {
	chosen := r.target != "" || r.principal != ""
	switch {
	case r.all && (chosen || len(args) > 0), chosen && len(args) > 0:
		return nil, jit.Invalid("revoke", "give ids, or --target and --principal, or --all",
			"it is not clear what to revoke: you chose in more than one way")
	case r.gone && len(args) == 0:
		return nil, jit.Invalid("--target-gone", "give ids from `jit list`", "it closes records by their ids only")
	case !r.all && !chosen && len(args) == 0:
		return nil, jit.Invalid("ID", "give ids from `jit list`, or --target, --principal or --all",
			"nothing says which grants to revoke")
	case r.reason == "":
		return nil, jit.Invalid("--reason", `say why, for example --reason "INC-4211: done early"`,
			"a revocation needs a reason")
	}
	if err := jit.CheckReason(r.reason); err != nil {
		return nil, err
	}
	return parsePrefixes(args)
}

func (p *program) revoke(ctx context.Context, rt *config.Runtime, prefixes []string, r revocation) error {
	var (
		grants []jit.Grant
		err    error
	)
	if len(prefixes) > 0 {
		grants, err = p.byID(ctx, rt, prefixes)
	} else {
		grants, err = p.bySelection(ctx, rt, r)
	}
	switch {
	case errors.Is(err, errNoPrincipal):
		return p.nothingOf(ctx, rt, r, err)
	case len(grants) == 0 && err != nil:
		return err
	case len(grants) == 0:
		p.printNoGrant(ctx, rt, "No grant matches; nothing is left to revoke.")
		if p.json {
			return p.printJSON([]outcome{})
		}
		return nil
	case len(prefixes) == 0 && !r.yes:
		if err := p.confirm(ctx, grants); err != nil {
			return err
		}
	}
	// An unknown id does not stop the others.
	return errors.Join(p.report(p.revokeEach(ctx, rt, grants, r)), err)
}

// nothingOf reports success if no record names the principal: it has no access to end. If the text cannot be a
// principal of any target, or the target is unknown, the command line is wrong, and nothingOf returns that error.
func (p *program) nothingOf(ctx context.Context, rt *config.Runtime, r revocation, unknown error) error {
	if !mayBePrincipal(rt, r.principal) {
		return unknown
	}
	if err := r.checkTarget(ctx, rt); err != nil {
		return err
	}
	fmt.Fprintf(p.err, "note: %v\n", unknown)
	if p.json {
		return p.printJSON([]outcome{})
	}
	_, err := fmt.Fprintf(p.out, "No grant of %s.\n", printable(r.principal))
	return err
}

// confirm lists the grants and asks for a typed confirmation.
func (p *program) confirm(ctx context.Context, grants []jit.Grant) error {
	p.printGrants(p.err, grants)
	want := fmt.Sprintf("revoke %d", len(grants))
	fmt.Fprintf(p.err, "\nType %q to end all of these now: ", want)
	typed := make(chan string, 1)
	go func() { // nothing interrupts a read of a terminal
		line, err := bufio.NewReader(p.in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			line = ""
		}
		typed <- strings.TrimSpace(line)
	}()
	select {
	case line := <-typed:
		if line == want {
			return nil
		}
	case <-ctx.Done():
	}
	fmt.Fprintln(p.err)
	return notDone(errors.New("not confirmed; nothing was revoked"))
}

// outcome is the result of revoking one grant, in the stable names of --json.
type outcome struct {
	ID jit.ID `json:"id"`
	jit.Binding
	// Result is "revoked", "over" (the access was gone before, or never began), "unrecorded" (the access was ended, and
	// the ledger could not record it) or "failed".
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
	// Remains says what is left to clean up after the access has ended.
	Remains string `json:"remains,omitempty"`
	// SessionTail is how long an open session may go on; empty if none can.
	SessionTail string `json:"session_tail,omitempty"`

	who string
}

// tail returns how long an open session of the grant may go on after its revocation.
func tail(rt *config.Runtime, g jit.Grant, terminate bool) string {
	target, err := rt.Broker.Target(g.Target)
	if err != nil {
		return ""
	}
	_, traits, err := target.Check(g.Binding)
	if err != nil || traits.SessionTail == 0 || traits.CanTerminate && (terminate || g.TerminateSessions) {
		return ""
	}
	return jit.FormatTail(traits.SessionTail)
}

// revokeEach revokes all grants at the same time, so that those of one scope share their calls.
func (p *program) revokeEach(ctx context.Context, rt *config.Runtime, grants []jit.Grant, r revocation) []outcome {
	outcomes := make([]outcome, len(grants))
	var group errgroup.Group
	group.SetLimit(revokeAtOnce)
	for i, g := range grants {
		group.Go(func() error {
			o := outcome{ID: g.ID, Binding: g.Binding, Result: "revoked", who: who(g)}
			if g.Over(p.Now()) && !g.EndedAt.IsZero() || g.Failed() {
				o.Result = "over"
			}
			var err error
			if r.gone {
				_, err = rt.Broker.Close(ctx, g, r.reason)
			} else {
				_, _, err = rt.Broker.Revoke(ctx,
					broker.Revocation{Grant: g, Reason: r.reason, TerminateSessions: r.terminate})
			}
			switch {
			case errors.Is(err, jit.ErrRemains):
				o.Remains = err.Error()
			case errors.Is(err, broker.ErrUnrecorded):
				o.Result, o.Error = "unrecorded", err.Error()
			case err != nil:
				o.Result, o.Error = stepFailed, err.Error()
			}
			if o.Result == "revoked" {
				o.SessionTail = tail(rt, g, r.terminate)
			}
			outcomes[i] = o
			return nil
		})
	}
	_ = group.Wait() // each outcome holds its own error
	return outcomes
}

// report prints the outcomes. Any failure makes the command fail.
func (p *program) report(outcomes []outcome) error {
	failed, unrecorded, tails := 0, 0, 0
	for _, o := range outcomes {
		switch o.Result {
		case stepFailed:
			failed++
		case "unrecorded":
			unrecorded++
		}
		if o.SessionTail != "" {
			tails++
		}
	}
	if p.json {
		if err := p.printJSON(outcomes); err != nil {
			return err
		}
	} else {
		t := p.table(p.out, "SCOPE", "ROLE")
		t.row("ID", "RESULT", "TARGET", "PRINCIPAL", "ROLE", "SCOPE", "SESSION TAIL", "ERROR")
		for _, o := range outcomes {
			t.row(string(o.ID), o.Result, o.Target, o.who, o.Role, o.Scope, o.SessionTail, o.Error)
		}
		t.flush()
	}
	for _, o := range outcomes {
		if o.Remains != "" {
			fmt.Fprintf(p.err, "note: %s\n", printable(o.Remains))
		}
	}
	if tails > 0 {
		fmt.Fprintf(p.err, "warning: open sessions of %s may go on for their session tail; end them on the target\n",
			counted(tails, "grant"))
	}
	var left []error
	if failed > 0 {
		left = append(left, fmt.Errorf("%d of %s could not be revoked; run the command again, or leave it to jit sweep",
			failed, counted(len(outcomes), "grant")))
	}
	if unrecorded > 0 {
		left = append(left, fmt.Errorf("the access of %s was ended, but the ledger could not record it; "+
			"run the command again when the ledger is back, before a sweep restores the access", counted(unrecorded,
			"grant")))
	}
	return notDone(errors.Join(left...))
}
