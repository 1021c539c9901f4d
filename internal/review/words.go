package review

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/catalog"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// String names the outcome as formats for programs write it.
func (o Outcome) String() string { return [...]string{"nothing", "decide", "refused"}[o] }

// Worst is the outcome of the report and all that it holds.
func (r Report) Worst() Outcome {
	worst := r.Outcome
	if len(r.Doubts) > 0 {
		worst = max(worst, Decide)
	}
	for _, g := range r.Grants {
		worst = max(worst, g.Outcome)
	}
	for _, a := range r.Access {
		worst = max(worst, a.Outcome)
	}
	for _, rule := range r.Rules {
		worst = max(worst, rule.Outcome)
	}
	return worst
}

// counted returns a number of things; many is the plural.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Verdict says in a few words what is to be decided. It holds no text that people wrote.
func (r Report) Verdict() string {
	refused := count(r.Grants, func(g Grant) bool { return g.Outcome == Refused })
	open := r.open()
	switch worst := r.Worst(); {
	case worst == Nothing:
		return "Nothing to decide"
	case worst == Decide && len(open) == 0:
		return "Needs a decision"
	case worst == Decide:
		return "Needs a decision: " + strings.Join(open, ", ")
	case refused == 0:
		open = append([]string{"Refused"}, open...)
	default:
		open = append([]string{fmt.Sprintf("Refused: %d of %s", refused, counted(len(r.Grants), "grant",
			"grants"))}, open...)
	}
	if len(open) == 1 {
		return open[0]
	}
	return open[0] + "; also to decide: " + strings.Join(open[1:], ", ")
}

// open counts what needs a decision.
func (r Report) open() (parts []string) {
	add := func(n int, one, many string) {
		if n > 0 {
			parts = append(parts, counted(n, one, many))
		}
	}
	add(count(r.Grants, func(g Grant) bool { return g.Outcome == Decide }), "grant", "grants")
	for _, kind := range kinds {
		add(count(r.Access, func(a Access) bool { return kindOf(a) == kind && a.Outcome >= Decide }), kind.one,
			kind.many)
	}
	add(count(r.Rules, func(rule Rule) bool { return rule.Loosens || rule.Outcome >= Decide }), "loosened rule",
		"loosened rules")
	add(len(r.Doubts), "doubt", "doubts")
	return parts
}

func count[T any](all []T, is func(T) bool) (n int) {
	for _, one := range all {
		if is(one) {
			n++
		}
	}
	return n
}

// kind is a sort of access of other providers.
type kind struct{ name, icon, one, many string }

// kinds are the sorts of access, the worst first. The last two need no decision.
var kinds = []kind{
	{"standing-access", "🔴", "access without an end", "accesses without an end"},
	{"guard-removed", "🔴", "guard that goes", "guards that go"},
	{"opaque-access", "🟠", "access whose end is unknown", "accesses whose end is unknown"},
	{"bounded-access", "🟡", "access that ends by itself", "accesses that end by themselves"},
	{"access-stays", "🔵", "access that stays", "accesses that stay"},
	{"access-taken", "⚪", "access taken away", "accesses taken away"},
	{"guard-added", "⚪", "guard added", "guards added"},
}

func kindOf(a Access) kind {
	switch {
	case a.Class == catalog.Guard && a.Gives:
		return kinds[6]
	case a.Class == catalog.Guard:
		return kinds[1]
	case a.Stays:
		return kinds[4]
	case !a.Gives:
		return kinds[5]
	case a.Class == catalog.Standing:
		return kinds[0]
	case a.Class == catalog.Bounded:
		return kinds[3]
	}
	return kinds[2]
}

// sorted returns a copy of the report with the worst first.
func (r Report) sorted() Report {
	r.Grants, r.Access, r.Rules = slices.Clone(r.Grants), slices.Clone(r.Access), slices.Clone(r.Rules)
	slices.SortStableFunc(r.Grants, func(a, b Grant) int {
		return cmp.Or(int(b.Outcome-a.Outcome), b.urgency()-a.urgency())
	})
	slices.SortStableFunc(r.Access, func(a, b Access) int {
		place := func(a Access) int { return slices.Index(kinds, kindOf(a)) }
		if a.Outcome != b.Outcome {
			return int(b.Outcome - a.Outcome)
		}
		return place(a) - place(b)
	})
	slices.SortStableFunc(r.Rules, func(a, b Rule) int { return b.urgency() - a.urgency() })
	return r
}

// urgency ranks the grants to decide: the glass first, then repairs, then those that are not judged.
func (g Grant) urgency() int {
	switch {
	case g.Outcome != Decide:
		return 0
	case g.Verdict.BrokeGlass:
		return 3
	case g.Drift != "":
		return 2
	case !g.Judged:
		return 1
	}
	return 0
}

// urgency ranks rules: that no policy is left, which has no address of its own, then those that are loosened.
func (r Rule) urgency() int {
	rank := int(r.Outcome)
	if r.Loosens {
		rank += 10
	}
	if r.Address == policyType {
		rank += 20
	}
	return rank
}

// actions say what a change does with a grant; a new one needs no word.
var actions = map[Action]string{
	Create: "", Change: "changed", Replace: "replaced", Destroy: "ends now", Import: "adopted", Move: "moved",
	Forget: "continues, but Terraform forgets it",
}

// short cuts the middle out of a long principal, such as a public key, for a table. The details have it whole.
func short(t Text) Text {
	t.Text = jit.Abbreviate(t.Text)
	return t
}

// where says on which target and scope.
func (s style) where(g Grant) string {
	where := "on " + s.text(g.Target)
	if g.Scope != (Text{}) {
		where += " " + s.text(g.Scope)
	}
	return where
}

// lasts says how long access lasts, as parts of a line.
func (s style) lasts(g Grant) (parts []string) {
	add := func(before string, t Text) {
		if t != (Text{}) {
			parts = append(parts, before+s.text(t))
		}
	}
	before := map[string]string{}
	for _, d := range g.Changes {
		if d.Before != (Text{}) {
			before[d.Name] = s.text(d.Before) + " → "
		}
	}
	add(before["ttl"], g.Length)
	if !g.Ends.Unknown || g.Length == (Text{}) { // the end of a length is known after the apply only, of course
		add("until "+before["expires_at"], g.Ends)
	}
	if len(parts) == 0 && g.Action != Destroy {
		parts = append(parts, s.strange("(no length)"))
	}
	add("from ", g.Starts)
	if note := actions[g.Action]; note != "" {
		parts = append(parts, note)
	}
	return parts
}

// endedBy says who ends the access of a grant.
func (s style) endedBy(g Grant) (parts []string) {
	switch g.Enforcement {
	case "":
		return []string{s.strange("(who ends it is known after apply)")}
	case "native":
		parts = []string{"ended by the platform"}
	case "sweeper":
		parts = []string{"ended by the sweeper"}
	default:
		parts = []string{"ended by " + s.value(g.Enforcement)}
	}
	switch g.SessionTail {
	case "", "0s":
	case "unlimited":
		parts = append(parts, "open sessions continue")
	default:
		parts = append(parts, "open sessions continue for up to "+s.value(g.SessionTail))
	}
	return parts
}

// ends says when access of another provider ends.
func (s style) ends(a Access) string {
	switch {
	case a.Class == catalog.Guard && a.Gives:
		return "limits access"
	case a.Class == catalog.Guard && a.Action == Forget:
		return s.strong("limits access, but Terraform forgets it")
	case a.Class == catalog.Guard:
		return s.strong("limits access no longer")
	case a.Stays:
		return "stays"
	case !a.Gives:
		return "taken away"
	case a.End != (Text{}):
		if _, err := time.ParseDuration(a.End.Text); err == nil {
			return s.text(a.End) + " after it begins"
		}
		return "until " + s.text(a.End)
	case kindOf(a) == kinds[0]:
		return s.strong("never ends")
	}
	return s.strange("(end unknown)")
}

// verdict says what happens to a grant, and why, as parts of a line.
func (s style) verdict(g Grant) []string {
	parts := []string{s.decision(g)}
	if g.Outcome == Refused && g.Refusal != "" && g.Hint != "" {
		parts = append(parts, "instead: "+s.sentence(g.Hint))
	}
	if g.BreakGlass && !g.Verdict.BrokeGlass {
		parts = append(parts, "asks to break the glass")
	}
	if g.Drift != "" {
		parts = append(parts, "repairs: "+s.sentence(g.Drift))
	}
	warnings := slices.DeleteFunc(slices.Clone(g.Warnings), g.tells)
	for i, w := range warnings {
		if i == 2 {
			return append(parts, counted(len(warnings)-i, "further warning", "further warnings"))
		}
		parts = append(parts, "warning: "+s.sentence(w.Summary))
	}
	return parts
}

// tells reports whether the other facts of a grant already tell of a warning.
func (g Grant) tells(w broker.Warning) bool {
	return g.Awaits != "" && w.Summary == broker.NeedsApproval ||
		g.SessionTail != "" && w.Summary == broker.SessionsGoOn
}

// decision says what the policies decide about a grant.
func (s style) decision(g Grant) string {
	v := g.Verdict
	by := ""
	if v.Policy != "" {
		by = " by " + s.value(v.Policy)
	}
	switch {
	case g.Outcome == Refused && g.Refusal == "":
		return "refused" + by
	case g.Outcome == Refused:
		return "refused: " + s.sentence(g.Refusal)
	case g.Awaits != "" && v.BrokeGlass:
		return "begins without the approval of " + s.sentence(g.Awaits)
	case g.Awaits != "":
		return "needs the approval of " + s.sentence(g.Awaits)
	case g.Judged && v.Outcome == jit.Permitted && v.Policy == "":
		return "permitted; no policy governs it"
	case g.Judged:
		return v.Outcome.String() + by
	case g.Outcome == Decide && g.Drift != "":
		return "gives the access back; no policy judges a repair"
	case g.Outcome == Decide:
		return "not judged"
	}
	return "nothing to decide"
}

// fact is a named detail.
type fact struct{ name, value string }

// facts are the details of a grant that the tables leave out.
func (s style) facts(g Grant) (facts []fact) {
	add := func(name string, t Text) {
		if t != (Text{}) {
			facts = append(facts, fact{name, s.text(t)})
		}
	}
	say := func(name, sentence string) {
		if sentence != "" {
			facts = append(facts, fact{name, s.sentence(sentence)})
		}
	}
	add("principal", g.Principal)
	add("id", Text{Text: g.ID})
	add("request_digest", Text{Text: g.Digest})
	add("requester", g.Requester)
	add("start_by", g.StartBy)
	if g.Renewal > 1 {
		add("renewal", Text{Text: fmt.Sprint(g.Renewal)})
	}
	if g.TerminateSessions {
		add("terminate_sessions", Text{Text: "true"})
	}
	if g.BreakGlass {
		add("break_glass", Text{Text: "true"})
	}
	add("policy", Text{Text: g.Verdict.Policy})
	say("rule", g.Verdict.Rule)
	for _, u := range g.Verdict.Excused {
		say("excused", u)
	}
	for _, d := range g.Changes {
		facts = append(facts, fact{"change", s.value(d.Name) + ": " + s.text(d.Before) + " → " + s.text(d.After)})
	}
	for _, w := range g.Warnings {
		sentence := w.Summary
		if w.Detail != "" {
			sentence += ": " + w.Detail
		}
		say("warning", sentence)
	}
	return facts
}
