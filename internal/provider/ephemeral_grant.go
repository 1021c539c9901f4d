package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// ephemeralGrant is the ephemeral resource jit_grant: access for one run of Terraform.
type ephemeralGrant struct{ *backend }

var (
	_ ephemeral.EphemeralResourceWithConfigure      = (*ephemeralGrant)(nil)
	_ ephemeral.EphemeralResourceWithValidateConfig = (*ephemeralGrant)(nil)
	_ ephemeral.EphemeralResourceWithRenew          = (*ephemeralGrant)(nil)
	_ ephemeral.EphemeralResourceWithClose          = (*ephemeralGrant)(nil)
)

const (
	// maxRunTTL is the longest ttl of a grant for one run: the longest time for which it outlives a run that was killed.
	maxRunTTL = time.Hour
	// minRenewed is the shortest ttl with which Terraform renews the grant. Some command lines renew a minute early, and
	// a shorter grant would be renewed all the time.
	minRenewed = 5 * time.Minute
	// inForcePause is the time between two looks whether the access is in force.
	inForcePause = 2 * time.Second
	// runClosed is the recorded reason for the end of a grant whose run has closed it.
	runClosed = "the run of Terraform is done with it"
)

// openedKey holds the open grant in the private data of the ephemeral resource; none if nothing was granted.
const openedKey = "opened"

// opened is what Renew and Close know of an open grant.
type opened struct {
	Grant jit.Grant     `json:"grant"`
	TTL   time.Duration `json:"ttl"`
}

// Metadata names the ephemeral resource.
func (e *ephemeralGrant) Metadata(
	_ context.Context, req ephemeral.MetadataRequest, resp *ephemeral.MetadataResponse,
) {
	resp.TypeName = req.ProviderTypeName + "_grant"
}

// Configure receives the backend of the provider.
func (e *ephemeralGrant) Configure(
	_ context.Context, req ephemeral.ConfigureRequest, resp *ephemeral.ConfigureResponse,
) {
	e.backend = receive(req.ProviderData, &resp.Diagnostics)
}

// ValidateConfig refuses configurations that are wrong at any time.
func (e *ephemeralGrant) ValidateConfig(
	ctx context.Context, req ephemeral.ValidateConfigRequest, resp *ephemeral.ValidateConfigResponse,
) {
	var m ephemeralModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if request := m.grant().checkForm(&resp.Diagnostics); request.TTL.Length() > maxRunTTL {
		addError(&resp.Diagnostics, "Invalid grant", jit.Invalid("ttl",
			`write ttl = "1h" or less; Terraform renews the grant while the run needs it`,
			"%q is longer than %s, the maximum for one run", m.TTL.ValueString(), jit.FormatDuration(maxRunTTL)))
	}
	if m.Applying.IsNull() && !m.DuringPlan.IsUnknown() && !m.DuringPlan.ValueBool() {
		addError(&resp.Diagnostics, "Invalid grant", jit.Invalid("applying",
			"write applying = terraform.applying, or during_plan = true to grant in plans too",
			"Terraform opens ephemeral resources in plans too, and nothing says that this is no plan"))
	}
}

// Open grants the access and waits until it is in force. In a plan it only judges the request, unless the configuration
// asks for more. After an error nothing is left of the grant, except what the error names.
func (e *ephemeralGrant) Open(ctx context.Context, req ephemeral.OpenRequest, resp *ephemeral.OpenResponse) {
	var m ephemeralModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	gives := m.Applying.ValueBool() || m.DuringPlan.ValueBool()
	if !gives && !e.configured() { // the apply judges, with everything known
		resp.Diagnostics.Append(resp.Result.Set(ctx, &m)...)
		return
	}
	if !e.backend.opened(&resp.Diagnostics) || gives && !e.openedOn(m.Target.ValueString(), &resp.Diagnostics) {
		return
	}
	asked := m.grant()
	request, err := asked.request()
	if err == nil && request.Policy == "" {
		err = e.Broker.CheckOrder(ctx, false)
	}
	if err != nil {
		addError(&resp.Diagnostics, "Invalid grant", err)
		return
	}
	ctx, stop := context.WithTimeout(ctx, defaultTimeout)
	defer stop()
	if !m.Applying.ValueBool() {
		e.preview(ctx, request, &resp.Diagnostics)
	}
	if !resp.Diagnostics.HasError() && gives {
		e.open(ctx, request, &m, resp)
	}
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.Result.Set(ctx, &m)...)
	}
}

// open grants, and notes the grant for Renew and Close.
func (e *ephemeralGrant) open(
	ctx context.Context, request broker.Request, m *ephemeralModel, resp *ephemeral.OpenResponse,
) {
	g := e.grant(ctx, request, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	m.fill(e.view(ctx, g))
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, openedKey, opened{g, request.TTL.Length()})...)
	if request.TTL.Length() >= minRenewed {
		resp.RenewAt = e.renewAt(g)
	}
}

// preview refuses in a plan what the apply would refuse.
func (e *ephemeralGrant) preview(ctx context.Context, request broker.Request, diags *diag.Diagnostics) {
	if !e.ready(request.Binding.Target) {
		return // the apply judges with everything known
	}
	d, err := e.Broker.PreviewOneRun(ctx, request)
	logDecision(ctx, "plan of a grant for one run", d.Grant, d, err)
	if err != nil {
		addError(diags, "Cannot plan the grant", err)
		return
	}
	addWarnings(diags, d.Warnings)
}

// grant grants, and waits until the access is in force. After an error it takes back what it may have given.
func (e *ephemeralGrant) grant(ctx context.Context, request broker.Request, diags *diag.Diagnostics) jit.Grant {
	g, err := e.Broker.GrantOneRun(ctx, request)
	logOutcome(ctx, "open", g, err)
	if err == nil && !e.openGrants.add(g) {
		err = errStopped
	}
	if err == nil {
		err = e.awaitForce(ctx, g, diags)
	}
	if err != nil {
		addError(diags, "Cannot grant", err)
		if g.Version > 0 {
			e.endOne(context.WithoutCancel(ctx), g, diags)
		}
	}
	return g
}

// awaitForce waits until the target shows the access. A target that does not show it in time may still give it, which
// is a warning.
func (e *ephemeralGrant) awaitForce(ctx context.Context, g jit.Grant, diags *diag.Diagnostics) error {
	for {
		there, err := e.Broker.InForce(ctx, g)
		if err != nil || there {
			return err
		}
		if backoff.Sleep(ctx, inForcePause) == nil {
			continue
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		diags.AddWarning("The access may not be in force yet", fmt.Sprintf(
			"Target %q has confirmed grant %s, and reads there do not show it yet.", g.Target, g.ID))
		return nil
	}
}

// renewAt is when Terraform is to renew a grant: after two thirds of the time that is left, by the clock of Terraform.
func (e *ephemeralGrant) renewAt(g jit.Grant) time.Time {
	return time.Now().Add(g.End.Sub(e.Broker.Now()) * 2 / 3)
}

// Renew moves the end of the grant to its ttl from now. A renewal that fails is a warning: the run may still be done
// in time.
func (e *ephemeralGrant) Renew(ctx context.Context, req ephemeral.RenewRequest, resp *ephemeral.RenewResponse) {
	o := readPrivate[opened](ctx, req.Private, openedKey, &resp.Diagnostics)
	if o.Grant.ID == "" || !e.backend.opened(&resp.Diagnostics) {
		return
	}
	ctx, stop := context.WithTimeout(ctx, defaultTimeout)
	defer stop()
	g, last, err := e.Broker.Renew(ctx, o.Grant.ID, o.TTL)
	if err != nil {
		addWarning(&resp.Diagnostics, "The grant was not renewed", err)
		return
	}
	if !last {
		resp.RenewAt = e.renewAt(g)
		return
	}
	resp.Diagnostics.AddWarning("The grant cannot be renewed any more", fmt.Sprintf(
		"It has the maximum length and ends at %s. If the run takes longer, the rest of it lacks the access.",
		jit.FormatTime(g.End)))
}

// Close ends the access.
func (e *ephemeralGrant) Close(ctx context.Context, req ephemeral.CloseRequest, resp *ephemeral.CloseResponse) {
	o := readPrivate[opened](ctx, req.Private, openedKey, &resp.Diagnostics)
	if o.Grant.ID == "" || !e.backend.opened(&resp.Diagnostics) {
		return
	}
	e.endOne(ctx, o.Grant, &resp.Diagnostics)
}

// ephemeralModel is an ephemeral jit_grant as configuration and result hold it.
type ephemeralModel struct {
	Target            types.String `tfsdk:"target"`
	Principal         types.String `tfsdk:"principal"`
	Role              types.String `tfsdk:"role"`
	Scope             types.String `tfsdk:"scope"`
	Reason            types.String `tfsdk:"reason"`
	TTL               types.String `tfsdk:"ttl"`
	Policy            types.String `tfsdk:"policy"`
	Requester         types.String `tfsdk:"requester"`
	TerminateSessions types.Bool   `tfsdk:"terminate_sessions"`
	Applying          types.Bool   `tfsdk:"applying"`
	DuringPlan        types.Bool   `tfsdk:"during_plan"`
	ID                types.String `tfsdk:"id"`
	Renewal           types.Int64  `tfsdk:"renewal"`
	Summary           types.String `tfsdk:"summary"`
	ExpiresAt         types.String `tfsdk:"expires_at"`
	Enforcement       types.String `tfsdk:"enforcement"`
	SessionTail       types.String `tfsdk:"session_tail"`
}

// grant returns the request as a resource would have it.
func (m *ephemeralModel) grant() *grantModel {
	return &grantModel{
		Target: m.Target, Principal: m.Principal, Role: m.Role, Scope: m.Scope, Reason: m.Reason, TTL: m.TTL,
		Policy: m.Policy, Requester: m.Requester, TerminateSessions: m.TerminateSessions,
	}
}

// fill sets the computed attributes to the facts of a grant.
func (m *ephemeralModel) fill(v jit.View) {
	if m.Scope.IsNull() {
		m.Scope = types.StringValue(v.Scope)
	}
	m.ID, m.Renewal, m.Summary = types.StringValue(string(v.ID)), types.Int64Value(v.Renewal), types.StringValue(v.Summary)
	m.ExpiresAt = types.StringValue(jit.FormatTime(v.End))
	m.Enforcement, m.SessionTail = types.StringValue(string(v.Enforcement)), types.StringValue(v.SessionTail)
}
