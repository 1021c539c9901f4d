// Package provider is the Terraform side of jit: it turns configuration, plan and state into requests to the broker,
// and the answers into state and diagnostics. No other package uses the plugin framework.
package provider

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/function"
	listing "github.com/hashicorp/terraform-plugin-framework/list"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Opener opens the ledger and the targets of a provider block. It makes no call.
type Opener func(ctx context.Context, s config.Settings) (*config.Runtime, error)

// Address is the registry address of the provider.
const Address = "registry.terraform.io/jitaccess/jit"

// appendAgent names the variable with a text that providers append to their user agents.
const appendAgent = "TF_APPEND_USER_AGENT"

// Serve serves the provider until Terraform stops it, or with debugging until it is interrupted. It then closes the
// ledgers, which leaves a SQLite ledger as one file.
func Serve(version string, debugging bool) error {
	Quiet()
	run := ""
	if !debugging { // then Terraform does not start this process, which serves many runs
		run = runID()
	}
	var wrap func(string, jit.Platform) jit.Platform
	if logs() {
		wrap = Trace
	}
	var mu sync.Mutex
	var opened []*config.Runtime
	served := &jitProvider{version: version}
	served.open = func(ctx context.Context, s config.Settings) (*config.Runtime, error) {
		runtime, err := config.Open(ctx, s, config.Options{
			Source: jit.FromTerraform, Run: run, Keep: config.KeepForPlan, Wrap: wrap,
			UserAgent: jit.UserAgent(version, os.Getenv(appendAgent)),
		})
		if err == nil {
			mu.Lock()
			opened = append(opened, runtime)
			mu.Unlock()
		}
		return runtime, err
	}
	var options []tf6server.ServeOpt
	if debugging {
		options = append(options, tf6server.WithManagedDebug())
	}
	err := tf6server.Serve(Address, func() tfprotov6.ProviderServer {
		return served.server()
	}, options...)
	err = errors.Join(err, served.endOpen(context.Background()))
	mu.Lock()
	defer mu.Unlock()
	for _, runtime := range opened {
		err = errors.Join(err, runtime.Close())
	}
	return err
}

// Quiet turns off the logs of the plugin libraries unless one of Terraform's variables asks for them. Otherwise
// Terraform reads every line and drops it, which takes much of the time of a plan. Call it before the provider is
// served.
func Quiet() {
	if logs() {
		return
	}
	for _, name := range []string{"TF_LOG_SDK", "TF_LOG_PROVIDER_JIT"} {
		_ = os.Setenv(name, "off") // a name without = and NUL can be set
	}
}

// logs reports whether one of Terraform's variables asks for the logs of providers.
func logs() bool {
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		asks := name == "TF_LOG" || strings.HasPrefix(name, "TF_LOG_PROVIDER") || strings.HasPrefix(name, "TF_LOG_SDK")
		if asks && value != "" && !strings.EqualFold(value, "off") {
			return true
		}
	}
	return false
}

// New returns the constructor of the provider. The provider opens its block with open.
func New(version string, open Opener) func() provider.Provider {
	return func() provider.Provider { return &jitProvider{version: version, open: open} }
}

// NewServer returns the provider as a plugin server. The provider opens its blocks with open.
func NewServer(version string, open Opener) tfprotov6.ProviderServer {
	return (&jitProvider{version: version, open: open}).server()
}

// server returns the plugin server of the provider.
func (p *jitProvider) server() tfprotov6.ProviderServer {
	return releasing(providerserver.NewProtocol6(p)(), p.endOpen)
}

type jitProvider struct {
	version string
	open    Opener

	mu sync.Mutex
	// backends are those of the provider blocks.
	backends []*backend
}

// Metadata names the provider.
func (p *jitProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "jit"
	resp.Version = p.version
}

// Schema describes the provider block.
func (p *jitProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Temporary access as code. A grant says who gets what, where, why and for how long. " +
			"You review it as a plan. It ends by itself, and jit keeps a record of it. Time passing never changes " +
			"a plan, and an ended grant never comes back by itself.",
		Attributes: map[string]schema.Attribute{
			"config": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "The path of a [`jit.hcl`](guides/command-line#jithcl), the settings file of the " +
					"command `jit`. It takes the place of all other attributes of this block. A relative path " +
					"starts in the directory in which Terraform runs, or which `-chdir` names. Attributes " +
					"that only the command has are not evaluated. Plan and apply each read the file; " +
					"`terraform validate` does not.",
			},
			"ledger": schema.StringAttribute{
				Optional:  true,
				Sensitive: true,
				MarkdownDescription: "The ledger: the durable record of grants, policies and events. Write " +
					"`sqlite://` and a path, the URL of a bucket (`s3://`, `gs://`, `azblob://`), or a `postgres://` " +
					"URL: see [which ledger](guides/ledger). Default: the environment variable `JIT_LEDGER`, else " +
					"`sqlite://.jit/ledger.db`.",
			},
			"owner": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "The name of this set of grants, usually the name of a team. It is part of every " +
					"grant id, and of the marker that jit writes on the access of each grant. Two teams that share " +
					"a target need two owners. Default: `jit`.",
			},
			"max_ttl": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "The longest window of any grant, whatever a policy says, such as `8h` or " +
					"`2d`. Default: `24h`.",
			},
			"approvals_dir": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "The folder with the signed approvals that `jit approve` writes, relative to the " +
					"working directory. Plan and apply read it. Default: `approvals`.",
			},
			"wait_for_approval": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "How long an apply waits for people to approve a new grant, or more time for a " +
					"live one, such as `15m`. It is added to the `timeouts` of the grant. Default: the apply does not wait.",
			},
			"targets": targetsAttribute(),
		},
	}
}

type providerModel struct {
	Config  types.String `tfsdk:"config"`
	Ledger  types.String `tfsdk:"ledger"`
	Owner   types.String `tfsdk:"owner"`
	MaxTTL  types.String `tfsdk:"max_ttl"`
	Targets types.Map    `tfsdk:"targets"`

	ApprovalsDir    types.String `tfsdk:"approvals_dir"`
	WaitForApproval types.String `tfsdk:"wait_for_approval"`
}

// unknown reports whether a value that the broker needs at once is unknown.
func (m *providerModel) unknown() bool {
	return m.Config.IsUnknown() || m.Ledger.IsUnknown() || m.Owner.IsUnknown() || m.MaxTTL.IsUnknown() || m.ApprovalsDir.IsUnknown() ||
		m.WaitForApproval.IsUnknown()
}

// ValidateConfig refuses config beside other attributes, and what every machine would refuse. It reads no file.
func (p *jitProvider) ValidateConfig(
	ctx context.Context, req provider.ValidateConfigRequest, resp *provider.ValidateConfigResponse,
) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if m.Config.IsNull() {
		for _, err := range config.Check(m.settings(ctx, map[string]bool{}, &resp.Diagnostics)) {
			addConfigError(&resp.Diagnostics, "", err)
		}
		return
	}
	for _, other := range []struct {
		name  string
		value attr.Value
	}{
		{"ledger", m.Ledger}, {"owner", m.Owner}, {"max_ttl", m.MaxTTL}, {"approvals_dir", m.ApprovalsDir},
		{"wait_for_approval", m.WaitForApproval}, {"targets", m.Targets},
	} {
		if !other.value.IsNull() {
			addError(&resp.Diagnostics, "Invalid config", jit.Invalid("config",
				"write "+other.name+" in the settings file, or remove config",
				"the provider block sets both config and %s", other.name))
		}
	}
}

// settings returns the settings of the provider block, or of the file that it names. Unknown targets are in unknown.
func (m *providerModel) settings(
	ctx context.Context, unknown map[string]bool, diags *diag.Diagnostics,
) (s config.Settings) {
	if file := m.Config.ValueString(); !m.Config.IsNull() && !m.Config.IsUnknown() {
		s, err := config.LoadProvider(file)
		if err != nil {
			addConfigError(diags, file, err)
		}
		return s
	}
	s = config.Settings{Ledger: m.Ledger.ValueString(), Owner: m.Owner.ValueString(),
		MaxTTL: m.MaxTTL.ValueString(), ApprovalsDir: m.ApprovalsDir.ValueString(),
		WaitForApproval: m.WaitForApproval.ValueString()}
	s.Targets = readTargets(ctx, m.Targets, unknown, diags)
	return s
}

// addConfigError adds an error of the provider block, or of its settings file.
func addConfigError(diags *diag.Diagnostics, file string, err error) {
	var user *jit.Error
	if file != "" && errors.As(err, &user) && user.Attribute != "config" {
		err = &jit.Error{Attribute: "config", Problem: err.Error(), Err: user.Err}
	}
	addError(diags, "Cannot configure the provider", err)
}

// Configure opens the broker. It makes no call. Unknown values, such as the address of a cluster made in the same run,
// are left for the apply.
func (p *jitProvider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	b := &backend{unknown: map[string]bool{}, allUnknown: m.Targets.IsUnknown()}
	resp.ResourceData, resp.DataSourceData, resp.EphemeralResourceData = b, b, b
	resp.ActionData, resp.ListResourceData = b, b

	settings := m.settings(ctx, b.unknown, &resp.Diagnostics)
	if resp.Diagnostics.HasError() || m.unknown() {
		return
	}
	runtime, err := p.open(ctx, settings)
	if err != nil {
		addConfigError(&resp.Diagnostics, settings.File, err)
		return
	}
	logs := context.WithoutCancel(ctx)
	runtime.Broker.Waiting = func(g jit.Grant, left time.Duration) {
		tflog.Info(logs, "waiting for approval", map[string]any{
			"grant": string(g.ID), "awaits": g.Awaits, "left": left.Round(time.Second).String(),
		})
	}
	b.Runtime = runtime
	p.mu.Lock()
	p.backends = append(p.backends, b)
	p.mu.Unlock()
	addWarnings(&resp.Diagnostics, config.Warnings(settings))
}

// EphemeralResources lists the ephemeral resources.
func (p *jitProvider) EphemeralResources(context.Context) []func() ephemeral.EphemeralResource {
	return []func() ephemeral.EphemeralResource{
		func() ephemeral.EphemeralResource { return &ephemeralGrant{} },
	}
}

// ListResources lists the resources that can be listed.
func (p *jitProvider) ListResources(context.Context) []func() listing.ListResource {
	return []func() listing.ListResource{
		func() listing.ListResource { return &grantList{resourceBase{name: "grant"}} },
	}
}

// Actions lists the actions.
func (p *jitProvider) Actions(context.Context) []func() action.Action {
	return []func() action.Action{
		func() action.Action { return &revokeAction{actionBase{name: "revoke"}} },
		func() action.Action { return &sweepAction{actionBase{name: "sweep"}} },
	}
}

// Resources lists the resources.
func (p *jitProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return &grantResource{resourceBase{name: "grant"}} },
		func() resource.Resource {
			return &personResource{named{resourceBase{name: "person"}, (*broker.Broker).DropPerson}}
		},
		func() resource.Resource {
			return &policyResource{named{resourceBase{name: "policy"}, (*broker.Broker).DropPolicy}}
		},
	}
}

// Functions lists the functions.
func (p *jitProvider) Functions(context.Context) []func() function.Function {
	return []func() function.Function{func() function.Function { return ttlSeconds{} }}
}

// DataSources lists the data sources.
func (p *jitProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		func() datasource.DataSource { return &grantsData{dataBase{name: "grants"}} },
		func() datasource.DataSource { return &grantStatusData{dataBase{name: "grant_status"}} },
		func() datasource.DataSource { return &personsData{dataBase{name: "persons"}} },
		func() datasource.DataSource { return &policyData{dataBase{name: "policy"}} },
		func() datasource.DataSource { return &standingData{dataBase{name: "standing_access"}} },
		func() datasource.DataSource { return &targetsData{dataBase{name: "targets"}} },
	}
}
