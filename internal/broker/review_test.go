package broker_test

import (
	"maps"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestReviewsThatDoNotCount lets nothing begin by a review of another request, of an outsider, or by an account that
// belongs to the person no more.
func TestReviewsThatDoNotCount(t *testing.T) {
	o := newOffice(t, func(p *jit.Policy) { p.Approval[0].Evidence = []jit.Evidence{jit.PullRequest} })
	o.put(jit.Person{Name: "eve", GitHub: "eve-gh"})
	o.newRun()
	g, _, err := o.Check(request())
	if err != nil {
		t.Fatal(err)
	}
	id, err := o.ledger.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	by := func(login string) []approval.Reviewed {
		return []approval.Reviewed{{Login: login, Forge: approval.GitHub, At: o.now, NotAfter: o.now.Add(time.Hour)}}
	}
	_, _, err = o.DecideByReview(t.Context(), request(), g.RequestDigest("another"), by("lea-gh"))
	wantError(t, err, jit.ErrInvalid, "another ledger or owner")
	recorded, ignored, err := o.DecideByReview(t.Context(), request(), g.RequestDigest(id), by("eve-gh"))
	if err != nil || len(recorded) > 0 || len(ignored) != 1 {
		t.Errorf("recorded %v, ignored %v, %v", recorded, ignored, err)
	}
	forged := jit.Event{Kind: jit.EventApproved, Grant: g.ID, At: o.now, Detail: map[string]string{}}
	review := by("lea-gh")[0]
	review.Person, review.Digest = "lea", g.RequestDigest(id)
	maps.Copy(forged.Detail, review.Details())
	entry := jit.Entry{Events: []jit.Event{forged}, Owner: "forger"} // whoever may write that owner's chain only
	if err := o.ledger.Write(t.Context(), []jit.Entry{entry})[0]; err != nil {
		t.Fatal(err)
	}
	o.refused(request(), "1 of: lea, leo")
	o.reviews(request())
	o.refused(request(longer), "1 of: lea, leo")
	o.put(jit.Person{Name: "lea", Groups: []string{"group:leads"}})
	o.put(jit.Person{Name: "eve", GitHub: "lea-gh"})
	o.newRun()
	o.refused(request(), "1 of: lea, leo")
	o.allowed(false)
}
