package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// rangeOf returns where the file names the last part of path, a path of names in nested maps. The path may leave out
// levels. If the place is unknown, it is the nearest known one.
func rangeOf(expr hcl.Expression, scope *hcl.EvalContext, path ...string) hcl.Range {
	if len(path) == 0 {
		return expr.Range()
	}
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return expr.Range()
	}
	for _, pair := range pairs {
		if keyOf(pair, scope) == path[0] {
			if len(path) == 1 {
				return pair.Key.Range()
			}
			return rangeOf(pair.Value, scope, path[1:]...)
		}
	}
	for _, pair := range pairs {
		if found := rangeOf(pair.Value, scope, path...); found != pair.Value.Range() {
			return found
		}
	}
	return expr.Range()
}

// uniqueMap is value for a map whose names must be unique: HCL would silently keep the last of two.
func (r *reader) uniqueMap(name, thing string) (attr *hcl.Attribute, v cty.Value, ok bool) {
	if attr, ok = r.attributes[name]; ok && r.err == nil {
		pairs, _ := hcl.ExprMap(attr.Expr) // a computed map has no pairs, and its names are unique
		seen := map[string]bool{}
		for _, pair := range pairs {
			key := keyOf(pair, r.scope)
			if key != "" && seen[key] {
				r.err = at(pair.Key.Range(),
					jit.Invalid(name, "give each its own name", "the %s %q is written twice", thing, key))
			}
			seen[key] = true
		}
	}
	return r.value(name)
}

// places returns where the file sets each attribute, and each target: owner, targets["prod"].
func (r *reader) places() map[string]hcl.Range {
	all := make(map[string]hcl.Range, len(r.attributes))
	for name, attr := range r.attributes {
		all[name] = attr.Range
	}
	if attr, ok := r.attributes["targets"]; ok {
		pairs, _ := hcl.ExprMap(attr.Expr) // a computed map has no places of its own
		for _, pair := range pairs {
			all[fmt.Sprintf("targets[%q]", keyOf(pair, r.scope))] = pair.Key.Range()
		}
	}
	return all
}

// inFile puts file:line before an error about an attribute that the settings file sets.
func (s Settings) inFile(err error) error {
	wrong, ok := err.(*jit.Error) //nolint:errorlint // around another error, the place would hide what was being done
	if !ok {
		return err
	}
	for name := wrong.Attribute; name != ""; name = name[:max(0, strings.LastIndexAny(name, ".["))] {
		if place, ok := s.places[name]; ok {
			return at(place, wrong)
		}
	}
	return err
}

func keyOf(pair hcl.KeyValuePair, scope *hcl.EvalContext) string {
	v, diags := pair.Key.Value(scope)
	if diags.HasErrors() || v.IsNull() || v.Type() != cty.String {
		return ""
	}
	return v.AsString()
}

// inFile turns the first error of the diagnostics into one that begins with file:line.
func inFile(diags hcl.Diagnostics) error {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		user := &jit.Error{Problem: d.Summary + ": " + strings.TrimSuffix(d.Detail, "."), Err: jit.ErrInvalid}
		if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok && call.FunctionCallError() != nil {
			user.Problem = call.CalledFunctionName() + ": " + call.FunctionCallError().Error()
		}
		if d.Subject == nil {
			return user
		}
		return at(*d.Subject, user)
	}
	return nil
}

// at puts file:line before the error's problem.
func at(where hcl.Range, err *jit.Error) error {
	located := *err
	location := fmt.Sprintf("%s:%d: ", where.Filename, where.Start.Line)
	if located.Attribute == "" {
		located.Problem = location + located.Problem
	} else {
		located.Attribute = location + located.Attribute
	}
	return &located
}
