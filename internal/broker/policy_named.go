package broker

import (
	"context"
	"strconv"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// policyNamed is the detail of an event that says whether the request names the policy that decides. A request without a
// policy is decided by any that permits it.
const policyNamed = "policy_named"

func named(policy bool) string { return strconv.FormatBool(policy) }

// NamesPolicy reports whether the recorded grant was requested with the name of its policy, according to its events. It
// is false if they do not say so, as those of older programs.
func (b *Broker) NamesPolicy(ctx context.Context, id jit.ID) (names bool, err error) {
	for e, err := range b.Ledger.EventsOf(ctx, []jit.ID{id}) {
		if err != nil {
			return false, err
		}
		if told, ok := e.Detail[policyNamed]; ok {
			names = told == named(true)
		}
	}
	return names, nil
}
