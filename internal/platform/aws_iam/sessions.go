package awsiam

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// endPrefix begins the name of an inline policy that ends sessions of a role.
	endPrefix = "jit-end-"
	issueTime = "aws:TokenIssueTime"
)

// endSessions ends, if asked for, the sessions of the role that began while the grant permitted assuming it: a policy
// on the role denies them everything. AWS does not say who opened a session, so sessions of others from that time end
// too and must be opened again; but a source identity stays with all sessions that a session opens, so if the grant
// demands one, only its sessions end. The policy has no effect after the longest session would have ended, and a later Apply
// removes it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html
func (a *application) endSessions(ctx context.Context, g *grant) error {
	if !g.change.Access.TerminateSessions || g.access.role.kind != role || g.access.role.account != a.scope {
		return nil
	}
	e := a.account.entities[g.access.role.text]
	w, open := sessions(g.marker.Window, jit.Second(a.platform.now()))
	if e == nil || !open {
		return nil
	}
	name := denyName(g.marker)
	policy := item{inlinePolicy, e.text, name}
	if a.account.get(policy) != "" {
		return nil // an earlier attempt did it
	}
	of := []test{{notBefore, issueTime, []string{jit.FormatTime(w.Start)}},
		{before, issueTime, []string{jit.FormatTime(w.End)}},
		{before, currentTime, []string{jit.FormatTime(w.End.Add(longestSession))}}}
	if identity := g.access.terms.identity(); identity != "" {
		of = append(of, test{"StringEquals", keys[jit.SourceIdentity].key, []string{identity}})
	}
	document := encode(statement{"Version": "2012-10-17", "Statement": []statement{{
		"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": conditionOf(of),
	}}})
	return a.write(ctx, policy, "", document, func(ctx context.Context) error {
		return a.client.putInline(ctx, e.arn, name, document)
	})
}

// sessions returns when sessions of a grant that ends now can have begun, and whether one of them can still be open.
// The permission to begin one ends within settling.
func sessions(w jit.Window, now time.Time) (began jit.Window, open bool) {
	if until := now.Add(settling); until.Before(w.End) {
		w.End = until
	}
	return w, !w.Start.IsZero() && w.Start.Before(w.End) && now.Before(w.End.Add(longestSession))
}

// clean removes the policies that ended sessions and have none left to end. They do no harm, so a failure is not
// reported.
func (a *application) clean(ctx context.Context) {
	now := a.platform.now()
	for _, e := range a.account.sorted() {
		for _, name := range slices.Sorted(maps.Keys(e.inline)) {
			if endsSessions(name) && outlived(e.inline[name], now) {
				_ = a.discardInline(ctx, e, name)
			}
		}
	}
}

// endsSessions reports whether an inline policy has the name of one that ends a grant's sessions.
func endsSessions(name string) bool {
	of, ok := strings.CutPrefix(name, endPrefix)
	_, ours := markerOf("jit-" + of)
	return ok && ours
}

// outlived reports whether every statement of a document has an end that is past.
func outlived(document string, now time.Time) bool {
	_, statements, err := parseStatements(document)
	if err != nil {
		return false
	}
	for _, s := range statements {
		if end := bound(s, before); end.IsZero() || now.Before(end) {
			return false
		}
	}
	return true
}
