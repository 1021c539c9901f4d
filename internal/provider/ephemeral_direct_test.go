package provider_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// An ephemeral grant is access while it is open, moves its end when it is renewed, within the maximum, and leaves
// nothing. Each opening is a grant of its own.
func TestEphemeralGrant(t *testing.T) {
	d := newDirect(t, `max_ttl = "1h"`)
	r, said := d.open(nil)
	heard(t, said)
	if d.lines() != 1 || r.result["expires_at"] != "2026-11-23T09:30:00Z" {
		t.Fatalf("%d lines, the result is %v\n%s", d.lines(), r.result, d.keys())
	}
	heard(t, d.keys(), `expiry-time="20261123092959Z"`) // the last second, included
	if left := time.Until(r.renewAt); left < 15*time.Minute || left > 25*time.Minute {
		t.Errorf("Terraform is to renew in %s", left)
	}

	d.advance(20 * time.Minute)
	heard(t, r.renew())
	heard(t, d.keys(), `expiry-time="20261123094959Z"`)
	if r.renewAt.IsZero() {
		t.Error("Terraform is not to renew again")
	}
	d.advance(25 * time.Minute)
	heard(t, r.renew(), "The grant cannot be renewed any more", "ends at 2026-11-23T10:00:00Z")
	heard(t, d.keys(), `expiry-time="20261123095959Z"`)
	if !r.renewAt.IsZero() {
		t.Errorf("Terraform is to renew at %s", r.renewAt)
	}

	heard(t, r.close())
	if d.keys() != foreign {
		t.Errorf("after the close:\n%s", d.keys())
	}
	first := d.grants()[0]
	if first.RevokeReason != "the run of Terraform is done with it" || first.EndedAt.IsZero() || first.Renewal != 1 {
		t.Errorf("the record is %+v", first)
	}
	heard(t, r.close()) // again
	for n := int64(2); n < 7; n++ {
		again, said := d.open(nil)
		heard(t, said)
		if g := d.grants(); d.lines() != 1 || len(g) != int(n) {
			t.Fatalf("%d lines, %d grants", d.lines(), len(g))
		}
		g, known, err := d.runtime.Broker.Lookup(t.Context(), jit.ID(again.result["id"].(string)), jit.Grant{})
		if err != nil || !known || g.Renewal != n {
			t.Errorf("the record is %+v, %v", g, err)
		}
		heard(t, again.close())
	}
}

// A plan judges, and gives and writes nothing unless the configuration asks for more.
func TestEphemeralGrantInAPlan(t *testing.T) {
	d := newDirect(t, "")
	r, said := d.open(values{"applying": false})
	heard(t, said, "No policy governs")
	if len(r.result) != 5 || len(d.grants()) != 0 || d.keys() != foreign || !r.renewAt.IsZero() {
		t.Errorf("the result is %v, renewed at %s\n%s", r.result, r.renewAt, d.keys())
	}
	if id, err := d.runtime.Ledger.ID(t.Context()); id != "" || err != nil {
		t.Errorf("the plan made ledger %q, %v", id, err)
	}
	heard(t, r.close())
	r, said = d.open(values{"applying": false, "during_plan": true})
	heard(t, said, "No policy governs") // the apply does not warn
	if d.lines() != 1 {
		t.Errorf("during_plan gives nothing:\n%s", d.keys())
	}
	heard(t, r.close())
	d.record(jit.Policy{Name: "short", Effect: jit.Permit, MaxTTL: 10 * time.Minute})
	for _, applying := range []bool{false, true} {
		_, said = d.open(values{"applying": applying})
		heard(t, said, "Not permitted by policy", "10m")
	}
	if d.keys() != foreign {
		t.Errorf("a refused request gave access:\n%s", d.keys())
	}
}

// What needs a decision is refused at once, and nobody is asked.
func TestEphemeralGrantThatNeedsApproval(t *testing.T) {
	d := newDirect(t, "")
	d.record(jit.Policy{Name: "prod", Effect: jit.Permit, Approval: []jit.Requirement{{Required: 1,
		From: []string{"lea@example.com"}, Unless: "grant.ttl <= duration('20m')"}}})
	for _, applying := range []bool{false, true} {
		_, said := d.open(values{"applying": applying})
		heard(t, said, "The grant needs approval", "cannot wait for people to approve it", `policy "prod"`)
	}
	if len(d.grants()) != 0 || d.keys() != foreign {
		t.Errorf("refused: %+v\n%s", d.grants(), d.keys())
	}
	// A short one needs none, and becomes no longer than that.
	r, said := d.open(values{"ttl": "15m"})
	heard(t, said)
	d.advance(10 * time.Minute)
	heard(t, r.renew(), "WARNING", "The grant needs approval", "cannot wait for people")
	if !r.renewAt.IsZero() || d.lines() != 1 || d.grants()[0].Length() != 15*time.Minute {
		t.Errorf("after the refused renewal: %+v", d.grants())
	}
	heard(t, r.close())
	if len(d.grants()) != 1 || d.keys() != foreign {
		t.Errorf("after the close: %+v\n%s", d.grants(), d.keys())
	}
}

// The run that records the first policy of a ledger, one that asks for approval, gives nothing before that policy.
func TestEphemeralGrantBesideTheFirstPolicy(t *testing.T) {
	first := jit.Policy{Name: "prod", Effect: jit.Permit,
		Approval: []jit.Requirement{{Required: 1, From: []string{"lea@example.com"}}}}
	d := newDirect(t, "")
	d.runtime.Broker.Planned.Put(first)
	for _, set := range []values{{"applying": false}, {"applying": true}, {"applying": false, "during_plan": true}} {
		_, said := d.open(set)
		heard(t, said, "ERROR", "the same apply records the first", "Write policy = jit_policy.<name>.name")
	}
	if len(d.grants()) != 0 || d.keys() != foreign {
		t.Errorf("refused: %+v\n%s", d.grants(), d.keys())
	}

	d = newDirect(t, "")
	_, said := d.open(values{"applying": false})
	heard(t, said, "No policy governs")
	d.runtime.Broker.Planned.Put(first)
	if err := d.runtime.Broker.CheckOrder(t.Context(), true); err == nil {
		t.Error("a policy that is planned after the ephemeral grant passes")
	}
}

// Policies that the same plan changes permit no ephemeral grant before they are recorded: nobody has reviewed them yet,
// and nothing says for certain that an opening is not in a plan.
func TestEphemeralGrantUnderAPlannedPolicy(t *testing.T) {
	is := jit.Policy{Name: "prod", Effect: jit.Permit, MaxTTL: 40 * time.Minute, MaxSessionTail: new(jit.Unlimited),
		Match: []jit.Match{{Principals: []string{bob}}}}
	wider := is
	wider.Match, wider.MaxTTL = nil, 2*time.Hour
	d := newDirect(t, "")
	d.record(is)
	d.runtime.Broker.Planned.Put(wider)
	d.runtime.Broker.Planned.Put(jit.Policy{Name: "mine", Effect: jit.Permit, MaxSessionTail: new(jit.Unlimited)})
	r, said := d.open(values{"applying": false}) // it grants nothing
	heard(t, said)
	heard(t, r.close())
	for _, set := range []values{{}, {"applying": false, "during_plan": true}, {"policy": "prod"}, {"policy": "mine"}} {
		_, said := d.open(set)
		heard(t, said, "ERROR")
	}
	if len(d.grants()) != 0 || d.keys() != foreign {
		t.Fatalf("refused: %+v\n%s", d.grants(), d.keys())
	}
	// Nor do they lengthen one.
	r, said = d.open(values{"principal": bob})
	heard(t, said)
	d.advance(20 * time.Minute)
	heard(t, r.renew(), "The grant cannot be renewed any more", "ends at 2026-11-23T09:40:00Z")
	heard(t, r.close())

	wider.Match = []jit.Match{{Principals: []string{alice}}}
	d.record(wider)
	r, said = d.open(values{"policy": "prod"})
	heard(t, said)
	if d.lines() != 1 {
		t.Errorf("the recorded policy gives nothing:\n%s", d.keys())
	}
	heard(t, r.close())
}

// Stopping the provider, as Ctrl-C does, ends what is open, because Terraform does not. Nothing opens any more.
func TestEphemeralGrantOfAStoppedProvider(t *testing.T) {
	d := newDirect(t, "")
	first, said := d.open(nil)
	heard(t, said)
	closed, said := d.open(nil)
	heard(t, said)
	heard(t, closed.close())
	d.open(values{"principal": bob})
	if d.lines() != 2 {
		t.Fatalf("before the stop:\n%s", d.keys())
	}
	stopped, err := d.server.StopProvider(t.Context(), &tfprotov6.StopProviderRequest{})
	if err != nil || stopped.Error != "" || d.keys() != foreign {
		t.Errorf("after the stop: %+v, %v\n%s", stopped, err, d.keys())
	}
	heard(t, first.close())
	_, said = d.open(nil)
	heard(t, said, "Cannot grant", "The run was stopped")
	if d.keys() != foreign {
		t.Errorf("opened after the stop:\n%s", d.keys())
	}
}

// What somebody revokes during the run stays revoked.
func TestEphemeralGrantThatIsRevoked(t *testing.T) {
	d := newDirect(t, "")
	r, said := d.open(nil)
	heard(t, said)
	if _, _, err := d.runtime.Broker.Revoke(t.Context(),
		broker.Revocation{Grant: d.grants()[0], Reason: "SEC-1: stop"}); err != nil {
		t.Fatal(err)
	}
	d.advance(20 * time.Minute)
	heard(t, r.renew(), "WARNING", "The grant is over", "SEC-1: stop")
	heard(t, r.close())
	if g := d.grants()[0]; d.keys() != foreign || g.RevokeReason != "SEC-1: stop" {
		t.Errorf("the record is %+v\n%s", g, d.keys())
	}
}

// Runs that ask for the same at the same time share nothing: each has a grant, and closing one ends no other.
func TestEphemeralGrantsAtOnce(t *testing.T) {
	const n = 5
	d := newDirect(t, "")
	runs := make([]*run, n)
	var wg sync.WaitGroup
	for i := range runs {
		wg.Go(func() {
			var said string
			runs[i], said = d.open(nil)
			heard(t, said)
		})
	}
	wg.Wait()
	ids := map[any]bool{}
	for _, r := range runs {
		ids[r.result["id"]] = true
	}
	if len(ids) != n || d.lines() != n {
		t.Fatalf("%d runs have %d grants and %d lines:\n%s", n, len(ids), d.lines(), d.keys())
	}
	for i, r := range runs {
		heard(t, r.close())
		if d.lines() != n-1-i {
			t.Errorf("after %d closed, %d lines", i+1, d.lines())
		}
	}
}

// Configurations that are wrong at any time are refused before anything is opened.
func TestEphemeralGrantInput(t *testing.T) {
	d := newDirect(t, "")
	for _, test := range []struct {
		set  values
		says []string
	}{
		{values{"ttl": "2h"}, []string{"Invalid ttl", "longer than 1h", "Terraform renews"}},
		{values{"ttl": "10s"}, []string{"Invalid ttl", "too short"}},
		{values{"applying": nil}, []string{"Invalid applying", "applying = terraform.applying"}},
		{values{"applying": nil, "during_plan": false}, []string{"Invalid applying"}},
		{values{"reason": ""}, []string{"Invalid reason"}},
		{values{"principal": " "}, []string{"Invalid principal"}},
	} {
		r, said := d.open(test.set)
		heard(t, said, test.says...)
		if r != nil {
			t.Errorf("%v was opened", test.set)
		}
	}
	for name, set := range map[string]values{
		"Unknown target": {"target": "elsewhere"}, "Invalid role": {"role": "root"},
		"Unknown policy": {"policy": "none"},
	} {
		for _, applying := range []bool{false, true} {
			set["applying"] = applying
			if _, said := d.open(set); !strings.Contains(said, name) {
				t.Errorf("%v says %q, want %q", set, said, name)
			}
		}
	}
	if len(d.grants()) != 0 || d.keys() != foreign {
		t.Errorf("refused, and gave\n%s", d.keys())
	}
}
