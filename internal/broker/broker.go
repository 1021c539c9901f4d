// Package broker carries grants through their life in the one order that survives
// a crash: ledger (the intent), platform, ledger (the outcome). The provider,
// the command line and the sweeper all work through it.
package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Broker grants, changes and revokes. Its fields are set once, before use; all
// of its methods are safe for concurrent use.
type Broker struct {
	Ledger jit.Ledger
	// Targets are the configured targets by name.
	Targets map[string]jit.Platform
	Owner   string
	// MaxTTL bounds every grant, whatever a policy says.
	MaxTTL time.Duration
	Actor  jit.Actor
	Now    func() time.Time
	// Planned are policies that are part of the same plan and not in the ledger yet.
	Planned *Planned
}

// Request asks for a grant, as the user wrote it.
type Request struct {
	Binding jit.Binding
	Reason  string
	Renewal int64
	// Exactly one of TTL ("2h") and ExpiresAt is set.
	TTL       string
	ExpiresAt time.Time
	// StartsAt, StartBy and Policy are optional.
	StartsAt          time.Time
	StartBy           time.Time
	Policy            string
	TerminateSessions bool
}

// Warning is something that does not stop a grant and that a reviewer has to know.
type Warning struct {
	Attribute string // to blame; may be empty
	Summary   string
	Detail    string
}

// Preview is what a request would do if it were applied now.
type Preview struct {
	// Grant is the record that the request meets, or the grant as it would be. Of a new
	// grant with a TTL and no start the window is zero: it is fixed when it is applied.
	Grant jit.Grant
	// Met: a record or a marker of this id exists already.
	Met bool
	// Over: what was met has ended; applying the request grants nothing.
	Over     bool
	Verdict  jit.Verdict
	Warnings []Warning
}

// Target returns the configured target of that name.
func (b *Broker) Target(name string) (jit.Platform, error) {
	p, ok := b.Targets[name]
	if !ok {
		return nil, &jit.Error{
			Attribute: "target",
			Problem:   fmt.Sprintf("%q is not one of the configured targets (%s)", name, quoted(b.Targets)),
			Hint:      fmt.Sprintf("add it to targets in the provider block (or jit.hcl): %s = { ssh = { … } }", name),
			Err:       jit.ErrUnknown,
		}
	}
	return p, nil
}

// Check validates what can be validated without a call or a record: the form of
// every value and the target. It returns the grant with its canonical binding, its id and traits.
// Values that are not known yet are left out of the request by not calling Check at all.
func (b *Broker) Check(r Request) (jit.Grant, jit.Traits, error) { panic("todo") }

// CheckForm validates what needs neither a target nor a clock; it is what "validate" can refuse.
// The fields of the request that are not known are named in unknown and passed over.
func CheckForm(r Request, unknown map[string]bool) error { panic("todo") }

// Preview judges the request without writing anything anywhere. With read set it reads the
// scope, to find a marker of a grant that the ledger lost, and standing access. Refusals are errors (*jit.Error).
func (b *Broker) Preview(ctx context.Context, r Request, read bool) (Preview, error) { panic("todo") }

// Grant makes the grant, or adopts the one that it meets: a live one keeps its window,
// one that is over stays over and no platform is called (the returned record is Over).
func (b *Broker) Grant(ctx context.Context, r Request) (jit.Grant, error) { panic("todo") }

// PreviewChange judges a change of a recorded grant to what the request says, without
// writing. The binding, reason and renewal of the request have to be the grant's.
func (b *Broker) PreviewChange(ctx context.Context, g jit.Grant, r Request) (Preview, error) {
	panic("todo")
}

// Change changes the end, the start, the policy or the flags of a live grant to what the
// request says and repairs drift on its platform. An end in the past ends the grant now.
// A grant that is over is left alone if the request asks for nothing else than it had, else jit.ErrOver.
// g holds the facts that the caller remembers, for the case that the ledger has lost them.
func (b *Broker) Change(ctx context.Context, g jit.Grant, r Request) (jit.Grant, error) {
	panic("todo")
}

// Drift is how a live grant differs on its platform; empty when it is right.
type Drift string

// Observe reads the grant's scope and tells how the grant differs there. It makes no call for a
// grant that is over, pending or scheduled.
func (b *Broker) Observe(ctx context.Context, g jit.Grant) (Drift, error) { panic("todo") }

// Recall returns the record of id. If the ledger does not know it, remembered (the facts that a
// Terraform state holds; may be the zero Grant) is returned with known false.
func (b *Broker) Recall(ctx context.Context, id jit.ID, remembered jit.Grant) (g jit.Grant, known bool, err error) {
	panic("todo")
}

// Revocation asks for the end of one grant.
type Revocation struct {
	// Grant is the record, or as much of it as is remembered: ID, Owner, Binding and Window at least.
	Grant  jit.Grant
	Reason string
	// Holder, when not 0, restricts the revocation to that holder of the grant: a newer holder keeps it.
	Holder int64
	// TerminateSessions also ends open sessions, where the platform can, whatever the grant says.
	TerminateSessions bool
}

// Revoke ends a grant now. Absent, over or unknown to the ledger is success. It returns kept
// true when a newer holder has the grant, which then lives on. If the ledger cannot be reached access is ended all the same
// and the ledger's error returned.
func (b *Broker) Revoke(ctx context.Context, r Revocation) (g jit.Grant, kept bool, err error) {
	panic("todo")
}

// PutPolicy records a policy; DropPolicy removes one; Policies lists what is recorded and planned.
func (b *Broker) PutPolicy(ctx context.Context, p jit.Policy) error { panic("todo") }

// DropPolicy removes a policy; absent is success.
func (b *Broker) DropPolicy(ctx context.Context, name string) error { panic("todo") }

// Policies returns the recorded policies with those of the same plan laid over them.
func (b *Broker) Policies(ctx context.Context) ([]jit.Policy, error) { panic("todo") }
