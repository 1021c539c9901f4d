package catalog

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// context is where a rule reads: the resource, the element of its list, and the attributes that the configuration sets.
type context struct {
	root, element node
	configured    map[string]bool
	// rest is the digest of the rest of the resource.
	rest string
}

// step is one name on the way to an attribute. fan: each element of the list there is an access of its own.
type step struct {
	name string
	fan  bool
}

// place is the way to an attribute, or a constant. optional: while the attribute is unknown and the configuration does
// not set it, it counts as null.
type place struct {
	relative, constant, optional bool
	text                         string
	steps                        []step
}

// composite is a text made of several attributes, with slashes between them.
type composite []place

// selector finds values. Each of its alternatives counts; of the composites in one, the first that has a value.
type selector [][]composite

var stepForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*(\[\])?$`)

// parsePlace reads a way such as condition.expression, members[] or, inside of a list, .name. A text that begins with
// = is a constant. A ~ at the end makes it optional.
func parsePlace(s string) (place, error) {
	if constant, ok := strings.CutPrefix(s, "="); ok {
		return place{constant: true, text: constant}, nil
	}
	p := place{text: s}
	s, p.relative = strings.CutPrefix(s, ".")
	s, p.optional = strings.CutSuffix(s, "~")
	for _, name := range strings.Split(s, ".") {
		if !stepForm.MatchString(name) {
			return p, fmt.Errorf("%q is not the way to an attribute", p.text)
		}
		bare, fan := strings.CutSuffix(name, "[]")
		p.steps = append(p.steps, step{bare, fan})
	}
	return p, nil
}

func parseComposite(s string) (composite, error) {
	var c composite
	for _, part := range strings.Split(s, "/") {
		p, err := parsePlace(part)
		if err != nil {
			return nil, err
		}
		c = append(c, p)
	}
	for _, p := range c[1:] {
		for _, s := range p.steps {
			if s.fan {
				return nil, errors.New("only the first part of " + p.text + " may fan out")
			}
		}
	}
	return c, nil
}

// UnmarshalJSON reads a text, or a list of texts of which each counts. In a text, | stands between alternatives.
func (s *selector) UnmarshalJSON(raw []byte) error {
	var list texts
	if err := list.UnmarshalJSON(raw); err != nil {
		return err
	}
	for _, alternatives := range list {
		var composites []composite
		for _, alternative := range strings.Split(alternatives, "|") {
			c, err := parseComposite(alternative)
			if err != nil {
				return err
			}
			composites = append(composites, c)
		}
		*s = append(*s, composites)
	}
	return nil
}

func (p place) node(in context) node {
	switch {
	case p.relative:
		return in.element
	case p.optional && p.unset(in):
		return node{}
	}
	return in.root
}

// unset says that the attribute is unknown only because the configuration does not set it. Of blocks nobody can tell:
// the configuration of a plan does not show those that are dynamic.
func (p place) unset(in context) bool {
	if p.constant || p.relative || in.configured == nil {
		return false
	}
	name := p.steps[0].name
	return !in.configured[name] && in.root.child(name).isUnknown()
}

func (p place) values(in context) (values []Value, missing bool) {
	if p.constant {
		return []Value{{Text: p.text}}, false
	}
	for _, group := range p.node(in).groups(p.steps) {
		value, m := join(group)
		values, missing = append(values, value), missing || m
	}
	return values, missing
}

// values returns the values of the composite: as many as its first part has.
func (c composite) values(in context) (values []Value, missing bool) {
	values, missing = c[0].values(in)
	for _, p := range c[1:] {
		more, m := p.values(in)
		missing = missing && m
		for i := range values {
			values[i] = values[i].slash(more[0])
		}
	}
	return values, missing
}

// value returns the one value of a composite that does not fan out.
func (c composite) value(in context) (value Value, missing bool) {
	values, missing := c.values(in)
	if len(values) == 0 {
		return Value{}, missing
	}
	return values[0], missing
}

func (v Value) slash(o Value) Value {
	switch {
	case v.Sensitive || o.Sensitive:
		return Value{Sensitive: true}
	case v.Unknown || o.Unknown:
		return Value{Unknown: true}
	case v.Text == "" || o.Text == "":
		return Value{Text: v.Text + o.Text}
	}
	return Value{Text: v.Text + "/" + o.Text}
}

// values returns what a selector finds. A selector with nothing in it finds one empty value, and so does one whose
// attributes are all null; one that fans out an empty list finds none. missing: the resource has none of the
// attributes, and then an empty value stands for them.
func (s selector) values(in context) (found []Value, missing bool) {
	if len(s) == 0 {
		return []Value{{}}, false
	}
	missing = true
	for _, alternatives := range s {
		values, m := first(alternatives, in)
		missing = missing && m
		if !m {
			found = append(found, values...)
		}
	}
	if missing {
		return []Value{{}}, true
	}
	if len(s) > 1 {
		if set := slices.DeleteFunc(slices.Clone(found), func(v Value) bool { return v == Value{} }); len(set) > 0 {
			return set, false
		}
	}
	return found, false
}

// first returns the values of the first alternative that has one. One that is unknown only because nobody sets it comes
// last.
func first(alternatives []composite, in context) (found []Value, missing bool) {
	missing = true
	for _, c := range alternatives {
		values, m := c.values(in)
		if m {
			continue
		}
		if isSet := slices.ContainsFunc(values, func(v Value) bool { return v != Value{} }); isSet && !c[0].unset(in) {
			return values, false
		} else if isSet || missing {
			found, missing = values, false
		}
	}
	return found, missing
}
