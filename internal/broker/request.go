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
	// StartsAt, StartBy and Policy are optional.
	StartsAt time.Time
	// StartNow makes a change begin a scheduled grant at once; a zero StartsAt alone leaves the beginning as it is.
	StartNow bool
	StartBy  time.Time
	Policy   string
	// AnyPolicy makes a change forget the named policy, so that all policies judge the grant; an empty Policy alone
	// leaves the recorded one as it is.
	AnyPolicy         bool
	TerminateSessions bool
	// Successor: the same apply has destroyed the grant's resource under another address, so the grant goes on.
	Successor bool
}

// CheckForm validates what needs neither a target nor a clock, for "validate". It skips the attributes in unknown,
// whose values are not known yet.
func CheckForm(r Request, unknown map[string]bool) error {
	for _, required := range []struct{ attribute, value string }{
		{"target", r.Binding.Target}, {"principal", r.Binding.Principal}, {"role", r.Binding.Role},
	} {
		if unknown[required.attribute] {
			continue
		}
		if strings.TrimSpace(required.value) == "" {
			return jit.Invalid(required.attribute, "say "+map[string]string{
				"target": "where: the name of a configured target", "principal": "who gets the access", "role": "what access",
			}[required.attribute], "%s is empty", required.attribute)
		}
		if err := jit.CheckName(required.attribute, required.value); err != nil {
			return err
		}
	}
	if err := jit.CheckName("scope", r.Binding.Scope); err != nil && !unknown["scope"] {
		return err
	}
	if !unknown["reason"] {
		if err := jit.CheckReason(r.Reason); err != nil {
			return err
		}
	}
	if !unknown["renewal"] && r.Renewal < 1 {
		return jit.Invalid("renewal", "count the renewals from 1: renewal = 2 grants for the second time", "%d is not a renewal", r.Renewal)
	}
	return checkOneEnd(r, unknown)
}

// checkOneEnd requires exactly one end, after the beginning.
func checkOneEnd(r Request, unknown map[string]bool) error {
	hasTTL, hasEnd := !r.TTL.IsZero() || unknown["ttl"], !r.ExpiresAt.IsZero() || unknown["expires_at"]
	const hint = `write ttl = "2h", or expires_at = "2026-11-23T18:00:00Z"`
	switch {
	case !hasTTL && !hasEnd:
		return jit.Invalid("ttl", hint, "the grant has no end; no end, no grant")
	case hasTTL && hasEnd && !unknown["ttl"] && !unknown["expires_at"]:
		return jit.Invalid("expires_at", "keep one of the two", "the grant has two ends, ttl and expires_at")
	}
	if !r.TTL.IsZero() && r.TTL.Length() < jit.MinTTL {
		return jit.Invalid("ttl", hint, "%q is too short; a grant lasts at least %s", r.TTL, jit.FormatDuration(jit.MinTTL))
	}
	if !r.StartsAt.IsZero() && !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(r.StartsAt) {
		return jit.Invalid("expires_at", "write an end after starts_at", "%s is not after starts_at, %s", jit.FormatTime(r.ExpiresAt), jit.FormatTime(r.StartsAt))
	}
	if !r.StartsAt.IsZero() && !r.StartBy.IsZero() && r.StartBy.Before(r.StartsAt) {
		return jit.Invalid("start_by", "write a time at or after starts_at", "%s is before starts_at, %s: the grant could never begin", jit.FormatTime(r.StartBy), jit.FormatTime(r.StartsAt))
	}
	return nil
}

// window returns the time of access if the request is applied at now. It refuses an end that has passed and a beginning
// that is no longer allowed.
func (r Request) window(now time.Time) (jit.Window, error) {
	start := jit.Second(now)
	if r.StartsAt.After(start) {
		start = r.StartsAt
	}
	if err := r.mayBegin(start, now); err != nil {
		return jit.Window{}, err
	}
	return r.windowFrom(start, now)
}

// mayBegin refuses a beginning after start_by.
func (r Request) mayBegin(start, now time.Time) error {
	if r.StartBy.IsZero() || !start.After(r.StartBy) {
		return nil
	}
	return startByPassed(r.StartBy, now, "plan again with a later start_by, if the access is still wanted")
}

// windowFrom returns the time of access if it begins at start.
func (r Request) windowFrom(start, now time.Time) (jit.Window, error) {
	if r.TTL.IsZero() {
		if !r.ExpiresAt.After(now) {
			return jit.Window{}, jit.Invalid("expires_at", "write a time ahead", "%s is already past, it is %s", jit.FormatTime(r.ExpiresAt), jit.FormatTime(now))
		}
		return jit.Window{Start: start, End: r.ExpiresAt}, nil
	}
	return jit.Window{Start: start, End: start.Add(r.TTL.Length())}, nil
}
