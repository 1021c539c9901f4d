package provider

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// policyVersion is the version of jit_policy in states. In version 0, match is one object; since version 1, it is a
// list.
const policyVersion = 1

// UpgradeState reads states of older versions.
func (r *policyResource) UpgradeState(context.Context) map[int64]resource.StateUpgrader {
	return map[int64]resource.StateUpgrader{0: {StateUpgrader: func(
		_ context.Context, req resource.UpgradeStateRequest, resp *resource.UpgradeStateResponse,
	) {
		state, err := withListedMatch(req.RawState.JSON)
		if err != nil {
			addError(&resp.Diagnostics, "Cannot read the state of the policy", err)
			return
		}
		resp.DynamicValue = &tfprotov6.DynamicValue{JSON: state}
	}}}
}

// withListedMatch makes the match of a state a list of one.
func withListedMatch(state []byte) ([]byte, error) {
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(state, &attributes); err != nil {
		return nil, fmt.Errorf("read the state of an older version: %w", err)
	}
	var match map[string]json.RawMessage
	if err := json.Unmarshal(attributes["match"], &match); err == nil && match != nil {
		attributes["match"] = fmt.Appendf(nil, "[%s]", attributes["match"])
	}
	return json.Marshal(attributes)
}
