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

// adoption is the outcome of jit adopt.
type adoption struct {
	grants      []jit.Grant    // recorded, or with --dry-run to record
	failed      []error        // one for each grant that could not be recorded
	unread      []error        // targets, scopes and records
	unexplained []standingView // bindings whose marker nothing explains
}

func (p *program) adopt(ctx context.Context, rt *config.Runtime, target string, dryRun bool) error {
	wanted, err := targetMatcher(rt, target)
	if err != nil {
		return err
	}
	seen := (&sweeper.Sweeper{Broker: rt.Broker}).Observe(ctx, wanted)
	a := adoption{unread: seen.Unread}
	if a.grants, a.failed, err = rt.Broker.Unrecorded(ctx, seen.Snapshots); err != nil {
		a.unread = append(a.unread, err)
	}
	total := len(a.grants) + len(a.failed)
	a.unexplained = unexplainedBy(a.grants, seen)
	if !dryRun {
		for _, err := range rt.Broker.Adopt(ctx, a.grants) {
			if err != nil {
				a.failed = append(a.failed, err)
			}
		}
	}
	if err := p.printAdoption(ctx, rt, a, dryRun); err != nil {
		return notDone(err)
	}
	for _, name := range slices.Sorted(maps.Keys(rt.Broker.Targets)) {
		if platform.Claims(rt.Broker.Targets[name].Kind()) && wanted(name) {
			fmt.Fprintf(p.err,
				"note: target %s has bindings that cannot carry a marker; their grants were lost with the ledger\n", name)
		}
	}
	// The marker of another owner may be explained by another ledger.
	ours := 0
	for _, v := range a.unexplained {
		if v.ClaimsOwner == rt.Broker.Owner {
			ours++
		}
	}
	switch {
	case len(a.failed) > 0:
		return notDone(fmt.Errorf("%d of %d grants could not be recorded", len(a.failed), total))
	case ours > 0:
		return notDone(fmt.Errorf("nothing explains the marker of this owner on %s; `jit scan` lists all standing access",
			counted(ours, "binding")))
	case len(a.unread) > 0:
		return unreadable(errors.New("not everything could be read"))
	case dryRun && len(a.grants) > 0:
		return notDone(fmt.Errorf("%s would be recorded", counted(len(a.grants), "grant")))
	}
	return nil
}

func (p *program) printAdoption(ctx context.Context, rt *config.Runtime, a adoption, dryRun bool) error {
	switch {
	case p.json:
		if err := p.printJSON(struct {
			DryRun      bool           `json:"dry_run"`
			Grants      []jit.View     `json:"grants"`
			Unexplained []standingView `json:"unexplained"`
		}{dryRun, p.views(ctx, rt, a.grants...), a.unexplained}); err != nil {
			return err
		}
	case len(a.grants) > 0:
		p.printGrants(p.out, a.grants)
	case len(a.failed)+len(a.unread)+len(a.unexplained) == 0:
		fmt.Fprintln(p.err, "The ledger explains every marker.")
	}
	for _, v := range a.unexplained {
		fmt.Fprintf(p.err, "critical: %s has %s on %s of target %s: %s\n",
			printable(v.Principal), printable(v.Role), printable(v.Scope), printable(v.Target), printable(v.Detail))
	}
	for _, err := range append(a.unread, a.failed...) {
		fmt.Fprintf(p.err, "error: %v\n", err)
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
