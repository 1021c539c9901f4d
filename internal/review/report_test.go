package review

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/catalog"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// everything returns a report with everything that a report can hold. write gives each text of people its form: it is
// called with a harmless one.
func everything(write func(string) string) Report {
	of := func(s string) Text { return Text{Text: write(s)} }
	permitted := jit.Verdict{Outcome: jit.Permitted, Policy: write("prod-oncall"),
		Rule:  write("no approval is asked for"),
		Asked: jit.Asked{Excused: []string{write("grant.ttl <= duration('30m')")}}}
	waits := jit.Verdict{Outcome: jit.NeedsApproval, Policy: write("prod"), Rule: write("1 of the leads"),
		Asked: jit.Asked{Approval: []jit.Requirement{{Required: 1, From: []string{write("group:leads")}}}}}
	glass := waits
	glass.Outcome, glass.BrokeGlass = jit.Permitted, true
	return Report{
		Outcome: Refused,
		Doubts:  []string{write("the plan is errored"), write("target dev is not in jit.hcl")},
		Grants: []Grant{
			{Address: write(`jit_grant.alice["prod"]`), Action: Create, ID: "0b7d9d7e-3ed0-8c2b-9a55-1b8d3b1a4c11",
				Digest: strings.Repeat("ab", 32), Target: of("prod"), Principal: of("user:alice@example.com"),
				Role: of("roles/cloudsql.client"), Scope: of("projects/payments-prod"), Length: of("2h"),
				Reason: of("INC-4211: fail over the primary"), Requester: of("carol@example.com"),
				Enforcement: "native", SessionTail: "1h", Renewal: 2, Judged: true, Verdict: permitted,
				StartBy: of("2026-11-24T00:00:00Z"), Starts: of("2026-11-23T18:00:00Z"), TerminateSessions: true,
				Warnings: []broker.Warning{
					{Attribute: "scope", Summary: write("Standing access gives the same"),
						Detail: write("it changes\n nothing")},
					{Summary: write("Sessions go on")}, {Summary: write("A third")}},
			},
			{Address: write("jit_grant.bob"), Action: Change, Target: of("payments-db"), Principal: of("bob"),
				Role: of("payments_read"), Length: of("4h"), Ends: of("2026-11-23T22:00:00Z"),
				Reason:      of("CHG-7: reindex"),
				Changes:     []Difference{{Name: "ttl", Before: of("2h"), After: of("4h")}},
				Enforcement: "sweeper", SessionTail: "unlimited", Judged: true, Verdict: waits,
				Drift: write("missing"), Awaits: write("1 of: erin, frank"), Outcome: Decide},
			{Address: write("jit_grant.dave"), Action: Create, Target: of("prod"), Principal: of("dave"),
				Role: of("owner"),
				Ends: of("2026-12-31T00:00:00Z"), Reason: of("because"), Renewal: 1,
				Refusal: write("ttl: 38d is longer than policy prod permits, 4h"),
				Hint:    write("write:\n  ttl = \"4h\""),
				Outcome: Refused},
			{Address: write("jit_grant.unknown"), Action: Replace, Target: of("prod"), Principal: Text{Unknown: true},
				Role: Text{Sensitive: true}, Scope: Text{Unknown: true}, Length: of("1h"),
				Ends: Text{Unknown: true}, Reason: Text{Sensitive: true},
				Outcome: Decide},
			{Address: write("jit_grant.glass"), Action: Create, Target: of("prod"), Principal: of("heidi"),
				Role:   of("admin"),
				Length: of("1h"), Reason: of("SEV1-3: down"), BreakGlass: true, Enforcement: "native",
				SessionTail: "0s",
				Judged:      true, Verdict: glass, Awaits: write("1 of: erin"), Outcome: Decide},
			{Address: write("jit_grant.over"), Action: Destroy, Target: of("prod"), Principal: of("ivan"),
				Role:   of("viewer"),
				Reason: of("INC-1"), Enforcement: "native"},
		},
		Access: []Access{
			{Address: write("aws_iam_user_policy_attachment.eve"), Type: "aws_iam_user_policy_attachment",
				Action: Create,
				Gives:  true, Outcome: Decide, Access: catalog.Access{Class: catalog.Standing, Principal: of("eve"),
					Role: of("arn:aws:iam::aws:policy/AdministratorAccess"), Scope: of("account"),
					Why: write("an attachment has no end")}},
			{Address: write("aws_s3_bucket_public_access_block.logs"), Type: "aws_s3_bucket_public_access_block",
				Action: Destroy, Outcome: Decide, Access: catalog.Access{Class: catalog.Guard,
					Role: of("block of public access"), Scope: of("logs"), Why: write("it keeps the public out")}},
			{Address: write("okta_group_rule.all"), Type: "okta_group_rule", Action: Change, Gives: true,
				Outcome: Decide,
				Access: catalog.Access{Class: catalog.Opaque, Principal: Text{Unknown: true}, Role: of("staff"),
					Scope: of("okta"), Why: write("the rule decides at any time")}},
			{Address: write("google_project_iam_member.tmp"), Type: "google_project_iam_member", Action: Create,
				Gives:   true,
				Outcome: Decide, Access: catalog.Access{Class: catalog.Bounded, Principal: of("user:judy@example.com"),
					Role: of("roles/viewer"), Scope: of("p"), End: of("2026-11-24T00:00:00Z"),
					Why: write("condition.expression")}},
			{Address: write("github_team_membership.moved"), Type: "github_team_membership", Action: Move, Stays: true,
				Access: catalog.Access{Class: catalog.Standing, Principal: of("heidi"), Role: of("member"),
					Scope: of("core"), Why: write("a membership has no end")}},
			{Address: write("github_team_membership.old"), Type: "github_team_membership", Action: Destroy,
				Access: catalog.Access{Class: catalog.Standing, Principal: of("mallory"), Role: of("member"),
					Scope: of("core"),
					Why:   write("a membership has no end")}},
			{Address: write("google_iam_deny_policy.keys"), Type: "google_iam_deny_policy", Action: Create, Gives: true,
				Access: catalog.Access{Class: catalog.Guard, Role: of("keys"), Scope: of("p"),
					Why: write("it denies access that roles permit")}},
		},
		Rules: []Rule{
			{Address: write("jit_policy.prod"), Action: Change, Loosens: true, Outcome: Decide,
				What: write("max_ttl of policy prod grows from 4h to 8h")},
			{Address: write("jit_person.bob"), Action: Change, What: write("a signing key of bob goes")},
		},
		Commands: []string{"jit approve --plan " + write("plan.json")},
		Notes:    []string{write("the provider block was not compared")},
		Others:   7,
	}
}

func asIs(s string) string { return s }

func markdownOf(t testing.TB, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Markdown(&b, ""); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func textOf(t testing.TB, r Report, colour bool) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Text(&b, colour); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func jsonOf(t testing.TB, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func sarifOf(t testing.TB, r Report) string {
	t.Helper()
	var b bytes.Buffer
	place := func(address string) (string, int) {
		if strings.HasPrefix(address, "jit_grant.") {
			return "access/grants.tf", 7
		}
		return "", 0
	}
	if err := r.SARIF(&b, "0.1.0", place); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
