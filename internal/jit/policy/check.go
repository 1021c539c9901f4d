package policy

import (
	"regexp"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxPattern bounds a reason pattern, in bytes.
const maxPattern = 1000

// Check refuses a policy that could not be judged by or that would not do what it
// says. Its errors are *[jit.Error] of the kind [jit.ErrInvalid] with the attribute to blame.
func Check(p jit.Policy) error {
	if err := jit.CheckPolicyName(p.Name); err != nil {
		return err
	}
	if p.Effect != jit.Permit && p.Effect != jit.Forbid {
		return jit.Invalid("effect", `write effect = "permit" or effect = "forbid"`, "%q is not an effect; it is permit or forbid", p.Effect)
	}
	for line := range strings.SplitSeq(p.Description, "\n") {
		if err := jit.CheckText("description", line); err != nil {
			return err
		}
	}
	for _, l := range lists {
		for _, pattern := range *l.globs(&p.Match) {
			if _, err := jit.ParseGlob("match."+l.name, pattern); err != nil {
				return err
			}
		}
	}
	if err := checkLimits(p); err != nil {
		return err
	}
	if p.Condition != "" {
		c, err := compileCondition(p.Condition)
		if err != nil {
			return err
		}
		return c.evaluable()
	}
	return nil
}

// checkLimits refuses limits that cannot be read or kept, and any limit of a policy that forbids.
func checkLimits(p jit.Policy) error {
	if p.MaxTTL != 0 && p.MaxTTL < jit.MinTTL {
		return jit.Invalid("max_ttl", `write for example max_ttl = "4h"; to allow nothing, write effect = "forbid"`,
			"%q is shorter than the shortest grant, %s", jit.FormatDuration(p.MaxTTL), jit.FormatDuration(jit.MinTTL))
	}
	if p.ReasonPattern != "" {
		if _, err := compileReason(p.ReasonPattern); err != nil {
			return err
		}
	}
	if p.MaxSessionTail != nil && *p.MaxSessionTail < 0 {
		return jit.Invalid("max_session_tail", `write for example max_session_tail = "12h", or leave it out for no limit`,
			"%q is not a limit; it is zero or longer", jit.FormatTail(*p.MaxSessionTail))
	}
	if p.Effect != jit.Forbid {
		return nil
	}
	for _, limit := range []struct {
		attribute, value string
		set              bool
	}{
		{"max_ttl", jit.FormatDuration(p.MaxTTL), p.MaxTTL != 0},
		{"reason_pattern", p.ReasonPattern, p.ReasonPattern != ""},
		{"enforcement", string(jit.Native), p.NativeOnly},
		{"max_session_tail", tail(p.MaxSessionTail), p.MaxSessionTail != nil},
	} {
		if limit.set {
			return jit.Invalid(limit.attribute, `leave it out, or say what is forbidden in condition, for example: grant.ttl > duration("4h")`,
				"%q limits what a policy permits, and policy %q forbids whatever it matches", limit.value, p.Name)
		}
	}
	return nil
}

// compileReason compiles a reason pattern.
func compileReason(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, jit.Invalid("reason_pattern", "shorten it", "the pattern has %d bytes; at most %d are read", len(pattern), maxPattern)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, jit.Invalid("reason_pattern", `write an RE2 expression, for example reason_pattern = "^(INC|CHG)-[0-9]+: "`,
			"%q is not an RE2 expression: %s", pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}
