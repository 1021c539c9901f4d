package review

import (
	"cmp"
	"io"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// reportView is a [Report] in JSON. Its names are stable: new ones may come, none goes. No list is null.
type reportView struct {
	// Outcome is nothing, decide or refused; Verdict says it in words.
	Outcome string   `json:"outcome"`
	Verdict string   `json:"verdict"`
	Doubts  []string `json:"doubts"`
	// Notes say what was not looked at.
	Notes  []string     `json:"notes"`
	Grants []grantView  `json:"grants"`
	Access []accessView `json:"access"`
	Rules  []ruleView   `json:"rules"`
	// Commands decide.
	Commands     []string `json:"commands"`
	OtherChanges int      `json:"other_changes"`
}

// valueView is a value of the plan. At most one of unknown and sensitive is true, and then text is empty.
type valueView struct {
	Text      string `json:"text"`
	Unknown   bool   `json:"unknown"`
	Sensitive bool   `json:"sensitive"`
}

func viewOf(t Text) valueView {
	if t.Unknown || t.Sensitive {
		t.Text = ""
	}
	return valueView(t)
}

type grantView struct {
	Address string `json:"address"`
	// Action is create, change, replace, destroy, import, move or forget.
	Action            Action           `json:"action"`
	Outcome           string           `json:"outcome"`
	ID                string           `json:"id"`
	RequestDigest     string           `json:"request_digest"`
	Target            valueView        `json:"target"`
	Principal         valueView        `json:"principal"`
	Role              valueView        `json:"role"`
	Scope             valueView        `json:"scope"`
	Reason            valueView        `json:"reason"`
	Requester         valueView        `json:"requester"`
	TTL               valueView        `json:"ttl"`
	ExpiresAt         valueView        `json:"expires_at"`
	StartsAt          valueView        `json:"starts_at"`
	StartBy           valueView        `json:"start_by"`
	Renewal           int64            `json:"renewal"`
	Enforcement       string           `json:"enforcement"`
	SessionTail       string           `json:"session_tail"`
	BreakGlass        bool             `json:"break_glass"`
	TerminateSessions bool             `json:"terminate_sessions"`
	Changes           []differenceView `json:"changes"`
	Drift             string           `json:"drift"`
	// Judged says whether the policies have judged the grant; if not, policy_verdict says nothing.
	Judged        bool          `json:"judged"`
	PolicyVerdict verdictView   `json:"policy_verdict"`
	Refusal       string        `json:"refusal"`
	Hint          string        `json:"hint"`
	Awaits        string        `json:"awaits"`
	Warnings      []warningView `json:"warnings"`
}

type differenceView struct {
	Name   string    `json:"name"`
	Before valueView `json:"before"`
	After  valueView `json:"after"`
}

// verdictView is the decision of the policies: refused, needs approval or permitted.
type verdictView struct {
	Outcome    string            `json:"outcome"`
	Policy     string            `json:"policy"`
	Rule       string            `json:"rule"`
	Attribute  string            `json:"attribute"`
	Approval   []requirementView `json:"approval"`
	Excused    []string          `json:"excused"`
	BrokeGlass bool              `json:"broke_glass"`
}

type requirementView struct {
	Required int            `json:"required"`
	From     []string       `json:"from"`
	Unless   string         `json:"unless"`
	Evidence []jit.Evidence `json:"evidence"`
	ValidFor string         `json:"valid_for"`
}

type warningView struct {
	Attribute string `json:"attribute"`
	Summary   string `json:"summary"`
	Detail    string `json:"detail"`
}

type accessView struct {
	Address string `json:"address"`
	Type    string `json:"type"`
	Action  Action `json:"action"`
	Outcome string `json:"outcome"`
	// Gives is false for access that is taken away or stays as it is, and for a guard that goes. Class is bounded,
	// standing, opaque, or guard for what limits the access that something else gives.
	Gives     bool      `json:"gives"`
	Stays     bool      `json:"stays"`
	Class     string    `json:"class"`
	Principal valueView `json:"principal"`
	Role      valueView `json:"role"`
	Scope     valueView `json:"scope"`
	End       valueView `json:"end"`
	Why       string    `json:"why"`
}

type ruleView struct {
	Address string `json:"address"`
	Action  Action `json:"action"`
	Outcome string `json:"outcome"`
	Loosens bool   `json:"loosens"`
	What    string `json:"what"`
}

// JSON writes the report as one JSON object, with every fact whole and the worst of each list first.
func (r Report) JSON(w io.Writer) error {
	r = r.sorted()
	text, err := jit.JSON(reportView{
		Outcome: r.Worst().String(), Verdict: r.Verdict(), Doubts: each(r.Doubts, unchanged),
		Notes: each(r.Notes, unchanged), Commands: each(r.Commands, unchanged), Grants: each(r.Grants, viewOfGrant),
		OtherChanges: r.Others,
		Access: each(r.Access, func(a Access) accessView {
			return accessView{a.Address, a.Type, a.Action, a.Outcome.String(), a.Gives, a.Stays, string(a.Class),
				viewOf(a.Principal),
				viewOf(a.Role), viewOf(a.Scope), viewOf(a.End), a.Why}
		}),
		Rules: each(r.Rules, func(rule Rule) ruleView {
			return ruleView{rule.Address, rule.Action, rule.Outcome.String(), rule.Loosens, rule.What}
		}),
	})
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// each returns the views of all; never nil.
func each[T, V any](all []T, view func(T) V) []V {
	views := make([]V, len(all))
	for i, one := range all {
		views[i] = view(one)
	}
	return views
}

func viewOfGrant(g Grant) grantView {
	v := verdictView{Approval: []requirementView{}, Excused: []string{}}
	if g.Judged {
		v = verdictView{g.Verdict.Outcome.String(), g.Verdict.Policy, g.Verdict.Rule, g.Verdict.Attribute,
			each(g.Verdict.Approval, viewOfRequirement), each(g.Verdict.Excused, unchanged), g.Verdict.BrokeGlass}
	}
	view := grantView{
		Address: g.Address, Action: g.Action, Outcome: g.Outcome.String(), ID: g.ID, RequestDigest: g.Digest,
		Renewal: g.Renewal, Enforcement: g.Enforcement, SessionTail: g.SessionTail, BreakGlass: g.BreakGlass,
		TerminateSessions: g.TerminateSessions, Drift: g.Drift, Judged: g.Judged, PolicyVerdict: v,
		Refusal: g.Refusal, Hint: g.Hint, Awaits: g.Awaits,
		Changes:  []differenceView{},
		Warnings: []warningView{},
	}
	for _, t := range []struct {
		from Text
		into *valueView
	}{{g.Target, &view.Target}, {g.Principal, &view.Principal}, {g.Role, &view.Role}, {g.Scope, &view.Scope},
		{g.Reason, &view.Reason}, {g.Requester, &view.Requester}, {g.Length, &view.TTL}, {g.Ends, &view.ExpiresAt},
		{g.Starts, &view.StartsAt}, {g.StartBy, &view.StartBy}} {
		*t.into = viewOf(t.from)
	}
	for _, d := range g.Changes {
		view.Changes = append(view.Changes, differenceView{d.Name, viewOf(d.Before), viewOf(d.After)})
	}
	for _, w := range g.Warnings {
		view.Warnings = append(view.Warnings, warningView(w))
	}
	return view
}

func viewOfRequirement(r jit.Requirement) requirementView {
	evidence := r.Evidence
	if len(evidence) == 0 {
		evidence = []jit.Evidence{jit.Signature}
	}
	valid := ""
	if r.ValidFor > 0 {
		valid = jit.FormatDuration(r.ValidFor)
	}
	return requirementView{cmp.Or(r.Required, 1), each(r.From, unchanged), r.Unless, evidence, valid}
}
