package review

import (
	"errors"
	"strings"
	"testing"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

type fields = map[string]any

// desk judges plans by a ledger in memory.
type desk struct {
	t      *testing.T
	ledger *jittest.Ledger
	broker *broker.Broker
	now    time.Time
	// state is the state before the plan.
	state string
}

// newDesk has a ledger with these policies and one person.
func newDesk(t *testing.T, policies ...jit.Policy) *desk {
	t.Helper()
	d := &desk{t: t, ledger: &jittest.Ledger{}, now: time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return d.now }
	d.broker = &broker.Broker{
		Ledger: d.ledger, Owner: "jit", MaxTTL: 24 * time.Hour, Now: clock,
		Actor: jit.Actor{Name: "alice", Source: jit.FromTerraform},
		Targets: map[string]jit.Platform{"db": &jittest.Platform{Now: clock,
			Traits: jit.Traits{Enforcement: jit.Native, CanTerminate: true}}},
	}
	err := d.broker.PutPerson(t.Context(), jit.Person{Name: "lea"})
	for _, p := range policies {
		err = errors.Join(err, d.broker.PutPolicy(t.Context(), p))
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var hour = jit.Policy{Name: "short", Effect: jit.Permit, MaxTTL: time.Hour}

// wish is a request for an hour.
func wish(change ...func(*broker.Request)) broker.Request {
	r := broker.Request{Binding: jit.Binding{Target: "db", Principal: "bob", Role: "reader", Scope: "all"},
		Reason: "INC-1: look", Renewal: 1, TTL: jit.RecordedTTL("1h")}
	for _, c := range change {
		c(&r)
	}
	return r
}

// grants grants a request.
func (d *desk) grants(r broker.Request) {
	d.t.Helper()
	if _, err := d.broker.Grant(d.t.Context(), r); err != nil {
		d.t.Fatal(err)
	}
}

// values are the attributes of a grant, with the digest of its request.
func (d *desk) values(r broker.Request) fields {
	d.t.Helper()
	g, _, err := d.broker.Check(r)
	id, noID := d.ledger.ID(d.t.Context())
	if err = errors.Join(err, noID); err != nil {
		d.t.Fatal(err)
	}
	all := fields{"enforcement": "native", "session_tail": "0s", "summary": g.Summary(), "id": string(g.ID),
		"terminate_sessions": r.TerminateSessions, "break_glass": false, "request_digest": g.RequestDigest(id),
		"target": "db", "principal": "bob", "role": "reader", "scope": "all", "reason": r.Reason,
		"renewal": float64(r.Renewal), "ttl": r.TTL.String(), "ttl_seconds": r.TTL.Length().Seconds()}
	for _, name := range []string{"expires_at", "granted_at", "starts_at", "start_by", "policy", "requester",
		"drift"} {
		all[name] = nil
	}
	return all
}

// creates is the planned creation of a grant.
func (d *desk) creates(r broker.Request) *plan.Resource {
	return &plan.Resource{Address: "jit_grant.a", Mode: tfjson.ManagedResourceMode, Type: grantType, Name: "a",
		ProviderName: "registry.terraform.io/" + source, Change: &plan.Change{
			Actions: tfjson.Actions{tfjson.ActionCreate}, After: d.values(r),
			AfterUnknown: fields{"expires_at": true, "granted_at": true}}}
}

// updates is the planned change of a grant from one request to another.
func (d *desk) updates(from, to broker.Request) *plan.Resource {
	r := d.creates(to)
	before := d.values(from)
	before["granted_at"] = jit.FormatTime(d.now)
	before["expires_at"] = jit.FormatTime(d.now.Add(from.TTL.Length()))
	r.Change.Actions, r.Change.Before = tfjson.Actions{tfjson.ActionUpdate}, before
	return r
}

// judge reviews a plan of these changes.
func (d *desk) judge(changes ...*plan.Resource) Report {
	d.t.Helper()
	p := &plan.Plan{FormatVersion: "1.2", TerraformVersion: "1.14.0", ResourceChanges: changes,
		PriorState: []byte(d.state)}
	b := d.broker
	var silence broker.Silence
	silence.Doubt(true)
	quiet := &broker.Broker{Ledger: b.Ledger, Owner: b.Owner, MaxTTL: b.MaxTTL, Now: b.Now, Actor: b.Actor,
		Targets: map[string]jit.Platform{"db": silence.Wrap("db", b.Targets["db"])}}
	report, err := Judge(d.t.Context(), p, Options{Broker: quiet, Now: d.broker.Now, File: "plan.json"})
	if err != nil {
		d.t.Fatal(err)
	}
	return report
}

// Each grant says by itself whether a person must decide about it.
func TestOutcomeOfGrants(t *testing.T) {
	longer := wish(func(r *broker.Request) { r.TTL = jit.RecordedTTL("2h") })
	shorter := wish(func(r *broker.Request) { r.TTL = jit.RecordedTTL("30m") })
	ending := wish(func(r *broker.Request) { r.TerminateSessions = true })
	imported := func(d *desk) *plan.Resource {
		r := d.creates(wish())
		r.Change.Actions, r.Change.Importing = tfjson.Actions{tfjson.ActionNoop}, &map[string]any{"id": "x"}
		return r
	}
	for name, tc := range map[string]struct {
		policies []jit.Policy
		granted  bool
		change   func(*desk) *plan.Resource
		want     Outcome
		doubt    string
	}{
		"permitted": {[]jit.Policy{hour}, false, func(d *desk) *plan.Resource { return d.creates(wish()) },
			Nothing, ""},
		"no policy": {nil, false, func(d *desk) *plan.Resource { return d.creates(wish()) }, Decide, ""},
		"refused": {[]jit.Policy{hour}, false, func(d *desk) *plan.Resource { return d.creates(longer) },
			Refused, ""},
		"an action that nobody knows": {[]jit.Policy{hour}, false, func(d *desk) *plan.Resource {
			r := d.creates(wish())
			r.Change.Actions = tfjson.Actions{"transfer"}
			return r
		}, Decide, "this program does not know its actions"},
		"a principal that nobody knows": {[]jit.Policy{hour}, false, func(d *desk) *plan.Resource {
			r := d.creates(wish())
			r.Change.AfterUnknown.(fields)["principal"] = true
			return r
		}, Decide, "principal is known only"},
		"imported, not recorded": {[]jit.Policy{hour}, false, imported, Decide, "the ledger does not know it"},
		"imported":               {[]jit.Policy{hour}, true, imported, Nothing, ""},
		"over": {[]jit.Policy{hour}, true, func(d *desk) *plan.Resource {
			r := d.creates(wish())
			d.now = d.now.Add(3 * time.Hour)
			return r
		}, Nothing, ""},
		"longer":   {nil, true, func(d *desk) *plan.Resource { return d.updates(wish(), longer) }, Decide, ""},
		"shorter":  {nil, true, func(d *desk) *plan.Resource { return d.updates(wish(), shorter) }, Nothing, ""},
		"sessions": {nil, true, func(d *desk) *plan.Resource { return d.updates(wish(), ending) }, Decide, ""},
		"taken away by somebody": {[]jit.Policy{hour}, true, func(d *desk) *plan.Resource {
			r := d.updates(wish(), shorter)
			r.Change.Before.(fields)["drift"] = "missing"
			return r
		}, Decide, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, tc.policies...)
			if tc.granted {
				d.grants(wish())
			}
			report := d.judge(tc.change(d))
			doubts := strings.Join(report.Doubts, "\n")
			if len(report.Grants) != 1 || report.Grants[0].Outcome != tc.want {
				t.Errorf("got %+v, want one grant, %s", report.Grants, tc.want)
			}
			if !strings.Contains(doubts, tc.doubt) || (tc.doubt == "") != (doubts == "") {
				t.Errorf("doubts %q, want %q", doubts, tc.doubt)
			}
		})
	}
}

// A ledger that does not exist, or does not answer, refuses nothing and permits nothing for good.
func TestWithoutLedger(t *testing.T) {
	for name, lose := range map[string]func(*desk){
		"lost":   func(d *desk) { d.broker.Ledger = &jittest.Ledger{} },
		"silent": func(d *desk) { d.ledger.Call = func(string) error { return errors.New("no answer") } },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, hour)
			named := d.creates(wish(func(r *broker.Request) { r.Policy = "short" }))
			named.Change.After.(fields)["policy"] = "short"
			d.state = `{"values":{"root_module":{"resources":[{"address":"jit_policy.o","mode":"managed",
				"type":"jit_policy","values":{"name":"other","effect":"permit","match":[{}]}}]}}}`
			lose(d)
			report := d.judge(named)
			doubts := strings.Join(report.Doubts, "\n")
			if report.Outcome != Decide || report.Grants[0].Outcome != Decide ||
				!strings.Contains(doubts, "jit does not use the ledger") || !strings.Contains(doubts, "not judged") {
				t.Errorf("%+v", report)
			}
			d.state = ""
			if report := d.judge(named); report.Outcome != Decide || report.Grants[0].Outcome != Decide {
				t.Errorf("without a state: %+v", report)
			}
		})
	}
}

// What others have changed is a doubt, unless the plan undoes it.
func TestDrift(t *testing.T) {
	const user = "aws_iam_user_policy_attachment"
	reader, admin := fields{"user": "a", "policy_arn": "read"}, fields{"user": "a", "policy_arn": "admin"}
	for name, tc := range map[string]struct {
		kind          string
		before, after any
		undone        tfjson.Action
		doubts        int
	}{
		"a person":        {personType, fields{"groups": nil}, fields{"groups": []any{"g"}}, "", 1},
		"a policy":        {policyType, fields{"max_ttl": "1h"}, fields{"max_ttl": "9h"}, "", 1},
		"a grant gone":    {grantType, fields{"id": "x"}, nil, "", 1},
		"a grant moved":   {grantType, fields{"expires_at": "a"}, fields{"expires_at": "b"}, "", 1},
		"a grant altered": {grantType, fields{}, fields{"drift": "altered"}, "", 1},
		"a grant read":    {grantType, fields{}, fields{"granted_at": "a"}, "", 0},
		"access":          {user, reader, admin, "", 1},
		"access, kept":    {user, reader, admin, tfjson.ActionNoop, 1},
		"access, undone":  {user, reader, admin, tfjson.ActionUpdate, 0},
		"access gone":     {user, admin, nil, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := &plan.Resource{Address: tc.kind + ".x", Mode: tfjson.ManagedResourceMode, Type: tc.kind,
				Change: &plan.Change{Actions: tfjson.Actions{tfjson.ActionUpdate}, Before: tc.before, After: tc.after}}
			p := &plan.Plan{FormatVersion: "1.2", TerraformVersion: "1.14.0", ResourceDrift: []*plan.Resource{r}}
			if tc.undone != "" {
				undo := *r
				undo.Change = &plan.Change{Actions: tfjson.Actions{tc.undone}, Before: tc.after, After: tc.before}
				if tc.undone == tfjson.ActionNoop {
					undo.Change.After = tc.after
				}
				p.ResourceChanges = []*plan.Resource{&undo}
			}
			report, err := Judge(t.Context(), p, Options{Now: time.Now})
			if err != nil || len(report.Doubts) != tc.doubts {
				t.Errorf("doubts %q, %v; want %d", report.Doubts, err, tc.doubts)
			}
		})
	}
}

// Access that looks the same on both sides of a change is given anew where the sides may differ.
func TestAccessThatMayDiffer(t *testing.T) {
	const stack, user = "aws_cloudformation_stack", "aws_iam_user_policy_attachment"
	template := func(text string) fields {
		return fields{"name": "s", "capabilities": []any{"CAPABILITY_IAM"}, "template_body": text}
	}
	named := func(user string) fields { return fields{"user": user, "policy_arn": "admin", "tags": user} }
	marked, secret := fields{"template_body": true}, fields{"user": true}
	for name, tc := range map[string]struct {
		kind   string
		change plan.Change
		gives  int
	}{
		"another template":  {stack, plan.Change{Before: template("a"), After: template("b")}, 1},
		"the same template": {stack, plan.Change{Before: template("a"), After: template("a")}, 0},
		"an unknown template": {stack, plan.Change{Before: template("a"), After: template("a"),
			AfterUnknown: marked}, 1},
		"another secret": {user, plan.Change{Before: named("a"), After: named("b"), BeforeSensitive: secret,
			AfterSensitive: secret}, 1},
		"the same secret": {user, plan.Change{Before: named("a"), After: named("a"), BeforeSensitive: secret,
			AfterSensitive: secret}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tc.change.Actions = tfjson.Actions{tfjson.ActionUpdate}
			r := &plan.Resource{Address: "x", Mode: tfjson.ManagedResourceMode, Type: tc.kind, DeposedKey: "ab12",
				Change: &tc.change}
			p := &plan.Plan{FormatVersion: "1.2", TerraformVersion: "1.14.0", ResourceChanges: []*plan.Resource{r}}
			report, err := Judge(t.Context(), p, Options{Now: time.Now})
			given := count(report.Access, func(a Access) bool {
				return a.Gives && a.Outcome == Decide && a.Address == "x (deposed ab12)"
			})
			if err != nil || given != tc.gives {
				t.Errorf("%+v, %v; want %d given", report.Access, err, tc.gives)
			}
		})
	}
}

// An import that changes the object adopts it too.
func TestImportWithAChange(t *testing.T) {
	r := &plan.Resource{Change: &plan.Change{Actions: tfjson.Actions{tfjson.ActionUpdate},
		Importing: &map[string]any{"id": "x"}}}
	if action, known := actionOf(r); action != Import || !known {
		t.Errorf("got %q, %t", action, known)
	}
}

// Nothing that was made from a request with a sensitive value is shown.
func TestHide(t *testing.T) {
	const secret = "s3cret"
	reason := fields{"reason": true}
	for _, c := range []plan.Change{{BeforeSensitive: reason}, {AfterSensitive: reason}} {
		if !sensitiveIn(&c) {
			t.Errorf("%+v has a sensitive value", c)
		}
	}
	g := Grant{Drift: secret, Refusal: secret, Hint: secret, Awaits: secret, Judged: true,
		Warnings: []broker.Warning{{Summary: secret, Detail: secret}},
		Verdict: jit.Verdict{Rule: secret, Asked: jit.Asked{Excused: []string{secret},
			Approval: []jit.Requirement{{Required: 1, From: []string{"lea"}, Unless: secret}}}}}
	g.hide()
	if got := jsonOf(t, Report{Grants: []Grant{g}}); strings.Contains(got, secret) {
		t.Errorf("shown: %s", got)
	}
	d := newDesk(t)
	rule := &plan.Resource{Address: "jit_policy.p", Mode: tfjson.ManagedResourceMode, Type: policyType,
		Change: &plan.Change{Actions: tfjson.Actions{tfjson.ActionCreate},
			AfterSensitive: fields{"reason_pattern": true}, After: fields{"name": "p", "effect": "permit",
				"match": []any{fields{}}, "reason_pattern": "^" + secret}}}
	report := d.judge(d.creates(wish()), rule)
	if got := jsonOf(t, report); report.Outcome != Refused || strings.Contains(got, secret) {
		t.Errorf("by a rule with a sensitive part: %s", got)
	}
	unknown := valueOf(fields{"a": secret}, fields{"a": true}, fields{"a": true}, "a")
	if unknown != (Text{Sensitive: true}) {
		t.Errorf("a value that is sensitive and unknown is %+v", unknown)
	}
}
