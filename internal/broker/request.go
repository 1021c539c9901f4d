package broker

import (
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Request asks for a grant, as the user wrote it.
type Request struct {
	Binding jit.Binding
	Reason  string
	Renewal int64
	// Exactly one of TTL ("2h") and ExpiresAt is set.
	TTL       jit.TTL
	ExpiresAt time.Time
	// StartsAt, Policy and the terms are optional.
	StartsAt time.Time
	// StartNow makes a change begin a scheduled grant at once; a zero StartsAt alone leaves the beginning as it is.
	StartNow bool
	Policy   string
	// AnyPolicy makes a change forget the named policy, so that all policies judge the grant; an empty Policy alone
	// leaves the recorded one as it is.
	AnyPolicy bool
	// NewPolicy: Policy is named where none was before.
	NewPolicy bool
	jit.Terms
	// Successor: the same apply has destroyed the grant's resource under another address, so the grant goes on.
	Successor bool
	// OneRun: the grant must be new and needs no approval; see [Broker.GrantOneRun].
	OneRun bool
}

// CheckForm validates a request without a target and without a clock, for "validate". It skips the attributes in
// unknown, whose values are not known yet.
func CheckForm(r Request, unknown map[string]bool) error {
	for _, c := range []struct {
		attribute string
		check     func() error
	}{
		{"target", required("target", r.Binding.Target, "say where: the name of a configured target")},
		{"principal", required("principal", r.Binding.Principal, "say who gets the access")},
		{"role", required("role", r.Binding.Role, "say what access")},
		{"scope", func() error { return jit.CheckName("scope", r.Binding.Scope) }},
		{"reason", func() error { return jit.CheckReason(r.Reason) }},
		{"renewal", r.checkRenewal},
	} {
		if unknown[c.attribute] {
			continue
		}
		if err := c.check(); err != nil {
			return err
		}
	}
	if err := r.checkOneEnd(unknown); err != nil {
		return err
	}
	return r.checkOrder()
}

// required returns a check of a name that must not be empty.
func required(attribute, value, hint string) func() error {
	return func() error {
		if strings.TrimSpace(value) == "" {
			return jit.Invalid(attribute, hint, "%s is empty", attribute)
		}
		return jit.CheckName(attribute, value)
	}
}

func (r Request) checkRenewal() error {
	if r.Renewal < 1 {
		return jit.Invalid("renewal", "count the renewals from 1: renewal = 2 grants for the second time",
			"%d is not a renewal", r.Renewal)
	}
	return nil
}

// endHint is the hint for a request without a usable end.
const endHint = `write ttl = "2h", or expires_at = "2026-11-23T18:00:00Z"`

// checkOneEnd requires exactly one end.
func (r Request) checkOneEnd(unknown map[string]bool) error {
	switch hasTTL, hasEnd := !r.TTL.IsZero(), !r.ExpiresAt.IsZero(); {
	case hasTTL && hasEnd:
		return jit.Invalid("expires_at", "keep one of the two", "the grant has two ends, ttl and expires_at")
	case !hasTTL && !hasEnd && !unknown["ttl"] && !unknown["expires_at"]:
		return jit.Invalid("ttl", endHint, "the grant has no end; no end, no grant")
	}
	return nil
}

// checkOrder requires times in their order.
func (r Request) checkOrder() error {
	switch starts := jit.FormatTime(r.StartsAt); {
	case !r.TTL.IsZero() && r.TTL.Length() < jit.MinTTL:
		return jit.Invalid("ttl", endHint,
			"%q is too short; a grant lasts at least %s", r.TTL, jit.FormatDuration(jit.MinTTL))
	case !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(r.StartsAt):
		return jit.Invalid("expires_at", "write an end after starts_at",
			"%s is not after starts_at, %s", jit.FormatTime(r.ExpiresAt), starts)
	case !r.StartBy.IsZero() && r.StartBy.Before(r.StartsAt):
		return jit.Invalid("start_by", "write a time at or after starts_at",
			"%s is before starts_at, %s: the grant could never begin", jit.FormatTime(r.StartBy), starts)
	}
	return nil
}

// window returns the time of access if the request is applied at now. It refuses an end that has passed and a beginning
// after start_by.
func (r Request) window(now time.Time) (jit.Window, error) {
	start := later(jit.Second(now), r.StartsAt)
	if err := r.mayBegin(start, now); err != nil {
		return jit.Window{}, err
	}
	if !r.TTL.IsZero() {
		return jit.Window{Start: start, End: start.Add(r.TTL.Length())}, nil
	}
	if !r.ExpiresAt.After(now) {
		return jit.Window{}, jit.Invalid("expires_at", "write a time ahead", "%s is already past, it is %s",
			jit.FormatTime(r.ExpiresAt), jit.FormatTime(now))
	}
	return jit.Window{Start: start, End: r.ExpiresAt}, nil
}

// mayBegin refuses a beginning after start_by.
func (r Request) mayBegin(start, now time.Time) error {
	if r.StartBy.IsZero() || !start.After(r.StartBy) {
		return nil
	}
	return startByPassed(r.StartBy, now, "plan again with a later start_by, if the access is still wanted")
}

// fields returns the request as it was written. g is the grant that it asks for; its scope stands in where the request
// leaves it out.
func (r Request) fields(g jit.Grant) []jit.Field {
	scope := g.Scope
	if g.Binding = r.Binding; g.Scope == "" {
		g.Scope = scope
	}
	return g.RequestFields()
}
