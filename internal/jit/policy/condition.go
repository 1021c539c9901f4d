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
		return nil, jit.Invalid("condition", "a condition is a CEL expression over "+known()+`, for example: grant.ttl <= duration("4h")`,
			"%q is not a condition: line %d, column %d: %s", expression, first.Location.Line(), first.Location.Column()+1, first.Message)
	}
	if compiled.OutputType() != cel.BoolType {
		return nil, jit.Invalid("condition", `compare it with something, for example: grant.ttl <= duration("4h")`,
			"%q is a %s; a condition is true or false", expression, compiled.OutputType())
	}
	program, err := env.Program(compiled, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxConditionCost))
	if err != nil {
		return nil, jit.Invalid("condition", "correct the literals in it", "%q is not a condition: %v", expression, err)
	}
	return &condition{program, subject(compiled)}, nil
}

// holds evaluates the condition for one grant.
func (c *condition) holds(r *Request) (bool, error) {
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

// subject returns the one attribute of the grant that an expression reads, or "".
func subject(compiled *cel.Ast) string {
	read := map[string]bool{}
	ast.PostOrderVisit(compiled.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind {
			return
		}
		s := e.AsSelect()
		if s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == grantVariable {
			read[fields[s.FieldName()].attribute] = true
		}
	}))
	if len(read) != 1 {
		return ""
	}
	for attribute := range read {
		return attribute
	}
	return ""
}

// known lists the fields of grant for an error message.
func known() string {
	return grantVariable + "." + strings.Join(slices.Sorted(maps.Keys(fields)), ", ")
}
