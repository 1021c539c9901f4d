// Package claims is the protocol for access that cannot be marked, such as an account assignment or a membership of a
// group. The ledger remembers which grant claims which object; grants of the same access share one object.
//
// A writer reads the claims and then the objects. It records what it claims and gives up before it changes an object,
// and drops what it gave up once a list shows that it is gone. Each record names the version of the claims that was
// read: when two writers race, the slower one fails with [jit.ErrStale] and starts over. A crash at any point leaves a
// claim behind, so a later call finds the object and ends it.
//
// An object that was there before its first claim ([jit.Claim].Prior) is somebody else's and is never removed.
//
// A platform that writes objects one by one implements [Objects] and calls [Apply]. A platform that writes all of them
// in one document uses [Draft] and [Scope] around its own write.
package claims

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The longest pause after the first lost race; it doubles up to maxPause.
const (
	firstPause = 5 * time.Millisecond
	maxPause   = 300 * time.Millisecond
)

// Scope is one scope of a target, with the ledger that keeps its claims.
type Scope struct {
	Kind   string // the platform's name
	Place  string // the platform's own name of the target, as in [jit.Claims]
	Name   string
	Ledger jit.Claims // nil without a ledger
	// Lag is how long after a write the list of objects may still show them as they were before.
	Lag time.Duration
}

// Read returns the claims on the scope.
func (s Scope) Read(ctx context.Context) (jit.ClaimSet, error) {
	if s.Ledger == nil {
		return jit.ClaimSet{}, unavailable(errors.New("the target has no ledger"))
	}
	set, err := s.Ledger.ReadClaims(ctx, s.Place, s.Name)
	return set, unavailable(err)
}

// Record writes a draft before any object is changed, and returns the claims that are new. The error wraps
// [jit.ErrStale] if the claims have changed since they were read.
func (s Scope) Record(ctx context.Context, d *Draft) (added []jit.Claim, err error) {
	put := d.put()
	if len(put) == 0 {
		return nil, nil
	}
	if d.Version, err = s.Ledger.Update(ctx, s.Place, s.Name, d.Version, put, nil); err != nil {
		return nil, unavailable(err)
	}
	failpoint.Hit(s.Kind + ".after-claim")
	return slices.DeleteFunc(put, func(c jit.Claim) bool {
		return slices.ContainsFunc(d.read, func(was jit.Claim) bool { return key(was) == key(c) })
	}), nil
}

// Drop drops claims, except those that have changed since they were read.
func (s Scope) Drop(ctx context.Context, void []jit.Claim) error {
	for try := 0; len(void) > 0; try++ {
		set, err := s.Read(ctx)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(void), func(c jit.Claim) bool { return !contains(set.Claims, c) })
		if len(left) == 0 {
			return nil
		}
		_, err = s.Ledger.Update(ctx, s.Place, s.Name, set.Version, nil, left)
		if !errors.Is(err, jit.ErrStale) {
			return unavailable(err)
		}
		if err := backoff.Wait(ctx, try, firstPause, maxPause); err != nil {
			return err
		}
	}
	return nil
}

// unavailable explains an error of the ledger. Without the claims nobody can tell which access is ours.
func unavailable(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("the ledger keeps the claims on this access and cannot be used: %w", err)
}

// Unrecorded is the error of a removal that succeeded and whose claim could not be dropped.
func Unrecorded(err error) error {
	return fmt.Errorf("the access was ended, but that could not be recorded: %w", err)
}

// Observe tells ours from standing access by the claims that were read before and after the objects: an object that
// came or went in between shows in one of the two. An object with prior claims is both.
func Observe(before, after []jit.Claim, there func(jit.Claim) bool) (ours []jit.Observed,
	standing func(object string) bool) {
	claimed, prior := map[string]bool{}, map[string]bool{}
	for _, c := range before {
		claimed[c.Object] = true
	}
	for _, c := range after {
		claimed[c.Object] = true
		prior[c.Object] = prior[c.Object] || c.Prior
		if there(c) {
			ours = append(ours, jit.Observed{Marker: c.Marker, Principal: c.Principal, Role: c.Role})
		}
	}
	return ours, func(object string) bool { return !claimed[object] || prior[object] }
}
