package status

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

const (
	// maxRows is how many grants a list of the page shows; the rest is counted.
	maxRows = 200
	// maxLooked is how many grants are looked at for one page.
	maxLooked = 50_000
	// maxBars is how many grants the timeline shows.
	maxBars = 60
)

// query is what the reader of a page asked for.
type query struct {
	// Principal, Target and Owner are parts of what is looked for, in any case; empty for all.
	Principal, Target, Owner string
}

// Empty reports whether nothing was asked for.
func (q query) Empty() bool { return q == query{} }

func (q query) matches(g jit.Grant) bool {
	return holds(g.Principal, q.Principal) && holds(g.Target, q.Target) && holds(g.Owner, q.Owner)
}

func holds(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }

// list is a list of grants with as many rows as are shown.
type list struct {
	Rows []row
	// More counts those that are not shown.
	More int
}

func (l *list) add(r row) {
	if len(l.Rows) < maxRows {
		l.Rows = append(l.Rows, r)
	} else {
		l.More++
	}
}

// Count is how many there are.
func (l list) Count() int { return len(l.Rows) + l.More }

// row is one grant as the page shows it.
type row struct {
	jit.Grant
	// Left is in words how the grant stands to the moment of the page.
	Left string
	// Ended is when the access ended.
	Ended time.Time
	// Problem is why it could not be ended, or started, Attempts how often that was tried.
	Problem  string
	Attempts int
}

func rowOf(g jit.Grant, now time.Time) row {
	return row{Grant: g, Left: left(g, now), Ended: g.ActualEnd()}
}

// troubled adds what is known of failures.
func (r *row) troubled(stuck map[jit.ID]sweeper.Stuck) {
	if s, known := stuck[r.ID]; known && s.Err != nil {
		r.Problem, r.Attempts = s.Err.Error(), s.Attempts
	}
}

// left says how a grant stands to a moment.
func left(g jit.Grant, now time.Time) string {
	switch {
	case g.Over(now):
		return "ended " + span(now.Sub(g.ActualEnd())) + " ago"
	case now.Before(g.Start):
		return "starts in " + span(g.Start.Sub(now))
	}
	return span(g.End.Sub(now)) + " left"
}

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	days, hours, minutes, seconds := d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60, d/time.Second%60
	switch {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%d min %d s", minutes, seconds)
	}
	return fmt.Sprintf("%d s", seconds)
}

// pageData is everything that the page shows, at one moment.
type pageData struct {
	Now   time.Time
	Query query
	// Live have access now, Waiting will, Ended had it today (UTC), Overdue are over and not confirmed to be gone.
	Live, Waiting, Ended, Overdue list
	// Cleanup have ended, and something that gives no access is left on their targets.
	Cleanup list
	// Outstanding counts the overdue whatever is asked for: a filter hides no trouble.
	Outstanding int
	Found       []sweeper.Result
	MoreFound   int
	// Foreign bear the marker of an owner that is not served: somebody else's ledger may explain them.
	Foreign     []sweeper.Result
	MoreForeign int
	Unread      []sweeper.Unread
	Looks       looks
	// StuckCut: more grants are stuck than the state lists, so what it does not list may have been tried.
	StuckCut bool
	State    sweeper.State
	// LedgerError is why nothing of the ledger can be shown.
	LedgerError error
	// Cut: there are more grants than are looked at.
	Cut      bool
	Timeline *timeline
}

// looks are what the last looks for drift of one watcher say, by the names of the targets that are asked for.
type looks struct {
	// Clean hold what they should, as of Since, the oldest of these looks. Unread could not be read, or not in full, and at None this watcher did not look.
	Clean, Unread, None []string
	Since               time.Time
	// Hidden counts what was found and is not asked for.
	Hidden int
}

// sort puts every target where it belongs; one on which something was found is in none of them.
func (l *looks) sort(state sweeper.State, q query) {
	unread, found := map[string]bool{}, map[string]bool{}
	for _, u := range state.Unread {
		unread[u.Target] = true
	}
	for _, r := range state.Found {
		found[r.Target] = found[r.Target] || !r.Foreign
	}
	for _, target := range slices.Sorted(maps.Keys(state.Drift)) {
		last := state.Drift[target]
		switch {
		case !holds(target, q.Target):
		case unread[target]:
			l.Unread = append(l.Unread, target)
		case last.At.IsZero():
			l.None = append(l.None, target)
		case last.Steps == 0 && !found[target]:
			l.Clean = append(l.Clean, target)
			if l.Since.IsZero() || last.At.Before(l.Since) {
				l.Since = last.At
			}
		}
	}
}

// Source is where the page and the metrics come from: the grants of all owners in the ledger, and one watcher.
type Source struct {
	Ledger jit.Ledger
	// OutOfReach says why the watcher cannot end what an owner has on a target; empty when it can.
	OutOfReach func(owner, target string) (why string)
	Now        func() time.Time
	State      func() sweeper.State
}

// gather reads the ledger and the state of the watcher.
func gather(ctx context.Context, source Source, q query) pageData {
	state, now := source.State(), source.Now()
	d := pageData{Now: now, Query: q, State: state, LedgerError: state.LedgerError}
	stuck := map[jit.ID]sweeper.Stuck{}
	for _, s := range state.Stuck {
		stuck[s.Grant.ID] = s
	}
	all := 0
	for _, n := range state.StuckOn {
		all += n
	}
	d.StuckCut = all > len(state.Stuck)
	midnight := now.UTC().Truncate(24 * time.Hour)
	var bars []jit.Grant
	var ended []row
	looked := 0
	for g, err := range source.Ledger.Grants(ctx, jit.Filter{EndFrom: midnight}) {
		if err != nil {
			d.LedgerError = err
			break
		}
		if looked++; looked > maxLooked {
			d.Cut = true
			break
		}
		if !q.matches(g) || g.Failed() || g.ActualEnd().Before(midnight) {
			continue
		}
		bars = append(bars, g)
		r := rowOf(g, now)
		r.troubled(stuck)
		switch {
		case g.Over(now) && !g.EndedAt.IsZero():
			ended = append(ended, r)
		case g.Over(now):
		case now.Before(g.Start) || g.GrantedAt.IsZero():
			d.Waiting.add(r)
		default:
			d.Live.add(r)
		}
	}
	for g, err := range source.Ledger.Grants(ctx, jit.Filter{DueBy: now}) {
		if err != nil {
			d.LedgerError = err
			break
		}
		if g.CleanupOpen() && q.matches(g) {
			r := rowOf(g, now)
			r.Problem = g.Remains
			d.Cleanup.add(r)
		}
		if !g.Outstanding(now) {
			continue
		}
		d.Outstanding++
		if !q.matches(g) {
			continue
		}
		r := rowOf(g, now)
		r.troubled(stuck)
		if why := source.OutOfReach(g.Owner, g.Target); why != "" {
			r.Problem = why
		}
		d.Overdue.add(r)
		if g.End.Before(midnight) {
			bars = append(bars, g)
		}
	}
	slices.SortFunc(ended, func(a, b row) int { return cmp.Or(b.Ended.Compare(a.Ended), cmp.Compare(a.ID, b.ID)) })
	for _, r := range ended {
		d.Ended.add(r)
	}
	for _, r := range state.Found {
		switch {
		case !q.matches(r.Grant):
			d.Looks.Hidden++
		case r.Foreign && len(d.Foreign) < maxRows:
			d.Foreign = append(d.Foreign, r)
		case r.Foreign:
			d.MoreForeign++
		case len(d.Found) < maxRows:
			d.Found = append(d.Found, r)
		default:
			d.MoreFound++
		}
	}
	for _, u := range state.Unread {
		if holds(u.Target, q.Target) {
			d.Unread = append(d.Unread, u)
		}
	}
	d.Looks.sort(state, q)
	d.Timeline = newTimeline(bars, midnight.Add(-time.Hour), now.Add(12*time.Hour), now)
	return d
}
