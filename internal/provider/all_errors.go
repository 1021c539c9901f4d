package provider

import (
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// checkForm refuses what is wrong in a grant at any time, with an error for each attribute to blame. It returns the
// request without these attributes.
func (m *grantModel) checkForm(diags *diag.Diagnostics) broker.Request {
	for left := *m; ; {
		request, err := left.request()
		if err == nil {
			err = broker.CheckForm(request, left.unknown())
		}
		if err == nil {
			return request
		}
		addError(diags, "Invalid grant", err)
		if !left.forget(blamedFor(err)) {
			return request
		}
	}
}

// forget makes an attribute unknown, so that the others can be checked. It reports false if that changes nothing.
func (m *grantModel) forget(attribute string) bool {
	if attribute == "renewal" && !m.Renewal.IsUnknown() {
		m.Renewal = types.NumberUnknown()
		return true
	}
	text := map[string]*types.String{"target": &m.Target, "principal": &m.Principal, "role": &m.Role, "scope": &m.Scope,
		"reason": &m.Reason, "ttl": &m.TTL, "expires_at": &m.ExpiresAt, "starts_at": &m.StartsAt, "start_by": &m.StartBy,
		"requester": &m.Requester}[attribute]
	if text == nil || text.IsUnknown() {
		return false
	}
	*text = types.StringUnknown()
	return true
}

// checkForm refuses what is wrong in a policy at any time, with an error for each attribute to blame.
func (m *policyModel) checkForm(diags *diag.Diagnostics) {
	refused := map[string]bool{}
	for written := m.written(); ; {
		p, err := written.Policy()
		if _, unknown := written["name"].(policy.Unknown); unknown {
			p.Name = "unknown" // any name will do to check the rest
		}
		if err == nil {
			err = policy.Check(p)
		}
		attribute := blamedFor(err)
		if err == nil || refused[attribute] {
			return
		}
		addError(diags, "Invalid policy", err)
		if attribute == "" {
			return
		}
		refused[attribute] = true
		written[attribute] = policy.Unknown{}
		if attribute == "approval" { // without one, break_glass is not looked at
			written[attribute] = []any{map[string]any{"required": "1", "from": []any{"unknown"}}}
		}
	}
}

// blamedFor returns the attribute of a block that is to blame for an error; empty if there is none.
func blamedFor(err error) string {
	var user *jit.Error
	if !errors.As(err, &user) {
		return ""
	}
	return firstName.FindString(user.Attribute)
}
