package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
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
	// maxOwners caps the owners that the filter offers.
	maxOwners = 1000
)

// query is the filter of a page.
type query struct {
	// Principal and Target match parts of the values, in any case, and Owner a whole name; empty matches all.
	Principal, Target, Owner string
}

// To returns the address of a page, with the filter.
func (q query) To(path string) string {
	values := url.Values{}
	for name, value := range map[string]string{"principal": q.Principal, "target": q.Target, "owner": q.Owner} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}

// Empty reports whether there is no filter.
func (q query) Empty() bool { return q == query{} }

func (q query) matches(g jit.Grant) bool {
	return holds(g.Principal, q.Principal) && holds(g.Target, q.Target) && (q.Owner == "" || q.Owner == g.Owner)
}

func holds(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }

// list is cut to maxRows.
type list[T any] struct {
	Rows []T
	// More counts the rows that are not shown.
	More int
}

// add appends the row that next returns, if there is room for it.
func (l *list[T]) add(next func() T) {
	if len(l.Rows) < maxRows {
		l.Rows = append(l.Rows, next())
	} else {
		l.More++
	}
}

// Count returns how many rows there are.
func (l list[T]) Count() int { return len(l.Rows) + l.More }

// row is one grant as the page shows it.
type row struct {
	jit.View
	// Left says when the grant begins or was to begin, how long it lasts, or since when it is over.
	Left string
	// Link is the address of the page of the grant.
	Link string
	// History is what its events say; nil in a list.
	History *history
	// Problem says why the grant could not be ended or started, Attempts how often that was tried.
	Problem  string
	Attempts int
}

// left says when a grant begins or was to begin, how long it lasts, or since when it is over.
func left(v jit.View, now time.Time) string {
	switch {
	case v.State == jit.StateRequested:
		return "waiting for " + span(now.Sub(v.FailedAt))
	case v.State == jit.StateFailed:
		return "failed " + span(now.Sub(v.FailedAt)) + " ago"
	case v.Outstanding:
		return "overdue by " + span(now.Sub(v.ActualEnd()))
	case v.Over(now):
		return "ended " + span(now.Sub(v.EndedAt)) + " ago"
	case now.Before(v.Start):
		return "starts in " + span(v.Start.Sub(now))
	case v.State == jit.StatePending:
		return "was to begin " + span(now.Sub(v.Start)) + " ago"
	}
	return span(v.End.Sub(now)) + " left"
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

// Source feeds the page and the metrics: the grants of all owners in the ledger, and one watcher.
type Source struct {
	Ledger jit.Ledger
	// OutOfReach says why the watcher cannot end the grants of an owner on a target; empty if it can.
	OutOfReach func(owner, target string) (why string)
	Now        func() time.Time
	// State returns the state of the watcher.
	State func() sweeper.State
}

// pageData is the content of the page at one moment.
type pageData struct {
	Now   time.Time
	Query query
	// Live give access now, Waiting will, Ended did today (UTC), Overdue are over and not confirmed as gone.
	Live, Waiting, Ended, Overdue list[row]
	// Cleanup have ended and left something on their targets that gives no access.
	Cleanup list[row]
	// Unsigned broke the glass, and nobody has signed that off. A filter does not hide them.
	Unsigned list[row]
	// Requests wait for people to approve them.
	Requests list[row]
	// Owners are those in the ledger.
	Owners list[string]
	// NoOwner: the filter names an owner that has no grant in the ledger.
	NoOwner bool
	// Outstanding counts all overdue grants: a filter does not hide trouble.
	Outstanding int
	Found       list[sweeper.Result]
	// Foreign have the marker of an owner that is not served. Another ledger may explain them.
	Foreign list[sweeper.Result]
	Unread  []sweeper.Unread
	Checks  checks
	// StuckCut: more grants are stuck than the state lists, so a grant that it does not list may have been tried.
	StuckCut bool
	State    sweeper.State
	// LedgerError says why the ledger cannot be shown.
	LedgerError error
	// Cut: there are more grants than maxRead.
	Cut      bool
	Timeline *timeline

	source   Source
	midnight time.Time
	stuck    map[jit.ID]sweeper.Stuck
	// bars are the grants that the timeline may show.
	bars []jit.Grant
}

// newPage returns the content of a page without what is in the ledger.
func newPage(source Source, q query) *pageData {
	state, now := source.State(), source.Now()
	d := &pageData{
		Now: now, Query: q, State: state, source: source,
		midnight: now.UTC().Truncate(24 * time.Hour), stuck: map[jit.ID]sweeper.Stuck{},
	}
	for _, s := range state.Stuck {
		d.stuck[s.Grant.ID] = s
	}
	stuck := 0
	for _, n := range state.StuckOn {
		stuck += n
	}
	d.StuckCut = stuck > len(state.Stuck)
	return d
}

// gather reads the ledger and the state of the watcher.
func gather(ctx context.Context, source Source, q query) *pageData {
	d := newPage(source, q)
	d.LedgerError = cmp.Or(d.gatherDue(ctx), d.gatherUndecided(ctx), d.gatherToday(ctx), d.gatherOwners(ctx),
		d.State.LedgerError)
	d.gatherFindings()
	d.Timeline = newTimeline(d.bars, time.Time{}, time.Time{}, d.Now)
	return d
}

// row returns a grant as the page shows it. The page shows no request digests, so the view needs no ledger id.
func (d *pageData) row(g jit.Grant) row {
	v := g.View(d.Now, "")
	r := row{View: v, Left: left(v, d.Now), Link: d.Query.To("/grants/" + string(g.ID))}
	if s, known := d.stuck[g.ID]; known && s.Err != nil {
		r.Problem, r.Attempts = s.Err.Error(), s.Attempts
	}
	if v.Outstanding {
		r.Problem = cmp.Or(d.source.OutOfReach(g.Owner, g.Target), r.Problem)
	}
	return r
}

// add adds a grant to a list.
func (d *pageData) add(l *list[row], g jit.Grant) { l.add(func() row { return d.row(g) }) }

// gatherToday lists the grants that end today or later, as far as they can be read.
func (d *pageData) gatherToday(ctx context.Context) (failed error) {
	var ended []jit.Grant
	read := 0
	for g, err := range d.source.Ledger.Grants(ctx, jit.Filter{EndFrom: d.midnight}) {
		if read++; err != nil || read > maxRead {
			failed, d.Cut = err, err == nil
			break
		}
		if !d.Query.matches(g) || g.Failed() {
			continue
		}
		d.bars = append(d.bars, g)
		switch g.State(d.Now) {
		case jit.StateRevoked, jit.StateExpired:
			if !g.EndedAt.IsZero() && !g.AccessEnd().Before(d.midnight) {
				ended = append(ended, g)
			}
		case jit.StateScheduled, jit.StatePending:
			d.add(&d.Waiting, g)
		case jit.StateActive, jit.StateFailed:
			d.add(&d.Live, g)
		}
	}
	slices.SortFunc(ended, func(a, b jit.Grant) int {
		return cmp.Or(b.AccessEnd().Compare(a.AccessEnd()), cmp.Compare(a.ID, b.ID))
	})
	for _, g := range ended {
		d.add(&d.Ended, g)
	}
	return failed
}

// gatherUndecided lists the grants that broke the glass and are not signed off, and the requests that wait for
// approval.
func (d *pageData) gatherUndecided(ctx context.Context) error {
	for g, err := range d.source.Ledger.Grants(ctx, jit.Filter{Unsigned: true}) {
		if err != nil {
			return err
		}
		d.add(&d.Unsigned, g)
	}
	for g, err := range d.source.Ledger.Grants(ctx, jit.Filter{Waiting: true}) {
		if err != nil {
			return err
		}
		if g.Waits(d.Now) && d.Query.matches(g) {
			d.add(&d.Requests, g)
		}
	}
	return nil
}

// gatherOwners lists the owners in the ledger.
func (d *pageData) gatherOwners(ctx context.Context) error {
	owners, err := d.source.Ledger.Owners(ctx)
	d.NoOwner = err == nil && d.Query.Owner != "" && !slices.Contains(owners, d.Query.Owner)
	cut := min(len(owners), maxOwners)
	d.Owners = list[string]{owners[:cut], len(owners) - cut}
	return err
}

// UnlistedOwner reports whether the filter names an owner that the page does not offer.
func (d *pageData) UnlistedOwner() bool {
	return d.Query.Owner != "" && !slices.Contains(d.Owners.Rows, d.Query.Owner)
}

// gatherDue lists the grants that are overdue or have remains.
func (d *pageData) gatherDue(ctx context.Context) error {
	for g, err := range d.source.Ledger.Grants(ctx, jit.Filter{DueBy: d.Now}) {
		if err != nil {
			return err
		}
		matches := d.Query.matches(g)
		if matches && g.CleanupOpen() {
			d.add(&d.Cleanup, g)
		}
		if !g.Outstanding(d.Now) {
			continue
		}
		d.Outstanding++
		if matches {
			d.add(&d.Overdue, g)
			if g.End.Before(d.midnight) {
				d.bars = append(d.bars, g)
			}
		}
	}
	return nil
}

// gatherFindings lists what the watcher found and could not read. That the ledger has gone back in time is on the page
// once, not for each scope.
func (d *pageData) gatherFindings() {
	for _, r := range d.State.Found {
		found := func() sweeper.Result { return r }
		switch {
		case !d.Query.matches(r.Grant):
			d.Checks.Hidden++
		case r.Foreign:
			d.Foreign.add(found)
		default:
			d.Found.add(found)
		}
	}
	for _, u := range d.State.Unread {
		if holds(u.Target, d.Query.Target) && !errors.Is(u.Err, jit.ErrBehind) {
			d.Unread = append(d.Unread, u)
		}
	}
	d.Checks.sort(d.State, d.Query)
}

// checks are the last checks for drift by one watcher, as names of the targets that match the filter.
type checks struct {
	// Clean had no drift as of Since, the oldest of their checks. Unread could not be read, or not in full. None were
	// not checked by this watcher.
	Clean, Unread, None []string
	Since               time.Time
	// Hidden counts the findings that do not match the filter.
	Hidden int
}

// sort puts each target into its list. A target with a finding is in none of them.
func (c *checks) sort(state sweeper.State, q query) {
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
			c.Unread = append(c.Unread, target)
		case last.At.IsZero():
			c.None = append(c.None, target)
		case last.Steps == 0 && !found[target]:
			c.Clean = append(c.Clean, target)
			if c.Since.IsZero() || last.At.Before(c.Since) {
				c.Since = last.At
			}
		}
	}
}
