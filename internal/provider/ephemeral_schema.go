package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral/schema"
)

// Schema describes the ephemeral jit_grant.
func (e *ephemeralGrant) Schema(_ context.Context, _ ephemeral.SchemaRequest, resp *ephemeral.SchemaResponse) {
	required := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Required: true, MarkdownDescription: description}
	}
	optional := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description}
	}
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description + " Null if nothing was granted."}
	}
	flag := func(description string) schema.BoolAttribute {
		return schema.BoolAttribute{Optional: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Access for one run of Terraform: the pipeline's own access, which exists only while the " +
			"run needs it. Opening it grants, Terraform renews it while the run goes on, and closing it revokes. Each " +
			"opening is a request of its own: the policies judge it, and the ledger records it. Nothing of it is in " +
			"the state. Needs Terraform 1.10 or OpenTofu 1.11.",
		Attributes: map[string]schema.Attribute{
			"target": required("The name of one of the `targets` in the provider block."),
			"principal": required("Who gets the access, in the form of the platform: usually the identity that the " +
				"pipeline has on the target."),
			"role": required("What access, in the form of the platform."),
			"scope": schema.StringAttribute{Optional: true, Computed: true, MarkdownDescription: "Where on the target. " +
				"Optional if the target has only one scope."},
			"reason": required("Why, on one line, for the record."),
			"ttl": required("How long the access lasts at first, at least `1m` and at most `1h`. It also says for how " +
				"long access is left if Terraform is killed and cannot close it. Terraform renews a grant of at least " +
				"`5m`, as often as the run needs, up to `max_ttl` of the provider block and of the policy."),
			"policy": optional("The name of the `jit_policy` that must permit the grant. Default: any policy that " +
				"matches may permit it. A policy that asks for approval refuses it: nobody can decide while the run " +
				"waits."),
			"requester": optional("Who asks: the name of a `jit_person`."),
			"terminate_sessions": flag("Whether closing also ends open sessions, on targets that can end them. " +
				"Default: `false`."),
			"applying": flag("Write `terraform.applying`. Terraform opens ephemeral resources in plans too, and this " +
				"tells the two apart: nothing is granted where it is `false`. A plan then only judges the request. " +
				"Required unless `during_plan` is `true`."),
			"during_plan": flag("Whether a plan grants too. A plan needs that if it reads, with this access, the " +
				"resources that the state has already. Default: `false`."),
			"id": computed("The id of the grant."),
			"renewal": schema.Int64Attribute{Computed: true, MarkdownDescription: "How many times this has been granted " +
				"for the same reason, counted from 1. Null if nothing was granted."},
			"summary":    computed("The request in one line: who, what, where, for how long and why."),
			"expires_at": computed("The end of the grant when it was opened, in RFC 3339. Renewing moves the end."),
			"enforcement": computed("Who ends the access if Terraform cannot: `native`, the platform itself, or " +
				"`sweeper`, a `jit sweep` that you run."),
			"session_tail": computed("How long a session can continue at most if it is open at the end."),
		},
	}
}
