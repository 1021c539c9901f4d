package jit

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// A match in JSON is a list, or one object as older programs wrote it.
func TestMatchesOfJSON(t *testing.T) {
	one := Matches{{Roles: []string{"a"}}}
	for text, want := range map[string]Matches{
		`[{"roles":["a"]}]`: one, ` {"roles":["a"]}`: one, `{}`: {{}}, `[{}]`: {{}}, `null`: nil,
		`[{"roles":["a"]},{"scopes":["b"]}]`: {one[0], {Scopes: []string{"b"}}},
	} {
		var got Matches
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{`[]`, `"x"`, `[1]`, `{"roles":1}`} {
		if got := (Matches{}); json.Unmarshal([]byte(text), &got) == nil {
			t.Errorf("%s is %+v", text, got)
		}
	}
}

// Every policy can be read back from its event, and one that cannot is an error.
func TestPolicyOf(t *testing.T) {
	tail, none := 12*time.Hour, time.Duration(0)
	whole := Policy{
		Name: "prod", Description: "d", Effect: Permit, MaxTTL: 26 * time.Hour, ReasonPattern: "^INC-",
		NativeOnly:     true,
		Match:          Matches{{Targets: []string{"prod*"}, Roles: []string{"<x>"}}},
		MaxSessionTail: &tail, Condition: "grant.ttl > duration('1h')",
		Approval: []Requirement{{Required: 2, From: []string{"group:a", "b"}, Unless: "false",
			Evidence: []Evidence{Signature, PullRequest}, ValidFor: time.Hour}},
		BreakGlass: &BreakGlass{From: []string{"group:oncall"}, MaxTTL: time.Hour, ReasonPattern: "^SEV1"}, Holder: 3,
	}
	for _, p := range []Policy{
		whole, {Name: "a", Effect: Forbid}, {Name: "b", Effect: Permit, SweeperAccepted: true, MaxSessionTail: &none},
	} {
		facts := p.Facts()
		facts[RunDetail] = "run"
		if got, err := PolicyOf(Event{Policy: p.Name, Detail: facts}); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("got\n%+v, %v, want\n%+v", got, err, p)
		}
	}
	for name, value := range map[string]string{
		"approval": "[", "max_ttl": "soon", "match": "", "a fact of a newer program": "x", "enforcement": "x",
		"effect": "",
	} {
		facts := whole.Facts()
		facts[name] = value
		if name == "effect" {
			facts = nil
		}
		if _, err := PolicyOf(Event{Policy: "prod", Detail: facts}); err == nil {
			t.Errorf("%s = %q is no error", name, value)
		}
	}
}
