package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
)

// grantResource is jit_grant: one person's access to one thing for one reason and
// one stretch of time.
type grantResource struct{ *backend }

var (
	_ resource.ResourceWithConfigure      = (*grantResource)(nil)
	_ resource.ResourceWithValidateConfig = (*grantResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*grantResource)(nil)
	_ resource.ResourceWithImportState    = (*grantResource)(nil)
	_ resource.ResourceWithIdentity       = (*grantResource)(nil)
)

// Metadata names the resource.
func (r *grantResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_grant"
}

// Configure takes over what the provider opened.
func (r *grantResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.backend = configured(req.ProviderData, &resp.Diagnostics)
}

// configured returns the provider's data, which is nil before the provider is configured.
func configured(data any, diags *diag.Diagnostics) *backend {
	if data == nil {
		return nil
	}
	b, ok := data.(*backend)
	if !ok {
		diags.AddError("Unexpected provider data", fmt.Sprintf("This is a defect of the provider: it got a %T.", data))
	}
	return b
}

// IdentitySchema describes what identifies a grant for ever.
func (r *grantResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"id": identityschema.StringAttribute{
			RequiredForImport: true,
			Description:       "The grant's id, as `jit list` shows it.",
		},
	}}
}

// Schema describes jit_grant. Nothing in it moves with time.
func (r *grantResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	required := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Required: true, MarkdownDescription: description}
	}
	optional := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description}
	}
	both := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, Computed: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Access for a while: who (`principal`) may do what (`role`) where (`target`, `scope`), why and for how long. " +
			"The window is fixed when the grant is applied. When it is over the resource stays as it is: plans stay empty, and nothing is " +
			"granted again, however often the resource is replaced, imported or re-created, until `renewal` or `reason` is changed. " +
			"Destroying the resource ends the access now.",
		Attributes: map[string]schema.Attribute{
			"id":     computed("The id of the grant, made from owner, target, principal, role, scope, reason and renewal. It is known at plan and used once."),
			"target": required("The name of a target of the provider block. Another target is another grant."),
			"principal": required("Who gets the access, in the form of the platform: `user:alice@example.com`, a PostgreSQL role, an SSH public key. " +
				"Another principal is another grant."),
			"role": required("What access, in the form of the platform: `login`, `payments_read`, `ClusterRole/view`. Another role is another grant."),
			"scope": both("Where on the target: `namespaces/payments`, the name of an account. It may be left out where a target has only one scope. " +
				"Another scope is another grant."),
			"reason": required("Why, on one line, for the reviewer and the record. Another reason is another grant."),
			// A text, although it is a number: Terraform (1.11, and others) takes a number in a state for changed by every
			// refresh, and "plan -refresh-only -detailed-exitcode" would return 2 although it finds nothing to do.
			"renewal": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("1"),
				MarkdownDescription: "Which time this is that the same is granted for the same reason, a whole number counted from 1: `renewal = 2`. " +
					"Raising it is the one way to grant again what has ended. Default: 1.",
			},
			"ttl": both("How long the access lasts from when it begins: `90m`, `8h`, `2d`, `1d12h`; at least `1m`. " +
				"Exactly one of `ttl` and `expires_at` is set. A change moves the end of a live grant, counted from the same beginning."),
			"expires_at": both("When the access ends, in RFC 3339, instead of `ttl`. With `ttl` it tells the end, which is known after the apply."),
			"starts_at": optional("When the access begins, in RFC 3339. Without it the access begins with the apply. It can be changed until the access has begun; " +
				"taken away before that, the access begins with that apply."),
			"start_by": optional("The time in RFC 3339 after which the grant may no longer begin, so that an old saved plan grants nothing."),
			"policy":   both("The name of the `jit_policy` that has to permit the grant. Without it any policy that matches may."),
			"terminate_sessions": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Whether open sessions are ended too when the access is, on targets that can. Default: `false`.",
			},
			"summary": computed("The request in one line: who, what, where, for how long and why."),
			"request_digest": computed("The SHA-256 that identifies the request. It changes with everything that is asked for. " +
				"It is unknown in the first plan with a new ledger."),
			"granted_at":   computed("When the target confirmed the access; null if the grant began after its last apply."),
			"enforcement":  computed("Who ends the access: `native`, the platform by itself, or `sweeper`, a scheduled `jit sweep`."),
			"session_tail": computed("The longest time that a session which is open at the end can go on: `0s`, `12h`, `unlimited`."),
			"drift":        computed("How the access on the target differs from the grant inside its window. The next apply repairs it. Null: it does not differ."),
			"timeouts":     timeoutsAttribute(ctx),
		},
	}
}

func timeoutsAttribute(ctx context.Context) schema.Attribute {
	attribute := timeouts.Attributes(ctx, timeouts.Opts{
		Create: true, Update: true, Delete: true,
		CreateDescription: "How long granting may take, such as `10m`. Default: `5m`.",
		UpdateDescription: "How long a change may take, such as `10m`. Default: `5m`.",
		DeleteDescription: "How long revoking may take, such as `10m`. Default: `5m`.",
	})
	if nested, ok := attribute.(schema.SingleNestedAttribute); ok {
		nested.MarkdownDescription = "How long the target and the ledger may take for each operation."
		return nested
	}
	return attribute
}
