package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Create makes the grant, or adopts the one that exists. After an error the grant is kept in the state, tainted, if its
// access may be in force: the next apply completes it, and removing the block ends it.
func (r *grantResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var config, plan grantModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if !r.opened(&resp.Diagnostics) {
		return
	}
	timeout, diags := plan.Timeouts.Create(ctx, defaultTimeout)
	resp.Diagnostics.Append(diags...)
	request, err := config.request()
	if err != nil {
		addError(&resp.Diagnostics, "Invalid grant", err)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, stop := context.WithTimeout(ctx, timeout+r.Broker.WaitForApproval)
	defer stop()
	r.remind(ctx, resp.Private, &resp.Diagnostics)
	g, left, err := r.create(ctx, request)
	if err == nil {
		g, err = r.await(ctx, g, &resp.Diagnostics)
	}
	logOutcome(ctx, "create", g, err)
	if err != nil {
		addError(&resp.Diagnostics, "Cannot grant", err)
		var may bool
		if g, may = r.mayBeInForce(ctx, g, left, err); !may {
			return
		}
	} else if g.Over(r.Broker.Now()) && plan.ExpiresAt.IsUnknown() { // otherwise the plan has warned
		resp.Diagnostics.AddWarning("Nothing was granted", fmt.Sprintf(
			"This grant is over: it ran from %s to %s. Set renewal = %d to grant again.",
			jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()), g.Renewal+1))
	}
	plan.fill(r.view(ctx, g))
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	resp.Diagnostics.Append(identify(ctx, resp.Identity, "id", plan.ID)...)
	resp.Diagnostics.Append(r.remember(ctx, resp.Private, g)...)
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, policyNamedKey, !config.Policy.IsNull())...)
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, nextKey, broker.Request{})...)
}

// create makes or adopts the grant. On an error it returns the part of the grant that is known. If this run destroys
// the grant under another address, before or after, the grant goes on, or ends if policies do not permit it. left is
// the grant that a destroyed resource left to the create.
func (r *grantResource) create(ctx context.Context, request broker.Request) (_, left jit.Grant, _ error) {
	g, _, err := r.Broker.Check(request)
	if err != nil {
		return g, left, err
	}
	one := r.handovers.of(g.ID)
	one.Lock()
	defer one.Unlock()
	request.Successor = one.ended
	made, err := r.Broker.Grant(ctx, request)
	if err = r.created(ctx, one, g, err); err != nil && made.ID == "" {
		return g, one.left, err
	}
	return made, one.left, err
}

// created stores the outcome err of a create, or of its plan, which core repeats during the apply. If policies refused
// the create and a destroy of this run has left the access to it, created ends the access.
func (r *grantResource) created(ctx context.Context, one *handover, g jit.Grant, err error) error {
	if one.failed = err != nil; !errors.Is(err, jit.ErrDenied) || one.left.ID == "" {
		return err
	}
	if _, _, failed := r.Broker.Revoke(ctx, broker.Revocation{Grant: g, Reason: broker.Destroyed,
		Destroys: true}); failed != nil {
		return errors.Join(err, failed)
	}
	return err
}

// lookUpAgain bounds the lookup after a failed create, whose own time may be up.
const lookUpAgain = 10 * time.Second

// mayBeInForce reports whether the access may be in force after a create that failed with err, and returns the record
// of the grant. It may be if the intent is recorded but no outcome, if the create became the holder of a live grant, or
// if a destroyed resource left its access to the create: left is the grant as that one remembered it.
func (r *grantResource) mayBeInForce(ctx context.Context, g, left jit.Grant, err error) (jit.Grant, bool) {
	refused := func(refusal error) bool { return errors.Is(err, refusal) }
	if g.Holder == 0 && left.ID == "" &&
		(g.ID == "" || slices.ContainsFunc([]error{jit.ErrDenied, jit.ErrInvalid, jit.ErrOver}, refused)) {
		return g, false
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), lookUpAgain)
	defer stop()
	recorded, known, unread := r.Broker.Ledger.Lookup(ctx, g.ID)
	switch {
	case known && unread == nil:
		mine := left.ID != "" || recorded.GrantedAt.IsZero() || recorded.Holder == g.Holder
		return recorded, mine && recorded.Live(r.Broker.Now())
	case left.ID != "":
		return left, left.Live(r.Broker.Now())
	}
	return g, unread != nil && g.Version > 0
}

const (
	// decisionPause is the time between two checks for a decision. decisionReserve is the part of the timeout that is
	// left for the steps that follow.
	decisionPause   = 3 * time.Second
	decisionReserve = 10 * time.Second
)

// await waits while people decide on a grant, until the timeout of the operation. A grant without a decision stays
// recorded, and diags gets a warning.
func (r *grantResource) await(ctx context.Context, g jit.Grant, diags *diag.Diagnostics) (_ jit.Grant, err error) {
	deadline, _ := ctx.Deadline()
	for err == nil && r.Broker.AwaitsApproval(g) {
		if time.Until(deadline) < decisionReserve || backoff.Sleep(ctx, decisionPause) != nil {
			r.warnOfApproval(g, diags)
			break
		}
		g, err = r.Broker.CheckApproval(ctx, g)
	}
	return g, err
}

// warnOfApproval warns of a grant without a decision.
func (r *grantResource) warnOfApproval(g jit.Grant, diags *diag.Diagnostics) {
	if r.Broker.AwaitsApproval(g) {
		diags.AddWarning("The grant waits for approval", fmt.Sprintf(
			"The ledger has no decision on grant %s on target %q yet. Once it is approved, `jit sweep` or the next "+
				"apply "+
				"begins it. Without approval it lapses at %s. Raise timeouts.create to wait longer.",
			g.ID, g.Target, jit.FormatTime(g.End)))
	}
}
