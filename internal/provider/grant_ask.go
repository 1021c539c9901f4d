package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// decisionPause is the time between two looks at the decision. decisionReserve is the part of the timeout that is
	// left for the steps that follow.
	decisionPause   = 3 * time.Second
	decisionReserve = 10 * time.Second
)

// await waits while people decide on a grant, until the timeout of the operation. A grant without a decision stays
// recorded, and diags says so.
func (r *grantResource) await(ctx context.Context, g jit.Grant, diags *diag.Diagnostics) (jit.Grant, error) {
	deadline, bounded := ctx.Deadline()
	for r.Broker.AwaitsApproval(g) {
		if !bounded || time.Until(deadline) < decisionReserve || ctx.Err() != nil {
			r.tellWaiting(g, diags)
			break
		}
		_ = backoff.Sleep(ctx, decisionPause) // the grant stays recorded if this is interrupted
		if ctx.Err() != nil {
			continue
		}
		var err error
		if g, err = r.Broker.CheckApproval(ctx, g); err != nil {
			return g, err
		}
	}
	return g, nil
}

// tellWaiting warns of a grant without a decision.
func (r *grantResource) tellWaiting(g jit.Grant, diags *diag.Diagnostics) {
	if !r.Broker.AwaitsApproval(g) {
		return
	}
	diags.AddWarning("The grant waits for approval", fmt.Sprintf(
		"Nobody has decided on grant %s on target %q so far, as far as is recorded. It begins with the approval, which `jit sweep` or the next apply takes up, and lapses at %s. Raise timeouts.create to wait longer.",
		g.ID, g.Target, jit.FormatTime(g.End)))
}
