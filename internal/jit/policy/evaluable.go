package policy

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// evaluable refuses a condition that fails, or costs more than is allowed, whatever the grant is: nothing
// of the grant is known, and all that does not depend on it is evaluated.
func (c *condition) evaluable() error {
	if zone, ok := unknownZone(c.compiled); ok {
		return jit.Invalid("condition", `write a time zone of the IANA database, for example "Europe/Zurich"`,
			"the condition can never be evaluated: %q is not a time zone", zone)
	}
	program, err := c.partial()
	if err != nil {
		return jit.Invalid("condition", "correct the literals in it", "it is not a condition: %v", err)
	}
	unknown, err := cel.PartialVars(map[string]any{}, cel.AttributePattern(grantVariable))
	if err != nil {
		return fmt.Errorf("prepare CEL: %w", err)
	}
	_, _, err = program.Eval(unknown)
	if err != nil {
		return jit.Invalid("condition", `leave out what fails for every grant; an expression that takes too many steps is split into several policies`,
			"the condition can never be evaluated: %v", err)
	}
	return nil
}

// unknownZone returns a time zone in a condition that does not exist.
func unknownZone(compiled *cel.Ast) (zone string, found bool) {
	ast.PostOrderVisit(compiled.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || !e.AsCall().IsMemberFunction() || len(e.AsCall().Args()) != 1 || e.AsCall().Args()[0].Kind() != ast.LiteralKind {
			return
		}
		name, ok := e.AsCall().Args()[0].AsLiteral().(types.String)
		call := func(zone types.String) ref.Val {
			return types.Timestamp{}.Receive(e.AsCall().FunctionName(), "", []ref.Val{zone})
		}
		if ok && !types.IsError(call("UTC")) && types.IsError(call(name)) {
			zone, found = string(name), true
		}
	}))
	return zone, found
}
