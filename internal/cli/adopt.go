package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (p *program) adoptCommand() *cobra.Command {
	var dryRun bool
	var target string
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Make records again from the markers on the targets, for a ledger that was lost",
		Long: `Read every scope of the targets, and record the grants of this owner whose markers are there and that the ledger
does not know: who, what, where, from when and until when. A grant keeps its id and its window, so an apply of the configuration that
made it takes it over and does not begin it anew, and a grant that is over stays over. The reason is not on a target: it comes back
when the grant is applied from a state that has lost it, or changed. Of several bindings of one grant the one that ends first counts;
a live grant that is longer than max_ttl is not recorded. A marker proves nothing by itself, since whoever can write on a target
can write one: look at what --dry-run lists before you adopt it. What bears the marker of another owner and is explained neither by the
ledger nor by an end on its target is listed as critical and not recorded.

What the ledger knows is left as it is. Run jit sweep afterwards, which takes off what is over. Grants on targets that remember
their bindings in the ledger alone (aws_identity_center) leave no marker, and are lost with it.

Exit codes: 0 every marker is explained by the ledger now, 1 something could not be recorded or, with --dry-run, would have to be,
2 something could not be read, 3 the command line or the settings are wrong.`,
		Example: `  jit adopt --dry-run
  jit adopt && jit sweep`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error {
				return p.adopt(ctx, rt, target, dryRun)
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only list what would be recorded; write nothing")
	cmd.Flags().StringVar(&target, "target", "", "only the target of this `name`; may be a glob such as 'prod*'")
	_ = cmd.RegisterFlagCompletionFunc("target", p.completeTargets)
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) adopt(ctx context.Context, rt *config.Runtime, target string, dryRun bool) error {
	wanted, err := targetMatcher(rt, "--target", target)
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
			Grants      []grantView    `json:"grants"`
			Unexplained []standingView `json:"unexplained"`
		}{dryRun, viewsOf(grants, p.Now()), unexplained}); err != nil {
			return notDone(err)
		}
	case lost+len(unread)+len(unexplained) == 0:
		fmt.Fprintln(p.err, "The ledger knows every marker.")
	case len(grants) > 0:
		p.printGrants(p.table(p.out), grants, p.Now())
	}
	for _, name := range slices.Sorted(maps.Keys(rt.Broker.Targets)) {
		if _, ledgerOnly := jit.Find[jit.Claimer](rt.Broker.Targets[name]); ledgerOnly && wanted(name) {
			fmt.Fprintf(p.err, "note: target %s has bindings on which nothing can be marked; those went with the ledger\n", name)
		}
	}
	ours := 0 // another owner may have another ledger
	for _, v := range unexplained {
		if v.ClaimsOwner == rt.Broker.Owner {
			ours++
		}
		fmt.Fprintf(p.err, "critical: %s has %s on %s of target %s: %s\n", printable(v.Principal), printable(v.Role), printable(v.Scope), printable(v.Target), printable(v.Detail))
	}
	for _, err := range append(unread, failed...) {
		fmt.Fprintf(p.err, "error: %v\n", err)
	}
	switch {
	case len(failed) > 0:
		return notDone(fmt.Errorf("%d of %d grants could not be recorded", len(failed), lost))
	case ours > 0:
		return notDone(fmt.Errorf("%d bindings bear a marker of this owner that nothing explains; `jit scan` lists all standing access", ours))
	case len(unread) > 0:
		return unreadable(errors.New("not everything could be read; what could be was recorded"))
	case dryRun && len(grants) > 0:
		return notDone(fmt.Errorf("%d grants would be recorded", len(grants)))
	}
	return nil
}

// unexplainedBy lists what bears a marker and would not be explained with these grants recorded.
func unexplainedBy(grants []jit.Grant, seen sweeper.Observation) []standingView {
	records := seen.Records
	records.Grants = maps.Clone(records.Grants)
	for _, g := range grants {
		records.Grants[g.ID] = g
	}
	views := []standingView{}
	if records.Unread != nil {
		return views // nothing is known of any marker, which is told
	}
	all, _ := sweeper.FindStanding(seen.Snapshots, nil, records)
	for _, s := range all {
		if s.Claims() {
			views = append(views, viewOfStanding(s))
		}
	}
	return views
}
