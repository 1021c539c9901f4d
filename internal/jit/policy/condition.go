package policy

import (
	"cmp"
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

// The bounds of a condition. The cost of one evaluation is in CEL's own unit, about one for each step; the others keep
// parsing and compiling short.
const (
	maxCondition      = 2000 // bytes
	maxConditionCost  = 20_000
	maxConditionDepth = 50
	maxRegexProgram   = 1000
)

const (
	grantVariable     = "grant"
	requesterVariable = "requester"
)

// variables are the types of the CEL variables, with their fields. The value of each variable is a *Request.
var variables = map[string]struct {
	kind   string
	fields map[string]field
}{
	grantVariable:     {"jit.Grant", fields},
	requesterVariable: {"jit.Requester", requesterFields},
}

// variableOf returns the variable of a type, with its fields; ok is false if the type is not one of ours.
func variableOf(kind string) (name string, of map[string]field, ok bool) {
	for name, v := range variables {
		if v.kind == kind {
			return name, v.fields, true
		}
	}
	return "", nil, false
}

// field is one field of a CEL variable.
type field struct {
	kind *cel.Type
	// attribute is the attribute that a user edits to change the field.
	attribute string
	get       func(*Request) any
}

// requesterFields are the fields of the person who asks. A request by nobody known has none of them.
var requesterFields = map[string]field{
	"name": {cel.StringType, "requester", func(r *Request) any {
		if r.Requester == nil {
			return nil
		}
		return r.Requester.Name
	}},
	"groups": {cel.ListType(cel.StringType), "requester", func(r *Request) any {
		if r.Requester == nil {
			return nil
		}
		return r.Requester.Groups
	}},
}

// fields are the fields of a grant that a condition can read.
var fields = map[string]field{
	"owner":       {cel.StringType, "", func(r *Request) any { return r.Owner }},
	"platform":    {cel.StringType, "target", func(r *Request) any { return r.Platform }},
	"target":      {cel.StringType, "target", func(r *Request) any { return r.Binding.Target }},
	"principal":   {cel.StringType, "principal", func(r *Request) any { return r.Binding.Principal }},
	"role":        {cel.StringType, "role", func(r *Request) any { return r.Binding.Role }},
	"conditions":  {cel.ListType(cel.StringType), "role", func(r *Request) any { return r.Given.Conditions() }},
	"scope":       {cel.StringType, "scope", func(r *Request) any { return r.Binding.Scope }},
	"reason":      {cel.StringType, "reason", func(r *Request) any { return r.Reason }},
	"ttl":         {cel.DurationType, "ttl", func(r *Request) any { return r.Length }},
	"starts_at":   {cel.TimestampType, "starts_at", func(r *Request) any { return r.StartsAt }},
	"enforcement": {cel.StringType, "target", func(r *Request) any { return string(r.Traits.Enforcement) }},
	"session_tail": {cel.DurationType, "target", func(r *Request) any {
		if r.Traits.SessionTail < 0 { // unlimited: longer than any duration in a condition
			return time.Duration(math.MaxInt64)
		}
		return r.Traits.SessionTail
	}},
}

// absent reports whether the field has no value: a time that is not set, or the name of nobody.
func (f field) absent(request any) bool {
	value := f.get(request.(*Request))
	at, ok := value.(time.Time)
	return value == nil || ok && at.IsZero()
}

// grants gives CEL the types of the variables, so that compiling finds a misspelt field and reading a field needs
// no reflection.
type grants struct{ types.Provider }

func (p grants) FindStructType(name string) (*types.Type, bool) {
	if _, _, ok := variableOf(name); ok {
		return types.NewTypeTypeWithParam(cel.ObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p grants) FindStructFieldNames(name string) ([]string, bool) {
	if _, of, ok := variableOf(name); ok {
		return slices.Sorted(maps.Keys(of)), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p grants) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	variable, of, ours := variableOf(name)
	if !ours {
		return p.Provider.FindStructFieldType(name, fieldName)
	}
	f, ok := of[fieldName]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type:  f.kind,
		IsSet: func(request any) bool { return !f.absent(request) },
		GetFrom: func(request any) (any, error) {
			if r := request.(*Request); variable == requesterVariable && r.Requester == nil && r.Asks != "" {
				return nil, fmt.Errorf("no person %q is known", r.Asks)
			}
			if f.absent(request) {
				return nil, fmt.Errorf("%s.%s is not set; ask has(%[1]s.%[2]s) first", variable, fieldName)
			}
			return f.get(request.(*Request)), nil
		},
	}, true
}

// environment returns the CEL environment for conditions. It never changes and is slow to make, so it is made once.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		func(e *cel.Env) (*cel.Env, error) { return cel.CustomTypeProvider(grants{e.CELTypeProvider()})(e) },
		cel.Variable(grantVariable, cel.ObjectType(variables[grantVariable].kind)),
		cel.Variable(requesterVariable, cel.ObjectType(variables[requesterVariable].kind)),
		ext.Strings(),
		cel.Macros(days),
		cel.ParserRecursionLimit(maxConditionDepth),
		cel.RegexProgramSizeLimit(maxRegexProgram),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateRegexProgramSizeLimit(maxRegexProgram)),
	)
})

// condition is a compiled CEL expression over a grant. It is safe for concurrent use.
type condition struct {
	// program evaluates with all of the grant, or with some of it unknown.
	program cel.Program
	// literals are the texts in the expression that a role may be compared with.
	literals []string
	// reads are the fields of the grant that the expression reads.
	reads map[string]bool
	// compiled is the source of program.
	compiled *cel.Ast
	// attribute is the one attribute of the grant that the expression is about; empty if there are several.
	attribute string
}

// compileCondition compiles an expression; its errors are *jit.Error with the position in it.
func compileCondition(expression string) (*condition, error) {
	if len(expression) > maxCondition {
		return nil, jit.Invalid("condition", "split it into several policies",
			"the condition has %d bytes; the most is %d", len(expression), maxCondition)
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
		return nil, jit.Invalid("condition", hintFor(first.Message), "line %d, column %d, of the condition, %q: %s",
			line, first.Location.Column()+1, strings.Split(expression, "\n")[line-1], first.Message)
	}
	reads, whole := subject(compiled)
	if whole {
		return nil, jit.Invalid("condition", conditionHint(),
			"%q uses grant or requester as a whole; only their fields have values", expression)
	}
	if compiled.OutputType() != cel.BoolType {
		return nil, jit.Invalid("condition", `compare it with something, for example: grant.ttl <= duration("4h")`,
			"%q is a %s; a condition is true or false", expression, compiled.OutputType())
	}
	program, err := env.Program(compiled,
		cel.EvalOptions(cel.OptOptimize, cel.OptPartialEval), cel.CostLimit(maxConditionCost))
	if err != nil {
		return nil, jit.Invalid("condition", "correct the literals in it", "%q is not a condition: %v", expression, err)
	}
	return &condition{program: program, literals: roleTexts(compiled), reads: reads, compiled: compiled,
		attribute: attribute(reads)}, nil
}

// attribute returns the one attribute of the grant that the fields belong to, or "".
func attribute(reads map[string]bool) string {
	about := map[string]bool{}
	for name := range reads {
		if name == requesterVariable {
			about[requesterVariable] = true
		} else {
			about[fields[name].attribute] = true
		}
	}
	return only(about)
}

// open reports whether the condition depends on facts that the platform has not been asked for yet.
func (c *condition) open(r *Request) bool {
	unresolved := func(l list) bool { return c.reads[l.noun] && l.named(r).Unresolved }
	return r.early && c.reads["session_tail"] || slices.ContainsFunc(lists, unresolved)
}

// breach says how a grant breaks the condition of a permit; empty if it keeps it.
func (c *condition) breach(r *Request) string {
	if c == nil || r.early && c.open(r) {
		return ""
	}
	held, err := c.holds(r)
	switch {
	case err != nil:
		return fmt.Sprintf("cannot be evaluated (%v)", err)
	case held:
		return ""
	}
	return "is false" + c.values(r.asPeopleName())
}

// values lists the fields that the condition reads, with their values in the request.
func (c *condition) values(r *Request) (text string) {
	for _, name := range slices.Sorted(maps.Keys(c.reads)) {
		switch {
		case name != requesterVariable:
			text += "; grant." + name + " " + valueText(fields[name].get(r))
		case r.Requester == nil:
			text += "; requester is not set"
		default:
			text += fmt.Sprintf("; requester.name is %q; requester.groups are %s", r.Requester.Name,
				cmp.Or(quoted(r.Requester.Groups), "not given"))
		}
	}
	return text
}

// valueText says what the value of a field of the grant is.
func valueText(value any) string {
	switch v := value.(type) {
	case time.Duration:
		if v == math.MaxInt64 {
			v = jit.Unlimited
		}
		return "is " + jit.FormatTail(v)
	case time.Time:
		return "is " + cmp.Or(jit.FormatTime(v), "not set")
	}
	return fmt.Sprintf("is %q", value)
}

// holds evaluates the condition for one grant, by the names that people use.
func (c *condition) holds(r *Request) (bool, error) {
	for _, l := range lists {
		if c.reads[l.noun] && l.given != nil && l.given(r).Name == "" {
			return false, fmt.Errorf("the name of the %s is unknown", l.noun)
		}
	}
	named := r.asPeopleName()
	for _, role := range each(r.Given.Role) {
		named.Binding.Role = role.Name + r.Given.Narrowing.Text()
		if held, err := c.holdsFor(role, named); !held || err != nil {
			return held, err
		}
	}
	return true, nil
}

// asPeopleName returns the request by the names that people use.
func (r *Request) asPeopleName() *Request {
	named := *r
	named.Binding.Principal, named.Binding.Scope = r.Given.Principal.Name, r.Given.Scope.Name
	named.Binding.Role = r.Given.Role.Name + r.Given.Narrowing.Text()
	return &named
}

func (c *condition) eval(r *Request) (bool, error) {
	out, _, err := c.program.Eval(map[string]any{grantVariable: r, requesterVariable: r})
	if err != nil {
		return false, err
	}
	held, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("its value is a %s", out.Type().TypeName())
	}
	return held, nil
}

// subject returns the fields of the grant that an expression reads, and "requester" if it reads one of those. whole
// reports that the expression uses a variable in another way, or makes one; it would fail for every grant.
func subject(compiled *cel.Ast) (reads map[string]bool, whole bool) {
	reads = map[string]bool{}
	uses := 0
	ast.PostOrderVisit(compiled.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.StructKind:
			uses++
		case ast.IdentKind:
			if _, ours := variables[e.AsIdent()]; ours {
				uses++
			}
		case ast.SelectKind:
			s := e.AsSelect()
			if s.Operand().Kind() != ast.IdentKind {
				return
			}
			switch s.Operand().AsIdent() {
			case grantVariable:
				uses--
				reads[s.FieldName()] = true
			case requesterVariable:
				uses--
				reads[requesterVariable] = true
			}
		}
	}))
	return reads, uses != 0
}

// conditionHint shows a condition and lists the fields that it can read.
func conditionHint() string {
	return "a condition is a CEL expression over grant." + strings.Join(slices.Sorted(maps.Keys(fields)), ", ") +
		` and requester.groups, name; for example: grant.ttl <= duration("4h")`
}

// hintFor returns a hint for an error of the CEL compiler.
func hintFor(problem string) string {
	for part, hint := range map[string]string{
		"invalid timestamp argument":     `write the time in RFC 3339, for example timestamp("2026-12-01T00:00:00Z")`,
		"is not a duration":              `write for example duration("7d") or duration("1d12h")`,
		"invalid duration argument":      `write for example duration("7d") or duration("1d12h")`,
		"token recognition error at: '=": "compare with ==",
	} {
		if strings.Contains(problem, part) {
			return hint
		}
	}
	return conditionHint()
}
