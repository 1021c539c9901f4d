package broker

import (
	"slices"
	"strconv"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// decisionKinds are the kinds of events about grants that name the run: whoever checks them later judges by the rules
// that the run obeyed.
var decisionKinds = []jit.EventKind{
	jit.EventDecided, jit.EventChanged, jit.EventExtended, jit.EventApproved, jit.EventDenied,
}

// event returns an event about a grant; pairs are the keys and values of its detail.
func (b *Broker) event(kind jit.EventKind, g jit.Grant, pairs ...string) jit.Event {
	e := jit.Event{At: b.recordTime(g.Target), Kind: kind, Grant: g.ID, Policy: g.Policy, Actor: b.Actor,
		Detail: map[string]string{}}
	if b.Run != "" && slices.Contains(decisionKinds, kind) {
		e.Detail[jit.RunDetail] = b.Run
	}
	if there := b.sharedTime(g.Target); jit.CheckSkew(e.At, there) != nil {
		e.Detail["target_clock"] = jit.FormatTime(there)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			e.Detail[pairs[i]] = pairs[i+1]
		}
	}
	return e
}

// found returns the event for drift of a grant.
func (b *Broker) found(g jit.Grant, s reconcile.Step) jit.Event {
	return b.aboutDrift(jit.EventDrift, g, s)
}

// aboutDrift returns an event about the drift of a step.
func (b *Broker) aboutDrift(kind jit.EventKind, g jit.Grant, s reconcile.Step, pairs ...string) jit.Event {
	drift := []string{"drift", s.Reason, "kind", string(s.Drift), "severity", string(s.Drift.Severity())}
	return b.event(kind, g, append(drift, pairs...)...)
}

// aboutBinding is [Broker.aboutDrift] with the details of the binding, which may have no record.
func (b *Broker) aboutBinding(kind jit.EventKind, s reconcile.Step, pairs ...string) jit.Event {
	return b.aboutDrift(kind, s.Grant, s,
		append(pairs, "target", s.Target, "scope", s.Scope, "principal", s.Grant.Principal, "role", s.Grant.Role)...)
}

// requested returns the event with all that was requested, and the standing access of the principal.
func (b *Broker) requested(g jit.Grant, before jit.Standing) jit.Event {
	return b.event(jit.EventRequested, g,
		"owner", g.Owner, "target", g.Target, "principal", g.Principal, "role", g.Role, "scope", g.Scope,
		"reason", g.Reason, "renewal", strconv.FormatInt(g.Renewal, 10), "ttl", g.TTL.String(),
		"starts_at", jit.FormatTime(g.Start), "expires_at", jit.FormatTime(g.End),
		"start_by", jit.FormatTime(g.StartBy), "had_before", before.Detail)
}

// window returns an event with the grant's window.
func (b *Broker) window(kind jit.EventKind, g jit.Grant, pairs ...string) jit.Event {
	return b.event(kind, g, append(pairs, "starts_at", jit.FormatTime(g.Start), "expires_at", jit.FormatTime(g.End))...)
}

// ruleEvent returns an event about a policy or a person, which names the run. It adds to detail.
func (b *Broker) ruleEvent(kind jit.EventKind, policy string, detail map[string]string) jit.Event {
	if b.Run != "" {
		detail[jit.RunDetail] = b.Run
	}
	return jit.Event{At: b.Now(), Kind: kind, Policy: policy, Actor: b.Actor, Detail: detail}
}
