package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/jitaccess/terraform-provider-jit/internal/platform"
)

// platformAttributes holds one row for each platform: the attributes of its Config, by their tfsdk names. A text that
// is or may contain a secret is Sensitive.
var platformAttributes = map[string]schema.SingleNestedAttribute{
	"aws_iam": {
		MarkdownDescription: "An AWS account, through IAM. A grant is a policy of its own on the principal, or a " +
			"statement of its own in a role's trust policy; AWS itself ends it.",
		Attributes: awsAttributes(map[string]schema.Attribute{
			"account_id": text("The id of the account, such as `123456789012`. It is the scope of grants that name " +
				"none. The target refuses credentials of another account."),
			"trust_policy": schema.BoolAttribute{Optional: true,
				MarkdownDescription: "Whether permission to assume a role is written in the role's trust policy even " +
					"if principal and role are in the same account. Default: `false`."},
		}),
	},
	"aws_identity_center": {
		MarkdownDescription: "IAM Identity Center. A grant is an account assignment, which the ledger remembers and " +
			"the sweeper ends.",
		Attributes: awsAttributes(map[string]schema.Attribute{
			"instance_arn": text("The ARN of the instance. Default: the only one in the region."),
			"identity_store_id": text("The id of the identity store, such as `d-0123456789`. Default: that of the " +
				"instance."),
		}),
	},
	"azure": {
		MarkdownDescription: "Azure. A grant is a role on a management group, subscription, resource group or " +
			"resource. Privileged Identity Management ends it, or the sweeper. Empty (`azure = {}`), it uses the " +
			"credentials of the environment.",
		Attributes: map[string]schema.Attribute{
			"assignment": text("How roles are assigned: `pim` (default), with an end that Azure enforces, or " +
				"`rbac`, which the sweeper ends."),
			"environment": text("The cloud: `public` (default), `usgovernment` or `china`."),
			"endpoint": text("The URL of the Resource Manager, instead of the cloud's. If it is on loopback and you " +
				"set no credentials, requests carry none."),
			"tenant_id": text("The id of the tenant to sign in to."),
			"client_id": text("The id of the application to sign in as, with `client_secret` or " +
				"`federated_token_file`. Default: the credentials of the environment."),
			"client_secret": secret("A secret of the application."),
			"federated_token_file": text("The path of a file with a token of another identity provider that the " +
				"application trusts."),
			"scopes": list("Where to look for assignments that the ledger does not know, as scopes of grants. " +
				"Default: every subscription that the credentials can see, with everything below it."),
		},
	},
	"gcp": {
		MarkdownDescription: "Google Cloud. A grant is a binding with a condition in the policy of a project, " +
			"folder, organization or resource; Google Cloud itself ends it. Empty (`gcp = {}`), it uses Application " +
			"Default Credentials.",
		Attributes: map[string]schema.Attribute{
			"credentials": secret("A service account's key, or the configuration of a workload identity: the path of " +
				"its file, or its JSON. Default: Application Default Credentials."),
			"access_token":                secret("An access token, instead of `credentials`."),
			"impersonate_service_account": text("The address of a service account to act as."),
			"endpoint": text("The URL of a host that serves all APIs of Google Cloud. If it is on loopback and you " +
				"set no credentials, requests carry none."),
			"scopes": list("Where to look for bindings that the ledger does not know, as scopes of grants. " +
				"`projects/<id>/buckets` stands for all buckets of a project. Default: every project, folder and " +
				"organization that the credentials can see, and no other resources."),
		},
	},
	"hoop": {
		MarkdownDescription: "A hoop gateway. A grant is an approved review of a user, which hoop itself ends, or " +
			"an attribute of a group, which the sweeper ends.",
		Attributes: map[string]schema.Attribute{
			"url":     text("The address of the gateway, such as `https://hoop.example.com`. Default: `HOOP_APIURL`."),
			"api_key": secret("An API key of the group `admin`. Default: `HOOP_TOKEN`."),
			"mode":    text("`review` (default) for users, or `attribute` for groups."),
			"approval": text("Who approves reviews. With `jit` (default), jit approves with the API key as soon as " +
				"policies permit the grant. With `hoop`, the reviewers of the connection approve in hoop, and the " +
				"grant begins with their approval."),
			"metadata": mapping("Metadata of the sessions that carry the reviews. A connection can require some."),
		},
	},
	"kubernetes": {
		MarkdownDescription: "A Kubernetes cluster. A grant is a RoleBinding or ClusterRoleBinding of its own; the " +
			"sweeper ends it.",
		Attributes: map[string]schema.Attribute{
			"kubeconfig": text("The path of a kubeconfig file, such as `~/.kube/config`."),
			"context":    text("The context of the kubeconfig file to use. Default: its current context."),
			"host":       text("The URL of the API server, instead of a kubeconfig file."),
			"token":      secret("The bearer token for `host`."),
			"cluster_ca_certificate": text("The PEM certificates of the authorities that may sign the certificate of " +
				"`host`. Default: those of the system."),
		},
	},
	"postgresql": {
		MarkdownDescription: "A PostgreSQL server. A grant is membership in a role, through a role of its own; the " +
			"sweeper ends it.",
		Attributes: map[string]schema.Attribute{
			"url": secret("The URL to connect with, as a role that may create roles, such as " +
				"`postgres://admin@db.example.com/postgres`. The `PG*` environment variables supply the parts that " +
				"it leaves out."),
		},
	},
	"ssh": {
		MarkdownDescription: "The `authorized_keys` file of an account, or of several. A grant is a line of its own " +
			"whose end OpenSSH itself enforces.",
		Attributes: map[string]schema.Attribute{
			"authorized_keys": text("The path of the file, such as `/home/deploy/.ssh/authorized_keys`; it is the " +
				"target's only scope."),
			"accounts": mapping("Several files instead of one: the path of each file, by the name of its account. " +
				"These names are the scopes of grants."),
		},
	},
}

// awsAttributes adds the attributes of every AWS target to a platform's own.
func awsAttributes(own map[string]schema.Attribute) map[string]schema.Attribute {
	own["region"] = text("The region whose endpoints are called, such as `eu-central-1`. Default: that of the " +
		"environment or the profile.")
	own["profile"] = text("A profile of the shared configuration files. Default: `AWS_PROFILE`, else `default`.")
	own["endpoint"] = text("The URL of an endpoint to use for every AWS service, such as a private one.")
	own["assume_role"] = schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "A role that the target assumes with its credentials, such as one in the account of the " +
			"grants.",
		Attributes: map[string]schema.Attribute{
			"role_arn":     text("The ARN of the role."),
			"external_id":  text("The external id that the role's trust policy asks for."),
			"session_name": text("The name of the session, which AWS writes in its logs. Default: `jit`."),
		},
	}
	return own
}

func text(description string) schema.StringAttribute {
	return schema.StringAttribute{Optional: true, MarkdownDescription: description}
}

func list(description string) schema.ListAttribute {
	return schema.ListAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: description}
}

func mapping(description string) schema.MapAttribute {
	return schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: description}
}

func secret(description string) schema.StringAttribute {
	return schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: description}
}

func targetsAttribute() schema.Attribute {
	platforms := make(map[string]schema.Attribute, len(platformAttributes))
	for kind, row := range platformAttributes {
		row.Optional = true
		platforms[kind] = row
	}
	return schema.MapNestedAttribute{
		Optional: true,
		MarkdownDescription: "The systems where access lives, by the name that grants use. Each target sets exactly " +
			"one of " +
			strings.Join(platform.Kinds(), ", ") + ".",
		NestedObject: schema.NestedAttributeObject{Attributes: platforms},
	}
}

// readTargets returns the targets that are fully known and adds the others to unknown.
func readTargets(
	ctx context.Context, m types.Map, unknown map[string]bool, diags *diag.Diagnostics,
) map[string]platform.Config {
	targets := map[string]platform.Config{}
	for name, value := range m.Elements() {
		raw, err := value.ToTerraformValue(ctx)
		if err != nil {
			diags.AddAttributeError(path.Root("targets").AtMapKey(name), "Cannot read the target", err.Error())
			continue
		}
		if !raw.IsFullyKnown() {
			unknown[name] = true
			continue
		}
		object, ok := value.(types.Object)
		if !ok {
			diags.AddAttributeError(path.Root("targets").AtMapKey(name), "Cannot read the target",
				fmt.Sprintf("It is a %T.", value))
			continue
		}
		var c platform.Config
		diags.Append(object.As(ctx, &c, basetypes.ObjectAsOptions{UnhandledNullAsEmpty: true})...)
		targets[name] = c
	}
	return targets
}
