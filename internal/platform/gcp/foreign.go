package gcp

import (
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/parser"
)

// endOf reads a condition that somebody else wrote. It returns when the service ends the access (zero if unknown) and
// what else narrows the access (empty for nothing; "true" and a date narrow nothing). Only a date that must hold
// together with everything else ends the access, so dates within an "or" do not count.
func endOf(expression string) (narrows string, end time.Time) {
	tree, err := parseCEL(expression)
	if err != nil {
		return expression, time.Time{}
	}
	var rest []string
	dated := false
	for _, e := range conjuncts(tree.Expr()) {
		if until, ok := bound(e); ok || isTrue(e) {
			dated = true
			if !until.IsZero() && (end.IsZero() || until.Before(end)) {
				end = until
			}
			continue
		}
		text, err := parser.Unparse(e, tree.SourceInfo())
		if err != nil {
			return expression, time.Time{}
		}
		rest = append(rest, text)
	}
	if !dated {
		return strings.TrimSpace(expression), time.Time{} // as written, so it can be compared
	}
	return strings.Join(rest, " && "), end
}

// conjuncts are the parts of an expression that must all hold.
func conjuncts(e ast.Expr) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
		var all []ast.Expr
		for _, arg := range e.AsCall().Args() {
			all = append(all, conjuncts(arg)...)
		}
		return all
	}
	return []ast.Expr{e}
}

// bound reads a comparison of request.time with a timestamp. until is zero for a beginning.
func bound(e ast.Expr) (until time.Time, ok bool) {
	if len(e.AsCall().Args()) != 2 {
		return time.Time{}, false
	}
	left, right := e.AsCall().Args()[0], e.AsCall().Args()[1]
	before, after := false, false
	switch e.AsCall().FunctionName() {
	case operators.Less, operators.LessEquals:
		before = true
	case operators.Greater, operators.GreaterEquals:
		after = true
	}
	if isRequestTime(right) {
		left, right, before, after = right, left, after, before
	}
	at, dated := timestamp(right)
	switch {
	case !before && !after, !isRequestTime(left), !dated:
		return time.Time{}, false
	case before:
		return at, true
	}
	return time.Time{}, true
}

func isTrue(e ast.Expr) bool { return e.Kind() == ast.LiteralKind && e.AsLiteral().Value() == true }

func isRequestTime(e ast.Expr) bool {
	if e.Kind() != ast.SelectKind || e.AsSelect().FieldName() != "time" || e.AsSelect().IsTestOnly() {
		return false
	}
	of := e.AsSelect().Operand()
	return of.Kind() == ast.IdentKind && of.AsIdent() == "request"
}

// timestamp reads timestamp("2026-11-23T18:00:00Z").
func timestamp(e ast.Expr) (time.Time, bool) {
	call := e.AsCall() // an empty one if e is no call
	if call.FunctionName() != "timestamp" || call.IsMemberFunction() || len(call.Args()) != 1 {
		return time.Time{}, false
	}
	literal := call.Args()[0].AsLiteral()
	if literal == nil {
		return time.Time{}, false
	}
	text, _ := literal.Value().(string)
	at, err := time.Parse(time.RFC3339, text)
	return at.UTC(), err == nil
}
