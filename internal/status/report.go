package status

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Period chooses what a report covers: the time from From until To, and the grants that Wanted accepts.
type Period struct {
	From, To time.Time
	Wanted   func(jit.Grant) bool
}

// wants reports whether the period includes the binding that an event without a known grant names.
func (p Period) wants(e jit.Event) bool {
	b := jit.Binding{Target: e.Detail["target"], Principal: e.Detail["principal"]}
	return b.Principal != "" && p.Wanted(jit.Grant{Binding: b})
}

// Head names the ledger that a report was made from, and its last event.
type Head struct {
	Ledger, Hash string
	Seq          int64
	Intact       bool
}

// maxReported caps the grants that a report lists. The others are counted.
const maxReported = 20_000

// Report tells what happened in a period.
type Report struct {
	Now   time.Time `json:"now"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Owner string    `json:"owner"`
	// Grants gave access within the period, or were to, or outlived their end into it.
	Grants []ReportedGrant `json:"grants"`
	// More counts the grants that are not listed.
	More    int              `json:"more,omitempty"`
	Targets []ReportedTarget `json:"targets"`
	Totals  ReportTotals     `json:"totals"`
	Drift   []jit.Event      `json:"drift"`
	Policy  []jit.Event      `json:"policy_changes"`
	Head    Head             `json:"head"`
	// Timeline is the drawing; nil when there is nothing to draw.
	Timeline *timeline `json:"-"`
}

// ReportTotals are the sums of a report.
type ReportTotals struct {
	Grants       int `json:"grants"`
	Live         int `json:"live"`
	EndedByTime  int `json:"ended_by_time"`
	RevokedEarly int `json:"revoked_early"`
	Overdue      int `json:"overdue"`
	RemovedLate  int `json:"removed_late"`
	Failures     int `json:"revocation_failures"`
	Drift        int `json:"drift"`
	// Attempts failed and gave nothing. No other sum includes them.
	Attempts int `json:"failed_attempts"`
	// Violations counts the drift that breaks one of today's policies.
	Violations int           `json:"policy_violations"`
	Longest    time.Duration `json:"-"`
	// LongestText is the longest window in words.
	LongestText string `json:"longest"`
	People      int    `json:"principals"`
}

// ReportedTarget sums up one target.
type ReportedTarget struct {
	Name   string `json:"name"`
	Grants int    `json:"grants"`
	People int    `json:"principals"`
}

// ReportedGrant is one grant with who asked for it.
type ReportedGrant struct {
	jit.View
	// Late: the access outlived its end. EndedAt says when it was removed.
	Late     bool   `json:"late,omitempty"`
	AskedBy  string `json:"asked_by,omitempty"`
	Change   string `json:"change,omitempty"`
	Failures int    `json:"revocation_failures,omitempty"`
}

// NewReport reads the ledger for a report.
func NewReport(ctx context.Context, ledger jit.Ledger, owner string, p Period, head Head, now time.Time) (Report, error) {
	r := Report{
		Now: now, From: p.From, To: p.To, Owner: owner, Head: head,
		Grants: []ReportedGrant{}, Drift: []jit.Event{}, Policy: []jit.Event{},
	}
	at := map[jit.ID]int{}
	people := map[string]bool{}
	perTarget := map[string]map[string]int{}
	var bars []jit.Grant
	for g, err := range ledger.Grants(ctx, jit.Filter{Owner: owner}) {
		if err != nil {
			return r, err
		}
		if !g.Start.Before(p.To) || finish(g, now).Before(p.From) || !p.Wanted(g) {
			continue
		}
		if g.Failed() {
			r.Totals.Attempts++
			continue
		}
		r.sum(g, now)
		people[g.Principal] = true
		if perTarget[g.Target] == nil {
			perTarget[g.Target] = map[string]int{}
		}
		perTarget[g.Target][g.Principal]++
		if len(r.Grants) == maxReported {
			r.More++
			continue
		}
		at[g.ID] = len(r.Grants)
		r.Grants = append(r.Grants, ReportedGrant{View: g.View(now, head.Ledger), Late: late(g)})
		bars = append(bars, g)
	}
	r.Totals.People, r.Totals.LongestText = len(people), span(r.Totals.Longest)
	for _, name := range slices.Sorted(maps.Keys(perTarget)) {
		t := ReportedTarget{Name: name, People: len(perTarget[name])}
		for _, n := range perTarget[name] {
			t.Grants += n
		}
		r.Targets = append(r.Targets, t)
	}
	if err := r.events(ctx, ledger, p, at); err != nil {
		return r, err
	}
	slices.SortStableFunc(r.Grants, func(a, b ReportedGrant) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID))
	})
	r.Timeline = newTimeline(bars, p.From, p.To, now)
	return r, nil
}

// sum counts a grant.
func (r *Report) sum(g jit.Grant, now time.Time) {
	t := &r.Totals
	t.Grants++
	t.Longest = max(t.Longest, g.Length())
	if late(g) {
		t.RemovedLate++
	}
	switch {
	case g.Outstanding(now):
		t.Overdue++
	case !g.RevokedAt.IsZero():
		t.RevokedEarly++
	case g.Over(now):
		t.EndedByTime++
	default:
		t.Live++
	}
}

// events adds the events of the period, and who asked for each grant, also before the period.
func (r *Report) events(ctx context.Context, ledger jit.Ledger, p Period, at map[jit.ID]int) error {
	begin := p.From
	for _, g := range r.Grants {
		if g.RequestedAt.Before(begin) {
			begin = g.RequestedAt
		}
	}
	first, err := ledger.FirstEvent(ctx, begin)
	if err != nil {
		return err
	}
	for e, err := range ledger.Events(ctx, first) {
		if err != nil {
			return err
		}
		// Each event has the clock of its writer, so events of the period can follow later ones.
		i, known := at[e.Grant]
		inPeriod := !e.At.Before(p.From) && !e.At.After(p.To)
		switch {
		case e.Kind == jit.EventRequested && known:
			r.Grants[i].AskedBy, r.Grants[i].Change = e.Name, e.Change
		case e.Kind == jit.EventRevokeFailed && known && inPeriod:
			r.Grants[i].Failures++
			r.Totals.Failures++
		case aboutDrift(e.Kind) && inPeriod && (known || p.wants(e)):
			r.Drift = append(r.Drift, e)
		case (e.Kind == jit.EventPolicyChanged || e.Kind == jit.EventPolicyRemoved) && inPeriod:
			r.Policy = append(r.Policy, e)
		}
	}
	r.sumDrift()
	return nil
}

// sumDrift counts the drift.
func (r *Report) sumDrift() {
	for _, e := range r.Drift {
		switch e.Kind {
		case jit.EventRevokeFailed: // without a record
			r.Totals.Failures++
		case jit.EventDrift:
			r.Totals.Drift++
			if e.Detail["kind"] == string(jit.DriftViolation) {
				r.Totals.Violations++
			}
		}
	}
}

// aboutDrift reports whether events of the kind tell of drift, or of a repair or removal that failed.
func aboutDrift(k jit.EventKind) bool {
	return k == jit.EventDrift || k == jit.EventRepairFailed || k == jit.EventRevokeFailed
}

// WriteHTML writes the report as one self-contained page.
func (r Report) WriteHTML(w io.Writer) error {
	page, err := render("report.html.tmpl", r)
	if err == nil {
		_, err = w.Write(page)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
