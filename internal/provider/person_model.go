package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// personModel is a jit_person as configuration, plan and state hold it.
type personModel struct {
	Name        types.String `tfsdk:"name"`
	Groups      types.Set    `tfsdk:"groups"`
	SigningKeys types.Set    `tfsdk:"signing_keys"`
	Principals  types.Set    `tfsdk:"principals"`
	GitHub      types.String `tfsdk:"github"`
	GitLab      types.String `tfsdk:"gitlab"`
}

// personSets describe the sets of a person.
var personSets = []struct{ name, description string }{
	{"groups", "The groups of the person, such as `group:payments-leads`. Policies name groups whose members approve."},
	{"signing_keys", "The SSH public keys with which the person signs approvals, each as a line of a `.pub` file. " +
		"Keys of FIDO tokens (`sk-…`) work too. Certificates and DSA keys do not."},
	{"principals", "The names of the person on targets, in canonical form, such as `user:bob@example.com`. The person " +
		"cannot approve access for these."},
}

// personLogins describe the accounts of a person.
var personLogins = []struct{ name, description string }{
	{"github", "The login name on GitHub, for reviews of pull requests."},
	{"gitlab", "The login name on GitLab, for approvals of merge requests."},
}

// written returns the values of the model.
func (m *personModel) written() policy.Written {
	return policy.Written{
		"name": plain(m.Name), "groups": plain(m.Groups), "signing_keys": plain(m.SigningKeys),
		"principals": plain(m.Principals), "github": plain(m.GitHub), "gitlab": plain(m.GitLab),
	}
}

// person reads the model. Unknown values are left out.
func (m *personModel) person() jit.Person {
	p, _ := m.written().Person() // the schema knows no other types
	return p
}

// recordedPersonModel returns the model of a recorded person.
func recordedPersonModel(ctx context.Context, p jit.Person, diags *diag.Diagnostics) personModel {
	set := func(list []string) types.Set {
		if len(list) == 0 {
			return types.SetNull(types.StringType)
		}
		set, problems := types.SetValueFrom(ctx, types.StringType, list)
		diags.Append(problems...)
		return set
	}
	return personModel{
		Name: types.StringValue(p.Name), Groups: set(p.Groups), SigningKeys: set(p.SigningKeys),
		Principals: set(p.Principals), GitHub: optional(p.GitHub), GitLab: optional(p.GitLab),
	}
}
