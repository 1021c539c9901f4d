package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// scanOptions are the flags of jit scan.
type scanOptions struct {
	target, baseline, writeBaseline, until, reason string
}

func (p *program) scanCommand() *cobra.Command {
	var o scanOptions
	cmd := p.command(&cobra.Command{
		Use:   "scan",
		Short: "List standing access: access that no grant explains",
		Long: `Read every scope of the targets that holds grants or may hold some, and list the standing access there,
worst first. All access is standing access, except grants on record and access that the target itself ends within
max_ttl.

  critical  it gives the same as a live grant, so the end of that grant would end nothing; or it has the marker of a
            grant, and neither the ledger nor an end on the target explains it
  warning   the name of the role suggests that it can do nearly everything (admin, owner, editor, superuser)
  info      the rest

Then jit prints notes about the scopes, such as the room left for more grants. Last, it prints for each target how many
scopes it read, and which it could not read. A scan writes nothing on a target.

--baseline names a file of accepted findings, each with an end at most a year ahead. Until then, accepted findings
are listed but do not count. --write-baseline adds the new findings to such a file.

Exit codes:

  0    there is no standing access, except accepted findings
  1    there is some
  2    the ledger, a target or a scope could not be read in full; the list covers the rest
  3    the command line, the settings or the baseline are wrong
  5    no target has that name
  130  interrupted`,
		Example: `  jit scan
  jit scan --write-baseline accepted.hcl --until 2027-06-30T00:00:00Z --reason "CHG-7: emergency accounts"
  jit scan --baseline accepted.hcl --json | jq -r '.standing[] | select(.accepted_until | not) | .principal'`,
	}, func([]string) error { return o.check(p.Now()) },
		func(ctx context.Context, rt *config.Runtime) error { return p.scan(ctx, rt, o) })
	p.targetFlag(cmd, &o.target, "only the target with this `name`, or a glob such as 'prod*'")
	cmd.Flags().StringVar(&o.baseline, "baseline", "", "do not count the findings that this `file` accepts")
	cmd.Flags().
		StringVar(&o.writeBaseline, "write-baseline", "", "add the findings to this `file` of accepted findings")
	cmd.Flags().StringVar(&o.until, "until", "", "with --write-baseline: the `time` at which the acceptance ends")
	cmd.Flags().StringVar(&o.reason, "reason", "", "with --write-baseline: why the findings are accepted")
	p.jsonFlag(cmd)
	return cmd
}

func (o scanOptions) check(now time.Time) error {
	switch {
	case o.writeBaseline == "" && o.until+o.reason != "":
		return jit.Invalid("--write-baseline", "name the file, or leave out --until and --reason",
			"--until and --reason are for findings written to a baseline")
	case o.writeBaseline != "" && o.until == "":
		return jit.Invalid("--until", "write for example --until 2027-06-30T00:00:00Z", "an acceptance needs an end")
	case o.writeBaseline != "":
		return config.CheckAcceptance(o.until, o.reason, now)
	}
	return nil
}

// standingView is one finding, in the stable names of --json.
type standingView struct {
	jit.Place
	Principal string       `json:"principal"`
	Role      string       `json:"role"`
	Detail    string       `json:"detail"`
	Severity  jit.Severity `json:"severity"`
	// EndsAt is when the target itself ends the access, later than max_ttl allows; empty for never.
	EndsAt string `json:"ends_at,omitempty"`
	// ClaimsOwner and ClaimsGrant are the owner and id of the marker on the access. The marker does not explain it.
	ClaimsOwner string `json:"claims_owner,omitempty"`
	ClaimsGrant jit.ID `json:"claims_grant,omitempty"`
	// Shadows is the id of a live grant whose end would end nothing because of this access; empty for none.
	Shadows jit.ID `json:"shadows,omitempty"`
	// AcceptedUntil is set if the baseline accepts the finding, AcceptanceEnded if the acceptance has ended.
	AcceptedUntil   string `json:"accepted_until,omitempty"`
	AcceptanceEnded string `json:"acceptance_ended,omitempty"`
	AcceptedFor     string `json:"accepted_for,omitempty"`
}

// noteView is a note about a scope.
type noteView struct {
	jit.Place
	Principal string `json:"principal,omitempty"`
	Text      string `json:"text"`
}

// scanned is the result of a scan.
type scanned struct {
	sweeper.Observation
	views []standingView
	notes []sweeper.Note
	// stale describes the acceptances in the baseline whose access is gone.
	stale []string
	// open counts the findings that the baseline does not accept.
	open int
}

func (p *program) scan(ctx context.Context, rt *config.Runtime, o scanOptions) error {
	wanted, err := targetMatcher(rt, o.target)
	if err != nil {
		return err
	}
	baseline, baselineErr := p.baseline(o.baseline)
	written, writtenErr := config.Baseline{}, error(nil)
	if _, err := os.Stat(o.writeBaseline); err == nil { // it need not exist
		written, writtenErr = p.baseline(o.writeBaseline)
	}
	if err := cmp.Or(baselineErr, writtenErr); err != nil {
		return err
	}
	s := p.findStanding(ctx, rt, wanted, baseline)
	if err := p.printScan(s); err != nil {
		return notDone(err)
	}
	p.printErrors(s.Unread)
	if o.writeBaseline != "" {
		if err := p.accept(o, s.views, written); err != nil {
			return err
		}
		s.open = 0
	}
	switch {
	case !s.Complete():
		return unreadable(errors.New("not everything could be read"))
	case s.open > 0:
		return notDone(fmt.Errorf("%s of standing access", counted(s.open, "finding")))
	}
	return nil
}

// findStanding reads the wanted targets and compares the standing access there with the baseline.
func (p *program) findStanding(
	ctx context.Context, rt *config.Runtime, wanted func(target string) bool, baseline config.Baseline,
) scanned {
	s := scanned{Observation: (&sweeper.Sweeper{Broker: rt.Broker}).Observe(ctx, wanted)}
	standing, notes := sweeper.FindStanding(s.Snapshots, s.Live, s.Records)
	s.notes = notes
	s.views, s.open = p.standingViews(standing, baseline)
	s.stale = unused(baseline, standing, func(at jit.Place) bool {
		_, read := s.Snapshots[at]
		return wanted(at.Target) && (read || s.Complete())
	})
	return s
}

// baseline reads a file of accepted findings; without a file there are none.
func (p *program) baseline(file string) (config.Baseline, error) {
	if file == "" {
		return config.Baseline{}, nil
	}
	return config.LoadBaseline(file, p.Now())
}

func viewOfStanding(s sweeper.Standing) standingView {
	return standingView{
		Place: s.Place, Principal: s.Principal, Role: s.Role, Detail: s.Detail,
		Severity: s.Severity, Shadows: s.Shadows,
		EndsAt: jit.FormatTime(s.End), ClaimsOwner: s.Marker.Owner, ClaimsGrant: s.Marker.ID,
	}
}

// standingViews applies the baseline to the findings, and counts those that it does not accept.
func (p *program) standingViews(
	standing []sweeper.Standing, baseline config.Baseline,
) (views []standingView, open int) {
	views = make([]standingView, len(standing))
	for i, s := range standing {
		v := viewOfStanding(s)
		a, known := baseline.Find(s.Target, s.Scope, s.Principal, s.Role)
		if known {
			v.AcceptedFor = a.Reason
		}
		switch {
		case known && p.Now().Before(a.End):
			v.AcceptedUntil = jit.FormatTime(a.End)
		case known:
			v.AcceptanceEnded = jit.FormatTime(a.End)
		}
		if v.AcceptedUntil == "" {
			open++
		}
		views[i] = v
	}
	return views, open
}

// unused returns the acceptances of findings that are gone, on the scopes for which known reports true.
func unused(baseline config.Baseline, standing []sweeper.Standing, known func(jit.Place) bool) []string {
	there := map[config.Accepted]bool{}
	for _, s := range standing {
		if a, ok := baseline.Find(s.Target, s.Scope, s.Principal, s.Role); ok {
			there[a] = true
		}
	}
	var stale []string
	for _, a := range baseline.All() {
		if known(jit.Place{Target: a.Target, Scope: a.Scope}) && !there[a] {
			stale = append(stale, fmt.Sprintf("%s for %s on %s of target %s", a.Role, a.Principal, a.Scope, a.Target))
		}
	}
	slices.Sort(stale)
	return stale
}

// accept adds the findings that nothing accepts yet to the baseline file. there is its content.
func (p *program) accept(o scanOptions, views []standingView, there config.Baseline) error {
	var add []config.Accepted
	seen := map[[4]string]bool{}
	for _, v := range views {
		key := [4]string{v.Target, v.Scope, v.Principal, v.Role}
		a, known := there.Find(v.Target, v.Scope, v.Principal, v.Role)
		switch {
		case known && !p.Now().Before(a.End):
			return jit.Invalid("--write-baseline",
				"check the finding, then move its until in the file or remove the block",
				"the acceptance of %s for %s on %s of target %q ended at %s",
				v.Role, v.Principal, v.Scope, v.Target, jit.FormatTime(a.End))
		case known, v.AcceptedUntil != "", seen[key]:
			continue
		}
		seen[key] = true
		add = append(add, config.Accepted{
			Target: v.Target, Scope: v.Scope, Principal: v.Principal, Role: v.Role, Until: o.until, Reason: o.reason,
		})
	}
	if err := config.AppendBaseline(o.writeBaseline, add, p.Now()); err != nil {
		return err
	}
	fmt.Fprintf(p.err, "%s accepted until %s, in %s.\n", counted(len(add), "finding"), o.until,
		printable(o.writeBaseline))
	return nil
}
