package awsiam

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// dead is the id of a user or role. IAM shows it in place of the ARN once the user or role was deleted, and refuses a
// trust policy that names it:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
var dead = regexp.MustCompile(`^A(IDA|ROA)[A-Z0-9]{12,}$`)

// own returns the statements of a trust policy that have the Sid, and the others.
func own(trust, sid string) (ours, others []statement) {
	_, all, _ := parseStatements(trust)
	for _, s := range all {
		if s["Sid"] == sid {
			ours = append(ours, s)
		} else {
			others = append(others, s)
		}
	}
	return ours, others
}

// blocked explains the error of one edit of a trust policy. Principals of others that were deleted block every change
// of the policy, removals too. A removal has then ended the access nevertheless if the dates of the statement are past,
// or if the principal is denied the role.
func (a *application) blocked(ctx context.Context, in arn, trust string, e edit, err error) error {
	ours, others := own(trust, e.sid)
	var gone []string
	for _, s := range others {
		principals, _ := s["Principal"].(map[string]any)
		gone = append(gone, slices.DeleteFunc(texts(principals["AWS"]),
			func(name string) bool { return !dead.MatchString(name) })...)
	}
	if awsconfig.Code(err) != malformed || len(gone) == 0 {
		return err
	}
	kind := err
	if !e.adds() {
		if denied := a.deny(ctx, in, e, ours, others); denied == nil {
			kind = jit.ErrRemains
		} else {
			kind = errors.Join(err, denied)
		}
	}
	return &jit.Error{Attribute: "role", Err: kind,
		Problem: fmt.Sprintf("AWS saves no change of the trust policy of %s, because it names %s, of a user or role "+
			"that was deleted: %s", in.text, strings.Join(gone, ", "), awsconfig.Message(err)),
		Hint: "take that principal out of the trust policy"}
}

// deny sees to it that our statements give nobody access any more: each one is over, or its principals, which nothing
// else trusts, are denied the role until its end.
func (a *application) deny(ctx context.Context, in arn, e edit, ours, others []statement) error {
	for _, s := range ours {
		end := bound(s, before)
		if !end.IsZero() && !a.platform.now().Before(end) {
			continue
		}
		for _, principal := range trusted(s) {
			if dead.MatchString(principal) {
				continue
			}
			on := a.account.find(principal)
			if on == nil || end.IsZero() || slices.ContainsFunc(others, trustsToo(principal)) {
				return fmt.Errorf("%s cannot be denied the role: it is of another account, its access has no end, or "+
					"others trust it too", principal)
			}
			who, _ := a.account.trustTerms(principal, terms{})
			if err := a.denyRole(ctx, on, in, who, e.grant.marker, end); err != nil {
				return err
			}
		}
	}
	return nil
}

// trustsToo returns whether a statement lets the principal assume its role, by name or with its account.
func trustsToo(principal string) func(statement) bool {
	return func(s statement) bool {
		return slices.ContainsFunc(trusted(s), func(name string) bool {
			named, _ := parseARN(principal)
			if s, session := jit.ParseSession(principal); session {
				named.account = s.Account
				if s.Of(name) {
					return true
				}
			}
			return name == principal || name == anything || name == named.account ||
				strings.HasSuffix(name, "::"+named.account+":root")
		})
	}
}

// denyName names the inline policy that denies the principal of a grant its role.
func denyName(m jit.Marker) string { return endPrefix + strings.TrimPrefix(policyName(m), "jit-") }

// denyRole denies an entity, or one of its sessions, a role until an end. A later Apply removes the policy then.
func (a *application) denyRole(ctx context.Context, on *entity, role arn, who terms, m jit.Marker,
	end time.Time) error {
	policy := item{inlinePolicy, on.text, denyName(m)}
	if a.account.get(policy) != "" {
		return nil
	}
	document := encode(statement{"Version": "2012-10-17", "Statement": []statement{{
		"Effect": "Deny", "Action": assumeRole, "Resource": role.text,
		"Condition": conditionOf(append(who.tests(), test{before, currentTime, []string{jit.FormatTime(end)}})),
	}}})
	return a.write(ctx, policy, "", document, func(ctx context.Context) error {
		return a.client.putInline(ctx, on.arn, policy.name, document)
	})
}

// undeny removes what [application.denyRole] wrote for statements that are removed now. It does no harm and has an end,
// so a failure is not reported.
func (a *application) undeny(ctx context.Context, was string, edits []edit) {
	for _, e := range edits {
		ours, _ := own(was, e.sid)
		for _, s := range ours {
			for _, principal := range trusted(s) {
				if on := a.account.find(principal); on != nil && !e.adds() {
					_ = a.discardInline(ctx, on, denyName(e.grant.marker))
				}
			}
		}
	}
}

// withoutEffect reports whether a principal of our trust statement has no access by it: it was deleted, or it is denied
// the role.
func (a *account) withoutEffect(principal string, m jit.Marker) bool {
	if on := a.find(principal); on != nil {
		principal = on.text
	}
	return dead.MatchString(principal) || a.get(item{inlinePolicy, principal, denyName(m)}) != ""
}
