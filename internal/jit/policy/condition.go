package policy

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The bounds of a condition. What one evaluation may cost is in CEL's own unit, about
// one for each step; the rest keeps parsing and compiling short.
const (
	maxCondition      = 2000 // bytes
	maxConditionCost  = 20_000
	maxConditionDepth = 50
	maxRegexProgram   = 1000
)

const (
	grantVariable = "grant"
	grantType     = "jit.Grant"
)

// field is one field of the CEL variable grant.
type field struct {
	kind *cel.Type
	// attribute is what a user changes to change the field.
	attribute string
	get       func(*Request) any
	// absent, where it is set, reports that the grant has no such field.
	absent func(*Request) bool
}

// fields are what a condition can ask of a grant.
var fields = map[string]field{
	"owner":     {kind: cel.StringType, get: func(r *Request) any { return r.Owner }},
	"platform":  {cel.StringType, "target", func(r *Request) any { return r.Platform }, nil},
	"target":    {cel.StringType, "target", func(r *Request) any { return r.Binding.Target }, nil},
	"principal": {cel.StringType, "principal", func(r *Request) any { return r.Binding.Principal }, nil},
	"role":      {cel.StringType, "role", func(r *Request) any { return r.Binding.Role }, nil},
	"scope":     {cel.StringType, "scope", func(r *Request) any { return r.Binding.Scope }, nil},
	"reason":    {cel.StringType, "reason", func(r *Request) any { return r.Reason }, nil},
	"ttl":       {cel.DurationType, "ttl", func(r *Request) any { return r.Length }, nil},
	"starts_at": {cel.TimestampType, "starts_at", func(r *Request) any { return r.StartsAt },
		func(r *Request) bool { return r.StartsAt.IsZero() }},
	"enforcement": {cel.StringType, "target", func(r *Request) any { return string(r.Traits.Enforcement) }, nil},
	"session_tail": {cel.DurationType, "target", func(r *Request) any {
		if r.Traits.SessionTail < 0 { // unlimited: longer than any duration it is compared with
			return time.Duration(math.MaxInt64)
		}
		return r.Traits.SessionTail
	}, nil},
}

// grants teaches CEL the type of the variable grant, so that a misspelt field is
// found when the condition is compiled and no reflection is needed to read one.
type grants struct{ types.Provider }

func (p grants) FindStructType(name string) (*types.Type, bool) {
	if name == grantType {
		return types.NewTypeTypeWithParam(cel.ObjectType(grantType)), true
	}
	return p.Provider.FindStructType(name)
}

func (p grants) FindStructFieldNames(name string) ([]string, bool) {
	if name == grantType {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p grants) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	if name != grantType {
		return p.Provider.FindStructFieldType(name, fieldName)
	}
	f, ok := fields[fieldName]
	if !ok {
		return nil, false
	}
	absent := func(target any) bool { return f.absent != nil && f.absent(target.(*Request)) }
	return &types.FieldType{
		Type:  f.kind,
		IsSet: func(target any) bool { return !absent(target) },
		GetFrom: func(target any) (any, error) {
			if absent(target) {
				return nil, fmt.Errorf("grant.%s is not set; ask has(grant.%s) first", fieldName, fieldName)
			}
			return f.get(target.(*Request)), nil
		},
	}, true
}

// environment is what conditions are compiled in. It never changes and takes a while to
// make, so it is made once.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		func(e *cel.Env) (*cel.Env, error) { return cel.CustomTypeProvider(grants{e.CELTypeProvider()})(e) },
		cel.Variable(grantVariable, cel.ObjectType(grantType)),
		ext.Strings(),
		cel.ParserRecursionLimit(maxConditionDepth),
		cel.RegexProgramSizeLimit(maxRegexProgram),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(),
			cel.ValidateTimestampLiterals(),
			cel.ValidateRegexLiterals(),
			cel.ValidateRegexProgramSizeLimit(maxRegexProgram),
		),
	)
})

// condition is a compiled CEL expression over a grant. It is safe for concurrent use.
type condition struct {
	program cel.Program
	// reads are the fields of the grant that the expression reads.
	reads map[string]bool
	// partial evaluates with some or all of the grant unknown.
	partial func() (cel.Program, error)
	// compiled is what program was made from.
	compiled *cel.Ast
	// attribute is the attribute of the grant that the expression is about; empty when it is about several.
	attribute string
}

// compileCondition compiles an expression; its errors are *jit.Error with the position in it.
func compileCondition(expression string) (*condition, error) {
	if len(expression) > maxCondition {
		return nil, jit.Invalid("condition", "split it into several policies", "the condition has %d bytes; at most %d are read", len(expression), maxCondition)
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("prepare CEL: %w", err)
	}
	compiled, issues := env.Compile(expression)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		line := first.Location.Line()
		if line < 1 { // a limit has no position
			return nil, jit.Invalid("condition", conditionHint(), "the condition cannot be read: %s", first.Message)
		}
		return nil, jit.Invalid("condition", conditionHint(), "line %d, column %d, of the condition, %q: %s",
			line, first.Location.Column()+1, strings.Split(expression, "\n")[line-1], first.Message)
	}
	reads, whole := subject(compiled)
	if whole {
		return nil, jit.Invalid("condition", conditionHint(), "%q uses grant as a whole; only its fields have values", expression)
	}
	if compiled.OutputType() != cel.BoolType {
		return nil, jit.Invalid("condition", `compare it with something, for example: grant.ttl <= duration("4h")`,
			"%q is a %s; a condition is true or false", expression, compiled.OutputType())
	}
	program, err := env.Program(compiled, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxConditionCost))
	if err != nil {
		return nil, jit.Invalid("condition", "correct the literals in it", "%q is not a condition: %v", expression, err)
	}
	partial := sync.OnceValues(func() (cel.Program, error) {
		return env.Program(compiled, cel.EvalOptions(cel.OptPartialEval), cel.CostLimit(maxConditionCost))
	})
	return &condition{program, reads, partial, compiled, attribute(reads)}, nil
}

// attribute returns the one attribute of the grant that the fields belong to, or "".
func attribute(reads map[string]bool) string {
	one := map[string]bool{}
	for name := range reads {
		one[fields[name].attribute] = true
	}
	if len(one) != 1 {
		return ""
	}
	return slices.Collect(maps.Keys(one))[0]
}

// open reports whether the condition depends on something that the platform has not been asked for.
func (c *condition) open(r *Request) bool {
	return r.early && c.reads["session_tail"] || c.reads["principal"] && r.Given.Principal.Unresolved ||
		c.reads["role"] && r.Given.Role.Unresolved || c.reads["scope"] && r.Given.Scope.Unresolved
}

// holds evaluates the condition for one grant, by the names that people use.
func (c *condition) holds(r *Request) (bool, error) {
	named := *r
	for _, part := range []struct {
		field string
		named jit.Named
		into  *string
		text  string
	}{
		{"principal", r.Given.Principal, &named.Binding.Principal, ""},
		{"role", r.Given.Role, &named.Binding.Role, r.Given.Narrowing.Text()},
		{"scope", r.Given.Scope, &named.Binding.Scope, ""},
	} {
		if c.reads[part.field] && part.named.Name == "" {
			return false, fmt.Errorf("the name of the %s is not known", part.field)
		}
		*part.into = part.named.Name + part.text
	}
	return c.eval(&named)
}

func (c *condition) eval(r *Request) (bool, error) {
	out, _, err := c.program.Eval(map[string]any{grantVariable: r})
	if err != nil {
		return false, err
	}
	held, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("it came out as %s", out.Type().TypeName())
	}
	return held, nil
}

// subject returns the fields of the grant that an expression reads, and whether it uses the grant
// other than for one of its fields, or makes one: that would fail for every grant.
func subject(compiled *cel.Ast) (reads map[string]bool, whole bool) {
	reads = map[string]bool{}
	uses := 0
	ast.PostOrderVisit(compiled.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.StructKind:
			uses++
		case ast.IdentKind:
			if e.AsIdent() == grantVariable {
				uses++
			}
		case ast.SelectKind:
			s := e.AsSelect()
			if s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == grantVariable {
				uses--
				reads[s.FieldName()] = true
			}
		}
	}))
	return reads, uses != 0
}

// conditionHint says what a condition looks like and what it can ask of a grant.
func conditionHint() string {
	return "a condition is a CEL expression over grant." + strings.Join(slices.Sorted(maps.Keys(fields)), ", ") +
		`; for example: grant.ttl <= duration("4h")`
}
