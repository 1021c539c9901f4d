package status

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Period chooses what a report covers: the time from From until To, and the grants that Wanted accepts.
type Period struct {
	From, To time.Time
	Wanted   func(jit.Grant) bool
}

// covers reports whether the grant could give access within the period, or outlived its end into it.
func (p Period) covers(g jit.Grant, now time.Time) bool {
	return g.Start.Before(p.To) && !finish(g, now).Before(p.From) && p.Wanted(g)
}

// wants reports whether the period includes the binding that an event without a known grant names.
func (p Period) wants(e jit.Event) bool {
	b := jit.Binding{Target: e.Detail["target"], Principal: e.Detail["principal"]}
	return b.Principal != "" && p.Wanted(jit.Grant{Binding: b})
}

// Head names the ledger that a report was made from, and the root over the last events of its chains.
type Head struct {
	Ledger, Root string
	Events       int64
	Intact       bool
}

const (
	// maxReported caps the grants that a report lists. The others are counted.
	maxReported = 20_000
	// maxDetailed caps the grants that a report describes with their events, and maxTold the events of each.
	maxDetailed = 1_000
	maxTold     = 40
)

// Report is the account of a period.
type Report struct {
	Now   time.Time `json:"now"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Owner string    `json:"owner"`
	// Grants gave access within the period, or were to, or outlived their end into it.
	Grants []ReportedGrant `json:"grants"`
	// More counts the grants that are not listed.
	More int `json:"more,omitempty"`
	// Brief counts the listed grants that are not described with their events.
	Brief   int              `json:"-"`
	Targets []ReportedTarget `json:"targets"`
	Totals  ReportTotals     `json:"totals"`
	Drift   []jit.Event      `json:"drift"`
	Policy  []jit.Event      `json:"policy_changes"`
	// Decisions are those of people on the requests of the period, and the requests that waited for them.
	Decisions []ReportedDecision `json:"decisions"`
	Head      Head               `json:"head"`
	// Timeline is the drawing; nil if there is nothing to draw.
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
	// LongestText is the longest window as text.
	LongestText string `json:"longest"`
	People      int    `json:"principals"`
}

// ReportedTarget sums up one target.
type ReportedTarget struct {
	Name   string `json:"name"`
	Grants int    `json:"grants"`
	People int    `json:"principals"`
}

// ReportedGrant is one grant and who asked for it.
type ReportedGrant struct {
	jit.View
	// Late: the access outlived its end. EndedAt says when it was removed.
	Late     bool   `json:"late,omitempty"`
	AskedBy  string `json:"asked_by,omitempty"`
	Change   string `json:"change,omitempty"`
	Failures int    `json:"revocation_failures,omitempty"`
	// ApprovedBy names the people whose approval let the grant begin or last longer, each once.
	ApprovedBy []string `json:"approved_by,omitempty"`
	// Left says when the grant begins or was to begin, how long it lasts, or since when it is over.
	Left string `json:"-"`
	// History is what the events of the grant say; nil if the report does not describe them.
	History *history `json:"-"`
}

// Anchor names the description of the grant in the report; empty if there is none.
func (g ReportedGrant) Anchor() string {
	if g.History == nil {
		return ""
	}
	return "grant-" + string(g.ID)
}

// Link leads to the description of the grant in the report; empty if there is none.
func (g ReportedGrant) Link() string {
	if g.History == nil {
		return ""
	}
	return "#" + g.Anchor()
}

// ReportedDecision is what somebody decided on a request, or that nobody did.
type ReportedDecision struct {
	At    time.Time     `json:"at"`
	Kind  jit.EventKind `json:"kind"`
	Grant jit.ID        `json:"grant"`
	// Summary is that of the grant.
	Summary   string `json:"summary"`
	Requester string `json:"requester,omitempty"`
	// Person decided, with this evidence.
	Person   string `json:"person,omitempty"`
	Evidence string `json:"evidence,omitempty"`
	Comment  string `json:"comment,omitempty"`
	// Key is the fingerprint of the key that signed, and PullRequest names where the review was given.
	Key         string `json:"key,omitempty"`
	PullRequest string `json:"pull_request,omitempty"`
	// Link is the address of the pull request; empty unless it has the form of a known forge.
	Link string `json:"-"`
	// Command is what an approver runs.
	Command string `json:"command,omitempty"`
	// Awaits says whose approval was missing, and Why why a request lapsed.
	Awaits string `json:"awaits,omitempty"`
	Why    string `json:"why,omitempty"`
}

// decisionWords say what happened to a request.
var decisionWords = map[jit.EventKind]string{
	jit.EventApprovalWanted: "waited for approval", jit.EventApproved: "approved", jit.EventDenied: "denied",
	jit.EventLapsed: "lapsed", jit.EventBreakGlass: "began without approval", jit.EventSignedOff: "signed off",
}

// What says what happened to the request.
func (d ReportedDecision) What() string { return decisionWords[d.Kind] }

// reportReader reads a report from a ledger.
type reportReader struct {
	Report
	period Period
	// listed are the positions of the grants in the report.
	listed map[jit.ID]int
	// gaveNothing are the summaries of requests that gave nothing.
	gaveNothing map[jit.ID]string
	// counts are how many grants each principal has on each target.
	counts map[string]map[string]int
	bars   []jit.Grant
}

// NewReport reads the ledger for a report.
func NewReport(
	ctx context.Context, ledger jit.Ledger, owner string, p Period, head Head, now time.Time,
) (Report, error) {
	r := reportReader{
		Report: Report{
			Now: now, From: p.From, To: p.To, Owner: owner, Head: head,
			Grants: []ReportedGrant{}, Drift: []jit.Event{}, Policy: []jit.Event{},
			Decisions: []ReportedDecision{},
		},
		period: p, listed: map[jit.ID]int{}, gaveNothing: map[jit.ID]string{}, counts: map[string]map[string]int{},
	}
	for g, err := range ledger.Grants(ctx, jit.Filter{Owner: owner}) {
		if err != nil {
			return r.Report, err
		}
		r.addGrant(g)
	}
	r.sumTargets()
	r.arrange()
	if err := r.addEvents(ctx, ledger); err != nil {
		return r.Report, err
	}
	r.Timeline = newTimeline(r.bars, p.From, p.To, now)
	return r.Report, nil
}

// addGrant counts a grant of the period and lists it while there is room.
func (r *reportReader) addGrant(g jit.Grant) {
	switch {
	case !r.period.covers(g, r.Now):
		return
	case g.Failed():
		r.Totals.Attempts++
		if len(r.gaveNothing) < maxReported {
			r.gaveNothing[g.ID] = g.Summary()
		}
		return
	}
	r.Totals.add(g, r.Now)
	if r.counts[g.Target] == nil {
		r.counts[g.Target] = map[string]int{}
	}
	r.counts[g.Target][g.Principal]++
	if len(r.Grants) == maxReported {
		r.More++
		return
	}
	v := g.View(r.Now, r.Head.Ledger)
	r.Grants = append(r.Grants, ReportedGrant{View: v, Late: late(g), Left: left(v, r.Now)})
	r.bars = append(r.bars, g)
}

// arrange sorts the listed grants and chooses those that are described with their events: the earliest.
func (r *reportReader) arrange() {
	slices.SortStableFunc(r.Grants, func(a, b ReportedGrant) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID))
	})
	for i := range r.Grants {
		g := &r.Grants[i]
		r.listed[g.ID] = i
		if i < maxDetailed {
			g.History = newHistory(g.Grant, maxTold)
		}
	}
	r.Brief = max(0, len(r.Grants)-maxDetailed)
}

// add counts a grant.
func (t *ReportTotals) add(g jit.Grant, now time.Time) {
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

// sumTargets sums up the targets.
func (r *reportReader) sumTargets() {
	people := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(r.counts)) {
		t := ReportedTarget{Name: name, People: len(r.counts[name])}
		for principal, n := range r.counts[name] {
			people[principal] = true
			t.Grants += n
		}
		r.Targets = append(r.Targets, t)
	}
	r.Totals.People, r.Totals.LongestText = len(people), span(r.Totals.Longest)
}

// addEvents adds the events of the period, and who asked for each grant, also before the period.
func (r *reportReader) addEvents(ctx context.Context, ledger jit.Ledger) error {
	begin := r.From
	for _, g := range r.Grants {
		if g.RequestedAt.Before(begin) {
			begin = g.RequestedAt
		}
	}
	for e, err := range jit.EventsSince(ctx, ledger, begin) {
		if err != nil {
			return err
		}
		if i, listed := r.listed[e.Grant]; listed {
			r.Grants[i].tell(e)
		}
		// Each event has the time of its writer's clock, so events of the period can follow later ones.
		if !e.At.Before(r.From) && !e.At.After(r.To) {
			r.addEvent(e)
		}
	}
	return nil
}

// tell takes in an event of the grant.
func (g *ReportedGrant) tell(e jit.Event) {
	if e.Kind == jit.EventRequested {
		g.AskedBy, g.Change = e.Name, e.Change
	}
	if g.History != nil {
		g.History.add(e)
	}
	g.approved(e)
}

// approved takes in who approved a grant. The decision to grant names those who approved before.
func (g *ReportedGrant) approved(e jit.Event) {
	names := []string{e.Person()}
	switch {
	case e.Kind == jit.EventDecided && e.Detail["approved_by"] != "":
		names = strings.Split(e.Detail["approved_by"], ", ")
	case e.Kind != jit.EventApproved:
		return
	}
	for _, name := range names {
		if !slices.ContainsFunc(g.ApprovedBy, func(known string) bool { return jit.SameName(known, name) }) {
			g.ApprovedBy = append(g.ApprovedBy, name)
		}
	}
}

// addDecision adds what people decided on a request of the period.
func (r *reportReader) addDecision(e jit.Event) {
	summary := r.gaveNothing[e.Grant]
	if i, listed := r.listed[e.Grant]; listed {
		summary = r.Grants[i].Summary
	}
	if summary == "" {
		return
	}
	r.Decisions = append(r.Decisions, decisionOf(e, summary))
}

// addEvent adds an event of the period: a decision, a change of a policy, drift, or a repair or revocation that failed.
func (r *reportReader) addEvent(e jit.Event) {
	if decisionWords[e.Kind] != "" {
		r.addDecision(e)
		return
	}
	i, listed := r.listed[e.Grant]
	wanted := listed || r.period.wants(e)
	switch {
	case e.Kind == jit.EventPolicyChanged, e.Kind == jit.EventPolicyRemoved:
		r.Policy = append(r.Policy, e)
	case !wanted:
	case e.Kind == jit.EventRevokeFailed && listed:
		r.Totals.Failures++
		r.Grants[i].Failures++
	case e.Kind == jit.EventRevokeFailed:
		r.Totals.Failures++
		r.Drift = append(r.Drift, e)
	case e.Kind == jit.EventRepairFailed:
		r.Drift = append(r.Drift, e)
	case e.Kind == jit.EventDrift:
		r.Totals.Drift++
		if e.Detail["kind"] == string(jit.DriftViolation) {
			r.Totals.Violations++
		}
		r.Drift = append(r.Drift, e)
	}
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
