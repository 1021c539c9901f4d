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
	// decisionPause is how long the provider waits before it looks again what was decided, decisionReserve how much of its time it
	// leaves for what follows.
	decisionPause   = 3 * time.Second
	decisionReserve = 10 * time.Second
)

// await waits while people decide on a grant, for as long as the timeout of the operation leaves time. A grant that nobody has
// decided on then stays recorded, and diags says so.
func (r *grantResource) await(ctx context.Context, g jit.Grant, diags *diag.Diagnostics) (jit.Grant, error) {
	deadline, bounded := ctx.Deadline()
	for r.Broker.Waiting(g) {
		if !bounded || time.Until(deadline) < decisionReserve || ctx.Err() != nil {
			r.tellWaiting(g, diags)
			break
		}
		_ = backoff.Sleep(ctx, decisionPause) // if it is cut off, the grant stays recorded
		if ctx.Err() != nil {
			continue
		}
		var err error
		if g, err = r.Broker.TakeUp(ctx, g); err != nil {
			return g, err
		}
	}
	return g, nil
}

// tellWaiting warns of a grant that nobody has decided on.
func (r *grantResource) tellWaiting(g jit.Grant, diags *diag.Diagnostics) {
	if !r.Broker.Waiting(g) {
		return
	}
	diags.AddWarning("The grant waits for approval", fmt.Sprintf(
		"Nobody has decided on grant %s on target %q so far, as far as is recorded. It begins with the approval, which `jit sweep` or the next apply takes up, and lapses at %s. Raise timeouts.create to wait longer.",
		g.ID, g.Target, jit.FormatTime(g.End)))
}
