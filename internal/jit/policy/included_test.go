package policy

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The condition of a forbid judges included access by its names, as match does. If the names cannot be listed and the
// condition depends on them, the grant is refused.
func TestForbidConditionJudgesIncludedAccess(t *testing.T) {
	cluster := func(r *Request) {
		r.Platform = "kubernetes"
		r.Given = jit.AsWritten(r.Binding)
		r.Binding.Scope, r.Given.Scope = "cluster", jit.Named{Name: "cluster", Covers: []string{"namespaces/*"}}
	}
	group := func(r *Request) {
		r.Given = jit.AsWritten(r.Binding)
		r.Given.Principal = jit.Named{Name: "group:all", Covers: []string{"user:*"}}
	}
	project := func(r *Request) {
		r.Given = jit.AsWritten(r.Binding)
		r.Given.Scope.Below = []string{r.Binding.Scope}
	}
	member := func(r *Request) {
		r.Given.Role = jit.Named{Name: "app", Covers: []string{"app_read", "app_write"}}
	}
	narrowed := func(parts ...string) func(r *Request) {
		return func(r *Request) {
			r.Given.Role, r.Given.Narrowing = jit.Named{Name: "P"}, jit.Narrowing{Word: jit.On, Parts: parts}
			r.Binding.Role = "P" + r.Given.Narrowing.Text()
		}
	}
	const unjudged = "cannot be judged for the access that this grant includes, "
	for name, tt := range map[string]struct {
		change    func(*Request)
		condition string
		rule      string // part of it; empty: permitted
	}{
		"a scope that includes others": {cluster, `grant.scope == "namespaces/prod"`,
			unjudged + `"namespaces/*"; use match`},
		"a scope with others below":   {project, `grant.scope.endsWith("/secrets/key")`, unjudged},
		"one that begins in some way": {cluster, `grant.scope.startsWith("namespaces/p")`, unjudged},
		"one of several": {cluster, `grant.scope in ["namespaces/prod", "namespaces/dev"]`,
			unjudged},
		"all but one": {cluster, `grant.scope != "namespaces/dev"`, "is true"},
		"what is known is enough for false": {cluster,
			`grant.platform == "gcp" && grant.scope == "namespaces/prod"`, ""},
		"another field of the grant is false": {cluster,
			`grant.scope == "namespaces/prod" && grant.ttl > duration("3h")`, ""},
		"another field of the grant is true": {cluster,
			`grant.scope == "namespaces/prod" && grant.ttl > duration("1h")`, unjudged},
		"it reads nothing of that": {cluster, `grant.principal == "user:eve@example.com"`, ""},
		"a group": {group, `grant.principal == "user:eve@example.com"`,
			unjudged + `"user:*"`},
		"a condition that fails for others":         {group, `grant.principal.split(":")[1] == "eve"`, unjudged},
		"a role that is in others":                  {member, `grant.role == "app_write"`, "is true"},
		"a role that is in others, of another name": {member, `grant.role == "admin"`, ""},
		"one of the resources": {narrowed("arn:a", "arn:b"), `grant.role == "P on arn:b"`,
			"is true"},
		"another resource": {narrowed("arn:a", "arn:b"), `grant.role == "P on arn:c"`, ""},
		"a resource that stands for many": {narrowed("arn:a", "arn:*"), `grant.role == "P on arn:c"`,
			unjudged + `"P on arn:*"`},
		"a scope by itself":                           {func(*Request) {}, `grant.scope == "projects/other"`, ""},
		"a scope that includes others, match forbids": {cluster, "", `gives "namespaces/*"`},
	} {
		t.Run(name, func(t *testing.T) {
			deny := jit.Policy{Name: "deny", Effect: jit.Forbid, Condition: tt.condition}
			if tt.condition == "" {
				deny.Match = jit.Matches{{Scopes: []string{"namespaces/prod"}}}
			}
			v, err := Judge([]jit.Policy{everything("all", jit.Permit), deny}, request(tt.change))
			if err != nil || v.Permitted() != (tt.rule == "") || tt.rule != "" &&
				(v.Policy != "deny" || !strings.Contains(v.Rule, tt.rule)) {
				t.Errorf("%+v, %v; want %q", v, err, tt.rule)
			}
			if tt.condition == "" {
				return
			}
			permit := jit.Policy{Name: "some", Effect: jit.Permit, Condition: tt.condition}
			if v, err := Judge([]jit.Policy{permit}, request(tt.change)); err != nil ||
				strings.Contains(v.Rule, unjudged) {
				t.Errorf("a policy that permits: %+v, %v", v, err)
			}
		})
	}
}
