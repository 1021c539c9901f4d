package provider

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// headKey holds the heads of the ledger when the resource was last recorded or planned: of the chain of all and of that
// of the owner. Older programs wrote the one head that there was.
const headKey = "ledger_head"

// recall compares the head in a private state with the ledger. It warns once in a run of a ledger that has gone back in
// time, of a state that remembers more than the ledger, and of a state that was made with another ledger. An apply of
// either of the first two fails when it writes.
func (b *backend) recall(ctx context.Context, from private, diags *diag.Diagnostics) {
	switch err := b.Broker.Ledger.Recall(ctx, readHeads(ctx, from, diags)...); {
	case errors.Is(err, jit.ErrBehind):
		if b.warnedBehind.CompareAndSwap(false, true) {
			summary := "The ledger has gone back in time"
			if errors.Is(err, jit.ErrStateAhead) {
				summary = stateAhead
			}
			addWarning(diags, summary, err)
		}
	case errors.Is(err, jit.ErrOtherLedger):
		if b.warnedOther.CompareAndSwap(false, true) {
			addWarning(diags, "The state was made with another ledger", err)
		}
	}
}

const stateAhead = "The state remembers more than the ledger"

// tellAhead tells the apply of a planned change if a state remembers more than the ledger; its write then fails. It
// refuses, once, a plan in which a change was planned before that state was met: nothing tells its apply. Call it after
// each plan of a resource. Terraform plans so before a destroy too, unless it does not refresh.
func (b *backend) tellAhead(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if !b.configured() || req.Plan.Raw.IsNull() {
		return
	}
	heads := readHeads(ctx, resp.Private, &resp.Diagnostics)
	ahead := func() bool { return errors.Is(b.Broker.Ledger.Recall(ctx, heads...), jit.ErrStateAhead) }
	changes, isAhead := !resp.Plan.Raw.Equal(req.State.Raw), ahead()
	if changes && !isAhead {
		b.untold.Store(true)
		isAhead = ahead() // another plan may have met such a state, and missed that of this change
	}
	if isAhead && changes {
		resp.Diagnostics.Append(b.rememberHead(ctx, resp.Private)...)
	}
	if isAhead && b.untold.Load() && b.refusedAhead.CompareAndSwap(false, true) {
		_, _, detail := explain("", b.Broker.Ledger.Recall(ctx, heads...))
		resp.Diagnostics.AddError(stateAhead, detail+"\n\nUntil then, you can end access: remove the blocks and apply, "+
			"or run a destroy with -refresh=false.")
	}
}

// remind tells the ledger the heads that a plan remembers. If the ledger lacks one, the writes of this run fail.
func (b *backend) remind(ctx context.Context, planned private, diags *diag.Diagnostics) {
	if heads := readHeads(ctx, planned, diags); b.configured() && len(heads) > 0 {
		_ = b.Broker.Ledger.Recall(ctx, heads...) // the write says so
	}
}

// rememberHead records the newest heads that this run knows in a private state. A read may call it only if it has
// changed the state: Terraform shows a head alone as a change in a plan with -refresh-only. What a read records reaches
// the apply, which refuses to repair one resource if another remembers more than the ledger.
func (b *backend) rememberHead(ctx context.Context, into private) diag.Diagnostics {
	heads := b.Broker.Ledger.Heads(b.Broker.Owner)
	if len(heads) == 0 {
		return nil // the ledger could not be read
	}
	text, err := json.Marshal(heads)
	if err != nil {
		panic(err) // texts and numbers always marshal
	}
	return into.SetKey(ctx, headKey, text)
}

// readHeads reads the heads in a private state; none if there are none.
func readHeads(ctx context.Context, from private, diags *diag.Diagnostics) []jit.Head {
	text, problems := from.GetKey(ctx, headKey)
	diags.Append(problems...)
	if len(text) == 0 {
		return nil
	}
	heads := jit.ParseHeads(text)
	if heads == nil {
		diags.AddError("Cannot read the private state", "the heads of the ledger in it are not JSON")
	}
	return heads
}
