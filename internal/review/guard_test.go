package review

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/catalog"
)

// guards counts the guards that a report adds and removes, and all else in it that is about access.
func guards(r Report) (added, removed, others int) {
	for _, a := range r.Access {
		switch kindOf(a).name {
		case "guard-added":
			added++
		case "guard-removed":
			removed++
		default:
			others++
		}
	}
	return added, removed, others
}

// A guard that goes, or changes, is to be decided on. One that is added is told.
func TestGuards(t *testing.T) {
	policy := func(statements string) string {
		return `{"bucket":"b","policy":"{\"Statement\":[` + statements + `]}"}`
	}
	const user, bucket = `{"name":"u","force_destroy":false,"permissions_boundary":"arn:b"}`, `{"name":"b",` +
		`"storage_class":"STANDARD","public_access_prevention":"enforced","uniform_bucket_level_access":false}`
	role := func(boundary, description string) string {
		return `{"name":"r","description":"` + description + `","assume_role_policy":"","managed_policy_arns":["p"],` +
			`"inline_policy":[{"name":"i","policy":"{\"Statement\":` + allowAll + `}"}],` +
			`"permissions_boundary":` + boundary + `}`
	}
	for _, c := range []struct {
		resourceType, actions, before, after string
		added, removed, others               int
	}{
		{"google_iam_deny_policy", created, `null`, `{"name":"d","parent":"p","rules":[]}`, 1, 0, 0},
		{"google_iam_deny_policy", destroyed, `{"name":"d","parent":"p","rules":[]}`, `null`, 0, 1, 0},
		{"google_iam_deny_policy", changed, `{"name":"d","parent":"p","rules":[{}]}`,
			`{"name":"d","parent":"p","rules":[]}`, 1, 1, 0},
		{"google_iam_deny_policy", changed, `{"name":"d","parent":"p","etag":"a"}`,
			`{"name":"d","parent":"p","etag":"b"}`, 0, 0, 0},
		{"google_iam_deny_policy", replaced, `{"name":"d","parent":"p"}`, `{"name":"d","parent":"p"}`, 1, 1, 0},
		{"google_iam_deny_policy", `"forget"`, `{"name":"d","parent":"p"}`, `null`, 0, 1, 0},
		{"aws_organizations_policy_attachment", destroyed, `{"policy_id":"p-1","target_id":"r"}`, `null`, 0, 1, 0},
		{"aws_organizations_policy_attachment", changed, `{"policy_id":"p-1","target_id":"r"}`,
			`{"policy_id":"p-FullAWSAccess","target_id":"r"}`, 0, 1, 1},
		{"aws_s3_bucket_policy", destroyed, policy(denyAll), `null`, 0, 1, 0},
		{"aws_s3_bucket_policy", destroyed, policy(allowAll + "," + denyAll), `null`, 0, 1, 1},
		{"aws_s3_bucket_policy", changed, policy(allowAll + "," + denyAll), policy(allowAll), 0, 1, 0},
		{"aws_s3_bucket_policy", changed, policy(allowAll), policy(denyAll + "," + allowAll), 1, 0, 0},
		{"aws_s3_bucket_policy", changed, policy(denyAll), policy(strings.Replace(denyAll, "{", `{\"Sid\":\"a\",`, 1)),
			0, 0, 0},
		{"aws_s3_bucket_public_access_block", destroyed, `{"bucket":"b"}`, `null`, 0, 1, 0},
		{"aws_s3_bucket_public_access_block", changed, `{"bucket":"b","block_public_acls":true}`,
			`{"bucket":"b","block_public_acls":false}`, 1, 1, 0},
		{"aws_sqs_queue", changed, `{"name":"q","policy":"{\"Statement\":` + denyAll + `}"}`,
			`{"name":"q","policy":""}`, 0, 1, 0},
		{"aws_sqs_queue", destroyed, `{"name":"q","policy":"{\"Statement\":` + denyAll + `}"}`, `null`, 0, 0, 0},
		{"aws_iam_user", created, `null`, user, 1, 0, 0},
		{"aws_iam_user", destroyed, user, `null`, 0, 0, 0},
		{"aws_iam_user", replaced, user, user, 0, 0, 0},
		{"aws_iam_user", changed, user, strings.Replace(user, "false", "true", 1), 0, 0, 0},
		{"aws_iam_user", changed, user, strings.Replace(user, `"arn:b"`, "null", 1), 0, 1, 0},
		{"aws_iam_user", replaced, user, strings.Replace(user, `"arn:b"`, `"arn:c"`, 1), 1, 1, 0},
		{"aws_iam_role", changed, role(`"arn:b"`, "a"), role(`null`, "b"), 0, 1, 0},
		{"aws_iam_role", changed, role(`null`, "a"), role(`"arn:b"`, "a"), 1, 0, 0},
		{"aws_iam_role", changed, role(`null`, "a"), strings.Replace(role(`null`, "a"), allowAll,
			"["+allowAll+","+denyAll+"]", 1), 1, 0, 0},
		{"google_storage_bucket", changed, bucket, strings.Replace(bucket, "STANDARD", "NEARLINE", 1), 0, 0, 0},
		{"google_storage_bucket", changed, bucket, strings.Replace(bucket, "enforced", "inherited", 1), 0, 1, 0},
		{"google_org_policy_policy", created, `null`,
			`{"name":"c","spec":[{"rules":[{"enforce":"FALSE","deny_all":null}]}]}`, 1, 0, 1},
		{"acme_deny_policy", destroyed, `{"name":"n"}`, `null`, 0, 1, 0},
	} {
		r := judgeChange(t, c.resourceType, c.actions, c.before, c.after, "")
		added, removed, others := guards(r)
		if added != c.added || removed != c.removed || others != c.others {
			t.Errorf("%s %s, from %s to %s: %d added, %d removed, %d others: %+v", c.resourceType, c.actions, c.before,
				c.after, added, removed, others, r.Access)
		}
		if decide := c.removed > 0 || c.others > 0 && c.actions != destroyed; (r.Outcome == Decide) != decide {
			t.Errorf("%s %s, from %s to %s: %s", c.resourceType, c.actions, c.before, c.after, r.Verdict())
		}
	}
}

// A guard that only moves, or that Terraform adopts as it is, leaves nothing to decide.
func TestGuardStays(t *testing.T) {
	const deny = `{"name":"d","parent":"p"}`
	for _, more := range []string{`"importing":{"id":"x"}`, `"previous_address":"x.y"`} {
		if r := judgeChange(t, "google_iam_deny_policy", `"no-op"`, deny, deny, more); r.Outcome != Nothing ||
			len(r.Access) != 0 {
			t.Errorf("%s: %s, %+v", more, r.Verdict(), r.Access)
		}
	}
}

// What cannot be read may hold a guard, and what is known after the apply only is none to count on.
func TestGuardIsDoubtful(t *testing.T) {
	for _, c := range []struct{ resourceType, actions, before, after, more string }{
		{"aws_s3_bucket_policy", destroyed, `{"bucket":"b","policy":"x"}`, `null`, ""},
		{"aws_s3_bucket_policy", destroyed, `{"bucket":"b","policy":"x"}`, `null`,
			`"before_sensitive":{"policy":true}`},
		{"aws_s3_bucket_policy", changed, `{"bucket":"b","policy":"{\"Statement\":` + denyAll + `}"}`,
			`{"bucket":"b"}`, `"after_unknown":{"policy":true}`},
		{"aws_iam_user", changed, `{"name":"u","permissions_boundary":"arn:b"}`, `{"name":"u"}`,
			`"after_unknown":{"permissions_boundary":true}`},
		{"aws_s3_bucket_ownership_controls", destroyed, `{"bucket":"b","rule":[{"object_ownership":"x"}]}`, `null`,
			`"before_sensitive":{"rule":true}`},
	} {
		r := judgeChange(t, c.resourceType, c.actions, c.before, c.after, c.more)
		if _, removed, _ := guards(r); removed != 1 || r.Outcome != Decide {
			t.Errorf("%s, from %s to %s: %s, %+v", c.resourceType, c.before, c.after, r.Verdict(), r.Access)
		}
	}
}

// No text calls a guard access that is taken away, or given.
func TestGuardWords(t *testing.T) {
	r := judgeChange(t, "aws_s3_bucket_public_access_block", destroyed, `{"bucket":"b"}`, `null`, "")
	if r.Verdict() != "Needs a decision: 1 guard that goes" || r.Access[0].Class != catalog.Guard {
		t.Error(r.Verdict())
	}
	contains(t, "as Markdown", markdownOf(t, r), []string{"🔴 1 guard that goes", "**limits access no longer**"})
	contains(t, "as text", textOf(t, r, false), []string{"guard that goes"})
	contains(t, "as JSON", jsonOf(t, r), []string{`"class": "guard"`, `"gives": false`, `"outcome": "decide"`})
	contains(t, "as SARIF", sarifOf(t, r), []string{`"ruleId": "guard-removed"`})
	r = judgeChange(t, "aws_s3_bucket_public_access_block", created, `null`, `{"bucket":"b"}`, "")
	contains(t, "as Markdown", markdownOf(t, r), []string{"### ✅ Nothing to decide", "⚪ 1 guard added",
		"limits access |"})
	contains(t, "as SARIF", sarifOf(t, r), []string{`"ruleId": "guard-added"`})
}
