package catalog

import (
	"regexp"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	celparser "cel.dev/cel-go/parser"
)

// celParser parses conditions; nil if it cannot be made.
var celParser = sync.OnceValue(func() *celparser.Parser {
	p, err := celparser.NewParser(celparser.MaxRecursionDepth(64))
	if err != nil {
		return nil
	}
	return p
})

// plainCondition is the condition that nearly everybody writes. Reading it without the parser is much faster.
var plainCondition = regexp.MustCompile(`^request\.time <=? timestamp\((?:"([-0-9T:.Z]+)"|'([-0-9T:.Z]+)')\)$`)

// conditionEnd returns the time at which an IAM condition of Google ends access, and whether it ends every way in:
// request.time < timestamp("…") stands alone, or all of the rest is joined to it with &&.
func conditionEnd(expression string) (time.Time, bool) {
	if plain := plainCondition.FindStringSubmatch(expression); plain != nil {
		end, err := time.Parse(time.RFC3339, plain[1]+plain[2])
		return end, err == nil
	}
	if !strings.Contains(expression, "request.time") || len(expression) > 12000 || celParser() == nil {
		return time.Time{}, false
	}
	parsed, errs := celParser().Parse(common.NewTextSource(expression))
	if len(errs.GetErrors()) > 0 {
		return time.Time{}, false
	}
	return conjunctionEnd(parsed.Expr())
}

// conjunctionEnd returns the earliest end of the parts of a conjunction.
func conjunctionEnd(e ast.Expr) (end time.Time, ok bool) {
	if e.Kind() != ast.CallKind {
		return end, false
	}
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalAnd:
		for _, arg := range args {
			if at, bounds := conjunctionEnd(arg); bounds && (!ok || at.Before(end)) {
				end, ok = at, true
			}
		}
		return end, ok
	case operators.Less, operators.LessEquals:
		return comparisonEnd(args[0], args[1])
	case operators.Greater, operators.GreaterEquals:
		return comparisonEnd(args[1], args[0])
	}
	return end, false
}

// comparisonEnd reads request.time as the smaller of two and a timestamp as the larger.
func comparisonEnd(smaller, larger ast.Expr) (end time.Time, ok bool) {
	if smaller.Kind() != ast.SelectKind || larger.Kind() != ast.CallKind {
		return end, false
	}
	field, call := smaller.AsSelect(), larger.AsCall()
	if field.FieldName() != "time" || field.IsTestOnly() || field.Operand().Kind() != ast.IdentKind ||
		field.Operand().AsIdent() != "request" {
		return end, false
	}
	if call.FunctionName() != "timestamp" || call.IsMemberFunction() || len(call.Args()) != 1 ||
		call.Args()[0].Kind() != ast.LiteralKind {
		return end, false
	}
	literal, isText := call.Args()[0].AsLiteral().Value().(string)
	end, err := time.Parse(time.RFC3339, literal)
	return end, isText && err == nil
}
