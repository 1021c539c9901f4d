package catalog

import (
	"bufio"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// unchecked are the types of the catalog whose providers have no binding for CDK for Terraform or Pulumi, so their
// attributes are compared with nothing.
var unchecked = []string{"azapi_data_plane_resource", "azapi_resource", "azapi_resource_action",
	"azapi_update_resource", "kubectl_manifest"}

// elsewhere are attributes that other versions of a provider have than the one in testdata/schemas.txt.
var elsewhere = map[string]bool{
	"azuread_application_certificate.application_object_id": true,
	"azuread_application_password.application_object_id":    true,
	"azuread_application_pre_authorized.authorized_app_id":  true,
	"gitlab_group_ldap_link.access_level":                   true,
	"kafka_acl.resource_name":                               true,
	"kafka_acl.resource_type":                               true,
}

// bare is the path without what says that a part is a list.
func bare(path string) string { return strings.ReplaceAll(path, "[]", "") }

// paths returns the attributes that a composite reads.
func (c composite) paths(r *rule) (paths []string) {
	for _, p := range c {
		if p.constant {
			continue
		}
		var names []string
		if p.relative {
			for _, s := range r.each {
				names = append(names, s.name)
			}
		}
		for _, s := range p.steps {
			name := s.name
			if s.fan {
				name += "[]"
			}
			names = append(names, name)
		}
		paths = append(paths, strings.Join(names, "."))
	}
	return paths
}

// reads returns what a rule reads: of each part of it, the alternatives, and of each of these, the attributes.
func (r *rule) reads() (parts [][][]string) {
	for _, s := range []selector{r.Principal, r.Role, r.Scope} {
		for _, alternatives := range s {
			var part [][]string
			for _, c := range alternatives {
				part = append(part, c.paths(r))
			}
			parts = append(parts, part)
		}
	}
	single := func(c composite) { parts = append(parts, [][]string{c.paths(r)}) }
	for _, e := range r.Ends {
		single(e.where)
	}
	for _, c := range r.when {
		single(c.where)
	}
	if r.Guard != "" && r.Own != "" {
		parts = append(parts, [][]string{{r.Own}})
	}
	if r.document != nil {
		single(r.document.where)
	}
	return parts
}

// readSchemas returns the attributes of each type in testdata/schemas.txt, by their bare paths.
func readSchemas(t *testing.T) map[string]map[string]string {
	t.Helper()
	file, err := os.Open("testdata/schemas.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	schemas := map[string]map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		name, attributes, ok := strings.Cut(lines.Text(), ":")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		schemas[name] = map[string]string{}
		for _, a := range strings.Fields(attributes) {
			schemas[name][bare(a)] = a
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return schemas
}

// TestSchemas compares every attribute of the catalog with the schemas of the providers.
func TestSchemas(t *testing.T) {
	schemas, catalog := readSchemas(t), table()
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(catalog.exact)) {
		schema, ok := schemas[name]
		if !ok {
			missing = append(missing, name)
			continue
		}
		for i := range catalog.exact[name] {
			checkRule(t, name, &catalog.exact[name][i], schema, true)
		}
	}
	if !slices.Equal(missing, unchecked) {
		t.Errorf("no schema was at hand for %q, want %q: add the attributes of a new type to testdata/schemas.txt",
			missing, unchecked)
	}
	t.Logf("nothing checked the attributes of %q", missing)
	for _, g := range catalog.globs {
		for name, schema := range schemas {
			if matched, _ := path.Match(g.pattern, name); matched && catalog.exact[name] == nil {
				for i := range g.rules {
					checkRule(t, name, &g.rules[i], schema, false)
				}
			}
		}
	}
}

// checkRule looks for each attribute of a rule. Of the alternatives of a pattern, a part has to be there.
func checkRule(t *testing.T, name string, r *rule, schema map[string]string, all bool) {
	for _, part := range r.reads() {
		var absent []string
		found := false
		for _, alternative := range part {
			for _, attribute := range alternative {
				if has(schema, attribute) || elsewhere[name+"."+bare(attribute)] {
					found = true
				} else {
					absent = append(absent, attribute)
				}
			}
		}
		if len(absent) > 0 && (all || !found) {
			t.Errorf("%s has no %q, or not as a list", name, absent)
		}
	}
}

// has says whether a schema has an attribute, with lists wherever it is fanned out.
func has(schema map[string]string, attribute string) bool {
	if strings.HasPrefix(attribute, "manifest.") {
		attribute = "manifest" // of any form
	}
	is, ok := schema[bare(attribute)]
	parts := strings.Split(is, ".")
	for i, name := range strings.Split(attribute, ".") {
		if ok && strings.HasSuffix(name, "[]") && !strings.HasSuffix(parts[i], "[]") {
			return false
		}
	}
	return ok
}

// The catalog has to be as large as it says.
func TestSize(t *testing.T) {
	giving := map[string]bool{}
	for name, rules := range table().exact {
		if len(rules) > 0 {
			giving[name] = true
		}
	}
	exact := len(giving)
	for name := range readSchemas(t) {
		if rules, _ := table().find(name); len(rules) > 0 {
			giving[name] = true
		}
	}
	t.Logf("%d types give access: %d by name, %d by a pattern", len(giving), exact, len(giving)-exact)
	if len(giving) < 1000 { // as the guide says
		t.Errorf("%d types give access, want more than 1,000", len(giving))
	}
}
