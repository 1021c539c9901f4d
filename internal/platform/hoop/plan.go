package hoop

import (
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// job is one change under way.
type job struct {
	op     jit.Op
	access jit.Access
	// done: what is there is what was asked for. refused: there is no use in trying again. err says what went wrong
	// last.
	done, refused bool
	err           error
	// asked: only reviewers make its review, and nobody puts it right.
	asked bool
	// taken is a review of the grant that is somebody else's now; nil when there is none.
	taken *review
}

// creation is one review to make.
type creation struct {
	email    string
	marker   jit.Marker
	metadata map[string]any // nil: that of the target
	job      *job           // for which, or because of which, it is made
	// replaces is the review of which this is the copy that goes in front of the others; empty for a new one.
	replaces string
}

// revocation is one review to end, in the name of a job.
type revocation struct {
	email   string
	session string
	job     *job
}

// plan says what has to be done to a connection with these approved reviews, the latest first, to have what the jobs
// want, and settles the jobs for which nothing has. Of awaited users some review was made that is not among them:
// nothing more is made for those.
//
// The latest review of a user decides, so of all grants of one user the one that ends last has to be the latest:
// otherwise it could not be used from the moment on at which the latest is over. Where a job puts another in front
// of it, it is made again, with the same marker and the same end.
func plan(now time.Time, all []review, jobs []*job, awaited map[string]bool) (creations []creation, revocations []revocation) {
	going := map[string]bool{}
	touched := map[string]*job{}
	for _, j := range jobs {
		kept := j.op == jit.Remove
		j.taken = nil
		for i, r := range all {
			if r.taken(j.access, now) {
				j.taken = &all[i]
			}
			switch {
			case !r.of(j.access):
			case j.op == jit.Ensure && r.asked != j.asked:
				j.err, j.refused = r.otherwise(), true
			case !kept && r.email == j.access.Binding.Principal && r.right(j.access):
				kept = true
			case j.op == jit.Ensure && r.asked:
				j.err, j.refused = r.changed(j.access.Marker), true
			default:
				going[r.session] = true
				revocations = append(revocations, revocation{r.email, r.session, j})
			}
		}
		if j.op == jit.Ensure {
			touched[j.access.Binding.Principal] = j
			switch {
			case kept || j.refused:
			case j.taken != nil:
				j.err, j.refused = j.taken.left(), true
			case j.asked:
				j.err, j.refused = notApproved(j.access), true
			default:
				creations = append(creations, creation{email: j.access.Binding.Principal, marker: j.access.Marker, job: j})
			}
			j.done = kept && !j.refused
		} else {
			j.done = !slices.ContainsFunc(revocations, func(v revocation) bool { return v.job == j })
		}
		if j.done {
			j.err = nil
		}
	}
	for email, j := range touched {
		if c, wanted := inFront(now, email, all, going, creations); wanted {
			c.job = j
			creations = append(creations, c)
		}
	}
	creations = slices.DeleteFunc(creations, func(c creation) bool { return c.job.refused || awaited[c.email] })
	revocations = slices.DeleteFunc(revocations, func(v revocation) bool { return v.job.refused })
	slices.SortStableFunc(creations, func(a, b creation) int { return a.marker.Window.End.Compare(b.marker.Window.End) })
	return creations, revocations
}

// otherwise is the error for the review of a live grant whose target says by now that another approves.
func (r *review) otherwise() error {
	return &jit.Error{
		Problem: fmt.Sprintf("the review of session %s was made before approval was changed on the target, and is left as it is until the grant ends", r.session),
		Hint:    "change approval back until then, or revoke the grant and set another renewal",
	}
}

// left is the error for a review that somebody else has approved again.
func (r *review) left() error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s, and lets %s in until then; it is theirs now and is left alone", r.detail(), r.email),
		Hint:    "have it revoked in hoop, by them or by an administrator, and apply or sweep again",
	}
}

// inFront returns the grant of a user that has to be made again to be the latest, if there is one.
func inFront(now time.Time, email string, all []review, going map[string]bool, creations []creation) (creation, bool) {
	last := -1 // of our grants the one that ends last, the latest of those; what reviewers approved is not made again
	for i, r := range all {
		if r.email == email && !going[r.session] && r.ours() && !r.asked && r.ending().Equal(r.marker.Window.End) && r.live(now) &&
			(last < 0 || r.marker.Window.End.After(all[last].marker.Window.End)) {
			last = i
		}
	}
	if last < 0 {
		return creation{}, false
	}
	end := all[last].marker.Window.End
	hidden := end // from when on something later hides it
	for _, r := range all[:last] {
		if r.email == email && !going[r.session] && r.end.Before(hidden) {
			hidden = r.end
		}
	}
	for _, c := range creations {
		if c.email != email {
			continue
		}
		if c.marker.Window.End.After(end) {
			return creation{}, false // that will be in front
		}
		if c.marker.Window.End.Before(hidden) {
			hidden = c.marker.Window.End
		}
	}
	if !hidden.Before(end.Add(-early)) {
		return creation{}, false
	}
	return creation{email: email, marker: all[last].marker, metadata: all[last].metadata, replaces: all[last].session}, true
}
