package review

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// judged is a grant of the plan with a doubt about it. A hidden one is told with another.
type judged struct {
	Grant
	doubt  string
	hidden bool
}

// asked are the attributes of jit_grant that people write.
var asked = []string{
	"target", "principal", "role", "scope", "reason", "renewal", "ttl", "expires_at", "starts_at", "start_by", "policy",
	"requester", "break_glass", "terminate_sessions",
}

// computed are the other attributes that this version of the provider has.
var computed = []string{
	"id", "summary", "request_digest", "granted_at", "enforcement", "session_tail", "drift",
	"ttl_seconds",
}

// show describes a grant as one side of its change has it.
func show(r *plan.Resource, action Action) (g Grant) {
	c := r.Change
	values, unknown, sensitive := c.After, c.AfterUnknown, c.AfterSensitive
	if action == Destroy || action == Forget {
		values, unknown, sensitive = c.Before, nil, c.BeforeSensitive
	}
	text := func(name string) Text { return valueOf(values, unknown, sensitive, name) }
	g = Grant{
		Address: r.Address, Action: action,
		ID: text("id").Text, Digest: text("request_digest").Text,
		Target: text("target"), Principal: text("principal"), Role: text("role"), Scope: text("scope"),
		Reason: text("reason"), Requester: text("requester"), Length: text("ttl"), Ends: text("expires_at"),
		Starts: text("starts_at"), StartBy: text("start_by"),
		Enforcement: text("enforcement").Text, SessionTail: text("session_tail").Text,
		BreakGlass: text("break_glass").Text == "true", TerminateSessions: text("terminate_sessions").Text == "true",
		Drift: valueOf(c.Before, nil, c.BeforeSensitive, "drift").Text,
	}
	g.Renewal, _ = strconv.ParseInt(text("renewal").Text, 10, 64)
	if r.DeposedKey != "" {
		g.Address += " (deposed " + r.DeposedKey + ")"
	}
	if action == Change || action == Replace || action == Import && c.Actions.Update() {
		g.Changes = differences(c)
	}
	return g
}

// valueOf returns an attribute as it may be shown.
func valueOf(values, unknown, sensitive any, name string) Text {
	switch {
	case plan.Marked(sensitive, name):
		return Text{Sensitive: true}
	case plan.Marked(unknown, name):
		return Text{Unknown: true}
	}
	return Text{Text: plan.Attribute(values, name)}
}

// differences returns the attributes of a grant that a change alters.
func differences(c *plan.Change) (all []Difference) {
	before, _ := c.Before.(map[string]any)
	after, _ := c.After.(map[string]any)
	for _, name := range append(slices.Clone(asked), "timeouts") {
		if reflect.DeepEqual(before[name], after[name]) && !plan.Marked(c.AfterUnknown, name) {
			continue
		}
		all = append(all, Difference{Name: name, Before: valueOf(c.Before, nil, c.BeforeSensitive, name),
			After: valueOf(c.After, c.AfterUnknown, c.AfterSensitive, name)})
	}
	return all
}

// otherVersion says that a plan was made by another version of the provider; empty if it was not.
func otherVersion(c *plan.Change) string {
	values, _ := c.After.(map[string]any)
	unknown, _ := c.AfterUnknown.(map[string]any)
	known := slices.Concat(asked, computed, []string{"timeouts"})
	for _, name := range known {
		if _, has := values[name]; !has && !plan.Marked(c.AfterUnknown, name) && name != "timeouts" {
			return "the plan was made by an older version of the provider: it says nothing about " + name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(union(values, unknown))) {
		if !slices.Contains(known, name) {
			return "the plan was made by a newer version of the provider: this program does not know " + name
		}
	}
	return ""
}

// sensitiveIn reports whether any attribute of a grant is sensitive. Nothing that was made from the request is shown
// then.
func sensitiveIn(c *plan.Change) bool {
	return plan.AnyMark(c.BeforeSensitive) || plan.AnyMark(c.AfterSensitive)
}

// brokerOf returns the broker that judges a grant: by its target, and by the owner who makes its id. why says why there
// is none.
func (j *judge) brokerOf(object any) (b *broker.Broker, why string) {
	if len(j.brokers) == 0 {
		return nil, "it is not judged: there are no settings; write a jit.hcl with the targets of the provider " +
			"block, or name " +
			"one with --config"
	}
	request, err := plan.Asked(object)
	if err != nil {
		return nil, "it is not judged: " + err.Error()
	}
	target := request.Binding.Target
	if _, err := j.brokers[0].Target(target); err != nil {
		return nil, fmt.Sprintf("it is not judged: the settings have no target %q; add it to targets in jit.hcl",
			target)
	}
	id := plan.Attribute(object, "id")
	for _, b := range j.brokers {
		g, _, err := b.Check(request)
		if id == "" || err != nil || string(g.ID) == id {
			return b, ""
		}
	}
	return nil, "it is not judged: it belongs to another owner than " + j.brokers[0].Owner +
		", or the target has another form in jit.hcl; name the owner with --owner"
}

// hide takes out of a grant what may repeat a sensitive value.
func (g *Grant) hide() {
	const hidden = "not shown: it may repeat a sensitive value"
	for _, text := range []*string{&g.Drift, &g.Refusal, &g.Hint, &g.Awaits, &g.Verdict.Rule} {
		if *text != "" {
			*text = hidden
		}
	}
	g.Warnings, g.Verdict.Excused = nil, nil
	for i := range g.Verdict.Approval {
		g.Verdict.Approval[i].Unless = ""
	}
}

// refuse notes why an apply refuses the grant.
func (g *Grant) refuse(e *jit.Error) {
	g.Outcome, g.Refusal, g.Hint = Refused, e.Problem, e.Hint
	if e.Attribute != "" {
		g.Refusal = e.Attribute + ": " + e.Problem
	}
}

// warn keeps the warnings about a grant. Of the need of an approval, Awaits and the commands of the report tell how.
func (g *Grant) warn(warnings []broker.Warning) {
	for _, w := range warnings {
		if g.Awaits != "" {
			w.Detail, _, _ = strings.Cut(w.Detail, "\n\n")
		}
		g.Warnings = append(g.Warnings, w)
	}
}
