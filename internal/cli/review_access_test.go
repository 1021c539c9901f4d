package cli

import (
	"maps"
	"strings"
	"testing"
)

// No format, no message and no error shows what the plan marks as sensitive.
func TestReviewHidesSensitiveValues(t *testing.T) {
	o := newReviewOffice(t)
	const secret = "s3cret-value"
	for name, edit := range map[string]func(top, all, change, after object){
		"reason": func(_, _, change, after object) {
			after["reason"], change["after_sensitive"] = secret, object{"reason": true}
		},
		"principal that the target refuses": func(_, _, change, after object) {
			after["principal"], change["after_sensitive"] = secret, object{"principal": true}
		},
		"policy that nobody knows": func(_, _, change, after object) {
			after["policy"], change["after_sensitive"] = secret, object{"policy": true}
		},
		"target": func(_, _, change, after object) {
			after["target"], change["after_sensitive"] = secret, object{"target": true}
		},
		"requester": func(_, _, change, after object) {
			after["requester"], change["after_sensitive"] = secret, object{"requester": true}
		},
		"everything": func(_, _, change, after object) {
			after["reason"], after["role"], change["after_sensitive"] = secret, secret, true
		},
		"before": func(_, _, change, after object) {
			change["actions"], change["before"] = []string{"update"}, maps.Clone(after)
			change["before"].(object)["reason"], change["before_sensitive"] = secret, object{"reason": true}
			change["before"].(object)["drift"] = "altered: " + secret
		},
		"a policy": func(top, _, _, _ object) {
			values := object{"name": "short", "effect": "permit", "match": []any{object{}}, "reason_pattern": "^" + secret,
				"description": secret}
			top["resource_changes"] = append(top["resource_changes"].([]object), object{"address": "jit_policy.s",
				"mode": "managed", "type": "jit_policy",
				"provider_name": "registry.terraform.io/jitaccess/jit", "change": object{"actions": []string{"create"},
					"after":         values,
					"after_unknown": object{}, "after_sensitive": object{"reason_pattern": true}}})
		},
		"access": func(top, _, _, _ object) {
			top["resource_changes"] = append(top["resource_changes"].([]object),
				object{"address": "aws_iam_user_policy_attachment.x",
					"mode": "managed", "type": "aws_iam_user_policy_attachment",
					"provider_name": "registry.terraform.io/hashicorp/aws",
					"change": object{"actions": []string{"create"}, "after": object{"user": secret,
						"policy_arn": "arn:" + secret},
						"after_unknown": object{}, "after_sensitive": object{"user": true, "policy_arn": true}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o.t = t
			all, change, after := o.whole(o.short())
			delete(after, "request_digest")
			change["after_unknown"].(object)["request_digest"] = true
			after["id"], after["summary"] = "", ""
			top := object{"resource_changes": []object{all}}
			edit(top, all, change, after)
			o.planOf(top)
			for _, format := range formats {
				r := o.run("review", "plan.json", "--format", format)
				if r.code != exitUndecided && r.code != exitRefused && r.code != exitDone {
					t.Errorf("%s: exit code %d\n%s", format, r.code, r.err)
				}
				if strings.Contains(strings.ToLower(r.out+r.err), secret) {
					t.Errorf("%s shows the value:\n%s%s", format, r.out, r.err)
				}
			}
		})
	}
}

// What is given by other providers, and left behind, is told.
func TestReviewAccess(t *testing.T) {
	o := newReviewOffice(t)
	reader := object{"user": "alice", "policy_arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}
	admin := object{"user": "alice", "policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess"}
	for name, tc := range map[string]struct {
		actions       []string
		before, after object
		extra         object
		code          int
		want          []string
	}{
		"create":  {[]string{"create"}, nil, admin, nil, exitUndecided, []string{"create decide gives true"}},
		"destroy": {[]string{"delete"}, admin, nil, nil, exitDone, []string{"destroy nothing gives false"}},
		"forget":  {[]string{"forget"}, admin, nil, nil, exitUndecided, []string{"forget decide gives true"}},
		"import": {[]string{"no-op"}, admin, admin, object{"importing": object{"id": "x"}}, exitUndecided,
			[]string{"import decide gives false"}},
		"move": {[]string{"no-op"}, admin, admin, object{}, exitDone, []string{"move nothing gives false"}},
		"replace": {[]string{"delete", "create"}, reader, admin, nil, exitUndecided,
			[]string{"replace decide gives true", "replace nothing gives false"}},
		"same": {[]string{"no-op"}, admin, admin, nil, exitDone, nil},
		"unknown to us": {[]string{"transfer"}, nil, admin, nil, exitUndecided,
			[]string{"replace decide gives true",
				`? aws_iam_user_policy_attachment.x: this program does not know its actions, ["transfer"]`}},
		"the same, with labels": {[]string{"update"}, admin, object{"user": "alice",
			"policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess", "tags": object{"a": "b"}}, nil, exitDone, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o.t = t
			change := object{"actions": tc.actions, "before": tc.before, "after": tc.after, "after_unknown": object{}}
			maps.Copy(change, tc.extra)
			all := object{"address": "aws_iam_user_policy_attachment.x", "mode": "managed", "name": "x",
				"type": "aws_iam_user_policy_attachment", "provider_name": "registry.terraform.io/hashicorp/aws",
				"change": change}
			if name == "move" {
				all["previous_address"] = "aws_iam_user_policy_attachment.y"
			}
			o.planOf(object{"resource_changes": []object{all}})
			got := o.seen(tc.code).lines()
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], "aws_iam_user_policy_attachment.x ")
			}
			if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
