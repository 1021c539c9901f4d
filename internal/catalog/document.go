package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	strict "sigs.k8s.io/json"
)

// permission is what one entry of a policy document permits, or denies.
type permission struct {
	// principals are empty where the document names none, since it belongs to one.
	principals  []string
	role, scope string
	bound       bound
	// source is the entry, and what else of the document decides what it permits.
	source any
}

// read returns the access in a policy document. What the document leaves open, the rule says.
func (r *rule) read(now time.Time, in context) []Access {
	name := r.document.where.String()
	value, missing := r.document.where.value(in)
	why, permissions := "", []permission(nil)
	switch {
	case value.Unknown:
		why = name + " is known after the apply only"
	case value.Sensitive:
		why = name + " is sensitive"
	case missing:
		why = name + " cannot be read: the list of known types may be out of date"
	case value.Text == "":
		return nil
	default:
		var err error
		if permissions, err = readDocument(r.document.kind, now, value.Text); err != nil {
			why = name + " is no policy document that can be read: " + err.Error()
		}
	}
	if why != "" {
		in.rest = digest([]any{in.rest, rest(in.root, nil)})
		return r.product(in, bound{class: Opaque, why: why})
	}
	var accesses []Access
	for _, p := range permissions {
		for _, a := range r.product(in, p.bound) {
			accesses = append(accesses, p.fill(a)...)
		}
		if len(accesses) > maxAccess {
			break
		}
	}
	return accesses
}

// fill puts what the document says into an access.
func (p permission) fill(a Access) []Access {
	a.Role, a.Detail, a.MayGuard = Value{Text: p.role}, digest([]any{a.Detail, p.source}), false
	if a.Scope == (Value{}) {
		a.Scope = Value{Text: p.scope}
	}
	if len(p.principals) == 0 {
		return []Access{a}
	}
	var accesses []Access
	for _, principal := range p.principals {
		a.Principal = Value{Text: principal}
		accesses = append(accesses, a)
	}
	return accesses
}

func readDocument(kind string, now time.Time, document string) ([]permission, error) {
	if kind == "google" {
		return readGoogle(now, document)
	}
	return readAWS(now, document)
}

// unmarshal reads JSON. A name that appears twice in one object is an error: which of the two counts would be for each
// reader to choose.
func unmarshal(document string, into any) error {
	faults, err := strict.UnmarshalStrict([]byte(document), into, strict.DisallowDuplicateFields)
	if err != nil {
		return errors.New("it is no JSON object")
	}
	return errors.Join(faults...)
}

// readGoogle reads an IAM policy of Google.
func readGoogle(now time.Time, document string) ([]permission, error) {
	var policy struct {
		Bindings []struct {
			Role      string
			Members   []string
			Condition *struct{ Expression string }
		}
	}
	var parsed any
	if err := unmarshal(document, &parsed); err != nil {
		return nil, err
	}
	// The provider of Google reads names in any case, as this does.
	if err := json.Unmarshal([]byte(document), &policy); err != nil {
		return nil, errors.New("its JSON has another form")
	}
	others, _ := parsed.(map[string]any)
	maps.DeleteFunc(others, func(name string, _ any) bool { return strings.EqualFold(name, "bindings") })
	var permissions []permission
	for _, b := range policy.Bindings {
		if len(b.Members) == 0 {
			continue
		}
		p := permission{principals: b.Members, role: b.Role, source: []any{others, b.Condition}}
		p.bound = bound{class: Standing, why: "the binding has no condition"}
		if b.Condition != nil {
			p.bound = ending{kind: "cel"}.judge(now, "the condition", Value{Text: b.Condition.Expression})
		}
		permissions = append(permissions, p)
	}
	return permissions, nil
}

// readAWS reads a policy of AWS. Every statement is one permission; one that denies is a guard. Each stands for itself:
// only the Version decides about all of them, and only where they hold variables
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_version.html).
func readAWS(now time.Time, document string) ([]permission, error) {
	policy := map[string]any{}
	if err := unmarshal(document, &policy); err != nil {
		return nil, err
	}
	statements, ok := policy["Statement"].([]any)
	if !ok {
		statements = []any{policy["Statement"]}
	}
	version := policy["Version"]
	for _, name := range []string{"Statement", "Version", "Id"} {
		delete(policy, name)
	}
	var permissions []permission
	for i, s := range statements {
		statement, ok := s.(map[string]any)
		if !ok {
			return nil, errors.New("it has no Statement")
		}
		p, err := readStatement(now, statement)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		delete(statement, "Sid")
		p.source = []any{policy, statement}
		if holds(statement, "${") {
			p.source = []any{policy, statement, version}
		}
		permissions = append(permissions, p)
	}
	return permissions, nil
}

func readStatement(now time.Time, statement map[string]any) (p permission, err error) {
	for name := range statement {
		switch name {
		case "Sid", "Effect", "Condition", "Principal", "NotPrincipal", "Action", "NotAction", "Resource",
			"NotResource":
		default:
			return p, fmt.Errorf("it has an element %s", strconv.Quote(name))
		}
	}
	denies := statement["Effect"] == "Deny"
	if !denies && statement["Effect"] != "Allow" {
		return p, errors.New("its Effect is not Allow or Deny")
	}
	roles, err := listed(statement, "Action", err)
	scopes, err := listed(statement, "Resource", err)
	p.principals, err = listed(statement, "Principal", err)
	if err == nil && len(roles) == 0 {
		err = errors.New("it has no Action")
	}
	p.role, p.scope = strings.Join(roles, ", "), strings.Join(scopes, ", ")
	p.bound = awsBound(now, statement["Condition"])
	if denies {
		p.bound = bound{class: Guard, why: "the statement denies access that others permit"}
	}
	return p, err
}

// holds says whether a text stands anywhere in what JSON decoded.
func holds(value any, text string) bool {
	switch v := value.(type) {
	case string:
		return strings.Contains(v, text)
	case []any:
		return slices.ContainsFunc(v, func(part any) bool { return holds(part, text) })
	case map[string]any:
		for name, part := range v {
			if strings.Contains(name, text) || holds(part, text) {
				return true
			}
		}
	}
	return false
}

// listed returns the texts of an element or of its negation, those with wildcards first.
func listed(statement map[string]any, name string, before error) ([]string, error) {
	if before != nil {
		return nil, before
	}
	prefix, value := "", statement[name]
	if value == nil {
		value = statement["Not"+name]
		prefix = "all but "
	}
	byKind, ok := value.(map[string]any)
	if !ok || name != "Principal" {
		byKind = map[string]any{"": value}
	}
	var list []string
	for _, kind := range byKind {
		values, ok := kind.([]any)
		if !ok && kind != nil {
			values = []any{kind}
		}
		for _, v := range values {
			s, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("its %s is no text", name)
			}
			list = append(list, s)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := strings.Contains(list[i], "*"), strings.Contains(list[j], "*")
		return a && !b || a == b && list[i] < list[j]
	})
	if prefix != "" && len(list) > 0 {
		list = []string{prefix + strings.Join(list, ", ")}
	}
	return list, nil
}

// awsBound judges the Condition of a statement. All of its operators and keys have to hold, of the values of a key
// any; so each key that bounds the time bounds the statement, at the latest of its values.
func awsBound(now time.Time, condition any) bound {
	operators, _ := condition.(map[string]any)
	var end *bound
	for _, operator := range []string{"DateLessThan", "DateLessThanEquals"} {
		keys, _ := operators[operator].(map[string]any)
		for key, value := range keys {
			if !strings.EqualFold(key, "aws:CurrentTime") {
				continue
			}
			b := latest(now, value)
			if end == nil || b.class == Bounded && (end.class != Bounded || b.end.Text < end.end.Text) {
				end = &b
			}
		}
	}
	if end != nil {
		return *end
	}
	return bound{class: Standing, why: "no condition on aws:CurrentTime ends the statement"}
}

// latest returns the latest of the times of a key, or the first that is no end.
func latest(now time.Time, value any) bound {
	values, ok := value.([]any)
	if !ok {
		values = []any{value}
	}
	last := bound{class: Standing, why: "aws:CurrentTime is compared with nothing"}
	for _, v := range values {
		s, _ := v.(string)
		b := judgeTime(now, "aws:CurrentTime", Value{Text: s})
		if b.class != Bounded {
			return b
		}
		if last.class != Bounded || b.end.Text > last.end.Text {
			last = b
		}
	}
	return last
}
