package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// reviewed returns the vote of a recorded review of the request of that digest, if the account that reviewed belongs to
// the same person today.
func reviewed(people *approval.People, e jit.Event, digest string) (v jit.Vote, ok bool) {
	if v, ok = approval.ReviewFromEvent(e, digest); !ok {
		return v, false
	}
	person, known := people.ByLogin(e.Detail["forge"], e.Detail["login"])
	return v, known && jit.SameName(person.Name, v.Person)
}

// DecideByReview records reviews of a pull request as approvals of a request of its plan, whose digest the plan says.
// Person and Digest of the reviews are filled in. It returns those that are recorded, by now or before, and why
// the others are not.
func (b *Broker) DecideByReview(
	ctx context.Context, r Request, digest string, reviews []approval.Reviewed,
) (recorded []approval.Reviewed, ignored []string, err error) {
	g, _, err := b.Check(r)
	if err != nil {
		return nil, nil, err
	}
	if g.Window, err = r.window(b.Now()); err != nil {
		return nil, nil, err
	}
	ledger, err := b.Ledger.ID(ctx)
	if err != nil {
		return nil, nil, err
	}
	if g.RequestDigest(ledger) != digest {
		return nil, nil, jit.Invalid("--plan", "plan again with the ledger and the owner of jit.hcl",
			"the plan is of another ledger or owner, or was edited: its request_digest of %s is another", g.Summary())
	}
	people, err := b.deciders(ctx)
	if err != nil {
		return nil, nil, err
	}
	required, err := b.requiredNow(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	required = slices.DeleteFunc(slices.Clone(required), func(e jit.Requirement) bool {
		return !slices.Contains(e.Evidence, jit.PullRequest)
	})
	if len(required) == 0 {
		return nil, []string{"no policy of " + g.Summary() + " asks for reviews of a pull request"}, nil
	}
	ask := b.ask(g)
	ask.Actor = "" // the CI run that records the reviews; whoever starts the apply still does not count
	known, err := b.knownReviews(ctx, g, digest)
	if err != nil {
		return nil, nil, err
	}
	var events []jit.Event
	for _, review := range reviews {
		person, is := people.ByLogin(review.Forge, review.Login)
		if !is {
			ignored = append(ignored, fmt.Sprintf("the ledger knows no person whose %s is %q", review.Forge, review.Login))
			continue
		}
		if why := people.Unfit(required, ask, person); why != "" {
			ignored = append(ignored, fmt.Sprintf("the review of %s does not count: %s", review.Login, why))
			continue
		}
		review.Person, review.Digest = person.Name, digest
		recorded = append(recorded, review)
		if details := review.Details(); !known[reviewKey(details)] {
			e := b.event(jit.EventApproved, g, "requester", g.Requester)
			maps.Copy(e.Detail, details)
			events = append(events, e)
		}
	}
	if len(events) == 0 {
		return recorded, ignored, nil
	}
	return recorded, ignored, b.write(ctx, jit.Entry{Events: events, Owner: g.Owner})
}

// reviewKey identifies a review. GitLab has one number for all approvals of a user.
func reviewKey(d map[string]string) string {
	return strings.Join([]string{
		d["forge"], d["host"], d["repository"], d["number"], d["review"], d["commit"], d["reviewed_at"], d["not_after"],
	}, " ")
}

// knownReviews returns the reviews of a request that are on record, by [reviewKey].
func (b *Broker) knownReviews(ctx context.Context, g jit.Grant, digest string) (map[string]bool, error) {
	known := map[string]bool{}
	for e, err := range b.Ledger.EventsOf(ctx, []jit.ID{g.ID}) {
		if err != nil {
			return nil, err
		}
		if _, ok := approval.ReviewFromEvent(e, digest); ok && e.Concerns(g.Owner) {
			known[reviewKey(e.Detail)] = true
		}
	}
	return known, nil
}
