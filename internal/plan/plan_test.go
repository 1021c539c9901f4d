package plan

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// What is no plan, or one that cannot be trusted, is an error that says what to do.
func TestReadRefuses(t *testing.T) {
	const plan = `{"format_version":"1.2","planned_values":{},`
	crowd := ""
	for i := range maxStrict {
		crowd += `"x` + strconv.Itoa(i) + `":1,`
	}
	for name, tc := range map[string]struct{ text, says string }{
		"empty":         {" \n", "it is empty"},
		"text":          {"Terraform will perform the following actions:\n", "it does not begin with {"},
		"plan file":     {"PK\x03\x04", "only the CLI can read"},
		"list":          {"[]", "does not begin with {"},
		"truncated":     {plan + `"resource_changes":[{"addr`, "unexpected end"},
		"two documents": {plan + `"errored":false}{"errored":true}`, "after top-level value"},
		"state":         {`{"format_version":"1.0","terraform_version":"1.14.0","values":{}}`, "holds no plan"},
		"events":        {`{"@level":"info","type":"version"}`, "holds no plan"},
		"no version":    {`{"planned_values":{}}`, "without format_version"},
		"older":         {`{"format_version":"0.2","planned_values":{}}`, `has the format "0.2"`},
		"next major":    {`{"format_version":"2.0","planned_values":{}}`, `has the format "2.0"`},
		"no number":     {`{"format_version":"one","planned_values":{}}`, `has the format "one"`},
		"wrong type":    {plan + `"resource_changes":{}}`, "cannot unmarshal"},
		"twice":         {plan + `"resource_changes":[],"resource_changes":[]}`, `duplicate field "resource_changes"`},
		"twice, a value": {plan + `"resource_changes":[{"change":{"after":{"ttl":"1h","ttl":"9h"}}}]}`,
			"duplicate field"},
		"twice, actions": {plan + `"resource_changes":[{"change":{"actions":["no-op"],"actions":["create"]}}]}`,
			"duplicate"},
		"a null change":   {plan + `"resource_changes":[null]}`, "has null"},
		"a null drift":    {plan + `"resource_drift":[null]}`, "has null"},
		"a null deferred": {plan + `"deferred_changes":[null]}`, "has null"},
		"a null action":   {plan + `"action_invocations":[null]}`, "has null"},
		"a null put off":  {plan + `"deferred_action_invocations":[null]}`, "has null"},
		"a null check":    {plan + `"checks":[null]}`, "has null"},
		"behind a crowd": {plan + strings.Repeat(`"x":1,`, 200) + `"resource_changes":[],"resource_changes":[]}`,
			"field"},
		"a crowd": {plan + crowd + `"errored":false}`, "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "plan.json")
			if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load("PLAN", file)
			var e *jit.Error
			if !errors.Is(err, jit.ErrInvalid) || !errors.As(err, &e) || e.Hint == "" ||
				!strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want an error that says %q", err, tc.says)
			}
		})
	}
	if _, err := Load("PLAN", filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, jit.ErrInvalid) {
		t.Errorf("a file that does not exist: %v", err)
	}
}

// A field in another case is none that the CLI writes. It neither replaces the real one nor goes unnoticed.
func TestReadComparesCase(t *testing.T) {
	p, err := Read("PLAN", "stdin", strings.NewReader(`{"format_version":"1.2","planned_values":{},
		"resource_changes":[{"address":"jit_grant.a","type":"jit_grant","change":{
			"actions":["create"],"Actions":["no-op"],"after":{"ttl":"9h","TTL":"1h"},"AFTER":{"ttl":"1h"}}}],
		"Resource_changes":[],"ERRORED":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r := p.ResourceChanges
	if len(r) != 1 || !r[0].Change.Actions.Create() || Attribute(r[0].Change.After, "ttl") != "9h" {
		t.Errorf("the change is hidden: %+v", r)
	}
	if got := strings.Join(p.Unknown,
		" "); got != "resource_changes[0].change.Actions resource_changes[0].change.AFTER "+
		"Resource_changes ERRORED" {
		t.Errorf("unknown fields: %s", got)
	}
}

// A state names its resources in modules too.
func TestStated(t *testing.T) {
	p, err := Read("PLAN", "stdin", strings.NewReader(`{"format_version":"1.2","planned_values":{},"prior_state":{
		"format_version":"1.0","values":{"root_module":{"resources":[{"mode":"data","type":"jit_policy","values":{}}],
		"child_modules":[{"child_modules":[{"resources":[
			{"address":"module.a.jit_policy.p","mode":"managed","type":"jit_policy","values":{"name":"p"}}]}]}]}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	found, err := p.Stated("jit_policy")
	if err != nil || len(found) != 1 || found[0].Values["name"] != "p" {
		t.Errorf("got %+v, %v", found, err)
	}
	p.PriorState = []byte(`{"values":{"root_module":{"resources":[
		{"mode":"managed","type":"jit_policy","values":{"max_ttl":"1h","max_ttl":"9h"}}]}}}`)
	if found, err := p.Stated("jit_policy"); err == nil {
		t.Errorf("a state with two values of max_ttl is read as %+v", found)
	}
}

// A format is newer if this program cannot tell that it is not.
func TestNewerFormat(t *testing.T) {
	for version, want := range map[string]bool{"1.0": false, "1.2": false, "1.3": true, "1.10": true, "1.2b": true} {
		if got := (&Plan{FormatVersion: version}).NewerFormat(); got != want {
			t.Errorf("%s: got %t", version, got)
		}
	}
}

// A mark of the whole object marks each attribute, and a mark within a list marks the list.
func TestMarked(t *testing.T) {
	for _, marks := range []any{true, map[string]any{"a": true}, map[string]any{"a": []any{false, true}},
		map[string]any{"a": map[string]any{"b": []any{map[string]any{"c": true}}}}} {
		if !Marked(marks, "a") {
			t.Errorf("%v does not mark a", marks)
		}
	}
	for _, marks := range []any{nil, false, map[string]any{"b": true}, map[string]any{"a": []any{false}}} {
		if Marked(marks, "a") {
			t.Errorf("%v marks a", marks)
		}
	}
}
