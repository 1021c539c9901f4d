package catalog

import (
	"encoding/json"
	"strconv"
	"strings"
)

// node is a part of a resource: its value, and what of it is unknown and sensitive. Unknown and sensitive are true, or
// have the shape of the value.
type node struct {
	value, unknown, sensitive any
	// missing: the resource has no such attribute.
	missing bool
}

func (n node) isUnknown() bool   { return n.unknown == true }
func (n node) isSensitive() bool { return n.sensitive == true }

// stop says that nothing can be read inside of the node.
func (n node) stop() bool { return n.isUnknown() || n.isSensitive() || n.missing }

// isNull says that the node has no value, and the plan knows that.
func (n node) isNull() bool { return n.value == nil && !n.stop() }

// child returns the attribute of an object.
func (n node) child(name string) node {
	c := node{unknown: member(n.unknown, name), sensitive: member(n.sensitive, name)}
	object, ok := n.value.(map[string]any)
	if ok {
		c.value, ok = object[name]
	}
	c.missing = !ok && n.value != nil && c.unknown == nil
	return c
}

// item returns the element of a list.
func (n node) item(list []any, i int) node {
	return node{value: list[i], unknown: itemOf(n.unknown, i), sensitive: itemOf(n.sensitive, i)}
}

func member(mark any, name string) any {
	switch m := mark.(type) {
	case bool:
		return m
	case map[string]any:
		return m[name]
	}
	return nil
}

func itemOf(mark any, i int) any {
	switch m := mark.(type) {
	case bool:
		return m
	case []any:
		if i < len(m) {
			return m[i]
		}
	}
	return nil
}

// leaves follows steps into every element of every list on the way, and returns what it comes to.
func (n node) leaves(steps []step) []node {
	if n.stop() {
		return []node{n}
	}
	if list, ok := n.value.([]any); ok {
		var found []node
		for i := range list {
			found = append(found, n.item(list, i).leaves(steps)...)
		}
		return found
	}
	if len(steps) == 0 || n.value == nil {
		return []node{n}
	}
	return n.child(steps[0].name).leaves(steps[1:])
}

// elements returns the elements that steps lead to, without those that are null.
func (n node) elements(steps []step) []node {
	var found []node
	for _, e := range n.leaves(steps) {
		if !e.isNull() {
			found = append(found, e)
		}
	}
	return found
}

// groups returns the leaves of each element of the lists that steps fan out; one group if they fan out none.
func (n node) groups(steps []step) [][]node {
	for i := range steps {
		if !steps[i].fan {
			continue
		}
		var found [][]node
		for _, e := range n.elements(steps[:i+1]) {
			found = append(found, e.groups(steps[i+1:])...)
		}
		return found
	}
	return [][]node{n.leaves(steps)}
}

// text returns the text of a scalar.
func text(value any) (string, bool) {
	switch v := value.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

// join returns the value of a group of leaves: their texts with commas between them. missing: none of them is an
// attribute of the resource, or one is no scalar.
func join(group []node) (value Value, missing bool) {
	var texts []string
	for _, n := range group {
		t, scalar := text(n.value)
		switch {
		case n.isSensitive():
			return Value{Sensitive: true}, false
		case n.isUnknown():
			value.Unknown = true
		case n.missing || !scalar:
			missing = true
		case t != "":
			texts = append(texts, t)
		}
	}
	if !value.Unknown {
		value.Text = strings.Join(texts, ", ")
	}
	return value, missing && len(texts) == 0 && !value.Unknown
}
