package gcptest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// Ask is a question: may a member use a permission on a resource at a time?
type Ask struct {
	Member     string
	Permission string
	// Scope is the resource. Its policy and those of all resources above it decide.
	Scope string
	// Name is resource.name in conditions; empty means the name of the scope.
	Name string
	At   time.Time
}

// Allowed decides by the present policies.
func (s *Server) Allowed(q Ask) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for scope := q.Scope; scope != ""; {
		at, there := s.resources[scope]
		if !there {
			return false
		}
		for _, b := range at.policy.Bindings {
			if s.gives(b, q) {
				return true
			}
		}
		scope = at.parent
	}
	return false
}

// gives reports whether a binding permits the access in question.
func (s *Server) gives(b Binding, q Ask) bool {
	permissions := s.roles[b.Role]
	if !slices.Contains(permissions, q.Permission) && !slices.Contains(permissions, "*") {
		return false
	}
	if !slices.ContainsFunc(b.Members, func(m string) bool { return s.is(q.Member, m) }) {
		return false
	}
	return b.Condition == nil || s.holds(b.Condition.Expression, q)
}

// is reports whether a member of a policy includes an account.
func (s *Server) is(who, member string) bool {
	switch {
	case strings.HasPrefix(who, "deleted:") || !s.accounts[who]:
		return false // the account was deleted
	case strings.EqualFold(who, member) || member == "allUsers" || member == "allAuthenticatedUsers":
		return true
	case strings.HasPrefix(member, "domain:"):
		return strings.HasSuffix(who, "@"+strings.TrimPrefix(member, "domain:"))
	}
	return slices.Contains(s.groups[member], who)
}

// program is a compiled condition.
type program struct {
	cel.Program
	operators int
}

var logical = []string{operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot}

// environment has the attributes of requests that conditions can use
// (https://cloud.google.com/iam/docs/conditions-attribute-reference).
func environment() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("request.time", cel.TimestampType),
		cel.Variable("resource.name", cel.StringType),
		cel.Variable("resource.type", cel.StringType),
		cel.Variable("resource.service", cel.StringType),
	)
}

// compile compiles a condition, which must be boolean and use known attributes. It keeps programs, because most
// conditions of a policy stay the same from write to write.
func (s *Server) compile(expression string) (program, error) {
	if known, ok := s.programs[expression]; ok {
		return known, nil
	}
	checked, issues := s.env.Compile(expression)
	if issues.Err() != nil {
		return program{}, errors.New(strings.ReplaceAll(issues.Err().Error(), "\n", " "))
	}
	if checked.OutputType() != cel.BoolType {
		return program{}, fmt.Errorf("it is of the type %s and not boolean", checked.OutputType())
	}
	compiled, err := s.env.Program(checked)
	if err != nil {
		return program{}, err
	}
	p := program{Program: compiled}
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.CallKind && slices.Contains(logical, e.AsCall().FunctionName()) {
			p.operators++
		}
	}))
	s.programs[expression] = p
	return p, nil
}

// holds evaluates a condition. One that cannot be evaluated does not hold.
func (s *Server) holds(expression string, q Ask) bool {
	p, err := s.compile(expression)
	if err != nil {
		return false
	}
	api, _, _ := strings.Cut(kindOf(q.Scope).API, "/")
	name, service := cmp.Or(q.Name, q.Scope), api+".googleapis.com"
	result, _, err := p.Eval(map[string]any{
		"request.time": q.At, "resource.name": name,
		"resource.service": service, "resource.type": service + "/Resource",
	})
	return err == nil && result.Value() == true
}
