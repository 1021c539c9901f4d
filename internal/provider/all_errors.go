package provider

import (
	"cmp"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
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
	check := func(written policy.Written) error {
		p, err := written.Policy()
		if _, unknown := written["name"].(policy.Unknown); unknown {
			p.Name = "unknown" // any name will do to check the rest
		}
		return cmp.Or(err, policy.Check(p))
	}
	eachError(diags, "Invalid policy", m.written(), check, func(attribute string) any {
		if attribute == "approval" { // without one, break_glass is not looked at
			return []any{map[string]any{"required": "1", "from": []any{"unknown"}}}
		}
		return policy.Unknown{}
	})
}

// checkForm refuses what is wrong in a person at any time, with an error for each attribute to blame.
func (m *personModel) checkForm(diags *diag.Diagnostics) {
	check := func(written policy.Written) error {
		p, err := written.Person()
		if _, unknown := written["name"].(policy.Unknown); unknown {
			p.Name = "unknown" // any name will do to check the rest
		}
		if err == nil {
			_, err = approval.NewPeople([]jit.Person{p})
		}
		return err
	}
	eachError(diags, "Invalid person", m.written(), check, func(string) any { return policy.Unknown{} })
}

// eachError shows what check finds wrong in a block, attribute by attribute: it puts another value in the place of each
// that is to blame.
func eachError(diags *diag.Diagnostics, summary string, written policy.Written, check func(policy.Written) error,
	instead func(attribute string) any) {
	refused := map[string]bool{}
	for {
		err := check(written)
		attribute := blamedFor(err)
		if err == nil || refused[attribute] {
			return
		}
		addError(diags, summary, err)
		if attribute == "" {
			return
		}
		refused[attribute] = true
		written[attribute] = instead(attribute)
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
