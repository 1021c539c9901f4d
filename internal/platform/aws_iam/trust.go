package awsiam

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// assumeRole is the action that trust policies allow.
const assumeRole = "sts:AssumeRole"

// sidOf is the Sid of a grant's statement in a trust policy: the id without hyphens, then the owner with X for hyphens.
// A Sid has only letters and digits, and an owner has no capitals.
func sidOf(m jit.Marker) string {
	return sidPrefix + strings.ReplaceAll(string(m.ID), "-", "") + strings.ReplaceAll(m.Owner, "-", "X")
}

// markerOfSid reads what [sidOf] wrote.
func markerOfSid(sid string) (jit.Marker, bool) {
	rest, ok := strings.CutPrefix(sid, sidPrefix)
	if !ok || len(rest) < 33 {
		return jit.Marker{}, false
	}
	u := rest[:32]
	id, err := jit.ParseID(u[:8] + "-" + u[8:12] + "-" + u[12:16] + "-" + u[16:20] + "-" + u[20:])
	m := jit.Marker{ID: id, Owner: strings.ReplaceAll(rest[32:], "X", "-")}
	return m, err == nil && jit.CheckOwner(m.Owner) == nil && sidOf(m) == sid
}

// trustStatement is the trust statement of a grant.
func trustStatement(m jit.Marker, principal string, t terms) statement {
	return statement{
		"Sid": sidOf(m), "Effect": "Allow", "Principal": map[string]any{"AWS": principal}, "Action": assumeRole,
		"Condition": conditionOf(t.within(m.Window)),
	}
}

// readTrust adds the statements of the trust policy: ours, and the standing access of everybody else whom it trusts.
func (a *account) readTrust(e *entity, snap *jit.Snapshot) {
	if e.kind != role || e.trust == "" {
		return
	}
	for _, s := range e.statements(e.trust, "the trust policy", snap) {
		sid, _ := s["Sid"].(string)
		if m, ours := markerOfSid(sid); ours {
			for _, o := range a.observedTrust(e, m, s) {
				if o.Gone = o.Gone || dead.MatchString(o.Principal); !o.Gone && a.withoutEffect(o.Principal, m) {
					o.Principal = ""
				}
				snap.Ours = append(snap.Ours, o)
			}
		} else if permits(s, assumeRole) {
			snap.Standing = append(snap.Standing, e.standingTrust(s)...)
		}
	}
}

// standingTrust describes what somebody else's trust statement gives.
func (e *entity) standingTrust(s statement) []jit.Standing {
	var all []jit.Standing
	for _, principal := range trusted(s) {
		all = append(all, jit.Standing{Principal: principal, Role: e.text,
			Anybody: principal == anything && conditions(s) == "",
			Detail:  "the trust policy" + conditions(s), End: ends(s)})
	}
	return all
}

// observedTrust describes what each principal of one of our statements in the trust policy of a role has. A statement
// that does not allow gives nothing.
func (a *account) observedTrust(e *entity, m jit.Marker, s statement) []jit.Observed {
	t := termsIn(s)
	o := jit.Observed{Marker: m, Role: e.text + t.text(), Detail: "the trust policy of " + e.text}
	o.Marker.Window = jit.Window{Start: bound(s, notBefore), End: bound(s, before)}
	if s["Effect"] == "Allow" {
		o.Start, o.End = o.Marker.Window.Start, o.Marker.Window.End
	}
	if s["Effect"] == "Allow" && s["Action"] != assumeRole {
		o.Beyond = described(s)
	}
	principals := append(trusted(s), others(s)...)
	if len(principals) == 0 {
		principals = []string{""}
	}
	var all []jit.Observed
	for _, o.Principal = range principals {
		var want terms
		if want, o.Gone = a.trustTerms(o.Principal, t); !o.Gone {
			o.Damage = ""
			if encode(s) != encode(trustStatement(o.Marker, o.Principal, want)) {
				o.Damage = "its statement was changed"
			}
		}
		all = append(all, o)
	}
	return all
}

// trustTerms returns the terms that a trust statement for a principal needs, of those that it has. gone reports that they
// name a session of a role that was deleted.
func (a *account) trustTerms(principal string, has terms) (want terms, gone bool) {
	want = terms{named: has.named}
	s, session := jit.ParseSession(principal)
	if !session || s.Account != a.id {
		return want, false
	}
	of := a.role(s.Role)
	if of == nil {
		return want, true
	}
	want.userID = of.id + ":" + s.Name
	return want, has.userID != "" && of.who(has.userID) == ""
}

// others returns the principals of an Allow statement that are neither users, roles nor accounts.
func others(s statement) (all []string) {
	principals, _ := s["Principal"].(map[string]any)
	for _, kind := range slices.Sorted(maps.Keys(principals)) {
		if kind != "AWS" && s["Effect"] == "Allow" {
			for _, name := range texts(principals[kind]) {
				all = append(all, kind+" "+name)
			}
		}
	}
	return all
}

// ownStatement returns the statements with the Sid, or "" if there are none.
func ownStatement(trust, sid string) string {
	d, _ := parseDocument(trust)
	var all []string
	for _, raw := range d.statements {
		if rawSid(raw) == sid {
			all = append(all, encode(raw))
		}
	}
	return strings.Join(all, ",")
}

// rawSid returns the Sid of a statement, or "" if it has none.
func rawSid(raw json.RawMessage) string {
	var s struct{ Sid string }
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s.Sid
}

// sids returns the Sids of a policy's statements without repetition.
func sids(text string) []string {
	d, _ := parseDocument(text)
	all := make([]string, len(d.statements))
	for i, raw := range d.statements {
		all[i] = rawSid(raw)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// replaceStatement replaces the statements with the Sid, or removes them. All others stay as they are.
func replaceStatement(trust, sid, with string) (string, error) {
	d, err := parseDocument(trust)
	if err != nil {
		return "", err
	}
	d.statements = slices.DeleteFunc(d.statements,
		func(raw json.RawMessage) bool { return rawSid(raw) == sid || rawSid(raw) == nobody })
	if with != "" {
		d.statements = append(d.statements, json.RawMessage(with))
	}
	if len(d.statements) == 0 {
		d.statements = []json.RawMessage{json.RawMessage(encode(statement{
			"Sid": nobody, "Effect": "Deny", "Principal": map[string]any{"AWS": "*"}, "Action": assumeRole,
		}))}
	}
	return d.String(), nil
}

// nobody is the Sid of a statement that trusts nobody. A trust policy must not be empty.
const nobody = sidPrefix + "Nobody"

// edit is one change of a trust policy: the statement that the Sid must have for a grant, or none if empty.
type edit struct {
	sid, statement string
	grant          *grant
}

func (e edit) adds() bool { return e.statement != "" }

// changeTrust edits a role's trust policy with one read and one write. IAM has no versions of trust policies, so our
// writers exclude each other with a lock in the account. The policy is read just before the write and again after it;
// if it does not show the edits, they are written again. A write that was refused for now, or not answered, starts over
// with what is there then. overlay corrects a read that is older than our writes. was is the policy before the edits;
// unsure reports that the edits failed and AWS may have carried them out.
func (c *client) changeTrust(ctx context.Context, name arn, scope string, edits []edit,
	overlay func(role arn, trust string) string) (was string, unsure bool, err error) {
	unlock, err := c.lock(ctx, name, scope)
	if err != nil {
		return "", false, err
	}
	defer unlock()
	ctx, doubt := awsconfig.Doubt(ctx)
	defer func() { unsure = err != nil && doubt() }()
	ctx, stop := context.WithTimeout(ctx, workTime)
	defer stop()
	var last string   // what the read before the latest write showed
	var refused error // of the latest write
	for attempt := 1; ; attempt++ {
		there, err := c.trustOf(ctx, name)
		if err != nil {
			return was, false, err
		}
		if attempt == 1 {
			was = there
		}
		changed, err := applyEdits(overlay(name, there), edits)
		if err != nil || changed == there { // it was right before, or our write shows
			return was, false, err
		}
		if attempt > trustAttempts {
			return was, false, unconfirmed(ctx, name, refused, there == last)
		}
		last = there
		if refused, err = c.writeTrust(ctx, name, changed, attempt); err != nil {
			return was, false, err
		}
	}
}

// unconfirmed is the outcome of writes that no read has shown.
func unconfirmed(ctx context.Context, name arn, refused error, unchanged bool) error {
	switch {
	case refused != nil:
		return explainTrust(ctx, name, refused)
	case unchanged:
		return nil // AWS confirmed the write, and reads lag behind
	}
	return fmt.Errorf("somebody else keeps changing the trust policy of %s", name.text)
}

// writeTrust writes a trust policy once and waits before the next read. refused is an error after which to try again.
func (c *client) writeTrust(ctx context.Context, name arn, document string, attempt int) (refused, err error) {
	if err := c.fitsTrust(ctx, name, document); err != nil {
		return nil, err
	}
	_, refused = c.UpdateAssumeRolePolicy(ctx,
		&iam.UpdateAssumeRolePolicyInput{RoleName: &name.name, PolicyDocument: &document}, once)
	again := c.config.Retryer()
	if refused != nil && !again.IsErrorRetryable(refused) {
		return nil, explainTrust(ctx, name, refused)
	}
	pause, err := c.trustPause(again, attempt, refused)
	if err != nil {
		return nil, explainTrust(ctx, name, refused)
	}
	if err := backoff.Sleep(ctx, pause); err != nil {
		return nil, fmt.Errorf("wait to write the trust policy of %s: %w", name.text, err)
	}
	return refused, nil
}

// trustPause is the pause after an attempt to write a trust policy. There is none after the first success: a read shows
// whether it took effect.
func (c *client) trustPause(again aws.Retryer, attempt int, refused error) (time.Duration, error) {
	switch {
	case refused == nil && attempt == 1:
		return 0, nil
	case refused != nil && !slices.Contains(otherWriter, awsconfig.Code(refused)):
		return again.RetryDelay(attempt, refused)
	}
	return backoff.Pause(attempt-1, c.pause, longestPause), nil
}

// trustAttempts is how often a trust policy is written in a row.
const trustAttempts = 8

// once turns off the SDK's retries: the caller must read the policy again first.
func once(o *iam.Options) { o.Retryer = aws.NopRetryer{} }

// trustOf reads the trust policy of the role with exactly that ARN. IAM finds a role by its name, whatever its path,
// and a name belongs to only one role of an account.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
func (c *client) trustOf(ctx context.Context, name arn) (string, error) {
	out, err := c.GetRole(ctx, &iam.GetRoleInput{RoleName: &name.name})
	if awsconfig.Code(err) == noSuchEntity {
		return "", noRole(name, err)
	}
	if err != nil {
		return "", awsconfig.Explain(ctx, "read the role "+name.text, err)
	}
	if found := aws.ToString(out.Role.Arn); found != name.text {
		return "", noRole(name, &types.NoSuchEntityException{Message: aws.String("the role of that name is " + found)})
	}
	return unescape(out.Role.AssumeRolePolicyDocument), nil
}

func noRole(name arn, err error) error {
	return &jit.Error{Attribute: "role", Problem: fmt.Sprintf("there is no role %s", name.text),
		Hint: "`aws iam list-roles` lists them", Err: err}
}

// applyEdits returns the edited policy. It returns the same text if nothing is to be done.
func applyEdits(there string, edits []edit) (string, error) {
	changed := there
	for _, e := range edits {
		if sameStatement(ownStatement(changed, e.sid), e.statement) {
			continue
		}
		var err error
		if changed, err = replaceStatement(changed, e.sid, e.statement); err != nil {
			return "", err
		}
	}
	return changed, nil
}

// sameStatement compares two statements as JSON values.
func sameStatement(a, b string) bool {
	same := canonical(a)
	return a == b || same != "" && same == canonical(b)
}

// canonical writes a statement without white space and with sorted keys; "" if it cannot be read.
func canonical(text string) string {
	var s statement
	if decode([]byte(text), &s) != nil {
		return ""
	}
	return encode(s)
}

// explainTrust explains why a trust policy could not be written.
func explainTrust(ctx context.Context, name arn, err error) error {
	switch awsconfig.Code(err) {
	case malformed:
		return &jit.Error{Attribute: "principal",
			Problem: fmt.Sprintf("AWS does not accept the trust policy of %s: %s", name.text, awsconfig.Message(err)),
			Hint:    "name a user or role that exists", Err: err}
	case limitExceeded:
		return &jit.Error{Attribute: "role",
			Problem: fmt.Sprintf("the trust policy of %s has no room: %s", name.text, awsconfig.Message(err)),
			Hint:    trustHint, Err: err}
	}
	return awsconfig.Explain(ctx, "write the trust policy of "+name.text, err)
}

const trustHint = "end other grants of the role, or have the limit raised (Role trust policy length)"

// fitsTrust refuses a trust policy that exceeds the account's quota.
func (c *client) fitsTrust(ctx context.Context, name arn, changed string) error {
	quota, err := c.quota(ctx, limit{"AssumeRolePolicySizeQuota", trustQuota}, size(changed))
	if err != nil || size(changed) <= quota {
		return err
	}
	return &jit.Error{Attribute: "role",
		Problem: fmt.Sprintf("the trust policy of %s would have %d characters; the account's limit is %d", name.text,
			size(changed), quota),
		Hint: trustHint, Err: noRoomError("no room")}
}
