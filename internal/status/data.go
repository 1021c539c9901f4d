package status

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

const (
	// maxRows caps the grants that a list of the page shows. The others are counted.
	maxRows = 200
	// maxRead caps the grants that are read for one page.
	maxRead = 50_000
	// maxBars caps the grants that the timeline shows.
	maxBars = 60
)

// query is the filter of a page.
type query struct {
	// Principal, Target and Owner match parts of the values, in any case; empty matches all.
	Principal, Target, Owner string
}

// Empty reports whether there is no filter.
func (q query) Empty() bool { return q == query{} }

func (q query) matches(g jit.Grant) bool {
	return holds(g.Principal, q.Principal) && holds(g.Target, q.Target) && holds(g.Owner, q.Owner)
}

func holds(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }

// list is a list of grants, cut to maxRows.
type list struct {
	Rows []row
	// More counts the grants that are not shown.
	More int
}

func (l *list) add(r row) {
	if len(l.Rows) < maxRows {
		l.Rows = append(l.Rows, r)
	} else {
		l.More++
	}
}

// Count returns how many grants there are.
func (l list) Count() int { return len(l.Rows) + l.More }

// row is one grant as the page shows it.
type row struct {
	jit.Grant
	// Left says when the grant begins, how long it lasts or since when it is over.
	Left string
	// Ended is when the access ended.
	Ended time.Time
	// Problem says why the grant could not be ended or started, Attempts how often that was tried.
	Problem  string
	Attempts int
}

func rowOf(g jit.Grant, now time.Time) row {
	return row{Grant: g, Left: left(g, now), Ended: g.ActualEnd()}
}

// troubled adds the failures of the sweeper.
func (r *row) troubled(stuck map[jit.ID]sweeper.Stuck) {
	if s, known := stuck[r.ID]; known && s.Err != nil {
		r.Problem, r.Attempts = s.Err.Error(), s.Attempts
	}
}

// left says when a grant begins, how long it lasts or since when it is over.
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

// pageData is the content of the page at one moment.
type pageData struct {
	Now   time.Time
	Query query
	// Live give access now, Waiting will, Ended did today (UTC), Overdue are over and not confirmed as gone.
	Live, Waiting, Ended, Overdue list
	// Cleanup have ended and left something on their targets that gives no access.
	Cleanup list
	// Outstanding counts all overdue grants: a filter hides no trouble.
	Outstanding int
	Found       []sweeper.Result
	MoreFound   int
	// Foreign have the marker of an owner that is not served. Another ledger may explain them.
	Foreign     []sweeper.Result
	MoreForeign int
	Unread      []sweeper.Unread
	Looks       looks
	// StuckCut: more grants are stuck than the state lists, so a grant that it does not list may have been tried.
	StuckCut bool
	State    sweeper.State
	// LedgerError says why the ledger cannot be shown.
	LedgerError error
	// Cut: there are more grants than maxRead.
	Cut      bool
	Timeline *timeline
}

// looks are the last checks for drift by one watcher, as names of those targets that match the filter.
type looks struct {
	// Clean had no drift as of Since, the oldest of their checks. Unread could not be read, or not in full. None were
	// not checked by this watcher.
	Clean, Unread, None []string
	Since               time.Time
	// Hidden counts the findings that do not match the filter.
	Hidden int
}

// sort puts each target into its list. A target with a finding is in none of them.
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

// Source feeds the page and the metrics: the grants of all owners in the ledger, and one watcher.
type Source struct {
	Ledger jit.Ledger
	// OutOfReach says why the watcher cannot end the grants of an owner on a target; empty if it can.
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
	bars, err := d.gatherToday(source.Ledger.Grants(ctx, jit.Filter{EndFrom: midnight}), midnight, stuck)
	if err != nil {
		d.LedgerError = err
	}
	overdue, err := d.gatherDue(source.Ledger.Grants(ctx, jit.Filter{DueBy: now}), source.OutOfReach, stuck)
	if err != nil {
		d.LedgerError = err
	}
	for _, g := range overdue {
		if g.End.Before(midnight) {
			bars = append(bars, g)
		}
	}
	d.gatherFindings()
	d.Timeline = newTimeline(bars, midnight.Add(-time.Hour), now.Add(12*time.Hour), now)
	return d
}

// gatherToday lists the grants that end today or later, and returns them.
func (d *pageData) gatherToday(
	grants iter.Seq2[jit.Grant, error], midnight time.Time, stuck map[jit.ID]sweeper.Stuck,
) (listed []jit.Grant, err error) {
	var ended []row
	read := 0
	for g, failed := range grants {
		if failed != nil {
			err = failed
			break
		}
		if read++; read > maxRead {
			d.Cut = true
			break
		}
		if !d.Query.matches(g) || g.Failed() || g.ActualEnd().Before(midnight) {
			continue
		}
		listed = append(listed, g)
		r := rowOf(g, d.Now)
		r.troubled(stuck)
		switch {
		case g.Over(d.Now) && !g.EndedAt.IsZero():
			ended = append(ended, r)
		case g.Over(d.Now):
		case d.Now.Before(g.Start) || g.GrantedAt.IsZero():
			d.Waiting.add(r)
		default:
			d.Live.add(r)
		}
	}
	slices.SortFunc(ended, func(a, b row) int { return cmp.Or(b.Ended.Compare(a.Ended), cmp.Compare(a.ID, b.ID)) })
	for _, r := range ended {
		d.Ended.add(r)
	}
	return listed, err
}

// gatherDue lists the grants that are overdue or have remains, and returns the overdue ones that match the filter.
func (d *pageData) gatherDue(
	grants iter.Seq2[jit.Grant, error], outOfReach func(owner, target string) string, stuck map[jit.ID]sweeper.Stuck,
) (overdue []jit.Grant, err error) {
	for g, err := range grants {
		if err != nil {
			return overdue, err
		}
		if g.CleanupOpen() && d.Query.matches(g) {
			r := rowOf(g, d.Now)
			r.Problem = g.Remains
			d.Cleanup.add(r)
		}
		if !g.Outstanding(d.Now) {
			continue
		}
		d.Outstanding++
		if !d.Query.matches(g) {
			continue
		}
		r := rowOf(g, d.Now)
		r.troubled(stuck)
		if why := outOfReach(g.Owner, g.Target); why != "" {
			r.Problem = why
		}
		d.Overdue.add(r)
		overdue = append(overdue, g)
	}
	return overdue, nil
}

// gatherFindings lists what the watcher found and could not read.
func (d *pageData) gatherFindings() {
	for _, r := range d.State.Found {
		switch {
		case !d.Query.matches(r.Grant):
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
	for _, u := range d.State.Unread {
		if holds(u.Target, d.Query.Target) {
			d.Unread = append(d.Unread, u)
		}
	}
	d.Looks.sort(d.State, d.Query)
}
