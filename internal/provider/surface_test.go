package provider_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// give grants to a person for a reason and a time.
func (d *direct) give(principal, reason, ttl string) jit.Grant {
	d.t.Helper()
	_, said := d.open(values{"principal": principal, "reason": reason, "ttl": ttl})
	heard(d.t, said)
	all := d.grants()
	i := slices.IndexFunc(all, func(g jit.Grant) bool { return g.Reason == reason })
	if i < 0 {
		d.t.Fatalf("%q is not recorded", reason)
	}
	return all[i]
}

// query lists grants; it returns the reasons of what it found.
func (d *direct) query(limit int64, set values) (reasons []string, said string) {
	d.t.Helper()
	stream, err := d.server.ListResource(d.t.Context(), &tfprotov6.ListResourceRequest{
		TypeName: "jit_grant", Limit: limit, IncludeResource: true,
		Config: d.object(d.schema.ListResourceSchemas["jit_grant"].ValueType(), set),
	})
	if err != nil {
		d.t.Fatal(err)
	}
	kind := d.schema.ResourceSchemas["jit_grant"].ValueType()
	for r := range stream.Results {
		if said += told(r.Diagnostics); r.Resource != nil {
			facts := d.decoded(kind, r.Resource)
			if !strings.Contains(r.DisplayName, facts["reason"].(string)) || r.Identity == nil {
				d.t.Errorf("%v is shown as %q", facts, r.DisplayName)
			}
			reasons = append(reasons, facts["reason"].(string))
		}
	}
	slices.Sort(reasons)
	return reasons, said
}

// A query filters the records, and stops at its limit.
func TestListGrants(t *testing.T) {
	d := newDirect(t, "")
	d.give(alice, "a1", "1m")
	d.give(alice, "a2", "1h")
	d.give(bob, "b1", "30m")
	d.advance(2 * time.Minute)
	for _, test := range []struct {
		limit int64
		set   values
		want  string
	}{
		{100, values{}, "a1 a2 b1"},
		{2, values{}, "a1 b1"},
		{0, values{}, ""},
		{100, values{"target": "host"}, "a1 a2 b1"},
		{100, values{"target": "elsewhere"}, ""},
		{100, values{"principal": alice + " alice@laptop"}, "a1 a2"},
		{1, values{"principal": bob}, "b1"},
		{100, values{"state": "active"}, "a2 b1"},
		{100, values{"state": "expired", "principal": alice}, "a1"},
		{100, values{"state": "failed"}, ""},
		{100, values{"owner": "others"}, ""},
		{100, values{"owner": "jit"}, "a1 a2 b1"},
	} {
		found, said := d.query(test.limit, test.set)
		heard(t, said)
		if got := strings.Join(found, " "); got != test.want {
			t.Errorf("%v, at most %d: %q, want %q", test.set, test.limit, got, test.want)
		}
	}
	_, said := d.query(100, values{"state": "over"})
	heard(t, said, "Invalid state", `"over" is not a state`)
}

// invoke invokes an action; said is its progress and its diagnostics.
func (d *direct) invoke(name string, set values) (said string) {
	d.t.Helper()
	configuration := d.object(d.schema.ActionSchemas[name].Schema.ValueType(), set)
	checked, err := d.server.ValidateActionConfig(d.t.Context(),
		&tfprotov6.ValidateActionConfigRequest{ActionType: name, Config: configuration})
	if err != nil {
		d.t.Fatal(err)
	}
	if len(checked.Diagnostics) > 0 {
		return told(checked.Diagnostics)
	}
	stream, err := d.server.InvokeAction(d.t.Context(),
		&tfprotov6.InvokeActionRequest{ActionType: name, Config: configuration})
	if err != nil {
		d.t.Fatal(err)
	}
	for e := range stream.Events {
		switch is := e.Type.(type) {
		case tfprotov6.ProgressInvokeActionEventType:
			said += is.Message + "\n"
		case tfprotov6.CompletedInvokeActionEventType:
			said += told(is.Diagnostics)
		}
	}
	return said
}

// The action revokes what it names and nothing else, and says how far it is.
func TestRevokeAction(t *testing.T) {
	d := newDirect(t, "")
	one := d.give(alice, "a1", "1h")
	d.give(alice, "a2", "1h")
	d.give(bob, "b1", "1h")
	for _, test := range []struct {
		set  values
		says string
	}{
		{values{"reason": "INC-1: done"}, "Nothing says which grants to revoke"},
		{values{"id": string(one.ID), "principal": alice, "reason": "INC-1: done"}, "It is not clear which grants"},
		{values{"principal": "", "reason": "INC-1: done"}, "principal is empty"},
		{values{"principal": alice, "reason": " "}, "reason"},
		{values{"id": strings.Replace(string(one.ID), string(one.ID[:4]), "ffff", 1), "reason": "x"},
			"the ledger has no grant"},
		{values{"target": "hots", "reason": "x"}, `"hots" is not one of the configured targets`},
		{values{"principal": "mallory", "reason": "x"}, "ERROR"},
	} {
		said := d.invoke("jit_revoke", test.set)
		if !strings.Contains(strings.ToLower(said), strings.ToLower(test.says)) || !strings.Contains(said, "ERROR") {
			t.Errorf("%v says %q, want %q", test.set, said, test.says)
		}
	}
	if d.lines() != 3 {
		t.Fatalf("a refused action revoked:\n%s", d.keys())
	}

	heard(t, d.invoke("jit_revoke", values{"id": string(one.ID), "reason": "INC-1: done"}), "Revoked 1 of 1: ", "a1")
	if d.lines() != 2 {
		t.Errorf("after one id:\n%s", d.keys())
	}
	said := d.invoke("jit_revoke", values{"principal": alice + " alice@laptop", "reason": "SEC-1: stop"})
	heard(t, said, "Revoked 1 of 1: ", "a2")
	if d.lines() != 1 || !strings.Contains(d.keys(), bob) {
		t.Errorf("after all of a principal:\n%s", d.keys())
	}
	heard(t, d.invoke("jit_revoke", values{"principal": alice, "reason": "SEC-1: stop"}), "nothing is left to revoke")
	heard(t, d.invoke("jit_revoke", values{"target": "host", "reason": "SEC-2: stop"}), "Revoked 1 of 1: ", "b1")
	if d.keys() != foreign {
		t.Errorf("after all of a target:\n%s", d.keys())
	}
	reasons := map[string]int{}
	for _, g := range d.grants() {
		reasons[g.RevokeReason]++
	}
	if reasons["INC-1: done"] != 1 || reasons["SEC-1: stop"] != 1 || reasons["SEC-2: stop"] != 1 {
		t.Errorf("the recorded reasons are %v", reasons)
	}
}

// The action makes one pass: it ends what is over and puts back what was taken away.
func TestSweepAction(t *testing.T) {
	d := newDirect(t, "")
	d.give(alice, "a1", "1m")
	d.give(bob, "b1", "1h")
	d.advance(2 * time.Minute)
	var left []string
	for line := range strings.Lines(d.keys()) {
		if !strings.Contains(line, bob) {
			left = append(left, line)
		}
	}
	d.write("authorized_keys", strings.Join(left, ""))
	said := d.invoke("jit_sweep", values{"due_only": true})
	heard(t, said, "Sweeping 1 targets", "Swept: 1 steps, 0 failed", "its window ended at")
	if d.keys() != foreign {
		t.Errorf("after the due work:\n%s", d.keys())
	}
	heard(t, d.invoke("jit_sweep", values{}), "Swept: 1 steps, 0 failed", "repair")
	if d.lines() != 1 || !strings.Contains(d.keys(), bob) {
		t.Errorf("after the pass:\n%s", d.keys())
	}
	heard(t, d.invoke("jit_sweep", values{}), "Swept: 0 steps, 0 failed")
	if b := d.runtime.Broker; b.AnyOwner {
		t.Error("the resources may end the grants of other owners now")
	}
}
