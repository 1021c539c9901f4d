package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync/atomic"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxRequirements bounds the approval list of a policy, and maxRequired the people of an entry.
const maxRequirements, maxRequired = 10, 100

// compileApproval compiles the exceptions of the approval list and the pattern of break_glass.
func (c *rule) compileApproval() (err error) {
	c.unless = make([]*condition, len(c.Approval))
	for i, r := range c.Approval {
		if r.Unless == "" {
			continue
		}
		if c.unless[i], err = compileCondition(r.Unless); err != nil {
			return renamed(err, fmt.Sprintf("approval[%d].unless", i))
		}
	}
	if c.BreakGlass != nil && c.BreakGlass.ReasonPattern != "" {
		c.glassReason, err = compileReason(c.BreakGlass.ReasonPattern)
		return renamed(err, "break_glass.reason_pattern")
	}
	return nil
}

// renamed gives an error about an expression the name of the attribute that holds it.
func renamed(err error, attribute string) error {
	if about := (&jit.Error{}); errors.As(err, &about) {
		about.Attribute = attribute
	}
	return err
}

// checkApproval refuses an approval list and a break_glass that cannot be kept. Whether the people exist is for the
// ledger to say.
func (c *rule) checkApproval() error {
	if c.Effect == jit.Forbid && (len(c.Approval) > 0 || c.BreakGlass != nil) {
		return jit.Invalid("approval", "leave it out", "policy %q forbids whatever it matches; there is nothing to approve", c.Name)
	}
	if len(c.Approval) > maxRequirements {
		return jit.Invalid("approval", "split the policy", "the list has %d entries; at most %d are allowed",
			len(c.Approval), maxRequirements)
	}
	for i, r := range c.Approval {
		if err := checkRequirement(fmt.Sprintf("approval[%d].", i), r); err != nil {
			return err
		}
		if err := c.unless[i].evaluable(); err != nil {
			return renamed(err, fmt.Sprintf("approval[%d].unless", i))
		}
	}
	return c.checkBreakGlass()
}

func checkRequirement(at string, r jit.Requirement) error {
	if r.Required < 1 || r.Required > maxRequired {
		return jit.Invalid(at+"required", "write for example required = 1", "%d is not a number of people from 1 to %d",
			r.Required, maxRequired)
	}
	if err := checkFrom(at+"from", r.From); err != nil {
		return err
	}
	for _, e := range r.Evidence {
		if e != jit.Signature && e != jit.PullRequest {
			return jit.Invalid(at+"evidence", `write "signature" or "pull_request"`, "%q is no kind of evidence", e)
		}
	}
	if r.ValidFor < 0 || r.ValidFor > 0 && r.ValidFor < jit.MinTTL {
		return jit.Invalid(at+"valid_for", `write for example valid_for = "24h"`, "%q is shorter than %s",
			jit.FormatDuration(r.ValidFor), jit.FormatDuration(jit.MinTTL))
	}
	return nil
}

// checkFrom refuses a list of approvers that names nobody, or names badly.
func checkFrom(attribute string, from []string) error {
	if len(from) == 0 {
		return jit.Invalid(attribute, `write for example from = ["group:payments-leads"]`, "the list is empty")
	}
	for _, entry := range from {
		check := jit.CheckPersonName
		if jit.IsGroup(entry) {
			check = jit.CheckGroup
		}
		if err := check(attribute, entry); err != nil {
			return err
		}
	}
	return nil
}

func (c *rule) checkBreakGlass() error {
	switch glass := c.BreakGlass; {
	case glass == nil:
		return nil
	case len(c.Approval) == 0:
		return jit.Invalid("break_glass", "write approval too, or leave break_glass out",
			"policy %q asks for no approval, so there is nothing to skip", c.Name)
	case glass.MaxTTL != 0 && glass.MaxTTL < jit.MinTTL:
		return jit.Invalid("break_glass.max_ttl", `write for example max_ttl = "1h"`, "%q is shorter than %s",
			jit.FormatDuration(glass.MaxTTL), jit.FormatDuration(jit.MinTTL))
	default:
		return checkFrom("break_glass.from", glass.From)
	}
}

// asked returns the entries of the approval list whose exception does not hold, and the exceptions that hold. An
// exception that cannot be evaluated does not hold.
func (c *rule) asked(r *Request) (a jit.Asked) {
	for i, entry := range c.Approval {
		if c.unless[i] != nil {
			if held, err := c.unless[i].holds(r); err == nil && held {
				a.Excused = append(a.Excused, entry.Unless)
				continue
			}
		}
		a.Approval = append(a.Approval, entry)
	}
	return a
}

// glassViolations returns a failure for each rule of break_glass that a grant breaks which asks to begin without
// approval.
func (c *rule) glassViolations(r *Request) (failed []failure) {
	fail := func(attribute, format string, args ...any) {
		failed = append(failed, failure{attribute, fmt.Sprintf(format, args...)})
	}
	glass := c.BreakGlass
	switch {
	case !r.BreakGlass:
		return nil
	case glass == nil:
		fail("break_glass", "policy %q lets nobody break the glass", c.Name)
		return failed
	case r.Requester == nil:
		fail("requester", "policy %q lets %s break the glass; who asks is unknown", c.Name, quoted(glass.From))
	case !r.Requester.In(glass.From):
		fail("requester", "policy %q lets %s break the glass; %q is none of them", c.Name, quoted(glass.From), r.Requester.Name)
	}
	if glass.MaxTTL > 0 && r.Length > glass.MaxTTL {
		fail("ttl", "max_ttl of break_glass of policy %q is %s; the grant asks for %s", c.Name,
			jit.FormatDuration(glass.MaxTTL), jit.FormatDuration(r.Length))
	}
	if c.glassReason != nil && !r.ReasonLost && !reasonMatches(c.glassReason, r.Reason) {
		fail("reason", "reason_pattern of break_glass of policy %q is %q; the reason %q does not match it", c.Name,
			glass.ReasonPattern, r.Reason)
	}
	return failed
}

func reasonMatches(pattern *regexp.Regexp, reason string) bool {
	return reason != "" && pattern.MatchString(reason)
}

// permit returns the verdict of a policy that the grant keeps in full. Before the platform has been asked, approval does
// not count yet.
func (c *rule) permit(r *Request) jit.Verdict {
	v := jit.Verdict{
		Outcome: jit.Permitted, Policy: c.Name, Rule: fmt.Sprintf("policy %q permits it", c.Name),
		SweeperAccepted: c.SweeperAccepted, TailAccepted: c.MaxSessionTail != nil,
	}
	if r.early {
		return v
	}
	v.Asked = c.asked(r)
	switch {
	case len(v.Approval) == 0:
	case r.BreakGlass:
		v.BrokeGlass, v.Rule = true, fmt.Sprintf("policy %q permits it without approval: it breaks the glass", c.Name)
	default:
		v.Outcome, v.Rule = jit.NeedsApproval, fmt.Sprintf("policy %q permits it with approval", c.Name)
	}
	return v
}

// lastBefore is the set that [Before] used last.
var lastBefore atomic.Pointer[set]

// Before says what approval policies from before a run ask for. It is that of the permit by which they would have
// permitted the grant: the one that the grant names, else the first. If the grant keeps the limits of none, it is that
// of each permit whose lists match. glass: the requester may skip it and break the glass.
func Before(policies []jit.Policy, r Request) (required []jit.Requirement, glass bool) {
	r.complete()
	broken := r
	r.BreakGlass = false
	kept, lacking := compiledIn(&lastBefore, policies).matching(&r)
	if named := slices.IndexFunc(kept, func(c *rule) bool { return c.Name == r.Named }); named >= 0 {
		kept = kept[named:][:1]
	}
	asks := func(c *rule) []jit.Requirement { return c.asked(&r).Approval }
	if len(kept) == 0 {
		for _, c := range lacking {
			required = append(required, asks(c)...)
		}
		return required, false
	}
	if slices.ContainsFunc(kept, func(c *rule) bool { return len(asks(c)) == 0 }) {
		return nil, false
	}
	breaks := func(c *rule) bool { return broken.BreakGlass && len(c.glassViolations(&broken)) == 0 }
	if i := slices.IndexFunc(kept, breaks); i >= 0 {
		return asks(kept[i]), true
	}
	return asks(kept[0]), false
}

// matching returns the permits whose lists match a grant, by name: those that it keeps in full, and the others.
func (s *set) matching(r *Request) (kept, lacking []*rule) {
	for _, c := range s.rules {
		switch {
		case c.Effect != jit.Permit || len(c.mismatches(r)) > 0:
		case len(c.violations(r)) == 0:
			kept = append(kept, c)
		default:
			lacking = append(lacking, c)
		}
	}
	return kept, lacking
}
