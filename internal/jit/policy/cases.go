package policy

import (
	"regexp"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// cases returns a text whose case means nothing, as it is and as the texts in the condition spell it.
func (c *condition) cases(text string) []string {
	all, whole := []string{text}, text
	for _, literal := range c.literals {
		fold := regexp.MustCompile("(?i)" + regexp.QuoteMeta(literal))
		all = append(all, fold.ReplaceAllLiteralString(text, literal))
		whole = fold.ReplaceAllLiteralString(whole, literal)
	}
	all = append(all, whole)
	slices.Sort(all)
	return slices.Compact(all)
}

// logical are the operators that join conditions.
var logical = []string{operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional}

// roleTexts returns the texts in an expression that a role may be compared with: all but those that are compared with
// another field only.
func roleTexts(compiled *cel.Ast) (texts []string) {
	whole := compiled.NativeRep().Expr()
	other := map[int64]bool{}
	ast.PostOrderVisit(whole, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || slices.Contains(logical, e.AsCall().FunctionName()) {
			return
		}
		if found, role, another := within(e); another && !role {
			for id := range found {
				other[id] = true
			}
		}
	}))
	found, _, _ := within(whole)
	for id, text := range found {
		if !other[id] && text != "" {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// within returns the texts of an expression by their ids, and whether it reads the role, or another field.
func within(e ast.Expr) (texts map[int64]string, role, another bool) {
	texts = map[int64]string{}
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.LiteralKind:
			if text, ok := e.AsLiteral().Value().(string); ok {
				texts[e.ID()] = text
			}
		case ast.SelectKind:
			if e.AsSelect().FieldName() == "role" {
				role = true
			} else {
				another = true
			}
		}
	}))
	return texts, role, another
}
