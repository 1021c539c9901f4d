package gcptest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// document is what a discovery document says (https://developers.google.com/discovery/v1/reference/apis).
type document struct {
	RootURL, ServicePath string
	Schemas              map[string]struct{ Properties map[string]any }
	node
}

// node has methods, also those of the nodes below it.
type node struct {
	Methods map[string]struct {
		ID, HTTPMethod, Path string
		Parameters           map[string]struct{ Pattern string }
		Request              struct {
			Ref string `json:"$ref"`
		}
	}
	Resources map[string]node
}

// find returns the node whose methods have such ids.
func (n node) find(k *Kind) (node, bool) {
	if n.Methods[k.verb(getIamPolicy)].ID == k.Method+"."+k.verb(getIamPolicy) {
		return n, true
	}
	for _, below := range n.Resources {
		if found, ok := below.find(k); ok {
			return found, true
		}
	}
	return node{}, false
}

// The kinds are those of the discovery documents of the APIs.
func TestKindsAreThoseOfTheDiscoveryDocuments(t *testing.T) {
	t.Parallel()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "google.golang.org/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string]document{}
	for _, k := range Kinds {
		d, ok := documents[k.API]
		if !ok {
			api, _, _ := strings.Cut(k.API, "/")
			text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), k.API, api+"-api.json"))
			if err == nil {
				err = json.Unmarshal(text, &d)
			}
			if err != nil {
				t.Fatal(err)
			}
			documents[k.API] = d
		}
		k.compare(t, d)
	}
}

// compare checks a kind against its document.
func (k *Kind) compare(t *testing.T, d document) {
	n, ok := d.find(k)
	read, write := n.Methods[k.verb(getIamPolicy)], n.Methods[k.verb(setIamPolicy)]
	if !ok || write.ID != k.Method+"."+k.verb(setIamPolicy) {
		t.Errorf("the document of %s has no methods %s", k.API, k.Method)
		return
	}
	api, _, _ := strings.Cut(k.API, "/")
	if d.RootURL != "https://"+api+".googleapis.com/" || read.HTTPMethod != k.Get || write.HTTPMethod != k.Set {
		t.Errorf("%s: %s, %s and %s", k.Method, d.RootURL, read.HTTPMethod, write.HTTPMethod)
	}
	for verb, method := range map[string]string{getIamPolicy: read.Path, setIamPolicy: write.Path} {
		path := strings.NewReplacer("{name}", k.Name, "{verb}", verb, "{1}", "{}", "{2}", "{}").Replace(k.Path)
		if got := plain(d.ServicePath+method, k.Name); "/"+got != path {
			t.Errorf("%s: the path of %s is %s, want %s", k.Method, verb, path, got)
		}
	}
	for parameter := range read.Parameters {
		if strings.Contains(strings.ToLower(parameter), "policyversion") && parameter != k.Version {
			t.Errorf("%s: the parameter %s names the version", k.Method, parameter)
		}
	}
	_, asked := read.Parameters[k.Version]
	if body := read.Request.Ref; asked == (k.Version == "") || (body != "") != (k.Version == "") {
		t.Errorf("%s: the parameters are %v, the body %q", k.Method, read.Parameters, body)
	}
	if !k.storage() {
		field := "policy"
		if k.dataset() {
			field = "access"
		}
		if _, ok := d.Schemas[write.Request.Ref].Properties[field]; !ok {
			t.Errorf("%s: the body is %s", k.Method, write.Request.Ref)
		}
	}
}

// verb is the name of one of the two methods. Those of a dataset read and write more than its access.
func (k *Kind) verb(name string) string {
	if !k.dataset() {
		return name
	}
	return map[string]string{getIamPolicy: "get", setIamPolicy: "patch"}[name]
}

// plain is a path with {} for each parameter; {+resource} is a whole name.
func plain(path, name string) string {
	var all strings.Builder
	for rest := path; ; {
		before, after, ok := strings.Cut(rest, "{")
		all.WriteString(before)
		if !ok {
			return all.String()
		}
		parameter, behind, _ := strings.Cut(after, "}")
		rest = behind
		if parameter == "+resource" {
			all.WriteString(name)
		} else {
			all.WriteString("{}")
		}
	}
}
