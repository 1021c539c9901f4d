package hoop

import (
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// job is one change under way.
type job struct {
	op     jit.Op
	access jit.Access
	// done: the list shows what was asked for. refused: trying again is no use. err is what went wrong last.
	done, refused bool
	err           error
	// user is the id of the user to whom a grant is made.
	user string
	// finished: for a removed grant, requests were taken back and sessions ended since the list showed it removed.
	finished bool
	// taken is a review of the grant that is somebody else's now; nil if there is none.
	taken *review
}

// removals are the jobs that remove a grant and have not failed.
func removals(jobs []*job) []*job {
	return slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return j.op != jit.Remove || j.err != nil })
}

// refuse ends a job.
func (j *job) refuse(err error) { j.err, j.refused = err, true }

// work is what to write: reviews to make and to end.
type work struct {
	creations   []creation
	revocations []revocation
}

func (w work) none() bool { return len(w.creations)+len(w.revocations) == 0 }

// creation is one review to make.
type creation struct {
	email    string
	marker   jit.Marker
	metadata map[string]any // nil: that of the target
	job      *job           // for which, or because of which, it is made
	// replaces is the session of the review that this copy replaces; empty for a new review.
	replaces string
}

// revocation is one review to end, for a job.
type revocation struct {
	email   string
	session string
	job     *job
}

// plan says what to do to the listed reviews to have what the jobs want. It marks the jobs for which there is nothing
// to do. It makes nothing for awaited users: a review of theirs was made and is not listed yet.
//
// The latest review of a user decides, so of all grants of one user the one that ends last must be the latest.
// Otherwise it could not be used once the latest is over. If a job puts another in front of it, it is made again, with
// the same marker and the same end.
func (a *application) plan(awaited map[string]bool) work {
	var w work
	ensured := map[string]*job{}
	for _, j := range a.jobs {
		if j.op == jit.Remove {
			w.revocations = append(w.revocations, a.planRemoval(j)...)
			continue
		}
		ensured[j.access.Binding.Principal] = j
		a.planGrant(j, &w)
	}
	ending := map[string]bool{}
	for _, v := range w.revocations {
		ending[v.session] = true
	}
	stays := slices.DeleteFunc(slices.Clone(a.listed), func(r review) bool { return ending[r.session] })
	for email, j := range ensured {
		mine := slices.DeleteFunc(slices.Clone(stays), func(r review) bool { return r.email != email || !r.isOf(j.user) })
		if c, wanted := a.inFront(email, mine, w.creations); wanted {
			c.job = j
			w.creations = append(w.creations, c)
		}
	}
	w.creations = slices.DeleteFunc(w.creations, func(c creation) bool { return c.job.refused || awaited[c.email] })
	w.revocations = slices.DeleteFunc(w.revocations, func(v revocation) bool { return v.job.refused })
	slices.SortStableFunc(w.creations,
		func(a, b creation) int { return a.marker.Window.End.Compare(b.marker.Window.End) })
	return w
}

// planRemoval returns the revocations of all reviews of a grant.
func (a *application) planRemoval(j *job) (all []revocation) {
	a.findTaken(j)
	for _, r := range a.listed {
		if r.of(j.access) {
			all = append(all, revocation{r.email, r.session, j})
		}
	}
	if j.done = len(all) == 0; j.done {
		j.err = nil
	} else {
		j.finished = false
	}
	return all
}

// planGrant keeps one right review of a grant, revokes others, and makes one if there is none.
func (a *application) planGrant(j *job, w *work) {
	a.findTaken(j)
	kept := a.keepOne(j, w)
	j.done = kept && !j.refused
	switch {
	case j.done:
		j.err = nil
	case kept || j.refused:
	case j.taken != nil:
		j.refuse(j.taken.left())
	case a.Asks():
		j.refuse(notApproved(j.access)) // only reviewers make such a review
	default:
		w.creations = append(w.creations,
			creation{email: j.access.Binding.Principal, marker: j.access.Marker, job: j})
	}
}

// keepOne revokes all reviews of a grant but one that is right, and reports whether there is one. It refuses the job if
// there is one that only reviewers may change.
func (a *application) keepOne(j *job, w *work) (kept bool) {
	for _, r := range a.listed {
		switch {
		case !r.of(j.access):
		case r.email == j.access.Binding.Principal && !r.isOf(j.user):
			j.refuse(r.anotherUser())
		case r.asked != a.Asks():
			j.refuse(r.otherwise())
		case !kept && r.email == j.access.Binding.Principal && r.right(j.access):
			kept = true
		case r.asked:
			j.refuse(r.changed(j.access.Marker))
		default:
			w.revocations = append(w.revocations, revocation{r.email, r.session, j})
		}
	}
	return kept
}

// findTaken looks for a review of a job's grant that is somebody else's now.
func (a *application) findTaken(j *job) {
	j.taken = nil
	for i, r := range a.listed {
		if r.taken(j.access, a.gatewayNow()) {
			j.taken = &a.listed[i]
		}
	}
}

// inFront returns the grant of a user that must be made again to be the latest of the user's reviews that stay and the
// creations, if there is one. What reviewers approved is not made again.
func (a *application) inFront(email string, stays []review, creations []creation) (creation, bool) {
	last := -1 // of our grants the one that ends last, and the latest of those
	for i, r := range stays {
		if r.copyable(a.gatewayNow()) && (last < 0 || r.marker.Window.End.After(stays[last].marker.Window.End)) {
			last = i
		}
	}
	if last < 0 {
		return creation{}, false
	}
	end := stays[last].marker.Window.End
	hidden := end // when a later review that is over hides it
	for _, r := range stays[:last] {
		hidden = earlier(hidden, r.end)
	}
	for _, c := range creations {
		if c.email == email && c.marker.Window.End.After(end) {
			return creation{}, false // that one will be in front
		}
		if c.email == email {
			hidden = earlier(hidden, c.marker.Window.End)
		}
	}
	again := creation{email: email, marker: stays[last].marker, metadata: stays[last].metadata,
		replaces: stays[last].session}
	return again, hidden.Before(end.Add(-early))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
