package review

import (
	"context"
	"errors"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// grant judges a planned change of a jit_grant. It is safe for concurrent use.
func (j *judge) grant(ctx context.Context, r *plan.Resource) (one judged) {
	action, known := actionOf(r)
	one.Grant = show(r, action)
	defer func() {
		if sensitiveIn(r.Change) || j.rules.sensitive {
			if one.hide(); one.doubt != "" {
				one.doubt = "it is not judged in full; the reason is not shown, because it may repeat a sensitive value"
			}
		}
	}()
	switch {
	case !known:
		one.Outcome = Decide
		return one
	case action == Destroy:
		_, one.hidden = j.created[one.ID]
		return one
	case action == Forget, action == Move:
		return one
	}
	if action == Create && j.destroyed[one.ID] != "" {
		one.Action = Move
	}
	one.doubt = j.judgeOne(ctx, r, &one.Grant)
	if one.doubt == "" {
		one.doubt = otherVersion(r.Change)
	}
	if one.doubt != "" && one.Outcome == Nothing {
		one.Outcome = Decide
	}
	return one
}

// judgeOne judges a grant that the plan creates, changes or imports. doubt says why it was not judged in full.
func (j *judge) judgeOne(ctx context.Context, r *plan.Resource, g *Grant) (doubt string) {
	c := r.Change
	if why := plan.Unknown(c); why != "" {
		return "it is not judged: " + why
	}
	if plan.Marked(c.AfterUnknown, "policy") {
		return "it is not judged: policy is known only after the apply"
	}
	b, why := j.brokerOf(c.After)
	if b == nil {
		return why
	}
	if j.stated && len(j.rules.policies) == 0 {
		return "it is not judged: without the ledger, jit knows no policies"
	}
	request, _ := plan.Asked(c.After) // brokerOf has read it
	if why := j.otherLedger(b, c, request); why != "" {
		return why
	}
	if c.Actions.NoOp() { // an import
		recorded, known, err := b.Ledger.Lookup(ctx, jit.ID(g.ID))
		if err != nil || !known || recorded.Failed() {
			return "it is imported, but the ledger does not know it"
		}
		return ""
	}
	d, err := preview(ctx, b, c, request)
	if err != nil {
		return j.refused(g, err)
	}
	j.decided(g, c, d)
	return ""
}

// preview decides on a request as the plan of its change does.
func preview(ctx context.Context, b *broker.Broker, c *plan.Change, r broker.Request) (d broker.Decision, err error) {
	if c.Actions.Update() {
		d, err = b.PreviewChange(ctx, remembered(b, c.Before), changeOf(c, r))
	} else {
		d, err = b.Preview(ctx, r, false)
		if !d.Met {
			err = errors.Join(b.CheckRequester(ctx, r.Requester), err)
		}
	}
	if err == nil && r.Policy == "" {
		err = b.CheckOrder(ctx, false)
	}
	return d, err
}

// otherLedger says that a request is not that of the ledger; empty if it is, or if no ledger exists yet. An update
// may leave its digest to the apply; then the digest before it counts.
func (j *judge) otherLedger(b *broker.Broker, c *plan.Change, request broker.Request) string {
	digest := plan.Attribute(c.After, "request_digest")
	if digest == "" && c.Actions.Update() {
		digest = plan.Attribute(c.Before, "request_digest")
		request, _ = plan.Asked(c.Before) // an error leaves a request of another digest
	}
	switch {
	case j.stated, digest == "" && j.ledger == "":
		return ""
	case digest == "":
		return "it is not judged: the plan does not say for which ledger it was made (request_digest is unknown); " +
			"compare ledger in the provider block, and in those with an alias, with jit.hcl"
	}
	asked, _, err := b.Check(request)
	if err != nil {
		return ""
	}
	asked.End = request.ExpiresAt
	if asked.RequestDigest(j.ledger) == digest {
		return ""
	}
	return "it is not judged: the plan was made with another ledger than that of jit.hcl, or was edited"
}

// changeOf returns the request of a change: what it leaves as it is, it does not ask for again.
func changeOf(c *plan.Change, r broker.Request) broker.Request {
	before := func(name string) string { return plan.Attribute(c.Before, name) }
	after := func(name string) string { return plan.Attribute(c.After, name) }
	r.AnyPolicy = after("policy") == "" && before("policy") != ""
	r.NewPolicy = r.Policy != "" && before("policy") == ""
	was, _ := jit.ParseTime("starts_at", before("starts_at"))
	switch {
	case was.Equal(r.StartsAt):
		r.StartsAt = time.Time{}
	case r.StartsAt.IsZero():
		r.StartNow = true
	}
	return r
}

// refused notes why an apply refuses the grant, or returns the doubt that it could not be judged.
func (j *judge) refused(g *Grant, err error) (doubt string) {
	var e *jit.Error
	kind := func(target error) bool { return errors.Is(err, target) }
	switch {
	case !errors.As(err, &e), j.stated && kind(jit.ErrUnknown):
		return "it is not judged: " + err.Error()
	case kind(jit.ErrDenied), kind(jit.ErrInvalid), kind(jit.ErrOver), kind(jit.ErrUnknown):
		g.refuse(e)
		return ""
	}
	return "it is not judged: " + err.Error()
}

// decided fills in what the policies say, and whether a person must decide.
func (j *judge) decided(g *Grant, c *plan.Change, d broker.Decision) {
	g.Judged, g.Verdict, g.Awaits = d.Verdict.Rule != "", d.Verdict, d.Awaits
	if d.Verdict.BrokeGlass {
		g.Awaits = d.Grant.Awaits
	}
	if g.Enforcement == "" {
		g.Enforcement = string(d.Grant.Enforcement)
	}
	if g.SessionTail == "" {
		g.SessionTail = jit.FormatTail(d.Grant.SessionTail)
	}
	g.warn(d.Warnings)
	if !j.settled(g, c, d) {
		g.Outcome = Decide
	}
}

// settled reports whether nobody needs to decide about a grant any more: a policy, with the people that it asks, has
// decided on it, or it gives nothing that it does not give already.
func (j *judge) settled(g *Grant, c *plan.Change, d broker.Decision) bool {
	switch {
	case g.Awaits != "", d.Provisional, d.Verdict.BrokeGlass:
		return false
	case d.Over: // nothing begins again
		return true
	case g.Drift != "": // somebody took the access away, and the apply gives it back
		return false
	case c.Actions.Update() && narrows(c, d.Grant), d.Met && !c.Actions.Update() && !d.Grant.GrantedAt.IsZero():
		return true
	}
	return d.Verdict.Permitted() && d.Verdict.Policy != ""
}

// narrows reports whether a change gives nothing: it writes the same in other words, or ends the grant earlier.
func narrows(c *plan.Change, to jit.Grant) bool {
	for _, d := range differences(c) {
		switch d.Name {
		case "ttl", "expires_at":
			end, err := jit.ParseTime("expires_at", plan.Attribute(c.Before, "expires_at"))
			if err != nil || to.End.After(end) {
				return false
			}
		case "timeouts":
		default:
			return false
		}
	}
	return true
}
