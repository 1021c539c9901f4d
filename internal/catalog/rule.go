package catalog

import (
	_ "embed" // the data file
	"encoding/json"
	"fmt"
	"path"
	"sort"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"
)

//go:embed catalog.yaml
var data []byte

// table returns the catalog, which is read once.
var table = sync.OnceValue(func() *types {
	t, err := parse(data)
	if err != nil {
		panic(fmt.Sprintf("internal/catalog/catalog.yaml: %v", err)) // TestCatalog keeps this from being released
	}
	return t
})

// types holds the rules of the types. A type with no rule is known to give no access.
type types struct {
	exact map[string][]rule
	globs []glob
}

// glob holds the rules of all types that a pattern matches.
type glob struct {
	pattern, prefix string
	rules           []rule
}

// find returns the rules of a type. An exact name comes before a pattern, a longer pattern before a shorter one.
func (t *types) find(resourceType string) ([]rule, bool) {
	if rules, ok := t.exact[resourceType]; ok {
		return rules, true
	}
	for i := range t.globs {
		g := &t.globs[i]
		if !strings.HasPrefix(resourceType, g.prefix) {
			continue
		}
		if matched, err := path.Match(g.pattern, resourceType); err == nil && matched {
			return g.rules, true
		}
	}
	return nil, false
}

// rule says where access stands in the resources of a type.
type rule struct {
	// Each is the list whose elements give the access. Paths that begin with a dot start at its element.
	Each                   string
	Principal, Role, Scope selector
	// Ends are the attributes that hold an end, each with its kind.
	Ends ends
	// Document is the attribute with a policy document and its kind: aws or google.
	Document string
	// When holds the values that attributes must have so that the rule applies, as patterns; those after a ! they must
	// not have. An empty text stands for null.
	When map[string]texts
	// Opaque says why nobody but the provider can tell when the access ends.
	Opaque string
	// Why says why the access is standing, where it is not plain that it has no end.
	Why string
	// Guard says how the resource takes access away, where it gives none.
	Guard string
	// Own is the attribute of a resource that limits access to the resource itself, or what the resource may do. A
	// guard in it ends with the resource, and no other attribute changes it.
	Own string
	// Sure: the rule applies only if the plan knows all of its conditions.
	Sure bool

	each     []step
	document *ending
	when     []condition
}

type condition struct {
	where  composite
	values texts
}

// texts is a list of texts, which may be written as a scalar.
type texts []string

func (t *texts) UnmarshalJSON(raw []byte) error {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return err
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, v := range list {
		s, ok := text(v)
		if !ok {
			return fmt.Errorf("%s is no scalar and no list of scalars", raw)
		}
		*t = append(*t, s)
	}
	return nil
}

// parse reads a catalog.
func parse(content []byte) (*types, error) {
	var entries map[string]json.RawMessage
	if err := yaml.UnmarshalStrict(content, &entries); err != nil {
		return nil, err
	}
	t := &types{exact: map[string][]rule{}}
	for name, raw := range entries {
		if strings.HasPrefix(name, "_") {
			continue // an anchor
		}
		rules, err := parseRules(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if star := strings.IndexByte(name, '*'); star >= 0 {
			t.globs = append(t.globs, glob{pattern: name, prefix: name[:star], rules: rules})
		} else {
			t.exact[name] = rules
		}
	}
	sort.Slice(t.globs, func(i, j int) bool {
		a, b := t.globs[i].pattern, t.globs[j].pattern
		return len(a) > len(b) || len(a) == len(b) && a < b
	})
	return t, nil
}

func parseRules(raw json.RawMessage) ([]rule, error) {
	if raw[0] == '{' {
		raw = json.RawMessage("[" + string(raw) + "]")
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.DisallowUnknownFields()
	var rules []rule
	if err := decoder.Decode(&rules); err != nil {
		return nil, err
	}
	for i := range rules {
		if err := rules[i].compile(); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

func (r *rule) compile() error {
	if r.Each != "" {
		place, err := parsePlace(r.Each)
		if err != nil {
			return err
		}
		r.each = place.steps
	}
	for where, values := range r.When {
		place, err := parseComposite(where)
		if err != nil {
			return err
		}
		r.when = append(r.when, condition{place, values})
	}
	if r.Document != "" {
		document, err := parseEnding(r.Document)
		if err != nil {
			return err
		}
		if document.kind != "aws" && document.kind != "google" {
			return fmt.Errorf("document %q: its kind is not aws or google", r.Document)
		}
		r.document = &document
	}
	return nil
}

// meets says whether a text is what a pattern asks for. An empty text is matched by the empty pattern only. What a
// pattern asks for counts in any case of its letters, what it excludes in its own only.
func meets(pattern, text string) bool {
	pattern, negated := strings.CutPrefix(pattern, "!")
	if !negated {
		pattern, text = strings.ToLower(pattern), strings.ToLower(text)
	}
	whole := strings.NewReplacer("/", "\x00") // a star matches slashes too
	matched, err := path.Match(whole.Replace(pattern), whole.Replace(text))
	return negated != (err == nil && matched && (pattern == "") == (text == ""))
}

// applies says whether the conditions of the rule are met. doubt: whether they are is known after the apply only.
func (r *rule) applies(in context) (applies, doubt bool) {
	for _, c := range r.when {
		value, _ := c.where.value(in)
		if value.Unknown || value.Sensitive {
			doubt = true
			continue
		}
		met := false
		for _, pattern := range c.values {
			met = met || meets(pattern, value.Text)
		}
		if !met {
			return false, false
		}
	}
	return true, doubt
}
