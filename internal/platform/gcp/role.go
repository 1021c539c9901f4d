package gcp

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/parser"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// role is a role with the user's own condition, which narrows it.
type role struct {
	name string
	when string // CEL; empty without a condition
}

// when separates role and condition.
const when = jit.If

// String writes the role as the user does.
func (r role) String() string {
	if r.when == "" {
		return r.name
	}
	return r.name + when + r.when
}

const (
	// maxOperators is how many logical operators a condition may have (https://cloud.google.com/iam/quotas: "Logical
	// operators in a role binding's condition expression").
	maxOperators = 12
	// ownOperators is how many of them the window uses: between its two bounds, and before the user's condition.
	ownOperators = 2
)

var roleForm = regexp.MustCompile(
	`^(roles/|projects/([a-z0-9.:-]+)/roles/|organizations/([0-9]+)/roles/)([A-Za-z0-9_.]{1,128})$`)

// basicRoles cannot carry a condition (https://cloud.google.com/iam/docs/conditions-overview).
var basicRoles = map[string]bool{"roles/owner": true, "roles/editor": true, "roles/viewer": true}

const roleHint = `write for example role = "roles/cloudsql.client", or role = "roles/storage.objectViewer if ` +
	`resource.name.startsWith(\"projects/_/buckets/reports/objects/2026/\")"`

// parseRole reads "<role>" or "<role> if <condition>".
func parseRole(s string) (role, error) {
	if err := jit.CheckText("role", s); err != nil {
		return role{}, err
	}
	name, expression, narrowed := strings.Cut(strings.TrimSpace(s), when)
	r := role{strings.TrimSpace(name), strings.TrimSpace(expression)}
	switch {
	case r.name == "":
		return role{}, jit.Invalid("role", roleHint, "the role is empty")
	case !roleForm.MatchString(r.name):
		return role{}, jit.Invalid("role", roleHint,
			"%q is not a role; it is roles/<name>, projects/<id>/roles/<name> or organizations/<number>/roles/<name>",
			r.name)
	case narrowed && r.when == "":
		return role{}, jit.Invalid("role", roleHint, "there is no condition after %q", strings.TrimSpace(when))
	}
	if m := roleForm.FindStringSubmatch(r.name); m[3] != "" {
		r.name = organizations + strings.TrimLeft(m[3], "0") + "/roles/" + m[4] // the same number
	}
	if r.when == "" {
		return r, nil
	}
	n, err := countOperators(r.when)
	if err != nil {
		return role{}, jit.Invalid("role", roleHint, "the condition %q cannot be read: %s", r.when,
			jit.Said(err.Error()))
	}
	if n > maxOperators-ownOperators {
		return role{}, jit.Invalid("role", "write a shorter condition, or several grants",
			"the condition %q has %d logical operators; with the %d that the window takes a condition may have %d",
			r.when, n, ownOperators, maxOperators)
	}
	return r, nil
}

// fits refuses a custom role outside of where it was defined.
func (r role) fits(at resource) error {
	m := roleForm.FindStringSubmatch(r.name)
	switch project, organization := m[2], m[3]; {
	case project != "" && at.kind.host != storageHost && at.project() != project:
		return jit.Invalid("role", "use a role of the organization, or grant on "+projects+project,
			"%q is a role of the project %q and cannot be granted on %s", r.name, project, at)
	case organization != "" && at.kind == organizationKind && at.name != organizations+organization:
		return jit.Invalid("role", "use a role of that organization", "%q is a role of another organization than %s",
			r.name, at)
	}
	return nil
}

// countOperators counts the logical operators of a condition. It refuses text that is not one expression both by itself
// and in parentheses: text that closes them early, or a comment, would remove the end.
func countOperators(expression string) (int, error) {
	n := 0
	for _, text := range []string{expression, "(" + expression + ")"} {
		tree, err := parseCEL(text)
		if err != nil {
			return 0, err
		}
		n = 0
		ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
			if e.Kind() == ast.CallKind && slices.Contains(logical, e.AsCall().FunctionName()) {
				n++
			}
		}))
	}
	return n, nil
}

var logical = []string{operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot}

// celParser knows no macros: the service has none, and expanded ones would count as operators.
var celParser = sync.OnceValues(func() (*parser.Parser, error) { return parser.NewParser(parser.Macros()) })

// parseCEL parses a condition.
func parseCEL(text string) (*ast.AST, error) {
	p, err := celParser()
	if err != nil {
		return nil, err
	}
	tree, errs := p.Parse(common.NewTextSource(text))
	if wrong := errs.GetErrors(); len(wrong) > 0 {
		return nil, errors.New(wrong[0].Message)
	}
	return tree, nil
}
