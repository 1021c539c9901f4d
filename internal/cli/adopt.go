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

// adoptOptions are the flags of jit adopt.
type adoptOptions struct {
	target string
	dryRun bool
}

func (p *program) adoptCommand() *cobra.Command {
	var o adoptOptions
	cmd := p.command(&cobra.Command{
		Use:   "adopt",
		Short: "Rebuild the records of a lost ledger from the markers on the targets",
		Long: `Read every scope of the targets, and record the grants of this owner that have a marker there and no
record in the ledger: who, what, where, from when and until when. A grant keeps its id and its window. So if you apply
the same configuration, a live grant continues without starting again, and a grant that is over stays over.

Markers do not hold the reason of a grant. The reason returns when you apply a change of the grant, or when you apply the
grant with a state that does not have it. If a grant has several bindings, the one that ends first counts. jit does not
record a live grant longer than max_ttl.

A marker alone proves nothing, because anyone who can write to a target can write one: check the list that --dry-run
prints before you adopt it. jit does not record access with the marker of another owner. It lists such access as
critical if neither the ledger nor an end on the target explains it.

Existing records stay as they are. Run jit sweep afterwards to remove access that is over. jit cannot write a marker on
aws_identity_center, nor on gcp for basic roles, public access and resources that take no condition; those grants are
lost with the ledger.

Exit codes: 0 the ledger explains every marker, 1 a grant could not be recorded, or --dry-run found some to record,
2 something could not be read, 3 the command line or the settings are wrong, 5 no target has that name.`,
		Example: `  jit adopt --dry-run
  jit adopt && jit sweep`,
	}, nil, func(ctx context.Context, rt *config.Runtime) error { return p.adopt(ctx, rt, o) })
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only list the grants to record; write nothing")
	p.targetFlag(cmd, &o.target, "only the target with this `name`, or a glob such as 'prod*'")
	p.jsonFlag(cmd)
	return cmd
}

// adoption is the outcome of jit adopt.
type adoption struct {
	adoptOptions
	grants      []jit.Grant    // recorded, or with --dry-run to record
	failed      []error        // one for each grant that could not be recorded
	unread      []error        // the errors of targets, scopes and records that could not be read
	unexplained []standingView // bindings with a marker that nothing explains
}

func (p *program) adopt(ctx context.Context, rt *config.Runtime, o adoptOptions) error {
	wanted, err := targetMatcher(rt, o.target)
	if err != nil {
		return err
	}
	seen := (&sweeper.Sweeper{Broker: rt.Broker}).Observe(ctx, wanted)
	a := adoption{adoptOptions: o, unread: seen.Unread}
	if a.grants, a.failed, err = rt.Broker.Unrecorded(ctx, seen.Snapshots); err != nil {
		a.unread = append(a.unread, err)
	}
	total := len(a.grants) + len(a.failed)
	a.unexplained = unexplainedBy(a.grants, seen)
	if !o.dryRun {
		for _, err := range rt.Broker.Adopt(ctx, a.grants) {
			if err != nil {
				a.failed = append(a.failed, err)
			}
		}
	}
	if err := p.printAdoption(ctx, rt, a); err != nil {
		return notDone(err)
	}
	for _, name := range slices.Sorted(maps.Keys(rt.Broker.Targets)) {
		if platform.Claims(rt.Broker.Targets[name].Kind()) && wanted(name) {
			fmt.Fprintf(p.err,
				"note: target %s has bindings that cannot carry a marker; their grants were lost with the ledger\n",
				name)
		}
	}
	return a.unfinished(total, rt.Broker.Owner)
}

// unfinished returns an error if something could not be read or recorded, or is still to be recorded. Another ledger
// may explain the marker of another owner.
func (a adoption) unfinished(total int, owner string) error {
	ours := 0
	for _, v := range a.unexplained {
		if v.ClaimsOwner == owner {
			ours++
		}
	}
	switch {
	case len(a.failed) > 0:
		return notDone(fmt.Errorf("%d of %d grants could not be recorded", len(a.failed), total))
	case ours > 0:
		return notDone(fmt.Errorf("nothing explains the marker of this owner on %s; "+
			"`jit scan` lists all standing access", counted(ours, "binding")))
	case len(a.unread) > 0:
		return unreadable(errors.New("not everything could be read"))
	case a.dryRun && len(a.grants) > 0:
		return notDone(fmt.Errorf("%s would be recorded", counted(len(a.grants), "grant")))
	}
	return nil
}

func (p *program) printAdoption(ctx context.Context, rt *config.Runtime, a adoption) error {
	switch {
	case p.json:
		if err := p.printJSON(struct {
			DryRun      bool           `json:"dry_run"`
			Grants      []jit.View     `json:"grants"`
			Unexplained []standingView `json:"unexplained"`
		}{a.dryRun, p.views(ctx, rt, a.grants...), a.unexplained}); err != nil {
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
	p.printErrors(append(a.unread, a.failed...))
	return nil
}

// unexplainedBy lists the bindings with a marker that stay unexplained once these grants are recorded.
func unexplainedBy(grants []jit.Grant, seen sweeper.Observation) []standingView {
	records := seen.Records
	records.Grants = maps.Clone(records.Grants)
	for _, g := range grants {
		records.Grants[g.ID] = g
	}
	views := []standingView{}
	if records.Unread != nil {
		return views // no marker can be judged; the error is reported
	}
	all, _ := sweeper.FindStanding(seen.Snapshots, nil, records)
	for _, s := range all {
		if s.Claims() {
			views = append(views, viewOfStanding(s))
		}
	}
	return views
}
