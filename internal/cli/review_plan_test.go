package cli

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// newReviewOffice makes an office with a policy that permits an hour at once.
func newReviewOffice(t *testing.T) *office {
	t.Helper()
	o := newOffice(t, 1)
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	if err := rt.Broker.PutPolicy(t.Context(), jit.Policy{Name: "short", Effect: jit.Permit,
		MaxTTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	return o
}

// short is a request that the policy permits at once.
func (o *office) short(change ...func(*broker.Request)) broker.Request {
	return o.wish(append([]func(*broker.Request){func(r *broker.Request) {
		r.TTL, r.Policy = jit.RecordedTTL("1h"), "short"
	}}, change...)...)
}

// whole is the change with every attribute that this version of the provider writes.
func (o *office) whole(r broker.Request) (all, change, after object) {
	o.t.Helper()
	all = o.change("jit_grant.a", r)
	all["provider_name"] = "registry.terraform.io/jitaccess/jit"
	change = all["change"].(object)
	after = change["after"].(object)
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	g, _, err := rt.Broker.Check(r)
	if err != nil {
		o.t.Fatal(err)
	}
	maps.Copy(after, object{"id": string(g.ID), "policy": nil, "summary": g.Summary(), "enforcement": "native",
		"session_tail": "unlimited", "drift": nil, "timeouts": nil, "ttl_seconds": r.TTL.Length().Seconds()})
	if r.Policy != "" {
		after["policy"] = r.Policy
	}
	return all, change, after
}

// planOf writes plan.json with these fields beside those of a plan.
func (o *office) planOf(fields object) {
	o.t.Helper()
	whole := object{"format_version": "1.2", "terraform_version": "1.14.0", "planned_values": object{},
		"complete": true}
	maps.Copy(whole, fields)
	text, err := json.Marshal(whole)
	if err != nil {
		o.t.Fatal(err)
	}
	o.write("plan.json", string(text))
}

// seen reviews plan.json.
func (o *office) seen(code int, args ...string) (s seen) {
	o.t.Helper()
	o.run(append([]string{"review", "plan.json", "--json"}, args...)...).wantCode(code).decode(&s)
	return s
}

// A plan of which this program cannot tell everything never leaves nothing to decide.
func TestReviewDoubts(t *testing.T) {
	o := newReviewOffice(t)
	ended := object{"address": "jit_grant.old", "mode": "managed", "type": "jit_grant", "change": object{
		"actions": []string{"update"}, "before": object{"granted_at": nil},
		"after": object{"granted_at": "2026-01-01T00:00:00Z"}}}
	policyDrift := object{"address": "jit_policy.p", "mode": "managed", "type": "jit_policy", "change": object{
		"actions": []string{"update"}, "before": object{"max_ttl": "1h"}, "after": object{"max_ttl": "9h"}}}
	for name, tc := range map[string]struct {
		edit func(top, all, change, after object)
		says string
	}{
		"nothing":        {func(_, _, _, _ object) {}, ""},
		"ended and read": {func(top, _, _, _ object) { top["resource_drift"] = []object{ended} }, ""},
		"no changes":     {func(top, _, _, _ object) { top["resource_changes"] = nil }, ""},
		"no-op":          {func(_, _, change, _ object) { change["actions"] = []string{"no-op"} }, ""},
		"errored":        {func(top, _, _, _ object) { top["errored"] = true }, "planning failed"},
		"incomplete":     {func(top, _, _, _ object) { top["complete"] = false }, "not complete"},
		"newer":          {func(top, _, _, _ object) { top["format_version"] = "1.3" }, "newer than 1.2"},
		"nobody's":       {func(top, _, _, _ object) { top["terraform_version"] = "" }, "does not say which version"},
		"a new field": {func(top, _, _, _ object) { top["more_changes"] = []object{} },
			"more_changes: the plan has fields"},
		"a field in case": {func(_, _, change, _ object) { change["Actions"] = []string{"no-op"} },
			"change.Actions: the plan has"},
		"a resource field": {func(_, all, _, _ object) { all["stack"] = "x" }, "resource_changes[0].stack"},
		"deferred": {func(top, all, _, _ object) {
			top["deferred_changes"] = []object{{"reason": "provider_config_unknown", "resource_change": all}}
		}, "is deferred"},
		"deferred, nothing": {func(top, _, _, _ object) { top["deferred_changes"] = []object{{"reason": "?"}} },
			"is deferred"},
		"deferred action": {func(top, _, _, _ object) { top["deferred_action_invocations"] = []object{{}} },
			"actions are deferred"},
		"action": {func(top, _, _,
			_ object) {
			top["action_invocations"] = []object{{"address": "action.jit_revoke.x"}}
		},
			"invokes the action"},
		"check": {func(top, _, _, _ object) {
			top["checks"] = []object{{"address": object{"kind": "check", "to_display": "check.a"}, "status": "fail"}}
		}, "check.a: the check failed"},
		"check error": {func(top, _, _, _ object) {
			top["checks"] = []object{{"address": object{"to_display": "check.a"}, "status": "error"}}
		}, "the check failed"},
		"check passed": {func(top, _, _, _ object) {
			top["checks"] = []object{{"address": object{"to_display": "check.a"}, "status": "pass"}}
		}, ""},
		"new actions": {func(_, _, change, _ object) { change["actions"] = []string{"transfer"} },
			"this program does not know"},
		"no actions": {func(_, _, change, _ object) { delete(change, "actions") }, "this program does not know"},
		"new mode":   {func(_, all, _, _ object) { all["mode"] = "list" }, "its mode"},
		"no change":  {func(_, all, _, _ object) { delete(all, "change") }, "says nothing about its change"},
		"older provider": {func(_, _, _, after object) { delete(after, "break_glass") },
			"older version of the provider"},
		"newer provider": {func(_, _, _, after object) { after["extra"] = true }, "newer version of the provider"},
		"another provider": {func(_, all, _, _ object) { all["provider_name"] = "registry.terraform.io/evil/jit" },
			"not jitaccess/jit"},
		"another type": {func(_, all, _, _ object) { all["type"] = "jit_door" }, "does not know the type jit_door"},
		"unknown principal": {func(_, _, change, after object) {
			delete(after, "principal")
			change["after_unknown"].(object)["principal"] = true
		}, "principal is known only"},
		"unknown target": {func(_, _, change, after object) {
			delete(after, "target")
			change["after_unknown"].(object)["target"] = true
		}, "target is known only"},
		"unknown role": {func(_, _, change, after object) {
			delete(after, "role")
			change["after_unknown"].(object)["role"] = true
		}, "role is known only"},
		"unknown scope": {func(_, _, change, after object) {
			delete(after, "scope")
			change["after_unknown"].(object)["scope"] = true
		}, "scope is known only"},
		"unknown end": {func(_, _, change, after object) {
			after["ttl"] = nil
			change["after_unknown"].(object)["expires_at"] = true
		}, "expires_at is known only"},
		"unknown policy": {func(_, _, change, after object) {
			delete(after, "policy")
			change["after_unknown"].(object)["policy"] = true
		}, "policy is known only"},
		"all unknown": {func(_, _, change, _ object) { change["after_unknown"] = true },
			"known only after the apply"},
		"a ledger to come": {func(_, _, change, after object) {
			delete(after, "request_digest")
			change["after_unknown"].(object)["request_digest"] = true
		}, "for which ledger"},
		"a provider to come": {func(_, _, change, after object) {
			delete(after, "request_digest")
			delete(after, "id")
			maps.Copy(change["after_unknown"].(object), object{"id": true, "request_digest": true})
		}, "for which ledger"},
		"an update for a ledger to come": {func(_, _, change, after object) {
			change["actions"], change["before"] = []string{"update"}, maps.Clone(after)
			delete(change["before"].(object), "request_digest")
			delete(after, "request_digest")
		}, "for which ledger"},
		"an update of another ledger": {func(_, _, change, after object) {
			change["actions"], change["before"] = []string{"update"}, maps.Clone(after)
			change["before"].(object)["request_digest"] = strings.Repeat("0", 64)
			delete(after, "request_digest")
		}, "another ledger"},
		"no provider": {func(_, all, _, _ object) { delete(all, "provider_name") }, "does not name its provider"},
		"another registry": {func(_, all, _, _ object) { all["provider_name"] = "evil.example.com/jitaccess/jit" },
			"comes from evil.example.com"},
		"edited": {func(_, _, _, after object) { after["request_digest"] = strings.Repeat("0", 64) },
			"another ledger"},
		"edited, longer": {func(_, _, _, after object) { after["ttl"] = "59m" }, "another ledger"},
		"another owner's": {func(_, _, _, after object) { after["id"] = "00000000-0000-8000-8000-000000000000" },
			"another owner"},
		"unknown to jit.hcl": {func(_, _, _, after object) { after["target"] = "db" }, `add it to targets in jit.hcl`},
		"policy drift": {func(top, _, _, _ object) { top["resource_drift"] = []object{policyDrift} },
			"outside of this configuration"},
		"access drift": {func(top, _, _, _ object) {
			top["resource_drift"] = []object{{"address": "aws_iam_user_policy_attachment.x", "mode": "managed",
				"type": "aws_iam_user_policy_attachment", "provider_name": "registry.terraform.io/hashicorp/aws",
				"change": object{
					"actions": []string{"update"}, "before": object{"user": "a", "policy_arn": "arn:read"},
					"after": object{"user": "a", "policy_arn": "arn:admin"}}}}
		}, "more access than before"},
	} {
		t.Run(name, func(t *testing.T) {
			o.t = t
			all, change, after := o.whole(o.short())
			top := object{"resource_changes": []object{all}}
			tc.edit(top, all, change, after)
			o.planOf(top)
			if tc.says == "" {
				if s := o.seen(exitDone); s.Outcome != "nothing" || len(s.Doubts) > 0 {
					t.Errorf("got %s, %q", s.Outcome, s.Doubts)
				}
				return
			}
			if s := o.seen(exitUndecided); !strings.Contains(strings.Join(s.Doubts, "\n"), tc.says) {
				t.Errorf("doubts %q, want one that says %q", s.Doubts, tc.says)
			}
		})
	}
}

// A review calls no target, writes nothing, and makes no ledger.
func TestReviewOnlyReads(t *testing.T) {
	o := newReviewOffice(t)
	o.wrap = func(_ string, p jit.Platform) jit.Platform { return untouchable{p} }
	live := o.grantedShort()
	all, change, after := o.whole(o.short(func(r *broker.Request) { r.Reason = "INC-2: more" }))
	moved, movedChange, movedAfter := o.whole(o.short())
	movedChange["actions"], movedChange["before"] = []string{"update"}, maps.Clone(movedAfter)
	movedChange["before"].(object)["expires_at"] = jit.FormatTime(live.End)
	movedChange["before"].(object)["drift"] = "missing"
	_, _ = change, after
	moved["address"] = "jit_grant.live"
	o.planOf(object{"resource_changes": []object{all, moved}})
	before := o.tree()
	if s := o.seen(exitUndecided); len(s.Grants) != 2 || len(s.Doubts) > 0 {
		t.Errorf("got %+v", s)
	}
	// The ledger has lost the live grant: only the target could tell, and it is not asked.
	o.write("jit.hcl", strings.Replace(o.read("jit.hcl"), "ledger.db", "none/ledger.db", 1))
	before["jit.hcl"] = o.read("jit.hcl")
	o.seen(exitUndecided)
	if after := o.tree(); !maps.Equal(before, after) {
		t.Errorf("files before %q, after %q", before, after)
	}
}

// Of a live grant that the ledger has lost only the target could tell, and it is not asked.
func TestReviewOfLostGrant(t *testing.T) {
	o := newReviewOffice(t)
	o.wrap = func(_ string, p jit.Platform) jit.Platform { return untouchable{p} }
	all, change, after := o.whole(o.short(func(r *broker.Request) { r.Reason = "INC-9: lost" }))
	change["actions"], change["before"] = []string{"update"}, maps.Clone(after)
	before := change["before"].(object)
	before["granted_at"], before["expires_at"] = jit.FormatTime(o.now), jit.FormatTime(o.now.Add(1800e9))
	before["ttl"] = "30m"
	o.planOf(object{"resource_changes": []object{all}})
	if s := o.seen(exitUndecided); !strings.Contains(strings.Join(s.Doubts, ""), "no target is called") {
		t.Errorf("%q", s.Doubts)
	}
}

type untouchable struct{ jit.Platform }

func (u untouchable) Unwrap() jit.Platform { return u.Platform }

func (untouchable) Read(context.Context, string) (jit.Snapshot, error) { panic("a target was read") }

func (o *office) grantedShort() jit.Grant { return o.granted(o.short()) }

// tree returns the files of the folder.
func (o *office) tree() map[string]string {
	o.t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(".")
	if err != nil {
		o.t.Fatal(err)
	}
	for _, e := range entries {
		files[e.Name()] = ""
		if !e.IsDir() && !strings.HasPrefix(e.Name(), "ledger.db-") {
			files[e.Name()] = o.read(e.Name())
		}
	}
	delete(files, "ledger.db-shm")
	delete(files, "ledger.db-wal")
	return files
}

// The command line of a review.
func TestReviewUsage(t *testing.T) {
	o := newReviewOffice(t)
	all, _, _ := o.whole(o.short())
	o.planOf(object{"resource_changes": []object{all}})
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"plan.json", "--pending"}, exitUsage, "two reviews"},
		{nil, exitUsage, "jit review --pending"},
		{[]string{"plan.json", "other.json"}, exitUsage, "one plan at a time"},
		{[]string{"plan.json", "--target", "x"}, exitUsage, "--target"},
		{[]string{"--pending", "--base", "."}, exitUsage, "--base"},
		{[]string{"plan.json", "--format", "xml"}, exitUsage, "not a format"},
		{[]string{"plan.json", "--format", "text", "--json"}, exitUsage, "--json"},
		{[]string{"plan.json", "--key", "a"}, exitUsage, "--format markdown"},
		{[]string{"plan.json", "--format", "markdown", "--key", "a-->"}, exitUsage, "not a key"},
		{[]string{"plan.json", "--base", "none"}, exitUsage, "not a folder"},
		{[]string{"plan.json", "--timeout", "0s"}, exitUsage, "not a positive duration"},
		{[]string{"none.json"}, exitNotDone, "cannot be read"},
		{[]string{"jit.hcl"}, exitNotDone, "not a plan in JSON"},
		{[]string{"plan.json", "--config", "none.hcl"}, exitUsage, "none.hcl"},
		{[]string{"plan.json"}, exitDone, ""},
	} {
		o.run(append([]string{"review"}, tc.args...)...).wantCode(tc.code).wantErr(tc.says)
	}
	o.answer(o.read("plan.json"), "review", "-").wantCode(exitDone).wantOut("Nothing to decide")
	o.answer(o.read("plan.json")[:99], "review", "-").wantCode(exitNotDone).wantErr("stdin is not a plan")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("test"))
	if code := Run(ctx, []string{"review", "plan.json"}, strings.NewReader(""), &strings.Builder{}, &strings.Builder{},
		o.options()); code != exitInterrupted {
		t.Errorf("interrupted: exit code %d", code)
	}
}

// The commands fit the evidence that policies take, and name the pull request that the CI run plans.
func TestReviewCommands(t *testing.T) {
	o := newReviewOffice(t)
	all, _, _ := o.whole(o.wish())
	o.planOf(object{"resource_changes": []object{all}})
	commands := func(want ...string) {
		t.Helper()
		if s := o.seen(exitUndecided); strings.Join(s.Commands, "\n") != strings.Join(want, "\n") {
			t.Errorf("commands %q, want %q", s.Commands, want)
		}
	}
	commands("jit approve --plan plan.json")
	o.write("event.json", `{"pull_request":{"number":12,"head":{"sha":"abc"}}}`)
	t.Setenv("CI", "true")
	t.Setenv("GITHUB_ACTIONS", "true")
	t.Setenv("GITHUB_REPOSITORY", "acme/access")
	t.Setenv("GITHUB_EVENT_PATH", "event.json")
	commands("jit approve --plan plan.json")
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	evidence := func(kinds ...jit.Evidence) {
		t.Helper()
		if err := rt.Broker.PutPolicy(t.Context(), jit.Policy{Name: "prod", Effect: jit.Permit,
			Approval: []jit.Requirement{{Required: 1, From: []string{"group:leads"}, Evidence: kinds}}}); err != nil {
			t.Fatal(err)
		}
	}
	evidence(jit.Signature, jit.PullRequest)
	commands("jit approve --plan plan.json", "jit approve --plan plan.json --github 'acme/access#12'")
	evidence(jit.PullRequest)
	commands("jit approve --plan plan.json --github 'acme/access#12'")
}
