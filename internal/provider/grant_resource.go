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

// grantResource is jit_grant: one principal's access to one thing, for one reason and one window.
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

// Configure receives the backend of the provider.
func (r *grantResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.backend = configured(req.ProviderData, &resp.Diagnostics)
}

// configured returns the backend in the provider's data; nil before the provider is configured.
func configured(data any, diags *diag.Diagnostics) *backend {
	if data == nil {
		return nil
	}
	b, ok := data.(*backend)
	if !ok {
		diags.AddError("Unexpected provider data", fmt.Sprintf("This is a bug in the provider: it got a %T.", data))
	}
	return b
}

// IdentitySchema describes the identity of a grant: its id.
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
		MarkdownDescription: "Temporary access: who (`principal`) may do what (`role`) where (`target`, `scope`), why and for how long. " +
			"The window is fixed when the grant is applied. After its end the resource stays as it is and plans stay empty. " +
			"Replacing, importing or re-creating the resource grants nothing again; only a new `renewal` or `reason` does. " +
			"Destroying the resource ends the access now.",
		Attributes: map[string]schema.Attribute{
			"id": computed("The id of the grant, made from owner, target, principal, role, scope, reason and renewal. " +
				"It is known at plan and used once."),
			"target": required("The name of a target of the provider block. A change replaces the grant."),
			"principal": required("Who gets the access, in the form of the platform: `user:alice@example.com`, a PostgreSQL role, an SSH public key. " +
				"A change replaces the grant."),
			"role": required("What access, in the form of the platform: `login`, `payments_read`, `ClusterRole/view`. " +
				"A change replaces the grant."),
			"scope": both("Where on the target: `namespaces/payments`, the name of an account. Optional if the target has only one scope. " +
				"A change replaces the grant."),
			"reason": required("Why, on one line, for the reviewer and the record. A change replaces the grant."),
			// A string, because Terraform (1.11, and others) considers a number in a state changed by every refresh:
			// "plan -refresh-only -detailed-exitcode" would return 2 with nothing to do.
			"renewal": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("1"),
				MarkdownDescription: "How many times this has been granted for the same reason, counted from 1. " +
					"Raise it to grant again after the end: `renewal = 2`. Default: 1.",
			},
			"ttl": both("How long the access lasts from when it begins: `90m`, `8h`, `2d`, `1d12h`; at least `1m`. " +
				"Set either `ttl` or `expires_at`; generated configuration for an import has both. " +
				"A change moves the end of a live grant, counted from the same beginning."),
			"expires_at": both("The end of the window, in RFC 3339. Set it instead of `ttl`, or read it: with `ttl` it is known after the apply."),
			"starts_at": optional("When the access begins, in RFC 3339. Default: with the apply. You can change it until the access has begun. " +
				"If you remove it before that, the access begins with that apply."),
			"start_by": optional("The time after which the grant may no longer begin, in RFC 3339, so that an old saved plan grants nothing."),
			"policy": both("The name of the `jit_policy` that must permit the grant. Default: any policy that matches may. " +
				"If you remove it, every policy judges the live grant again."),
			"terminate_sessions": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Whether revoking the access also ends open sessions, on targets that can. Default: `false`.",
			},
			"summary": computed("The request in one line: who, what, where, for how long and why."),
			"request_digest": computed("The SHA-256 that identifies the request. It changes with everything that is asked for. " +
				"It is unknown in the first plan with a new ledger."),
			"granted_at":   computed("When the target confirmed the access; null if the grant began after its last apply."),
			"enforcement":  computed("Who ends the access: `native`, the platform by itself, or `sweeper`, a scheduled `jit sweep`."),
			"session_tail": computed("The longest time that a session can outlive the window: `0s`, `12h`, `unlimited`."),
			"drift": computed("How the access on the target differs from the grant inside its window; null if it does not. " +
				"The next apply repairs it."),
			"timeouts": timeoutsAttribute(ctx),
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
