package provider

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/action/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// sweepAction is the action jit_sweep: one pass of the sweeper.
type sweepAction struct{ actionBase }

var _ action.ActionWithConfigure = (*sweepAction)(nil)

type sweepModel struct {
	DueOnly types.Bool `tfsdk:"due_only"`
}

// Schema describes the action.
func (a *sweepAction) Schema(_ context.Context, _ action.SchemaRequest, resp *action.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Makes one pass of the sweeper over the grants of this owner, as `jit sweep` does: it ends " +
			"grants that are over, starts those that are due, and repairs those that were altered on their target. " +
			"It does not replace a sweeper that runs all the time. Needs Terraform 1.14.",
		Attributes: map[string]schema.Attribute{
			"due_only": schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether to only end and start what the " +
				"ledger says is due, and not to look for drift. Default: `false`."},
		},
	}
}

// Invoke makes the pass.
func (a *sweepAction) Invoke(ctx context.Context, req action.InvokeRequest, resp *action.InvokeResponse) {
	var m sweepModel
	if !req.Config.Raw.IsNull() { // it is null without a block config
		resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	}
	if !a.opened(&resp.Diagnostics) {
		return
	}
	holder, err := os.Hostname()
	if err != nil {
		holder = "unknown"
	}
	s := sweeper.Sweeper{
		Broker: a.sweepers(), Holder: holder, DueOnly: m.DueOnly.ValueBool(), MaxUnplanned: sweeper.DefaultMaxUnplanned,
		OnDrift: a.OnDrift, RevokeViolations: a.RevokeViolations,
	}
	if a.MaxUnplanned != nil {
		s.MaxUnplanned = *a.MaxUnplanned
	}
	progress(resp, "Sweeping %d targets", len(a.Targets))
	tellPass(s.Pass(ctx), resp)
}

// sweepers returns a broker that may end the grants of other owners that are over, as a sweeper does. The broker of the
// resources may not.
func (a *sweepAction) sweepers() *broker.Broker {
	b := a.Broker
	actor := b.Actor
	actor.Source = jit.FromSweeper
	all := &broker.Broker{
		Ledger: b.Ledger, Targets: b.Targets, Owner: b.Owner, AnyOwner: true, MaxTTL: b.MaxTTL, Actor: actor, Now: b.Now,
	}
	all.Approvals.Dir = b.Approvals.Dir
	return all
}

// tellPass tells what a pass has done, and of what it has left.
func tellPass(report sweeper.Report, resp *action.InvokeResponse) {
	for _, r := range report.Results {
		what := fmt.Sprintf("%s %s on target %q: %s", r.Kind, r.Grant.ID, r.Target, r.Reason)
		switch {
		case r.Failed():
			addError(&resp.Diagnostics, "The sweep could not do a step", fmt.Errorf("%s: %w", what, r.Err))
		case r.Kind == reconcile.Report && r.Severity == jit.Critical && !r.Foreign:
			addWarning(&resp.Diagnostics, "The sweep found something to decide", errors.New(what))
		default:
			progress(resp, "%s", jit.Visible(what))
		}
	}
	for _, err := range report.Unread {
		addError(&resp.Diagnostics, "The sweep could not read everything", err)
	}
	if n := len(report.Held); n > 0 {
		addError(&resp.Diagnostics, "The sweep held back removals", fmt.Errorf(
			"%d removals that no recorded end explains were held back: look with `jit sweep --dry-run`, then allow more", n))
	}
	if n := report.Unended(); n > 0 {
		addError(&resp.Diagnostics, "Grants are out of reach", fmt.Errorf(
			"%d grants that are over cannot be ended by this sweep: `jit sweep` says why", n))
	}
	progress(resp, "Swept: %d steps, %d failed", len(report.Results), report.Failed())
}
