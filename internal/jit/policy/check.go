package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxPattern bounds a reason pattern, in bytes.
const maxPattern = 1000

// Check refuses a policy that cannot be judged by or that would not do what it says. Its errors are *[jit.Error] of the
// kind [jit.ErrInvalid] and name the attribute.
func Check(p jit.Policy) error {
	c := compileRule(p)
	if err := cmp.Or(jit.CheckPolicyName(p.Name), checkEffect(p), c.broken); err != nil {
		return err // a broken rule is not complete
	}
	return cmp.Or(checkWords(p), checkLimits(p), checkForbid(p), c.condition.evaluable(), c.checkApproval())
}

func checkEffect(p jit.Policy) error {
	if p.Effect != jit.Permit && p.Effect != jit.Forbid {
		return jit.Invalid("effect", `write effect = "permit" or effect = "forbid"`,
			"%q is not an effect; it is permit or forbid", p.Effect)
	}
	for line := range strings.SplitSeq(p.Description, "\n") {
		if err := jit.CheckText("description", line); err != nil {
			return err
		}
	}
	return nil
}

// joint is the word between a role and its conditions, in any case.
var joint = regexp.MustCompile(`(?i)\sif\s`)

// checkWords refuses named conditions after a word that is not the word if: they would be part of the role's name.
func checkWords(p jit.Policy) error {
	for i, m := range p.Match {
		for _, role := range m.Roles {
			at := joint.FindStringIndex(role)
			if at == nil || strings.Contains(role, jit.If) {
				continue
			}
			if conditions, err := jit.ParseConditions(role[at[1]:]); err == nil {
				texts := make([]string, len(conditions))
				for i, c := range conditions {
					texts[i] = c.String()
				}
				return jit.Invalid(fmt.Sprintf("match[%d].roles", i),
					fmt.Sprintf("write %q", role[:at[0]]+jit.If+strings.Join(texts, jit.And)),
					"%q names conditions, but not after the word if in lower case with one space on each side", role)
			}
		}
	}
	return nil
}

// checkLimits refuses limits that are out of range.
func checkLimits(p jit.Policy) error {
	if p.MaxTTL != 0 {
		if err := CheckMaxTTL(p.MaxTTL); err != nil {
			return err
		}
	}
	if tail := p.MaxSessionTail; tail != nil && *tail < 0 && *tail != jit.Unlimited {
		return jit.Invalid("max_session_tail",
			`write for example max_session_tail = "12h", or "unlimited" to accept every session`,
			"%q is not a limit; it is zero or longer", jit.FormatTail(*tail))
	}
	return nil
}

// checkForbid refuses a forbid with limits.
func checkForbid(p jit.Policy) error {
	for _, limit := range limits {
		if value := limit.value(&p); value != "" && p.Effect == jit.Forbid {
			return jit.Invalid(limit.name,
				`leave it out, or say what is forbidden in condition, for example: grant.ttl > duration("4h")`,
				"%q limits what a policy permits, and policy %q forbids whatever it matches", value, p.Name)
		}
	}
	return nil
}

// CheckMaxTTL refuses a max_ttl that is shorter than any grant.
func CheckMaxTTL(d time.Duration) error {
	if d < jit.MinTTL {
		return jit.Invalid("max_ttl", `write for example max_ttl = "4h"; to allow nothing, write effect = "forbid"`,
			"%q is shorter than the shortest grant, %s", jit.FormatDuration(d), jit.FormatDuration(jit.MinTTL))
	}
	return nil
}

// compileReason compiles a reason pattern.
func compileReason(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, jit.Invalid("reason_pattern", "shorten it",
			"the pattern has %d bytes; the most is %d", len(pattern), maxPattern)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, jit.Invalid("reason_pattern",
			`write an RE2 expression, for example reason_pattern = "^(INC|CHG)-[0-9]+: "`,
			"%q is not an RE2 expression: %s", pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}

// evaluable refuses a condition that fails, or costs too much, for every grant. It evaluates everything that does not
// depend on the grant.
func (c *condition) evaluable() error {
	if c == nil {
		return nil
	}
	if zone, ok := unknownZone(c.compiled); ok {
		return jit.Invalid("condition", `write a time zone of the IANA database, for example "Europe/Zurich"`,
			"the condition can never be evaluated: %q is not a time zone", zone)
	}
	unknown, err := cel.PartialVars(map[string]any{}, cel.AttributePattern(grantVariable),
		cel.AttributePattern(requesterVariable))
	if err != nil {
		return fmt.Errorf("prepare CEL: %w", err)
	}
	if _, _, err = c.program.Eval(unknown); err != nil {
		return jit.Invalid("condition",
			"remove the part that fails for every grant, or split a long expression into several policies",
			"the condition can never be evaluated: %v", err)
	}
	return nil
}

// unknownZone returns a time zone in a condition that does not exist.
func unknownZone(compiled *cel.Ast) (zone string, found bool) {
	ast.PostOrderVisit(compiled.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || !e.AsCall().IsMemberFunction() || len(e.AsCall().Args()) != 1 {
			return
		}
		if argument := e.AsCall().Args()[0]; argument.Kind() == ast.LiteralKind {
			name, ok := argument.AsLiteral().(types.String)
			if ok && !takesZone(e.AsCall().FunctionName(), name) {
				zone, found = string(name), true
			}
		}
	}))
	return zone, found
}

// takesZone reports whether a method accepts an argument as a time zone. Methods that take no time zone accept
// anything.
func takesZone(method string, zone types.String) bool {
	call := func(zone types.String) ref.Val {
		return types.Timestamp{}.Receive(method, "", []ref.Val{zone})
	}
	return types.IsError(call("UTC")) || !types.IsError(call(zone))
}
