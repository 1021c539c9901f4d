package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

var leadsApprove = []jit.Requirement{{Required: 1, From: []string{"group:leads"}}}

// A grant with unknown values is refused if a policy that may be about it asks for approval from this plan on, and not
// because of a policy about another target.
func TestUnknownGrantAndPolicyElsewhere(t *testing.T) {
	for target, refused := range map[string]bool{"elsewhere": false, "d*": true, "*": true} {
		about := jit.Matches{{Targets: []string{target}}}
		for _, grantFirst := range []bool{false, true} {
			o := newOffice(t, func(p *jit.Policy) { p.Approval, p.BreakGlass, p.Match = nil, nil, about })
			o.newRun()
			o.Planned = &broker.Planned{}
			put := func() error {
				o.Planned.Put(jit.Policy{Name: "prod", Effect: jit.Permit, Match: about, Approval: leadsApprove})
				return o.CheckOrder(t.Context(), true)
			}
			note := func() error {
				if err := o.CheckOrder(t.Context(), false); err != nil {
					return err
				}
				return o.NoteUnknown(t.Context(), "db")
			}
			first, second := put, note
			if grantFirst {
				first, second = note, put
			}
			if err := first(); err != nil {
				t.Fatal(err)
			}
			if err := second(); (err != nil) != refused {
				t.Errorf("policy about %q, grant first %t: %v", target, grantFirst, err)
			}
			if err := o.NoteUnknown(t.Context(), ""); err == nil {
				t.Errorf("policy about %q: a grant on an unknown target passes", target)
			}
		}
	}
}

// A target that does not answer leaves open whether a grant needs approval from this plan on, so the grant is refused. A
// change that asks nobody for approval refuses nothing.
func TestAGrantOnASilentTargetAndALaterApproval(t *testing.T) {
	for name, c := range map[string]struct {
		approval []jit.Requirement
		silence  error
		says     string
	}{
		"silent, approval":    {leadsApprove, errors.New("no route to host"), "whose target does not answer, names no policy"},
		"answers, approval":   {leadsApprove, nil, "names no policy"},
		"silent, no approval": {nil, errors.New("no route to host"), ""},
	} {
		for _, grantFirst := range []bool{false, true} {
			o := newOffice(t, func(p *jit.Policy) { p.Approval, p.BreakGlass = nil, nil })
			root := jit.Policy{Name: "no-root", Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"root"}}}}
			if err := o.PutPolicy(t.Context(), root); err != nil {
				t.Fatal(err)
			}
			o.newRun()
			o.Planned = &broker.Planned{}
			o.Targets["db"] = &interpreting{Platform: o.platform, err: c.silence}
			put := func() error {
				o.Planned.Put(jit.Policy{Name: "prod", Effect: jit.Permit, MaxTTL: 8 * time.Hour, Approval: c.approval})
				return o.CheckOrder(t.Context(), true)
			}
			plan := func() error {
				if err := o.CheckOrder(t.Context(), false); err != nil {
					return err
				}
				_, err := o.Preview(t.Context(), request(), true)
				return err
			}
			first, second := put, plan
			if grantFirst {
				first, second = plan, put
			}
			if err := first(); err != nil {
				t.Fatalf("%s, grant first %t: %v", name, grantFirst, err)
			}
			if err := second(); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, grant first %t: %v, want %q", name, grantFirst, err, c.says)
			}
		}
	}
}

// Policies that a plan leaves as they are cost no judgment of the grants planned before them. A policy that changes
// does.
func TestUnchangedPoliciesJudgeNoGrantAgain(t *testing.T) {
	cost := map[int]float64{}
	for _, grants := range []int{1, 20} {
		o := newOffice(t, func(p *jit.Policy) { p.Approval, p.BreakGlass = nil, nil })
		same := jit.Policy{Name: "same", Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"other"}}}, Approval: leadsApprove}
		if err := o.PutPolicy(t.Context(), same); err != nil {
			t.Fatal(err)
		}
		o.newRun()
		o.Planned = &broker.Planned{}
		for i := range grants {
			asked := request(func(r *broker.Request) { r.Reason = fmt.Sprintf("INC-%d: look", i) })
			if _, err := o.Preview(t.Context(), asked, true); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.CheckOrder(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		cost[grants] = testing.AllocsPerRun(1, func() {
			o.Planned.Put(same)
			if err := o.CheckOrder(t.Context(), true); err != nil {
				t.Fatal(err)
			}
		})
		o.Planned.Put(jit.Policy{Name: "prod", Effect: jit.Permit, Approval: leadsApprove})
		if err := o.CheckOrder(t.Context(), true); err == nil {
			t.Error("a grant that could begin before its policy asks for approval passes")
		}
	}
	if cost[20] > 3*cost[1] {
		t.Errorf("allocations by number of grants: %v", cost)
	}
}
