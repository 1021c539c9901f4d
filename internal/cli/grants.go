package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// selection chooses grants by what they are.
type selection struct {
	target, principal, owner string
	state                    string
	// over: also those that are over and gone from their target.
	over bool
}

var states = stateNames()

func stateNames() []string {
	var names []string
	for _, s := range jit.States() {
		names = append(names, string(s))
	}
	return names
}

// addFlags gives a command the flags that choose by target and principal.
func (s *selection) addFlags(p *program, cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.target, "target", "", "only grants on the target of this `name`; may be a glob such as 'prod*'")
	cmd.Flags().StringVar(&s.principal, "principal", "", "only grants to this `principal`, as jit list --json writes it; may be a glob such as 'user:*@example.com'")
	_ = cmd.RegisterFlagCompletionFunc("target", p.completeTargets)
	_ = cmd.RegisterFlagCompletionFunc("principal", cobra.NoFileCompletions)
}

// matcher returns the test that grants have to pass at now.
func (s *selection) matcher(now time.Time) (func(jit.Grant) bool, error) {
	if s.state != "" && !slices.Contains(states, s.state) {
		return nil, jit.Invalid("--state", fmt.Sprintf("write one of %v", states), "%q is not a state", s.state)
	}
	target, err := textMatcher("--target", s.target)
	if err != nil {
		return nil, err
	}
	principal, err := textMatcher("--principal", s.principal)
	if err != nil {
		return nil, err
	}
	return func(g jit.Grant) bool {
		return target(g.Target) && principal(g.Principal) && (s.state == "" || string(g.State(now)) == s.state)
	}, nil
}

// textMatcher matches the text itself or, as a glob, what it stands for; everything where it is empty.
func textMatcher(flag, pattern string) (func(string) bool, error) {
	if pattern == "" {
		return func(string) bool { return true }, nil
	}
	glob, err := jit.ParseGlob(flag, pattern)
	if err != nil {
		return nil, err
	}
	return func(s string) bool { return s == pattern || glob.Match(s) }, nil
}

// targetMatcher is [textMatcher] for the names of configured targets, of which at least one has to match: a look at none finds nothing.
func targetMatcher(rt *config.Runtime, flag, pattern string) (func(string) bool, error) {
	wanted, err := textMatcher(flag, pattern)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(rt.Broker.Targets))
	if pattern != "" && !slices.ContainsFunc(names, wanted) {
		return nil, jit.Invalid(flag, "name one of them", "no configured target (%s) is %q", strings.Join(names, ", "), pattern)
	}
	return wanted, nil
}

// grants reads the grants chosen from the ledger, in the order of their end.
func (s *selection) grants(ctx context.Context, rt *config.Runtime) ([]jit.Grant, error) {
	matches, err := s.matcher(rt.Broker.Now())
	if err != nil {
		return nil, err
	}
	f := jit.Filter{Owner: s.owner, Open: !s.over && s.state == ""}
	if s.owner == jit.AllOwners {
		f.Owner = ""
	}
	var found []jit.Grant
	for g, err := range rt.Ledger.Grants(ctx, f) {
		if err != nil {
			return nil, unreadable(fmt.Errorf("read the ledger: %w", err))
		}
		if matches(g) {
			found = append(found, g)
		}
	}
	return found, nil
}

// grantView is a grant as it is at one moment, in the stable names of --json.
type grantView struct {
	jit.Grant
	State jit.State `json:"state"`
	// RemainingSeconds of access; 0 when the grant is over.
	RemainingSeconds int64 `json:"remaining_seconds"`
	// Outstanding: over, and its target has not confirmed that it is gone.
	Outstanding bool   `json:"outstanding"`
	SessionTail string `json:"session_tail"`
}

func viewOf(g jit.Grant, now time.Time) grantView {
	v := grantView{Grant: g, State: g.State(now), Outstanding: g.Outstanding(now), SessionTail: jit.FormatTail(g.SessionTail)}
	if g.Live(now) {
		v.RemainingSeconds = int64(g.End.Sub(now) / time.Second)
	}
	return v
}

func viewsOf(grants []jit.Grant, now time.Time) []grantView {
	views := make([]grantView, len(grants))
	for i, g := range grants {
		views[i] = viewOf(g, now)
	}
	return views
}

// when says in words how a grant stands to now.
func when(g jit.Grant, now time.Time) string {
	switch g.State(now) {
	case jit.StateScheduled:
		return "starts in " + short(g.Start.Sub(now))
	case jit.StateRevoked:
		return "ended " + short(now.Sub(g.ActualEnd())) + " ago"
	case jit.StateFailed:
		return "gave nothing, " + short(now.Sub(g.FailedAt)) + " ago"
	case jit.StateExpired:
		return "ended " + short(now.Sub(g.End)) + " ago"
	}
	return short(g.End.Sub(now)) + " left"
}

// short writes a duration with the precision that a person needs: "3d4h", "1h32m", "12m", "45s".
func short(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		d = d.Truncate(time.Hour)
	case d >= 5*time.Minute:
		d = d.Truncate(time.Minute)
	default:
		d = d.Truncate(time.Second)
	}
	return jit.FormatDuration(d)
}

// printGrants writes grants as a table.
func (p *program) printGrants(t *table, grants []jit.Grant, now time.Time) {
	t.row("ID", "STATE", "TIME", "OWNER", "TARGET", "PRINCIPAL", "ROLE", "SCOPE", "REASON")
	for _, g := range grants {
		state := string(g.State(now))
		if g.Outstanding(now) {
			state += " (not removed yet)"
		}
		if g.CleanupOpen() {
			state += " (clean-up open)"
		}
		t.row(string(g.ID), state, when(g, now), g.Owner, g.Target, abbreviate(g.Principal), abbreviate(g.Role), abbreviate(g.Scope), g.Reason)
	}
	t.flush()
}
