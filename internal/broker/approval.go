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
	people, err := b.deciders(ctx)
	if err != nil {
		return decided{}, err
	}
	digest := g.RequestDigest(ledger)
	if digest == "" {
		return decided{Tally: people.Count(required, b.ask(g), nil)}, jit.Errorf(jit.ErrUnapproved, "",
			"apply the policies and persons first, and plan again",
			"the grant needs approval, and nobody can approve it before the ledger exists")
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
		if !e.Concerns(g.Owner) {
			continue
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
func howToApprove(d *Decision) string {
	how := "they approve with:\n\n" + approvePlan + "\n\nThey commit the file that it writes. Then plan and apply again"
	if !d.extends() {
		how += ". Once an apply has recorded the request, `jit approve " + string(d.Grant.ID) + "` does the same"
	}
	return how
}

// approvePlan are the commands that sign the requests of a plan. Terraform wraps no line that begins with a space.
const approvePlan = `  terraform plan -out=tfplan &&
  terraform show -json tfplan > plan.json &&
  jit approve --plan plan.json`

// approve decides on a grant that its policies permit with approval. While planning, missing approvals are a warning.
func (b *Broker) approve(ctx context.Context, d *Decision, planned bool) error {
	if breaksGlass(d) {
		return b.breakGlass(ctx, d)
	}
	if d.Verdict.Outcome != jit.NeedsApproval || !widened(d) {
		return nil
	}
	decided, err := b.decidedOn(ctx, d.Grant, d.written, d.Verdict.Approval)
	d.Awaits = decided.Missing()
	if planned && errors.Is(err, jit.ErrUnapproved) {
		d.Warnings = append(d.Warnings, Warning{"", NeedsApproval, fmt.Sprintf(
			"%s. %s. The apply makes everything else.", capital(err.Error()), capital(d.Verdict.Rule))})
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
	if decided.Denied != nil {
		return b.deny(ctx, d, planned)
	}
	text := fmt.Sprintf("%s. %s", decided.Tally, capital(d.Verdict.Rule))
	if planned {
		d.Warnings = append(d.Warnings,
			Warning{"", NeedsApproval, capital(text) + ".\n\n" + capital(howToApprove(d)) + "."})
		return nil
	}
	d.waits = !d.Met || d.extends()
	d.Grant.Awaits = d.Awaits
	return jit.Errorf(jit.ErrUnapproved, "", howToApprove(d), "%s", text)
}

// deny refuses a request that somebody has denied. An apply records the denial.
func (b *Broker) deny(ctx context.Context, d *Decision, planned bool) error {
	if !planned {
		if err := b.recordDenial(ctx, d); err != nil {
			return err
		}
	}
	return jit.Errorf(jit.ErrDenied, "", "ask for something else: another reason, or another renewal",
		"%s, and %s", d.Verdict.Rule, d.decided.Tally) // a name is not to begin the sentence
}

// extends reports whether the decision is on a change of a recorded grant.
func (d *Decision) extends() bool { return d.current.ID != "" }

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// Summaries of warnings that other facts of a grant may tell already.
const (
	// NeedsApproval warns of a planned grant whose approval is missing.
	NeedsApproval = "The grant needs approval"
	// SessionsGoOn warns that sessions can outlive the grant.
	SessionsGoOn = "Sessions can outlive the grant"
)

// widened reports whether a decision is a request of its own: a new grant, one that only a marker tells of, or a change
// that adds time, moves the beginning or changes the terms. A run that only takes over a grant which the sweeper is to
// begin asks for nothing: the sweeper judges the grant when it begins it.
func widened(d *Decision) bool {
	was, is := d.recorded, d.Grant
	switch {
	case !d.Met || was.Version == 0:
		return true
	case !d.extends() && startsBySweeper(was, d.traits):
		return false
	}
	return was.GrantedAt.IsZero() || is.End.After(was.End) || !is.Start.Equal(was.Start) || is.Terms != was.Terms
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
		if jit.Partial(err, jit.Owners{b.Owner}) {
			break // an owner with a damaged log must not keep all others from breaking the glass
		}
		if err != nil {
			return err
		}
		if jit.SameName(g.Requester, d.Grant.Requester) && g.ID != d.Grant.ID {
			return jit.Errorf(jit.ErrDenied, "break_glass", "have it signed off first: jit approve --sign-off "+string(g.ID),
				"requester %q broke the glass before, and nobody has signed that off: %s", g.Requester, g.Summary())
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
	begins, actor := g.Start, b.Actor.Name
	if b.Run == "" {
		actor = "" // the sweeper and the command ask for nothing: whoever runs them starts no run
	}
	if now := b.Now(); !g.GrantedAt.IsZero() && now.After(begins) {
		begins = now // the access that a change adds begins with the change
	}
	return approval.Ask{
		Principal: g.Principal, Role: g.Role, Requester: g.Requester, Actor: actor, Begins: begins, Now: b.Now(),
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

// verdictOn returns the events that say who and what decided on a new record of a grant.
func (b *Broker) verdictOn(d Decision) []jit.Event {
	g := d.Grant
	g.Policy = d.Verdict.Policy // a record from a marker names none
	return append(b.decisions(d), b.event(jit.EventDecided, g, append(d.approvalDetails(),
		"verdict", d.Verdict.Outcome.String(), "rule", d.Verdict.Rule, policyNamed, d.namesPolicy)...))
}

// decidedAnew is verdictOn for a grant that needs approval and that the ledger does not know; nil for others.
func (b *Broker) decidedAnew(d Decision) []jit.Event {
	if d.recorded.Version > 0 || len(d.Verdict.Approval) == 0 {
		return nil
	}
	return b.verdictOn(d)
}

// decisions returns the events about what people decided, to be recorded with the beginning of a grant: statements that
// only the approvals folder holds, and a broken glass.
func (b *Broker) decisions(d Decision) (events []jit.Event) {
	for _, s := range d.decided.statements {
		if !s.Recorded {
			events = append(events, b.decision(s, d.Grant))
		}
	}
	if names := approvers(d.decided.Tally); len(names) > 0 {
		events = append(events, b.event(jit.EventApprovalUsed, d.Grant, "requester", d.Grant.Requester,
			"approved_by", strings.Join(names, ", "), "request_digest", d.decided.digest))
	}
	if breaksGlass(&d) {
		events = append(events, b.event(jit.EventBreakGlass, d.Grant, append(d.approvalDetails(), "requester", d.Grant.Requester,
			"skipped", d.Grant.Awaits, "approvers", strings.Join(d.decided.Candidates(), ", "),
			"command", "jit approve --sign-off "+string(d.Grant.ID))...))
	}
	return events
}

// approvalDetails returns the details of an event that say whose approval the policies ask for, and who gave it.
func (d *Decision) approvalDetails() []string {
	return append(d.Verdict.Details(), "approved_by", strings.Join(approvers(d.decided.Tally), ", "))
}

// decision returns the event that records a signed statement about a grant.
func (b *Broker) decision(s approval.Signed, g jit.Grant) jit.Event {
	e := b.event(s.Kind(), g, "requester", g.Requester)
	maps.Copy(e.Detail, s.Details())
	return e
}

// recordDenial records a denial that only the approvals folder holds, so that it counts when its file is gone.
func (b *Broker) recordDenial(ctx context.Context, d *Decision) error {
	s := d.decided.denial
	switch {
	case s.Recorded:
		return nil
	case !d.recorded.Waits(b.Now()):
		return b.write(ctx, jit.Entry{Events: []jit.Event{b.decision(s, d.Grant)}, Owner: d.Grant.Owner})
	}
	_, err := b.update(ctx, d.recorded, func(g *jit.Grant) ([]jit.Event, bool) {
		closeWaiting(g, s.Approver+" denied it")
		return []jit.Event{b.decision(s, d.Grant)}, true
	})
	return err
}

// closeWaiting ends the wait of a request that gave nothing, because of cause.
func closeWaiting(g *jit.Grant, cause string) {
	if g.Failed() && g.Awaits != "" {
		g.Awaits, g.Failure = "", cause
	}
}

// recordWaiting records a request that waits for approval. A new request gave nothing, so nothing of it is due; that of
// more time leaves the record of its grant as it is.
func (b *Broker) recordWaiting(ctx context.Context, d Decision, cause error) error {
	g := d.Grant
	wanted := b.event(jit.EventApprovalWanted, g, "awaits", g.Awaits, "requester", g.Requester,
		"request_digest", d.decided.digest, "approvers", strings.Join(d.decided.Candidates(), ", "))
	if d.extends() {
		wanted.Detail["command"], wanted.Detail["note"] = "jit approve --plan plan.json", "it is live and asks for: "+g.Summary()
		return b.recordOnce(ctx, wanted)
	}
	if d.recorded.Awaits == g.Awaits && d.recorded.Waits(b.Now()) && slices.Equal(d.recorded.RequestFields(), g.RequestFields()) {
		return nil
	}
	wanted.Detail["command"] = "jit approve " + string(g.ID)
	g.Version, g.FailedAt, g.Failure, g.Policy = d.recorded.Version, b.Now(), cause.Error(), d.Verdict.Policy
	err := b.write(ctx, jit.Rewrite(d.recorded, g, b.requested(g, d.standing), wanted))
	if errors.Is(err, jit.ErrStale) {
		return nil // another run has asked for the same at the same time
	}
	return err
}

// recordOnce records that a request waits, unless that is recorded already.
func (b *Broker) recordOnce(ctx context.Context, wanted jit.Event) error {
	for e, err := range b.Ledger.EventsOf(ctx, []jit.ID{wanted.Grant}) {
		if err != nil || e.Kind == wanted.Kind && e.Detail["request_digest"] == wanted.Detail["request_digest"] {
			return err
		}
	}
	return b.write(ctx, jit.Entry{Events: []jit.Event{wanted}, Owner: b.Owner})
}

// untilApproved decides, and waits up to WaitForApproval for the people whose approval is missing. If ctx ends first, the
// error says who is missing.
func (b *Broker) untilApproved(ctx context.Context, decide func() (Decision, error)) (Decision, error) {
	for begun := time.Now(); ; {
		d, err := decide()
		if err == nil || !d.waits {
			return d, b.meetLapsed(ctx, d.recorded, err)
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
			return d, err
		case <-time.After(min(left, askAgain)):
			b.Approvals.Forget()
		}
	}
}

// askAgain is how often a run looks whether somebody has decided.
const askAgain = 5 * time.Second
