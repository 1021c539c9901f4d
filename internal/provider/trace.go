package provider

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Trace logs the calls on a target, and each request to its server, for TF_LOG=TRACE. It logs no header, no query and
// no body. It names principals and reasons only in paths, and in the texts of errors, which Terraform shows as well. It
// goes inside the batching, so each line is a real call.
func Trace(target string, p jit.Platform) jit.Platform {
	t := traced{Platform: p, target: target}
	if d, ok := p.(jit.Describer); ok {
		return &tracedDescriber{t, d}
	}
	return &t
}

type traced struct {
	jit.Platform
	target string
}

// tracedDescriber is traced for a platform that must be asked for the traits of a binding.
type tracedDescriber struct {
	traced
	describer jit.Describer
}

var (
	_ jit.Platform  = (*traced)(nil)
	_ jit.Describer = (*tracedDescriber)(nil)
)

// Unwrap returns the platform whose calls are logged.
func (p *traced) Unwrap() jit.Platform { return p.Platform }

// Given logs a lookup.
func (p *traced) Given(ctx context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	if !ask {
		return p.Platform.Given(ctx, b, ask)
	}
	ctx, done := p.call(ctx, "Given", b.Scope, 0)
	given, err := p.Platform.Given(ctx, b, ask)
	done(err)
	return given, err
}

// Scopes logs a search for scopes.
func (p *traced) Scopes(ctx context.Context) ([]string, error) {
	ctx, done := p.call(ctx, "Scopes", "", 0)
	scopes, err := p.Platform.Scopes(ctx)
	done(err)
	return scopes, err
}

// Read logs a read of a scope.
func (p *traced) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	ctx, done := p.call(ctx, "Read", scope, 0)
	snapshot, err := p.Platform.Read(ctx, scope)
	done(err)
	if advise := snapshot.Advise; advise != nil {
		snapshot.Advise = func(ctx context.Context, b jit.Binding) []jit.Advice {
			ctx, done := p.call(ctx, "Advise", scope, 0)
			defer done(nil)
			return advise(ctx, b)
		}
	}
	return snapshot, err
}

// Apply logs a write, and the outcome of each of its changes.
func (p *traced) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	ctx, done := p.call(ctx, "Apply", scope, len(changes))
	errs := p.Platform.Apply(ctx, scope, changes)
	for i, c := range changes {
		tflog.Trace(ctx, "platform change", map[string]any{
			"target": p.target, "scope": scope, "grant": string(c.Access.Marker.ID), "op": c.Op.String(),
			"outcome": outcomeOf(errs[i]),
		})
	}
	done(errors.Join(errs...))
	return errs
}

// Describe logs a lookup of traits.
func (p *tracedDescriber) Describe(ctx context.Context, b jit.Binding) (jit.Traits, error) {
	ctx, done := p.call(ctx, "Describe", b.Scope, 0)
	traits, err := p.describer.Describe(ctx, b)
	done(err)
	return traits, err
}

// call returns the context of a call, whose requests are logged, and what to do when it has ended.
func (p *traced) call(ctx context.Context, method, scope string, changes int) (context.Context, func(error)) {
	began := time.Now()
	facts := func(more map[string]any) map[string]any {
		more["target"], more["platform"], more["method"], more["scope"] = p.target, p.Kind(), method, scope
		return more
	}
	var mu sync.Mutex
	attempts := map[string]int{}
	count := func(e jit.Exchange) int {
		mu.Lock()
		defer mu.Unlock()
		attempts[e.Key]++
		return attempts[e.Key]
	}
	within := jit.WithExchanges(ctx, func(e jit.Exchange) {
		attempt := e.Attempt
		if attempt == 0 {
			attempt = count(e)
		}
		tflog.Trace(ctx, "platform request", facts(map[string]any{"host": e.Host, "request": e.Request,
			"outcome": e.Outcome, "attempt": attempt, "duration_ms": e.Took.Milliseconds()}))
	})
	return within, func(err error) {
		more := map[string]any{"outcome": outcomeOf(err), "duration_ms": time.Since(began).Milliseconds()}
		if changes > 0 {
			more["changes"] = changes
		}
		tflog.Trace(ctx, "platform call", facts(more))
	}
}

// outcomeOf is the outcome of a call in a log.
func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	return jit.Visible(err.Error())
}

// outcomes are the words of logs for the outcomes of verdicts.
var outcomes = map[jit.Outcome]string{
	jit.Permitted: "permitted", jit.NeedsApproval: "needs approval", jit.Refused: "refused",
}

// logDecision logs what a plan decided on a grant, and by which rule.
func logDecision(ctx context.Context, step string, g jit.Grant, d broker.Decision, err error) {
	facts := map[string]any{"step": step, "grant": string(g.ID), "target": g.Target, "scope": g.Scope, "role": g.Role,
		"outcome": outcomes[d.Verdict.Outcome], "policy": d.Verdict.Policy, "rule": d.Verdict.Rule}
	switch {
	case err != nil:
		facts["outcome"], facts["rule"] = "refused", outcomeOf(err)
	case d.Over:
		facts["outcome"] = "over"
	case d.Met:
		facts["outcome"] = "met: the grant is recorded"
	}
	if d.Awaits != "" {
		facts["awaits"] = d.Awaits
	}
	tflog.Debug(ctx, "decision", facts)
}

// logOutcome logs what an apply did with a grant.
func logOutcome(ctx context.Context, step string, g jit.Grant, err error) {
	tflog.Debug(ctx, "grant", map[string]any{"step": step, "grant": string(g.ID), "target": g.Target, "scope": g.Scope,
		"policy": g.Policy, "outcome": outcomeOf(err)})
}
