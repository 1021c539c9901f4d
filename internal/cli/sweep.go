package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func (p *program) sweepCommand() *cobra.Command {
	var s sweeper.Sweeper
	var o watchOptions
	cmd := leaf(&cobra.Command{
		Use:   "sweep",
		Short: "End access that is over, start access that is due, repair drift",
		Long: `Make one pass over the grants in the ledger, on the targets in jit.hcl. The pass ends grants that are
over, starts grants that are due, reads every scope that holds grants, and repairs grants that were altered or removed
there. It also removes access that is over and unknown to the ledger, if it has the marker (owner, id, beginning and
end) of an owner that the pass serves. Run it every minute or so, from as many places as you like: leases share out the
due work.

The pass serves the owners in the list owners of jit.hcl; ["*"] is all of them. Without owners it serves only the owner
in jit.hcl. It then also ends grants of other owners, but only those that are over and that it sees on its targets,
because their target of the same name may be another system. In jit.hcl, on_drift of a target, on_violation and
max_unplanned_revocations decide what the pass does about its findings.

A grant that has been over for ten minutes is listed as out_of_reach if this sweeper cannot end it: the target is not in
jit.hcl, or the sweeper does not serve the owner or does not see the grant. If the target itself has ended the grant,
that is only a note.

--watch runs until you stop it. It ends and starts grants in the second in which they are due, and looks for drift
every drift interval. Any number of daemons may share a ledger in a bucket or in PostgreSQL; a sqlite:// ledger takes
one. The daemon
logs to standard error, or with --json in JSON lines to standard output.

If the pass cannot read the ledger, it ends access by the markers on the targets. For a lost ledger, --markers-only does
so from the start; it needs only the credentials of the targets.

Exit codes:

  0    nothing is left to do, except the clean-up of grants whose access has ended
  1    something failed, was held back by --max-unplanned, needs your attention, is overdue and out of reach, or is
       claimed by another sweeper; with --dry-run: there is something to do. Markers of owners that are not served are
       listed and do not count, because another ledger may explain them; jit scan counts them
  2    the ledger, a target or a scope could not be read; the pass covered the rest. With --listen: the address is in
       use or does not exist
  3    the command line or the settings are wrong
  130  interrupted`,
		Example: `  jit sweep
  jit sweep --dry-run
  jit sweep --due --json            # by the ledger alone: no call on any target when nothing is due
  jit sweep --markers-only          # the ledger is lost
  jit sweep --watch`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkSweep(cmd, s, o); err != nil {
				return usage(err)
			}
			if o.watch {
				return p.watch(cmd.Context(), s, o)
			}
			return p.withRuntime(cmd.Context(), jit.FromSweeper, func(ctx context.Context, rt *config.Runtime) error {
				return p.sweep(ctx, rt, s)
			})
		},
	})
	flags := cmd.Flags()
	flags.BoolVar(&o.watch, "watch", false, "run until stopped, and end every grant when it is due")
	flags.StringVar(&o.interval, "interval", "",
		"with --watch: how `often` to read due work from the ledger (default 1m)")
	flags.StringVar(&o.driftInterval, "drift-interval", "", "with --watch: how `often` to look for drift (default 5m)")
	flags.StringVar(&o.listen, "listen", "",
		"with --watch: serve the status page, /metrics, /healthz and /readyz on this `address`, such as 127.0.0.1:8085")
	flags.BoolVar(&s.DryRun, "dry-run", false, "only list what the pass would do; write nothing")
	flags.BoolVar(&s.DueOnly, "due", false,
		"only end and start grants that are due by the ledger; do not look for drift")
	flags.BoolVar(&s.MarkersOnly, "markers-only", false,
		"end access by the markers on the targets, as if there were no ledger")
	flags.IntVar(&s.MaxUnplanned, "max-unplanned", unset,
		"remove at most `N` bindings that no recorded end explains (default max_unplanned_revocations, or else 20)")
	flags.Lookup("max-unplanned").DefValue = "0" // a zero is not printed; the text names the default
	p.jsonFlag(cmd)
	return cmd
}

// checkSweep refuses flags that contradict each other.
func checkSweep(cmd *cobra.Command, s sweeper.Sweeper, o watchOptions) error {
	switch {
	case s.DueOnly && s.MarkersOnly:
		return jit.Invalid("--due", "leave out one of the two",
			"--due goes by the ledger alone and --markers-only by the markers alone")
	case cmd.Flags().Changed("max-unplanned") && s.MaxUnplanned < 0:
		return jit.Invalid("--max-unplanned", "write 0 to remove nothing unplanned", "%d is negative", s.MaxUnplanned)
	}
	return o.check(s, cmd.Flags().Changed("timeout"))
}

// unset is the cap if the command line sets none.
const unset = -1

// withSettings applies the settings; flags override them.
func withSettings(s sweeper.Sweeper, rt *config.Runtime) sweeper.Sweeper {
	rt.Broker.AnyOwner = true
	s.Broker, s.Owners, s.EveryOwner = rt.Broker, rt.Owners, rt.EveryOwner
	s.OnDrift, s.RevokeViolations = rt.OnDrift, rt.RevokeViolations
	if s.MaxUnplanned == unset {
		s.MaxUnplanned = sweeper.DefaultMaxUnplanned
		if rt.MaxUnplanned != nil {
			s.MaxUnplanned = *rt.MaxUnplanned
		}
	}
	return s
}

func (p *program) sweep(ctx context.Context, rt *config.Runtime, s sweeper.Sweeper) error {
	s = withSettings(s, rt)
	s.Holder = holder()
	report := s.Pass(ctx)
	if !s.DryRun && !s.MarkersOnly {
		p.flush(ctx, rt)
	}
	steps := p.stepViews(ctx, rt, report, s.DryRun)
	left := unfinished(report, steps)
	if p.json {
		if err := p.printJSON(p.sweepView(ctx, rt, report, steps, s.DryRun)); err != nil {
			return notDone(err)
		}
	} else {
		p.printSteps(steps, left == nil)
	}
	p.printErrors(report.Unread)
	if n := countSteps(steps, hasResult(stepRemains)); n > 0 {
		fmt.Fprintf(p.err, "note: the access of %s has ended; the clean-up is still open, and each sweep tries again\n",
			counted(n, "grant"))
	}
	if n := len(report.OutOfReach) - report.Unended(); n > 0 {
		fmt.Fprintf(p.err,
			"note: %s out of reach of this sweeper ended on the target; the owner's own sweeper confirms it\n",
			counted(n, "grant"))
	}
	return left
}

// unfinished returns an error for a pass that left something to do or could not read everything.
func unfinished(report sweeper.Report, steps []stepView) error {
	critical := func(s stepView) bool { return s.Result == stepLook && s.Severity == jit.Critical && !s.Foreign }
	var left []string
	for _, c := range []struct {
		n    int
		text string
	}{
		{report.Failed(), "failed"},
		{countSteps(steps, critical), "critical and only reported: check them yourself"},
		{len(report.Held), "held back by --max-unplanned: check them with --dry-run, then allow more"},
		{report.Unended(), "overdue and out of reach of this sweeper: add their targets to jit.hcl, " +
			"name their owners in owners, or run a sweeper that has both"},
		{len(report.Elsewhere), "due and claimed by another sweeper that has not finished"},
		{countSteps(steps, hasResult(stepPlanned)), "to do"},
	} {
		if c.n > 0 {
			left = append(left, fmt.Sprintf("%d %s", c.n, c.text))
		}
	}
	switch {
	case len(left) > 0:
		return notDone(errors.New("not everything is done: " + strings.Join(left, "; ")))
	case len(report.Unread) > 0:
		return unreadable(errors.New("not everything could be read; the pass covered the rest"))
	}
	return nil
}

// holder names the sweepers of this machine in leases. The next run takes over unfinished work at once, while
// the leases keep other machines away.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return host
}
