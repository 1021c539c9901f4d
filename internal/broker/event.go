package broker

import (
	"strconv"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// event returns an event about a grant; pairs are the keys and values of its detail.
func (b *Broker) event(kind jit.EventKind, g jit.Grant, pairs ...string) jit.Event {
	e := jit.Event{At: b.Now(), Kind: kind, Grant: g.ID, Policy: g.Policy, Actor: b.Actor, Detail: map[string]string{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			e.Detail[pairs[i]] = pairs[i+1]
		}
	}
	return e
}

// Finding is what the sweeper found about a grant.
type Finding struct {
	Kind  jit.DriftKind
	Words string
}

// found says what was found.
func (b *Broker) found(g jit.Grant, f Finding) jit.Event { return b.about(jit.EventDrift, g, f) }

// about tells of what became of a finding.
func (b *Broker) about(kind jit.EventKind, g jit.Grant, f Finding, pairs ...string) jit.Event {
	return b.event(kind, g, append([]string{"drift", f.Words, "kind", string(f.Kind), "severity", string(f.Kind.Severity())}, pairs...)...)
}

// aboutBinding is [Broker.about] with the binding spelt out, of which there may be no record.
func (b *Broker) aboutBinding(kind jit.EventKind, at jit.Place, g jit.Grant, f Finding, pairs ...string) jit.Event {
	return b.about(kind, g, f, append(pairs, "target", at.Target, "scope", at.Scope, "principal", g.Principal, "role", g.Role)...)
}

// requested says everything that was asked for, and what the principal had before.
func (b *Broker) requested(g jit.Grant, before jit.Standing) jit.Event {
	return b.event(jit.EventRequested, g,
		"owner", g.Owner, "target", g.Target, "principal", g.Principal, "role", g.Role, "scope", g.Scope,
		"reason", g.Reason, "renewal", strconv.FormatInt(g.Renewal, 10), "ttl", g.TTL,
		"starts_at", jit.FormatTime(g.Start), "expires_at", jit.FormatTime(g.End), "start_by", jit.FormatTime(g.StartBy),
		"had_before", before.Detail)
}

// window says which window a grant has.
func (b *Broker) window(kind jit.EventKind, g jit.Grant, pairs ...string) jit.Event {
	return b.event(kind, g, append(pairs, "starts_at", jit.FormatTime(g.Start), "expires_at", jit.FormatTime(g.End))...)
}

func (b *Broker) policyEvent(kind jit.EventKind, name string, detail map[string]string) jit.Event {
	return jit.Event{At: b.Now(), Kind: kind, Policy: name, Actor: b.Actor, Detail: detail}
}
