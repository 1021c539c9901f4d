package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The results of a revocation. stepFailed is the fourth.
const (
	revoked    = "revoked"
	over       = "over"       // the access had ended before, or never began
	unrecorded = "unrecorded" // the access was ended, but the ledger could not record it
)

// outcome is the result of revoking one grant, in the stable names of --json.
type outcome struct {
	ID jit.ID `json:"id"`
	jit.Binding
	// Result is revoked, over, unrecorded or stepFailed.
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
	// Remains names the remaining clean-up after the access has ended.
	Remains string `json:"remains,omitempty"`
	// SessionTail is how long an open session may continue; empty if none can.
	SessionTail string `json:"session_tail,omitempty"`

	who string
}

// revokeEach revokes all grants, or closes their records.
func (p *program) revokeEach(ctx context.Context, rt *config.Runtime, grants []jit.Grant, r revocation) []outcome {
	var errs []error
	if r.gone {
		errs = rt.Broker.CloseAll(ctx, grants, r.reason)
	} else {
		all := make([]broker.Revocation, len(grants))
		for i, g := range grants {
			all[i] = broker.Revocation{Grant: g, Reason: r.reason, TerminateSessions: r.terminate}
		}
		errs = rt.Broker.RevokeAll(ctx, all, nil)
	}
	outcomes := make([]outcome, len(grants))
	for i, g := range grants {
		outcomes[i] = p.outcomeOf(rt, g, r, errs[i])
	}
	return outcomes
}

// outcomeOf returns the outcome of a grant as it was before its revocation, which returned an error or nil.
func (p *program) outcomeOf(rt *config.Runtime, g jit.Grant, r revocation, err error) outcome {
	o := outcome{ID: g.ID, Binding: g.Binding, Result: revoked, who: who(g)}
	if g.Over(p.Now()) && !g.EndedAt.IsZero() || g.Failed() {
		o.Result = over
	}
	switch {
	case errors.Is(err, jit.ErrRemains):
		o.Remains = err.Error()
	case errors.Is(err, broker.ErrUnrecorded):
		o.Result, o.Error = unrecorded, err.Error()
	case err != nil:
		o.Result, o.Error = stepFailed, err.Error()
	}
	if o.Result == revoked {
		o.SessionTail = sessionTail(rt, g, r.terminate)
	}
	return o
}

// sessionTail returns how long an open session of a revoked grant may continue; empty if none can.
func sessionTail(rt *config.Runtime, g jit.Grant, terminate bool) string {
	target, err := rt.Broker.Target(g.Target)
	if err != nil {
		return ""
	}
	_, traits, err := target.Check(g.Binding)
	if err != nil || traits.SessionTail == 0 || traits.CanTerminate && (terminate || g.TerminateSessions) {
		return ""
	}
	return jit.FormatTail(traits.SessionTail)
}

// printOutcomes prints the outcomes, with notes about the access that may be left.
func (p *program) printOutcomes(outcomes []outcome) error {
	if p.json {
		if err := p.printJSON(outcomes); err != nil {
			return err
		}
	} else {
		t := p.table(p.out, "SCOPE", "ROLE")
		t.row("ID", "RESULT", "TARGET", "PRINCIPAL", "ROLE", "SCOPE", "SESSION TAIL", "ERROR")
		for _, o := range outcomes {
			t.row(string(o.ID), o.Result, o.Target, o.who, o.Role, o.Scope, o.SessionTail, o.Error)
		}
		t.flush()
	}
	tails := 0
	for _, o := range outcomes {
		if o.Remains != "" {
			fmt.Fprintf(p.err, "note: %s\n", printable(o.Remains))
		}
		if o.SessionTail != "" {
			tails++
		}
	}
	if tails > 0 {
		fmt.Fprintf(p.err, "warning: open sessions of %s may continue for their session tail; end them on the target\n",
			counted(tails, "grant"))
	}
	return nil
}

// unfinishedOutcomes returns an error for the grants that were not revoked or not recorded.
func unfinishedOutcomes(outcomes []outcome) error {
	count := map[string]int{}
	for _, o := range outcomes {
		count[o.Result]++
	}
	var left []error
	if n := count[stepFailed]; n > 0 {
		left = append(left, fmt.Errorf("%d of %s could not be revoked; run the command again, or leave it to jit sweep",
			n, counted(len(outcomes), "grant")))
	}
	if n := count[unrecorded]; n > 0 {
		left = append(left, fmt.Errorf("the access of %s was ended, but the ledger could not record it; "+
			"run the command again when the ledger is back, before a sweep restores the access", counted(n, "grant")))
	}
	return notDone(errors.Join(left...))
}
