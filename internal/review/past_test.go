package review

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// A block that comes back after Terraform destroyed it, when its grant is over, is refused.
func TestGrantThatIsUsedUp(t *testing.T) {
	d := newDesk(t, hour)
	d.grants(wish())
	g, _, err := d.broker.Check(wish())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.broker.Revoke(t.Context(),
		broker.Revocation{Grant: g, Reason: broker.Destroyed, Destroys: true}); err != nil {
		t.Fatal(err)
	}
	d.now = d.now.Add(2 * time.Hour)
	report := d.judge(d.creates(wish()))
	if one := report.Grants[0]; report.Outcome != Refused || one.Outcome != Refused ||
		!strings.Contains(one.Refusal, "was given before") {
		t.Errorf("%+v", report)
	}
}

// A request with a digest was made for a ledger, so a ledger that does not exist is a lost one.
func TestDigestIsAPast(t *testing.T) {
	d := newDesk(t)
	with, without := d.creates(wish()), d.creates(wish())
	without.Change.After.(fields)["request_digest"] = nil
	without.Change.AfterUnknown.(fields)["request_digest"] = true
	d.broker.Ledger = &jittest.Ledger{}
	const lost = "it does not exist, and the plan changes what was recorded in one"
	for name, tc := range map[string]struct {
		change *plan.Resource
		lost   bool
	}{"with a digest": {with, true}, "without a digest": {without, false}} {
		report := d.judge(tc.change)
		if got := strings.Contains(strings.Join(report.Doubts, "\n"), lost); got != tc.lost || report.Outcome != Decide {
			t.Errorf("%s: %+v", name, report)
		}
	}
}

// A plan that drops the approval of a policy, and makes a grant by it, needs that approval still.
func TestPlanDropsTheApprovalOfItsGrant(t *testing.T) {
	asks := jit.Policy{Name: "p", Effect: jit.Permit, Approval: []jit.Requirement{{Required: 1, From: []string{"lea"}}}}
	d := newDesk(t, asks)
	drops := &plan.Resource{Address: "jit_policy.p", Mode: tfjson.ManagedResourceMode, Type: policyType, Name: "p",
		ProviderName: "registry.terraform.io/" + source, Change: &plan.Change{
			Actions: tfjson.Actions{tfjson.ActionUpdate}, AfterUnknown: fields{}}}
	for text, value := range map[string]*any{
		`{"name":"p","effect":"permit","match":[{}],"approval":[{"required":1,"from":["lea"]}]}`: &drops.Change.Before,
		`{"name":"p","effect":"permit","match":[{}]}`:                                            &drops.Change.After,
	} {
		if err := json.Unmarshal([]byte(text), value); err != nil {
			t.Fatal(err)
		}
	}
	report := d.judge(drops, d.creates(wish()))
	if one := report.Grants[0]; one.Outcome != Decide || !strings.Contains(one.Awaits, "lea") ||
		!strings.Contains(one.Verdict.Rule, "as it was before this run") {
		t.Errorf("%+v", one)
	}
}

// A repair gives access back that somebody took away, so a person decides; no policy judges it.
func TestRepairIsDecided(t *testing.T) {
	d := newDesk(t, hour)
	d.grants(wish())
	r := d.updates(wish(), wish())
	r.Change.Before.(fields)["drift"] = "missing"
	r.Change.AfterUnknown = fields{"drift": true}
	one := d.judge(r).Grants[0]
	if text := (style{}).decision(one); one.Outcome != Decide || !strings.Contains(text, "gives the access back") {
		t.Errorf("%s: %+v", text, one)
	}
}

// A requester whom nobody knows is refused, unless the plan has a person whose name is not known yet.
func TestRequesterOfAnUnknownPerson(t *testing.T) {
	d := newDesk(t, hour)
	asks := wish(func(r *broker.Request) { r.Requester = "zed" })
	grant := d.creates(asks)
	grant.Change.After.(fields)["requester"] = "zed"
	person := &plan.Resource{Address: "jit_person.z", Mode: tfjson.ManagedResourceMode, Type: personType, Name: "z",
		ProviderName: "registry.terraform.io/" + source, Change: &plan.Change{
			Actions: tfjson.Actions{tfjson.ActionCreate}, After: fields{"signing_keys": []any{}},
			AfterUnknown: fields{"name": true}}}
	if one := d.judge(grant).Grants[0]; one.Outcome != Refused {
		t.Errorf("nobody: %+v", one)
	}
	if one := d.judge(person, grant).Grants[0]; one.Outcome == Refused {
		t.Errorf("somebody: %+v", one)
	}
}

// What is empty is not told as a list of nothing.
func TestNothingIsNoList(t *testing.T) {
	if got := matched(nil); got != "every grant" {
		t.Errorf("no list of a match: %q", got)
	}
	if got := matched(jit.Matches{{Roles: []string{"reader"}}}); got != "roles reader" {
		t.Errorf("one list: %q", got)
	}
	two := jit.Matches{{Roles: []string{"reader"}}, {Scopes: []string{"a", "b"}}}
	if got := matched(two); got != "roles reader, or scopes a, b" {
		t.Errorf("two entries: %q", got)
	}
	told := comparePerson(nil, jit.Person{Name: "bob"}, "bob", false)
	if len(told) != 1 || strings.Contains(told[0].what, ", in") {
		t.Errorf("no groups: %+v", told)
	}
}
