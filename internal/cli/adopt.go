package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func (p *program) adoptCommand() *cobra.Command {
	var dryRun bool
	var target string
	cmd := p.command(&cobra.Command{
		Use:   "adopt",
		Short: "Rebuild the records of a lost ledger from the markers on the targets",
		Long: `Read every scope of the targets, and record the grants of this owner whose markers are there and that the
ledger does not know: who, what, where, from when and until when. A grant keeps its id and its window. So an
apply of the same configuration takes over a live grant without starting it again, and a grant that is over
stays over.

The reason of a grant is not on its target. It returns when you apply the grant from a state that has lost it, or
change it. If a grant has several bindings, the one that ends first counts. A live grant longer than max_ttl is not
recorded.

A marker alone proves nothing, because anyone who can write to a target can write one: check the list that --dry-run
prints before you adopt it. Bindings with the marker of another owner are not recorded; those that neither the ledger
nor an end on the target explains are listed as critical.

Existing records stay as they are. Run jit sweep afterwards to remove what is over. Some bindings cannot carry a
marker (all those of aws_identity_center); their grants are lost with the ledger.

Exit codes: 0 the ledger explains every marker, 1 a grant could not be recorded, or --dry-run found some to record,
2 something could not be read, 3 the command line or the settings are wrong, 5 no target has that name.`,
		Example: `  jit adopt --dry-run
  jit adopt && jit sweep`,
	}, func([]string) (action, error) {
		return func(ctx context.Context, rt *config.Runtime) error { return p.adopt(ctx, rt, target, dryRun) }, nil
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only list the grants to record; write nothing")
	p.targetFlag(cmd, &target, "only the target of this `name`, or glob such as 'prod*'")
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) adopt(ctx context.Context, rt *config.Runtime, target string, dryRun bool) error {
	wanted, err := targetMatcher(rt, target)
	if err != nil {
		return err
	}
	seen := (&sweeper.Sweeper{Broker: rt.Broker}).Observe(ctx, wanted)
	unread := seen.Unread
	grants, failed, err := rt.Broker.Unrecorded(ctx, seen.Snapshots)
	if err != nil {
		unread = append(unread, err)
	}
	lost := len(grants) + len(failed)
	unexplained := unexplainedBy(grants, seen)
	if !dryRun {
		for _, err := range rt.Broker.Adopt(ctx, grants) {
			if err != nil {
				failed = append(failed, err)
			}
		}
	}
	switch {
	case p.json:
		if err := p.printJSON(struct {
			DryRun      bool           `json:"dry_run"`
			Grants      []jit.View     `json:"grants"`
			Unexplained []standingView `json:"unexplained"`
		}{dryRun, p.views(ctx, rt, grants...), unexplained}); err != nil {
			return notDone(err)
		}
	case lost+len(unread)+len(unexplained) == 0:
		fmt.Fprintln(p.err, "The ledger explains every marker.")
	case len(grants) > 0:
		p.printGrants(p.out, grants)
	}
	for _, name := range slices.Sorted(maps.Keys(rt.Broker.Targets)) {
		if platform.Claims(rt.Broker.Targets[name].Kind()) && wanted(name) {
			fmt.Fprintf(p.err,
				"note: target %s has bindings that cannot carry a marker; their grants were lost with the ledger\n",
				name)
		}
	}
	ours := 0 // another owner may have another ledger
	for _, v := range unexplained {
		if v.ClaimsOwner == rt.Broker.Owner {
			ours++
		}
		fmt.Fprintf(p.err, "critical: %s has %s on %s of target %s: %s\n",
			printable(v.Principal), printable(v.Role), printable(v.Scope), printable(v.Target), printable(v.Detail))
	}
	for _, err := range append(unread, failed...) {
		fmt.Fprintf(p.err, "error: %v\n", err)
	}
	switch {
	case len(failed) > 0:
		return notDone(fmt.Errorf("%d of %d grants could not be recorded", len(failed), lost))
	case ours > 0:
		return notDone(fmt.Errorf("nothing explains the marker of this owner on %s; `jit scan` lists all standing access",
			counted(ours, "binding")))
	case len(unread) > 0:
		return unreadable(errors.New("not everything could be read; the rest was recorded"))
	case dryRun && len(grants) > 0:
		return notDone(fmt.Errorf("%s would be recorded", counted(len(grants), "grant")))
	}
	return nil
}

// unexplainedBy lists the bindings with a marker that would stay unexplained with these grants recorded.
func unexplainedBy(grants []jit.Grant, seen sweeper.Observation) []standingView {
	records := seen.Records
	records.Grants = maps.Clone(records.Grants)
	for _, g := range grants {
		records.Grants[g.ID] = g
	}
	views := []standingView{}
	if records.Unread != nil {
		return views // no marker can be judged, and the error says so
	}
	all, _ := sweeper.FindStanding(seen.Snapshots, nil, records)
	for _, s := range all {
		if s.Claims() {
			views = append(views, viewOfStanding(s))
		}
	}
	return views
}
