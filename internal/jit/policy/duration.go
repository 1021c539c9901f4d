package policy

import (
	"errors"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// days lets conditions write durations as attributes do, such as duration("7d"). CEL itself knows no unit above the
// hour.
var days = cel.GlobalMacro("duration", 1, func(
	eh cel.MacroExprFactory, _ ast.Expr, args []ast.Expr,
) (ast.Expr, *cel.Error) {
	if args[0].Kind() != ast.LiteralKind {
		return nil, nil
	}
	text, ok := args[0].AsLiteral().(types.String)
	if _, err := time.ParseDuration(string(text)); !ok || err == nil {
		return nil, nil // CEL reads it, or refuses its type
	}
	d, err := jit.ParseDuration("condition", string(text))
	if about := (&jit.Error{}); errors.As(err, &about) {
		return nil, eh.NewError(args[0].ID(), about.Problem)
	}
	return eh.NewCall("duration", eh.NewLiteral(types.String(d.String()))), nil
})
