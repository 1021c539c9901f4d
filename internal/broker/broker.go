// Package broker grants, changes and revokes access in the one order that survives a crash: ledger (the intent),
// platform, ledger (the outcome). The provider, the command line and the sweeper all work through it.
package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Broker grants, changes and revokes. Set its fields before use; its methods are safe for concurrent use.
type Broker struct {
	Ledger jit.Ledger
	// Targets are the configured targets by name.
	Targets map[string]jit.Platform
	Owner   string
	// AnyOwner permits ending the grants of other owners. Only a sweeper sets it: it takes its grants from the ledger.
	AnyOwner bool
	// MaxTTL bounds every grant, whatever a policy says.
	MaxTTL time.Duration
	Actor  jit.Actor
	Now    func() time.Time
	// Run identifies the run of Terraform that the broker belongs to; empty for other programs. All brokers of one run
	// have the same, in whichever process. A run changes neither who may approve its own grants nor which of them need
	// approval.
	Run string
	// Approvals holds the signed statements of this run.
	Approvals approval.Folder
	// WaitForApproval is how long a grant waits for people to decide. Waiting, if set, is told of each wait.
	WaitForApproval time.Duration
	Waiting         func(g jit.Grant, left time.Duration)
	// Planned holds the policies of the same plan that are not in the ledger yet; it may be nil.
	Planned *Planned

	failures failures
	sweeps   sweeps
	outages  outages
	before   rulesBefore
	late     late
	clocks   clocks
	// unexplained is what [Broker.standing] knows.
	unexplained unexplained
}

// Warning is something that a reviewer must know about a grant.
type Warning struct {
	Attribute string // to blame; may be empty
	Summary   string
	Detail    string
}

// Target returns the configured target of that name.
func (b *Broker) Target(name string) (jit.Platform, error) {
	if p, ok := b.Targets[name]; ok {
		return p, nil
	}
	names := "there are none"
	if len(b.Targets) > 0 {
		names = `"` + strings.Join(slices.Sorted(maps.Keys(b.Targets)), `", "`) + `"`
	}
	hint := "add it to targets in the provider block (or in jit.hcl), for example " + cmp.Or(name, "prod") +
		" = { ssh = { … } }"
	for _, existing := range slices.Sorted(maps.Keys(b.Targets)) {
		if strings.EqualFold(name, existing) {
			hint = fmt.Sprintf("write target = %q", existing)
		}
	}
	return nil, jit.Errorf(jit.ErrUnknown, "target", hint, "%q is not one of the configured targets (%s)", name, names)
}

// Check validates a request without a call or a record: the form of every value, the target and the binding. It returns
// the grant with its canonical binding and its id, without a window, and its traits.
func (b *Broker) Check(r Request) (jit.Grant, jit.Traits, error) {
	if err := CheckForm(r, nil); err != nil {
		return jit.Grant{}, jit.Traits{}, err
	}
	p, err := b.Target(r.Binding.Target)
	if err != nil {
		return jit.Grant{}, jit.Traits{}, err
	}
	binding, traits, err := p.Check(r.Binding)
	if err != nil {
		return jit.Grant{}, jit.Traits{}, err
	}
	if err := checkGatekept(p, r); err != nil {
		return jit.Grant{}, jit.Traits{}, err
	}
	if r.TerminateSessions && !traits.CanTerminate {
		return jit.Grant{}, jit.Traits{}, jit.Invalid("terminate_sessions", "leave it out",
			"open sessions cannot be ended on target %q (%s)", r.Binding.Target, p.Kind())
	}
	return jit.Grant{
		ID:            jit.NewID(b.Owner, binding, r.Reason, r.Renewal),
		Owner:         b.Owner,
		Binding:       binding,
		Reason:        r.Reason,
		Renewal:       r.Renewal,
		TTL:           r.TTL,
		StartAsked:    jit.StartAsked(r.StartsAt),
		Terms:         r.Terms,
		Enforcement:   traits.Enforcement,
		SessionTail:   traits.SessionTail,
		PrincipalName: traits.PrincipalName,
	}, traits, nil
}

// Lookup returns the record of id. If the ledger does not know it, Lookup returns remembered (the facts of a Terraform
// state; it may be the zero Grant) with known false.
func (b *Broker) Lookup(ctx context.Context, id jit.ID, remembered jit.Grant) (g jit.Grant, known bool, err error) {
	g, known, err = b.Find(ctx, id)
	if err == nil && known {
		err = b.owns(g)
	}
	if err != nil || !known {
		return remembered, false, err
	}
	return g, true, nil
}

// Find returns the record of id, of whatever owner. A grant of this owner is not among the records of others that cannot be read.
func (b *Broker) Find(ctx context.Context, id jit.ID) (g jit.Grant, known bool, err error) {
	g, known, err = b.Ledger.Lookup(ctx, id)
	if !b.AnyOwner && jit.Partial(err, jit.Owners{b.Owner}) {
		err = nil
	}
	return g, known, err
}

// ErrOtherOwner is the error for a grant of another owner. It is also a [jit.ErrInvalid], so test for ErrOtherOwner
// first.
var ErrOtherOwner = fmt.Errorf("the grant belongs to another owner: %w", jit.ErrInvalid)

// owns refuses a grant of another owner with [ErrOtherOwner].
func (b *Broker) owns(g jit.Grant) error {
	if g.Owner == b.Owner || b.AnyOwner {
		return nil
	}
	return jit.Errorf(ErrOtherOwner, "owner", fmt.Sprintf("use the configuration whose owner is %q", g.Owner),
		"grant %s belongs to the owner %q, and this configuration acts for %q", g.ID, g.Owner, b.Owner)
}

// Observe reads the grant's scope and describes how the access there differs from the record; empty if it does not. It
// makes no call for a grant that is over, pending or scheduled, unless the grant awaits approval. What a read that misses
// recent writes can show is no difference.
func (b *Broker) Observe(ctx context.Context, g jit.Grant) (drift string, err error) {
	undecided := b.AwaitsApproval(g)
	if g.State(b.Now()) != jit.StateActive && !undecided {
		return "", nil
	}
	s, err := b.outages.read(g.Place(), b.Now, func() (jit.Snapshot, error) { return b.read(ctx, g) })
	if err != nil {
		return "", err
	}
	if g.Drift(s) == jit.Missing {
		older, err := b.olderThanRestore(ctx, []jit.Grant{g})
		unsettled := map[jit.ID]bool{}
		if err == nil && len(older) > 0 {
			unsettled, err = b.Unsettled(ctx, g.Target, []jit.ID{g.ID})
		}
		if err != nil || len(older) > 0 && !unsettled[g.ID] {
			return "", cmp.Or(err, errGone(g))
		}
	}
	if !undecided {
		d, err := b.settled(ctx, g, g.Differs(s))
		if d.Kind == jit.DriftGone {
			return "", err // there is nothing to repair: the sweeper ends it
		}
		return d.Words, err
	}
	if g.Drift(s) == jit.Missing {
		return "", nil
	}
	return "people approved it on the target and access has begun; that is not recorded yet", nil
}

// read reads the grant's scope.
func (b *Broker) read(ctx context.Context, g jit.Grant) (jit.Snapshot, error) {
	return b.readPlace(ctx, g.Place())
}

// readPlace reads a scope.
func (b *Broker) readPlace(ctx context.Context, at jit.Place) (jit.Snapshot, error) {
	p, err := b.Target(at.Target)
	if err != nil {
		return jit.Snapshot{}, err
	}
	return b.readScope(ctx, p.Read, at)
}

// readScope reads a scope with read and notes the clock of its target.
func (b *Broker) readScope(
	ctx context.Context, read func(context.Context, string) (jit.Snapshot, error), at jit.Place,
) (jit.Snapshot, error) {
	before := b.Now()
	s, err := read(ctx, at.Scope)
	if err != nil {
		return s, fmt.Errorf("read %s on target %q: %w", at.Scope, at.Target, err)
	}
	b.SawClock(at.Target, s.Clock, before)
	return s, nil
}

// maxRetries bounds how often a record that others keep changing is read again.
const maxRetries = 20

// write records one entry.
func (b *Broker) write(ctx context.Context, e jit.Entry) error {
	return b.Ledger.Write(ctx, []jit.Entry{e})[0]
}

// update rewrites a record: change alters the recorded grant and returns the events to record with it, or false to
// leave it as it is. first is the record as the caller knows it. If the record has changed meanwhile, change is called
// again with the new one.
func (b *Broker) update(
	ctx context.Context, first jit.Grant, change func(g *jit.Grant) ([]jit.Event, bool),
) (jit.Grant, error) {
	g := first
	for range maxRetries {
		next := g
		events, wanted := change(&next)
		if !wanted {
			return g, nil
		}
		err := b.write(ctx, jit.Rewrite(g, next, events...))
		if err == nil {
			next.Version++
			return next, nil
		}
		if !errors.Is(err, jit.ErrStale) {
			return g, err
		}
		if g, err = b.newest(ctx, g); err != nil {
			return g, err
		}
	}
	return g, fmt.Errorf("grant %s: %w; it changed %d times in a row", first.ID, jit.ErrStale, maxRetries)
}

// newest returns the record as it is now; if it is gone, g as a new record.
func (b *Broker) newest(ctx context.Context, g jit.Grant) (jit.Grant, error) {
	recorded, known, err := b.Find(ctx, g.ID)
	if known {
		return recorded, nil
	}
	if err == nil {
		g.Version = 0
	}
	return g, err
}

// revoked marks g as revoked now and returns the event for it.
func (b *Broker) revoked(g *jit.Grant, now time.Time, reason string) jit.Event {
	g.RevokedAt, g.RevokedBy, g.RevokeReason = now, b.Actor.Name, reason
	return b.event(jit.EventRevokeAsked, *g, "reason", reason)
}
