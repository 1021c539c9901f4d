package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// decided holds the people's decisions on a request.
type decided struct {
	approval.Tally
	digest string
	// statements are the signed statements that count, by person; denial is the one that denies.
	statements []approval.Signed
	denial     approval.Signed
}

// decidedOn counts the decisions on a grant that needs approval. The statements lie in the approvals folder and in the
// events of the grant. written is the request as it was written.
func (b *Broker) decidedOn(
	ctx context.Context, g jit.Grant, written []jit.Field, required []jit.Requirement,
) (decided, error) {
	ledger, err := b.Ledger.ID(ctx)
	if err != nil {
		return decided{}, err
	}
	digest := g.RequestDigest(ledger)
	if digest == "" {
		return decided{}, jit.Errorf(jit.ErrUnapproved, "", "apply the policies and persons first, and plan again",
			"the grant needs approval, and nobody can approve it before the ledger exists")
	}
	people, err := b.deciders(ctx)
	if err != nil {
		return decided{}, err
	}
	signed, err := b.Approvals.About(digest)
	if err != nil {
		return decided{}, err
	}
	votes, of, ignored, err := b.votes(ctx, g, signed, people, digest, written)
	if err != nil {
		return decided{}, err
	}
	d := decided{Tally: people.Count(required, b.ask(g), votes), digest: digest}
	for _, bad := range b.Approvals.Bad() {
		if len(ignored) < maxIgnored {
			ignored = append(ignored, bad.Error())
		}
	}
	d.Ignored = append(d.Ignored, ignored...)
	for _, e := range d.Entries {
		for _, v := range e.By {
			d.statements = append(d.statements, of[v.Source])
		}
	}
	if d.Denied != nil {
		d.denial = of[d.Denied.Source]
	}
	return d, nil
}

// votes returns the decisions on a request that are proved: signed statements, of the folder and of the events of the
// grant, and recorded reviews. of are the statements by the source of the vote; ignored says why others do not count.
func (b *Broker) votes(
	ctx context.Context, g jit.Grant, signed []approval.Signed, people *approval.People, digest string, written []jit.Field,
) (votes []jit.Vote, of map[string]approval.Signed, ignored []string, err error) {
	of = map[string]approval.Signed{}
	for e, err := range b.Ledger.EventsOf(ctx, []jit.ID{g.ID}) {
		if err != nil {
			return nil, nil, nil, err
		}
		if s, ok := approval.FromEvent(e); ok && s.Digest == digest {
			signed = append(signed, s)
		}
		if v, ok := reviewed(people, e, digest); ok {
			votes = append(votes, v)
			of[v.Source] = approval.Signed{Recorded: true}
		}
	}
	for _, s := range signed {
		vote, err := people.Authenticate(s, g.RequestFields(), written)
		if err != nil {
			ignored = append(ignored, fmt.Sprintf("%s does not count: %v", s.Source, err))
			continue
		}
		votes = append(votes, vote)
		of[vote.Source] = s
	}
	return votes, of, ignored, nil
}

// maxIgnored bounds how many statements that do not count a message names.
const maxIgnored = 5

// howToApprove says how the people who are needed approve.
func howToApprove(g jit.Grant) string {
	return "one of them runs: jit approve --plan plan.json (from `terraform show -json PLANFILE > plan.json`), " +
		"commits the file that it writes to the approvals folder, and you plan and apply again; or runs: jit approve " +
		string(g.ID)
}

// approve decides on a grant that its policies permit with approval. While planning, missing approvals are a warning.
func (b *Broker) approve(ctx context.Context, d *Decision, planned bool) error {
	if breaksGlass(d) {
		return b.breakGlass(ctx, d)
	}
	if d.Verdict.Outcome != jit.NeedsApproval || !widened(d) {
		return nil
	}
	decided, err := b.decidedOn(ctx, d.Grant, d.written, d.Verdict.Approval)
	if planned && errors.Is(err, jit.ErrUnapproved) {
		d.Warnings = append(d.Warnings, Warning{"", needsApproval, fmt.Sprintf(
			"%s. The apply makes everything else. %v.", d.Verdict.Rule, err)})
		return nil
	}
	if err != nil {
		return err
	}
	d.decided = decided
	if decided.Approved() {
		d.Verdict.Outcome = jit.Permitted
		d.Verdict.Rule += ", which " + strings.Join(approvers(decided.Tally), ", ") + " gave"
		return nil
	}
	text := fmt.Sprintf("%s; %s", d.Verdict.Rule, decided.Tally)
	if planned && decided.Denied == nil {
		d.Warnings = append(d.Warnings,
			Warning{"", needsApproval, text + ". To approve, " + howToApprove(d.Grant) + "."})
		return nil
	}
	if decided.Denied != nil && !planned {
		if err := b.recordDenial(ctx, d); err != nil {
			return err
		}
	}
	d.waits = decided.Denied == nil && !d.Met
	d.Grant.Awaits = decided.Missing()
	if decided.Denied != nil {
		return jit.Errorf(jit.ErrDenied, "", "ask for something else: another reason, or another renewal", "%s", text)
	}
	return jit.Errorf(jit.ErrUnapproved, "", howToApprove(d.Grant), "%s", text)
}

// needsApproval is the summary of the warning about a planned grant whose approval is missing.
const needsApproval = "The grant needs approval"

// widened reports whether a decision is a request of its own: a new grant, or a change that adds time or changes the
// terms.
func widened(d *Decision) bool {
	was, is := d.recorded, d.Grant
	return !d.Met || was.GrantedAt.IsZero() || is.End.After(was.End) || is.Start.Before(was.Start) || is.Terms != was.Terms
}

// breaksGlass reports whether a decision begins, or adds time, without the approval that its policies ask for.
func breaksGlass(d *Decision) bool { return d.Verdict.BrokeGlass && widened(d) }

// approvers names the people whose approval counts, each once.
func approvers(t approval.Tally) []string {
	var names []string
	for _, e := range t.Entries {
		for _, v := range e.By {
			names = append(names, v.Person)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// breakGlass refuses to begin without approval while an earlier such grant of the same person is not signed off. The
// write of the beginning checks that again, for grants that begin at the same time.
func (b *Broker) breakGlass(ctx context.Context, d *Decision) error {
	for g, err := range b.Ledger.Grants(ctx, jit.Filter{Unsigned: true}) {
		if err != nil {
			return err
		}
		if jit.SameName(g.Requester, d.Grant.Requester) && g.ID != d.Grant.ID {
			return jit.Errorf(jit.ErrDenied, "break_glass", "have it signed off first: jit approve --sign-off "+string(g.ID),
				"%s broke the glass before, and nobody has signed that off: %s", g.Requester, g.Summary())
		}
	}
	people, err := b.deciders(ctx)
	if err != nil {
		return err
	}
	d.decided.Tally = people.Count(d.Verdict.Approval, b.ask(d.Grant), nil)
	d.Grant.Awaits = d.decided.Missing()
	d.Grant.SignedOffAt, d.Grant.SignedOffBy = time.Time{}, "" // of what was given before
	d.Warnings = append(d.Warnings, Warning{"break_glass", "The grant breaks the glass", fmt.Sprintf(
		"It begins without the approval of %s. They are told, and one of them must sign it off before %s can break the glass again.",
		d.Grant.Awaits, d.Grant.Requester)})
	return nil
}

func (b *Broker) ask(g jit.Grant) approval.Ask {
	begins := g.Start
	if now := b.Now(); !g.GrantedAt.IsZero() && now.After(begins) {
		begins = now // the access that a change adds begins with the change
	}
	return approval.Ask{
		Principal: g.Principal, Requester: g.Requester, Actor: b.Actor.Name, Begins: begins, Now: b.Now(),
		Canonical: func(name string) string {
			target, err := b.Target(g.Target)
			if err != nil {
				return ""
			}
			binding := g.Binding
			binding.Principal = name
			canonical, _, err := target.Check(binding)
			if err != nil {
				return "" // no principal of this target
			}
			return canonical.Principal
		},
	}
}

// decisions returns the events about what people decided, to be recorded with the beginning of a grant: statements that
// only the approvals folder holds, and a broken glass.
func (b *Broker) decisions(d Decision) (events []jit.Event) {
	for _, s := range d.decided.statements {
		if !s.Recorded {
			events = append(events, b.decision(s, d.Grant))
		}
	}
	if breaksGlass(&d) {
		events = append(events, b.event(jit.EventBreakGlass, d.Grant, "requester", d.Grant.Requester,
			"skipped", d.Grant.Awaits, "approvers", strings.Join(d.decided.Candidates(), ", "),
			"command", "jit approve --sign-off "+string(d.Grant.ID)))
	}
	return events
}

// decision returns the event that records a signed statement about a grant.
func (b *Broker) decision(s approval.Signed, g jit.Grant) jit.Event {
	e := b.event(s.Kind(), g, "requester", g.Requester)
	maps.Copy(e.Detail, s.Details())
	return e
}

// recordDenial records a denial that only the approvals folder holds, so that it counts when its file is gone.
func (b *Broker) recordDenial(ctx context.Context, d *Decision) error {
	if d.decided.denial.Recorded {
		return nil
	}
	return b.write(ctx, jit.Entry{Events: []jit.Event{b.decision(d.decided.denial, d.Grant)}})
}

// recordWaiting records a request that waits for approval. It gave nothing, so nothing of it is due.
func (b *Broker) recordWaiting(ctx context.Context, d Decision, cause error) error {
	if d.recorded.Awaits == d.Grant.Awaits && d.recorded.Waits(b.Now()) && slices.Equal(d.recorded.RequestFields(), d.Grant.RequestFields()) {
		return nil
	}
	g := d.Grant
	g.Version, g.FailedAt, g.Failure, g.Policy = d.recorded.Version, b.Now(), cause.Error(), d.Verdict.Policy
	err := b.write(ctx, jit.Rewrite(d.recorded, g, b.requested(g, d.standing), b.event(jit.EventApprovalWanted, g,
		"awaits", g.Awaits, "requester", g.Requester, "request_digest", d.decided.digest,
		"approvers", strings.Join(d.decided.Candidates(), ", "), "command", "jit approve "+string(g.ID))))
	if errors.Is(err, jit.ErrStale) {
		return nil // another run has asked for the same at the same time
	}
	return err
}

// decideApproved decides on a request, and waits up to WaitForApproval for the people whose approval is missing.
func (b *Broker) decideApproved(ctx context.Context, r Request) (Decision, error) {
	for begun := time.Now(); ; {
		d, err := b.decide(ctx, r, false, true)
		if err == nil || !d.waits {
			return d, err
		}
		if unrecorded := b.recordWaiting(ctx, d, err); unrecorded != nil {
			return d, errors.Join(err, unrecorded)
		}
		left := b.WaitForApproval - time.Since(begun)
		if left <= 0 {
			return d, err
		}
		if b.Waiting != nil {
			b.Waiting(d.Grant, left)
		}
		select {
		case <-ctx.Done():
			return d, errors.Join(err, ctx.Err())
		case <-time.After(min(left, askAgain)):
			b.Approvals.Forget()
		}
	}
}

// askAgain is how often a run looks whether somebody has decided.
const askAgain = 5 * time.Second
