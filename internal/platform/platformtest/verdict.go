package platformtest

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// Plan plans a grant of the binding, for two hours, on a ledger that holds these policies, and returns why it is
// refused. The target is called target.
func Plan(t *testing.T, target jit.Platform, b jit.Binding, policies ...jit.Policy) error {
	t.Helper()
	planner, request := asked(t, target, b, policies)
	_, err := planner.Preview(t.Context(), request, false)
	return err
}

// Apply asks a broker with these policies for the binding, as an apply does, and returns why it was refused.
func Apply(t *testing.T, target jit.Platform, b jit.Binding, policies ...jit.Policy) error {
	t.Helper()
	granter, request := asked(t, target, b, policies)
	_, err := granter.Grant(t.Context(), request)
	return err
}

// asked returns a broker with these policies and a request for the binding.
func asked(t *testing.T, target jit.Platform, b jit.Binding, policies []jit.Policy) (*broker.Broker, broker.Request) {
	t.Helper()
	b.Target = "target"
	ledger := &jittest.Ledger{}
	for _, p := range policies {
		if err := ledger.Write(t.Context(), []jit.Entry{{Policy: &p}})[0]; err != nil {
			t.Fatal(err)
		}
	}
	targets := map[string]jit.Platform{b.Target: target}
	return &broker.Broker{Ledger: ledger, Targets: targets, Owner: "jit", MaxTTL: 24 * time.Hour, Now: time.Now},
		broker.Request{Binding: b, Reason: "INC-1: look", Renewal: 1, TTL: jit.RecordedTTL("2h")}
}
