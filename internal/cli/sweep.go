package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func (p *program) sweepCommand() *cobra.Command {
	var s sweeper.Sweeper
	var o watchOptions
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "End what is over, start what is due, put right what has drifted",
		Long: `Make one pass over the grants in the ledger, on the targets in jit.hcl: end what is over, start what is due, read every
scope that holds grants and put right what was altered or is missing there, and remove bindings that bear the marker of a
served owner, are over, and that the ledger does not explain. owners in jit.hcl names the owners to serve, ["*"] all of them.
Without it the owner of jit.hcl is served, and of the others the pass only ends what is over and seen on these targets: their
target of the same name may be another system. on_drift of a target, on_violation and max_unplanned_revocations say what is done about what is found. Run it
every minute or so, from as many places as you like: due work is shared by leases.

A grant of any owner that has been over for ten minutes, and that this sweeper cannot end because it has no such target, does
not serve that owner or does not see it, is listed as out_of_reach. One that its target itself ends is a note.

--watch goes on until it is stopped: it ends and starts grants in the second in which they are due, and looks for drift every
drift interval. Any number of them may share a postgres:// ledger; on a sqlite:// ledger there is one. It says what it does on
standard error, with --json in JSON lines on standard output.

When the ledger cannot be read, the markers on the targets say what is over. --markers-only goes by them from the
start, for the case that the ledger is lost: all it needs are credentials.

Exit codes:

  0    nothing is left to do, or nothing but the clean-up of grants whose access has ended
  1    something could not be done, was held back by --max-unplanned, is critical and only reported, is overdue and out of
       reach, or is claimed by another sweeper; with --dry-run: there is something to do. What bears the marker of an owner
       that is not served is listed and does not count: its ledger may be another one. jit scan counts it
  2    the ledger, a target or a scope could not be read; what could be read was swept. With --listen: the address is taken, or
       not there yet
  3    the command line or the settings are wrong
  130  interrupted`,
		Example: `  jit sweep
  jit sweep --dry-run
  jit sweep --due --json            # by the ledger alone: no call on any target when nothing is due
  jit sweep --markers-only          # the ledger is lost
  jit sweep --watch`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case s.DueOnly && s.MarkersOnly:
				return jit.Invalid("--due", "leave out one of the two", "--due goes by the ledger alone and --markers-only by the markers alone")
			case cmd.Flags().Changed("max-unplanned") && s.MaxUnplanned < 0:
				return jit.Invalid("--max-unplanned", "write 0 to remove nothing that was not planned", "%d is negative", s.MaxUnplanned)
			}
			if err := o.check(s, cmd.Flags().Changed("timeout")); err != nil {
				return err
			}
			if o.watch {
				return p.watch(cmd.Context(), s, o)
			}
			return p.withRuntime(cmd.Context(), jit.FromSweeper, func(ctx context.Context, rt *config.Runtime) error { return p.sweep(ctx, rt, s) })
		},
	}
	cmd.Flags().BoolVar(&o.watch, "watch", false, "go on until stopped, and end every grant when it is due")
	cmd.Flags().StringVar(&o.interval, "interval", "", "with --watch: how `often` to look for due work that is not known of (default 1m)")
	cmd.Flags().StringVar(&o.driftInterval, "drift-interval", "", "with --watch: how `often` to look for drift (default 5m)")
	cmd.Flags().StringVar(&o.listen, "listen", "", "with --watch: serve the status page, /metrics, /healthz and /readyz on this `address`, such as 127.0.0.1:8085")
	cmd.Flags().BoolVar(&s.DryRun, "dry-run", false, "only tell what would be done; write nothing")
	cmd.Flags().BoolVar(&s.DueOnly, "due", false, "only end and start what the ledger says is due; look for no drift")
	cmd.Flags().BoolVar(&s.MarkersOnly, "markers-only", false, "go by the markers on the targets, as if there were no ledger")
	cmd.Flags().IntVar(&s.MaxUnplanned, "max-unplanned", unset, "take away at most `N` times access that no recorded end explains (default 20, or max_unplanned_revocations)")
	cmd.Flags().Lookup("max-unplanned").DefValue = "" // it is told in words
	p.jsonFlag(cmd)
	return cmd
}

// unset is the cap where the command line says nothing.
const unset = -1

// settled fills in what the settings say and the command line does not.
func settled(s sweeper.Sweeper, rt *config.Runtime) sweeper.Sweeper {
	rt.Broker.AnyOwner = true
	s.Broker, s.Owners, s.EveryOwner, s.OnDrift, s.RevokeViolations = rt.Broker, rt.Owners, rt.EveryOwner, rt.OnDrift, rt.RevokeViolations
	if s.MaxUnplanned == unset {
		s.MaxUnplanned = sweeper.DefaultMaxUnplanned
		if rt.MaxUnplanned != nil {
			s.MaxUnplanned = *rt.MaxUnplanned
		}
	}
	return s
}

func (p *program) sweep(ctx context.Context, rt *config.Runtime, s sweeper.Sweeper) error {
	s = settled(s, rt)
	s.Holder = holder()
	report := s.Pass(ctx)
	if !s.DryRun && !s.MarkersOnly {
		p.flush(ctx, rt)
	}
	steps := make([]stepView, len(report.Results), len(report.Results)+len(report.Held))
	todo, bad := 0, 0
	for i, r := range report.Results {
		steps[i] = stepOf(r, s.DryRun)
		switch {
		case steps[i].Result == stepPlanned:
			todo++
		case r.Kind == reconcile.Report && r.Severity == jit.Critical && !r.Foreign:
			bad++
		}
	}
	for _, held := range report.Held {
		steps = append(steps, stepView{Step: held, Result: stepHeld})
	}
	for _, beyond := range report.OutOfReach {
		steps = append(steps, stepView{Step: beyond, Result: stepOutOfReach})
	}
	if p.json {
		if err := p.printJSON(p.sweepView(report, steps, s.DryRun)); err != nil {
			return notDone(err)
		}
	} else {
		p.printSteps(steps, len(report.Unread) == 0)
	}
	for _, err := range report.Unread {
		fmt.Fprintf(p.err, "error: %v\n", err)
	}
	if n := countResults(steps, stepRemains); n > 0 {
		fmt.Fprintf(p.err, "note: the access of %d grants has ended, and something that gives none is left to be cleaned up; each sweep tries again\n", n)
	}
	if n := len(report.OutOfReach) - report.Unended(); n > 0 {
		fmt.Fprintf(p.err, "note: %d grants out of reach of this sweeper were ended by their targets; their own sweepers confirm it\n", n)
	}
	var left []string
	note := func(n int, what string) {
		if n > 0 {
			left = append(left, fmt.Sprintf("%d %s", n, what))
		}
	}
	note(report.Failed(), "could not be done")
	note(bad, "critical and left as they are: look at them")
	note(len(report.Held), "held back by --max-unplanned: look at them with --dry-run, then allow more")
	note(report.Unended(), "overdue and out of reach of this sweeper: add their targets to jit.hcl, name their owners in owners, or run a sweeper that has both")
	note(len(report.Elsewhere), "due and claimed by another sweeper that has not finished")
	note(todo, "to do")
	switch {
	case len(left) > 0:
		return notDone(errors.New("not everything is done: " + strings.Join(left, "; ")))
	case len(report.Unread) > 0:
		return unreadable(errors.New("not everything could be read; what could be was swept"))
	}
	return nil
}

// holder names the sweepers of this machine in leases: what one run could not do is the next
// run's at once, and the leases keep other machines from it meanwhile.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return host
}

// What can become of a step.
const (
	stepDone    = "done"
	stepFailed  = "failed"
	stepPlanned = "planned"
	stepLook    = "look"    // nothing is done: a person has to
	stepRemains = "remains" // the access has ended, and its clean-up is open
	stepHeld    = "held"    // the cap on unplanned removals kept it from being done
	// overdue, and its target or its owner is none of this sweeper's
	stepOutOfReach = "out_of_reach"
)

// stepView is one step of a pass, in the stable names of --json.
type stepView struct {
	reconcile.Step
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
}

func countResults(steps []stepView, result string) int {
	n := 0
	for _, s := range steps {
		if s.Result == result {
			n++
		}
	}
	return n
}

func stepOf(r sweeper.Result, dryRun bool) stepView {
	v := stepView{Step: r.Step, Result: stepDone}
	switch {
	case r.Remains():
		v.Result, v.Error = stepRemains, r.Err.Error()
	case r.Err != nil:
		v.Result, v.Error = stepFailed, r.Err.Error()
	case r.Kind == reconcile.Report:
		v.Result = stepLook
	case dryRun:
		v.Result = stepPlanned
	}
	return v
}

func (p *program) sweepView(r sweeper.Report, steps []stepView, dryRun bool) any {
	unread := make([]string, len(r.Unread))
	for i, err := range r.Unread {
		unread[i] = err.Error()
	}
	return struct {
		DryRun bool       `json:"dry_run"`
		Steps  []stepView `json:"steps"`
		Failed int        `json:"failed"`
		Unread []string   `json:"unread"`
		Held   int        `json:"held"`
		// OutOfReach counts the steps whose result is out_of_reach.
		OutOfReach int         `json:"out_of_reach"`
		Elsewhere  []grantView `json:"elsewhere"`
	}{dryRun, steps, r.Failed(), unread, len(r.Held), len(r.OutOfReach), viewsOf(r.Elsewhere, p.Now())}
}

// printSteps lists the steps. Without any it says that there is nothing to do, unless something could not be read.
func (p *program) printSteps(steps []stepView, complete bool) {
	if len(steps) == 0 {
		if complete {
			fmt.Fprintln(p.err, "Nothing to do.")
		}
		return
	}
	if complete && !slices.ContainsFunc(steps, func(s stepView) bool { return !s.Foreign }) {
		fmt.Fprintln(p.err, "Nothing to do. The bindings listed bear markers of owners that are not served.")
	}
	t := p.table(p.out)
	t.row("STEP", "RESULT", "SEVERITY", "OWNER", "TARGET", "SCOPE", "PRINCIPAL", "ROLE", "GRANT", "WHY")
	for _, s := range steps {
		why := s.Reason
		if s.Error != "" {
			why += ": " + s.Error
		}
		t.row(string(s.Kind), s.Result, string(s.Severity), s.Grant.Owner, s.Target, abbreviate(s.Scope), abbreviate(s.Grant.Principal), abbreviate(s.Grant.Role), string(s.Grant.ID), why)
	}
	t.flush()
}
