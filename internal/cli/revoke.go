package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// revokeAtOnce bounds how many grants are revoked at the same time; those of one
// scope share their calls.
const revokeAtOnce = 64

// revocation is what the flags of jit revoke say.
type revocation struct {
	selection
	reason    string
	all       bool
	yes       bool
	terminate bool
	// gone: the target is gone for good, and records are closed without a look.
	gone bool
}

func (p *program) revokeCommand() *cobra.Command {
	var r revocation
	cmd := &cobra.Command{
		Use:   "revoke ID... --reason TEXT",
		Short: "End grants now",
		Long: `End grants now: by their ids, or all that --target and --principal choose together, or with --all every
grant of this owner. What was chosen by anything but ids is listed and has to be confirmed by typing
what it says, or with --yes.

A grant that is over already is left as it is, and that is success: the command can be repeated. When the
ledger cannot be read, or does not know an id, the targets themselves are searched for the grant's marker and
access is ended all the same; the exit code is then 1, because the record has to be made up for.

A grant whose target is gone for good can never be looked at: with --target-gone its record is closed all the same, and says so. That is
refused for a target that answers.

The end is final: the same Terraform configuration grants nothing again until its renewal is raised.

` + exitCodes,
		Example: `  jit revoke 3f2b8c1e-0000-8000-8000-000000000000 --reason "INC-4211: done early"
  jit revoke --principal 'user:mallory@example.com' --reason "SEC-12: laptop stolen" --terminate-sessions
  jit revoke --all --reason "SEC-13: stop everything" --yes`,
		ValidArgsFunction: p.completeIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := r.check(args)
			if err != nil {
				return err
			}
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error { return p.revoke(ctx, rt, ids, r) })
		},
	}
	r.addFlags(p, cmd)
	cmd.Flags().StringVar(&r.reason, "reason", "", "why; it is recorded (required)")
	cmd.Flags().BoolVar(&r.all, "all", false, "every grant of this owner")
	cmd.Flags().BoolVar(&r.yes, "yes", false, "do not ask for a confirmation")
	cmd.Flags().BoolVar(&r.terminate, "terminate-sessions", false, "also end open sessions, where the platform can")
	cmd.Flags().BoolVar(&r.gone, "target-gone", false, "close the records of these ids: their target is gone for good and nothing can be looked at")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions)
	p.jsonFlag(cmd)
	return cmd
}

// check reads the ids and refuses what does not say clearly what to revoke and why.
func (r *revocation) check(args []string) ([]jit.ID, error) {
	if r.reason == "" {
		return nil, jit.Invalid("--reason", `say why, for example --reason "INC-4211: done early"`, "a revocation needs a reason")
	}
	if err := jit.CheckReason(r.reason); err != nil {
		return nil, err
	}
	chosen := r.target != "" || r.principal != ""
	switch {
	case r.all && (chosen || len(args) > 0), chosen && len(args) > 0:
		return nil, jit.Invalid("revoke", "give ids, or --target and --principal, or --all", "it is not clear what to revoke: more than one way to choose was given")
	case r.gone && len(args) == 0:
		return nil, jit.Invalid("--target-gone", "give ids from `jit list`", "records are closed by their ids only")
	case !r.all && !chosen && len(args) == 0:
		return nil, jit.Invalid("revoke", "give ids from `jit list`, or --target, --principal or --all", "nothing says which grants to revoke")
	}
	ids := make([]jit.ID, len(args))
	for i, arg := range args {
		id, err := jit.ParseID(arg)
		if err != nil {
			return nil, err
		}
		ids[i] = id
	}
	return ids, nil
}

func (p *program) revoke(ctx context.Context, rt *config.Runtime, ids []jit.ID, r revocation) error {
	var (
		grants []jit.Grant
		err    error
	)
	if len(ids) > 0 {
		grants, err = p.byID(ctx, rt, ids)
	} else {
		grants, err = p.bySelection(ctx, rt, r)
	}
	if err != nil && (len(grants) == 0 || len(ids) == 0) {
		return err
	}
	if len(grants) == 0 {
		fmt.Fprintln(p.err, "No grant matches; nothing is left to revoke.")
		if p.json {
			return p.printJSON([]outcome{})
		}
		return nil
	}
	if len(ids) == 0 && !r.yes {
		if err := p.confirm(ctx, grants); err != nil {
			return err
		}
	}
	// One id that cannot be found keeps the others from nothing.
	return errors.Join(p.report(p.revokeEach(ctx, rt, grants, r)), err)
}

// byID finds the grants of the ids in the ledger, else by their markers on the targets. With an error it
// returns those that it found.
func (p *program) byID(ctx context.Context, rt *config.Runtime, ids []jit.ID) ([]jit.Grant, error) {
	var grants []jit.Grant
	missing := map[jit.ID]bool{}
	var unread error
	for _, id := range ids {
		g, ok, err := rt.Ledger.Lookup(ctx, id)
		switch {
		case err != nil:
			missing[id], unread = true, err
		case ok:
			grants = append(grants, g)
		default:
			missing[id] = true
		}
	}
	if len(missing) == 0 {
		return grants, nil
	}
	if unread != nil {
		p.warnUnread(unread)
	}
	marked, err := marked(ctx, rt, func(g jit.Grant) bool { return missing[g.ID] })
	for _, g := range marked {
		delete(missing, g.ID)
	}
	grants = append(grants, marked...)
	for _, id := range ids {
		if missing[id] {
			return grants, errors.Join(noGrant(id), err, unreadable(unread))
		}
	}
	return grants, nil
}

// bySelection reads the chosen grants from the ledger; if it cannot be read, from the markers on the targets.
func (p *program) bySelection(ctx context.Context, rt *config.Runtime, r revocation) ([]jit.Grant, error) {
	matches, err := r.matcher(p.Now())
	if err != nil {
		return nil, err
	}
	if r.target != "" && !strings.ContainsAny(r.target, `*?[\`) {
		if _, err := rt.Broker.Target(r.target); err != nil {
			return nil, err
		}
	}
	r.owner = rt.Broker.Owner
	grants, err := r.grants(ctx, rt)
	if err == nil {
		return grants, nil
	}
	p.warnUnread(err)
	grants, unread := marked(ctx, rt, func(g jit.Grant) bool { return g.Owner == rt.Broker.Owner && matches(g) })
	if len(grants) == 0 {
		return nil, unreadable(errors.Join(err, unread))
	}
	if unread != nil {
		fmt.Fprintf(p.err, "warning: there may be more: %v\n", unread)
	}
	return grants, nil
}

func (p *program) warnUnread(err error) {
	fmt.Fprintf(p.err, "warning: %v\nwarning: searching the targets for markers instead\n", err)
}

// marked reads all targets, scopes side by side, and returns a grant, as far as its marker tells it, for
// each marker that is wanted. The error joins what could not be read.
func marked(ctx context.Context, rt *config.Runtime, wanted func(jit.Grant) bool) ([]jit.Grant, error) {
	var (
		mu     sync.Mutex
		found  []jit.Grant
		unread []error
		group  errgroup.Group
	)
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		unread = append(unread, err)
	}
	group.SetLimit(revokeAtOnce)
	for name, target := range rt.Targets {
		scopes, err := target.Scopes(ctx)
		if err != nil {
			note(fmt.Errorf("list the scopes of target %q: %w", name, err))
		}
		for _, scope := range scopes {
			group.Go(func() error {
				snapshot, err := target.Read(ctx, scope)
				if err != nil {
					note(fmt.Errorf("read %s of target %q: %w", scope, name, err))
				}
				for _, o := range snapshot.Ours {
					g := jit.Grant{
						ID: o.Marker.ID, Owner: o.Marker.Owner, Window: o.Marker.Window,
						Binding: jit.Binding{Target: name, Principal: o.Principal, Role: o.Role, Scope: scope},
					}
					if wanted(g) {
						mu.Lock()
						found = append(found, g)
						mu.Unlock()
					}
				}
				return nil
			})
		}
	}
	_ = group.Wait() // every error has been noted
	return found, errors.Join(unread...)
}

// confirm lists the grants and asks for a typed confirmation.
func (p *program) confirm(ctx context.Context, grants []jit.Grant) error {
	p.printGrants(p.table(p.err), grants, p.Now())
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

// outcome is what became of the revocation of one grant, in the stable names of --json.
type outcome struct {
	ID jit.ID `json:"id"`
	jit.Binding
	// Result is "revoked", "over" (it had ended and gone before, or had given nothing), "unrecorded" (its access was ended, and the ledger
	// could not record it) or "failed".
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
	// Remains says what is left to be cleaned up where the access has ended.
	Remains string `json:"remains,omitempty"`
	// SessionTail is how long a session that was open may go on; empty where none can.
	SessionTail string `json:"session_tail,omitempty"`
}

// tail tells how long an open session of the grant may go on after its revocation.
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
			o := outcome{ID: g.ID, Binding: g.Binding, Result: "revoked"}
			if g.Over(p.Now()) && !g.EndedAt.IsZero() || g.Failed() {
				o.Result = "over"
			}
			var err error
			if r.gone {
				_, err = rt.Broker.Close(ctx, g, r.reason)
			} else {
				_, _, err = rt.Broker.Revoke(ctx, broker.Revocation{Grant: g, Reason: r.reason, TerminateSessions: r.terminate})
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

// report prints the outcomes; any failure makes the command fail.
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
		t := p.table(p.out)
		t.row("ID", "RESULT", "TARGET", "PRINCIPAL", "ROLE", "SCOPE", "SESSION TAIL", "ERROR")
		for _, o := range outcomes {
			t.row(string(o.ID), o.Result, o.Target, abbreviate(o.Principal), abbreviate(o.Role), abbreviate(o.Scope), o.SessionTail, o.Error)
		}
		t.flush()
	}
	for _, o := range outcomes {
		if o.Remains != "" {
			fmt.Fprintf(p.err, "note: %s\n", printable(o.Remains))
		}
	}
	if tails > 0 {
		fmt.Fprintf(p.err, "warning: sessions that are open under %d of these may go on for their session tail; end them on the target\n", tails)
	}
	var left []error
	if failed > 0 {
		left = append(left, fmt.Errorf("%d of %d grants could not be revoked; run the command again, or leave it to jit sweep", failed, len(outcomes)))
	}
	if unrecorded > 0 {
		left = append(left, fmt.Errorf("the access of %d grants was ended, and the ledger could not record it: run the command again when the ledger is back, before a sweep puts the access back", unrecorded))
	}
	return notDone(errors.Join(left...))
}
