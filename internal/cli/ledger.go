package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

func (p *program) ledgerCommand() *cobra.Command {
	return group(&cobra.Command{Use: "ledger", Short: "Describe, copy or migrate the ledger, and accept a restored one"},
		p.ledgerInfoCommand(), p.ledgerCopyCommand(), p.ledgerMigrateCommand(), p.ledgerAcceptCommand())
}

// acceptance holds the arguments of jit ledger accept.
type acceptance struct {
	reason, epoch string
	yes           bool
}

// epochs matches the hash of an event, and the empty text.
var epochs = regexp.MustCompile(`^([0-9a-f]{64})?$`)

func (p *program) ledgerAcceptCommand() *cobra.Command {
	var a acceptance
	cmd := p.command(&cobra.Command{
		Use:   "accept --reason TEXT",
		Short: "Accept a ledger that has gone back in time",
		Long: `A ledger that was restored from a backup, or that lost writes in a failover, has forgotten what happened
since. While jit knows that, it grants, starts, changes and repairs nothing; it goes on ending access. Put the newer
ledger back if you can. Otherwise accept the one you have.

The command lists the live grants of the ledger, and looks for each on its target. Then it asks you to type "accept";
--yes skips the question. It records ledger_restored. A grant that its target does not have counts as ended from then
on: it may have been revoked in the time that is lost. This also holds for targets that the command cannot read: a later
sweep or apply ends the grant there instead of repairing it. To grant the same again, raise renewal.

Accept a SQLite ledger too if a machine whose clock was ahead dated an event: nothing begins while the newest event is
later than now, and an acceptance sets the times of the events before it aside.

If only a Terraform state remembers an earlier acceptance, the plan names its epoch: pass it as --epoch.

Accept every ledger that you restored, also if jit has not noticed yet. Policies, persons and approvals are those of the
backup: apply them again first where they changed.

` + exitCodes,
		Example: `  jit ledger accept --reason "OPS-311: restored the backup of 02:00"`,
	}, func([]string) error {
		if a.reason == "" {
			return jit.Invalid("--reason", `say why, for example --reason "OPS-311: restored the backup of 02:00"`,
				"an acceptance needs a reason")
		}
		if !epochs.MatchString(a.epoch) {
			return jit.Invalid("--epoch", "copy it from the message of the plan", "%q is not the hash of an event", a.epoch)
		}
		return jit.CheckText("--reason", a.reason)
	}, func(ctx context.Context, rt *config.Runtime) error { return p.ledgerAccept(ctx, rt, a) })
	cmd.Flags().StringVar(&a.reason, "reason", "", "why; the record keeps it (required)")
	cmd.Flags().BoolVar(&a.yes, "yes", false, "do not ask for confirmation")
	cmd.Flags().StringVar(&a.epoch, "epoch", "", "the epoch that only a Terraform state remembers, as the plan says")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("epoch", cobra.NoFileCompletions)
	p.jsonFlag(cmd)
	return cmd
}

// onTarget says what a target has of a live grant.
type onTarget string

const (
	isThere   onTarget = "there"
	isMissing onTarget = "missing"
	isUnread  onTarget = "unread"
)

// restoredGrant is a live grant of a restored ledger.
type restoredGrant struct {
	jit.View
	OnTarget onTarget `json:"on_target"`
}

func (p *program) ledgerAccept(ctx context.Context, rt *config.Runtime, a acceptance) error {
	if id, err := rt.Ledger.ID(ctx); err != nil || id == "" {
		return unreadable(errors.Join(err, errors.New("there is no ledger to accept")))
	}
	behind := rt.Ledger.Recall(ctx)
	if behind != nil && !errors.Is(behind, jit.ErrBehind) {
		return unreadable(behind)
	}
	grants, unread, err := p.restoredGrants(ctx, rt)
	if err != nil {
		return unreadable(err)
	}
	p.printErrors(unread)
	if !p.json {
		p.printRestored(behind, grants)
	}
	if !a.yes {
		fmt.Fprint(p.err, "\nType \"accept\" to accept this ledger: ")
		if p.typed(ctx) != "accept" {
			fmt.Fprintln(p.err)
			return notDone(errors.New("not confirmed; nothing was accepted"))
		}
	}
	accepted, err := rt.Ledger.Accept(ctx, rt.Broker.Actor, a.reason, a.epoch)
	if err != nil {
		return notDone(err)
	}
	ended, failed := p.endMissing(ctx, rt, grants)
	p.printErrors(failed)
	if p.json {
		err = p.printJSON(struct {
			Behind   bool            `json:"behind"`
			Accepted jit.Event       `json:"accepted"`
			Grants   []restoredGrant `json:"grants"`
			Ended    int             `json:"ended"`
			Failed   int             `json:"failed"`
			Unread   []string        `json:"unread"`
		}{behind != nil, accepted, grants, ended, len(failed), messages(unread)})
	} else {
		_, err = fmt.Fprintf(p.out, "Accepted, as event %s. %s counted as ended.\n",
			accepted.Place(), counted(ended, "grant"))
	}
	switch {
	case err != nil:
		return notDone(err)
	case len(failed) > 0:
		return notDone(fmt.Errorf("%s that count as ended could not be recorded; the next sweep tries again",
			counted(len(failed), "grant")))
	case len(unread) > 0:
		return unreadable(errors.New("not every target could be read; a later sweep ends what is missing there"))
	}
	return nil
}

// restoredGrants returns the live grants of all owners, with what their targets have of them. unread are the errors of
// the targets.
func (p *program) restoredGrants(ctx context.Context, rt *config.Runtime) (
	grants []restoredGrant, unread []error, err error,
) {
	now := p.Now()
	live := map[jit.Place][]jit.Grant{}
	for g, err := range rt.Ledger.Grants(ctx, jit.Filter{Open: true}) {
		if err != nil {
			return nil, nil, err
		}
		if g.Live(now) {
			live[g.Place()] = append(live[g.Place()], g)
		}
	}
	grants = []restoredGrant{}
	for _, at := range slices.SortedFunc(maps.Keys(live), jit.Place.Compare) {
		found, failed := onTargets(ctx, rt, at, live[at])
		if failed != nil {
			unread = append(unread, fmt.Errorf("read %s on target %q: %w", at.Scope, at.Target, failed))
		}
		for i, v := range p.views(ctx, rt, live[at]...) {
			grants = append(grants, restoredGrant{v, found[i]})
		}
	}
	return grants, unread, nil
}

// onTargets says what a place has of its live grants. A grant that is missing in a read which may miss the latest writes
// is unread.
func onTargets(ctx context.Context, rt *config.Runtime, at jit.Place, live []jit.Grant) ([]onTarget, error) {
	found := slices.Repeat([]onTarget{isUnread}, len(live))
	target, err := rt.Broker.Target(at.Target)
	if err != nil {
		return found, err
	}
	s, err := target.Read(ctx, at.Scope)
	if err != nil {
		return found, err
	}
	var missing []jit.ID
	for _, g := range live {
		if g.Drift(s) == jit.Missing {
			missing = append(missing, g.ID)
		}
	}
	unsettled, err := rt.Broker.Unsettled(ctx, at.Target, missing)
	if err != nil {
		return found, err
	}
	for i, g := range live {
		switch {
		case !slices.Contains(missing, g.ID):
			found[i] = isThere
		case unsettled[g.ID]:
			err = errors.New("the read may miss a write of the last minute")
		default:
			found[i] = isMissing
		}
	}
	return found, err
}

// printRestored lists what an acceptance is about.
func (p *program) printRestored(behind error, grants []restoredGrant) {
	if behind != nil {
		fmt.Fprintf(p.err, "%v\n", behind)
	} else {
		fmt.Fprintln(p.err, "jit has not noticed that this ledger has gone back in time. Accept it only if you restored it.")
	}
	if len(grants) == 0 {
		fmt.Fprintln(p.err, "It has no live grant.")
		return
	}
	t := p.table(p.err, "OWNER", "SCOPE")
	t.row("ON TARGET", "ID", "OWNER", "TARGET", "PRINCIPAL", "ROLE", "SCOPE")
	for _, g := range grants {
		there := string(g.OnTarget)
		if g.OnTarget == isMissing {
			there = "missing: will count as ended"
		}
		t.row(there, string(g.ID), g.Owner, g.Target, who(g.Grant), g.Role, g.Scope)
	}
	t.flush()
}

// endMissing records that the missing grants have ended.
func (p *program) endMissing(
	ctx context.Context, rt *config.Runtime, grants []restoredGrant,
) (ended int, errs []error) {
	rt.Broker.AnyOwner = true
	var steps []reconcile.Step
	for _, g := range grants {
		if g.OnTarget == isMissing {
			steps = append(steps, broker.GoneStep(g.Grant))
		}
	}
	for _, err := range rt.Broker.Execute(ctx, steps) {
		if err != nil {
			errs = append(errs, err)
		} else {
			ended++
		}
	}
	return ended, errs
}

// warnBehind warns that the ledger has gone back in time. Whether it can be read is for others to say.
func (p *program) warnBehind(ctx context.Context, rt *config.Runtime) {
	err := rt.Ledger.Recall(ctx)
	if !errors.Is(err, jit.ErrBehind) {
		return
	}
	p.warn(err.Error())
}
