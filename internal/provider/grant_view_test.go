package provider

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The data sources have every field of the view under its JSON name.
func TestViewAttributes(t *testing.T) {
	at := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	v := jit.Grant{
		ID: "x", Owner: "x", Binding: jit.Binding{Target: "x", Principal: "x", Role: "x", Scope: "x"}, Reason: "x",
		Renewal: 1, TTL: jit.RecordedTTL("1h"),
		Window:      jit.Window{Start: at, End: at},
		Terms:       jit.Terms{StartBy: at, TerminateSessions: true, Requester: "x", BreakGlass: true},
		Policy:      "x",
		Enforcement: jit.Native,
		OpenDrift:   jit.DriftMissing, RequestedAt: at, GrantedAt: at, FailedAt: at, Failure: "x", RevokedAt: at,
		RevokedBy:    "x",
		RevokeReason: "x", EndedAt: at, Remains: "x",
		PrincipalName: "x", Awaits: "x", SignedOffAt: at, SignedOffBy: "x",
	}.View(at, "x")
	v.ReasonLost = true
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var facts map[string]any
	if err := json.Unmarshal(text, &facts); err != nil {
		t.Fatal(err)
	}
	values, err := viewValues(v)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := viewValues(jit.Grant{Reason: "x"}.View(at, ""))
	if err != nil || !kept["reason_lost"].Equal(types.BoolValue(false)) {
		t.Errorf("for a grant with a reason: reason_lost is %v, %v", kept["reason_lost"], err)
	}
	delete(facts, "remaining_seconds") // an output of it would change every plan
	for name := range facts {
		if value, ok := values[name]; !ok || value.IsNull() {
			t.Errorf("the data sources lack %s", name)
		}
	}
	for name, value := range values {
		if _, ok := facts[name]; !ok {
			t.Errorf("the view has no %s", name)
		}
		if !value.Type(t.Context()).Equal(viewType().AttrTypes[name]) {
			t.Errorf("%s is a %s", name, value.Type(t.Context()))
		}
	}
}

// A grant that a wrong clock ended early is over, and a plan says so for as long as its window lasts.
func TestEarlyEndIsTold(t *testing.T) {
	at := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	g := jit.Grant{Renewal: 1, GrantedAt: at, EndedAt: at.Add(time.Minute),
		Window: jit.Window{Start: at, End: at.Add(time.Hour)}}
	for now, warnings := range map[time.Time]int{at.Add(2 * time.Minute): 1, at.Add(2 * time.Hour): 0} {
		var diags diag.Diagnostics
		if over := (&grantResource{}).ended(g, now, &diags); !over || diags.WarningsCount() != warnings {
			t.Errorf("at %s: over %t, %v", now, over, diags)
		}
	}
}
