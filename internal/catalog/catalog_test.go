package catalog

import (
	"os"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// now is when the cases are judged.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func show(v Value) string {
	switch {
	case v.Unknown:
		return "?"
	case v.Sensitive:
		return "*"
	}
	return v.Text
}

// lines writes accesses one a line: class, principal, role, scope and end.
func lines(accesses []Access) string {
	var all []string
	for _, a := range accesses {
		all = append(all, strings.Join([]string{string(a.Class), show(a.Principal), show(a.Role), show(a.Scope),
			show(a.End)}, "|"))
	}
	return strings.Join(all, "\n")
}

// resource is a case of testdata: one written by hand after a schema, or a resource of a plan that Terraform made.
type resource struct {
	Type, Case                 string
	Values, Unknown, Sensitive any
	Configured                 map[string]bool
	Want                       []string
}

func (r resource) object() Object {
	return Object{Values: r.Values, Unknown: r.Unknown, Sensitive: r.Sensitive, Configured: r.Configured}
}

func readCases(t testing.TB) (cases []resource) {
	t.Helper()
	for _, file := range []string{"testdata/cases.yaml", "testdata/planned.yaml"} {
		var some []resource
		content, err := os.ReadFile(file)
		if err == nil {
			err = yaml.UnmarshalStrict(content, &some)
		}
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, some...)
	}
	return cases
}

func TestOf(t *testing.T) {
	types := map[string]bool{}
	for _, c := range readCases(t) {
		types[c.Type] = true
		t.Run(c.Type+"/"+c.Case, func(t *testing.T) {
			got := lines(Of(now, "registry.terraform.io/x/x", c.Type, c.object()))
			if want := strings.Join(c.Want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	t.Logf("%d types have a case", len(types))
	if len(types) < 60 {
		t.Errorf("%d types have a case, want 60", len(types))
	}
}
