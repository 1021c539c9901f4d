package awsidentitycenter

import (
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// presence is what is known of an assignment.
type presence int

const (
	unlisted presence = iota // the list does not have it, and it may be on its way
	listed                   // the list has it, and it may be on its way out
	made                     // its making was confirmed
	gone                     // its removal was confirmed
)

// view is what one Apply knows of its account: the marks, and the assignments of the permission sets concerned.
type view struct {
	marks   []jit.Claim
	version int64
	there   map[object]presence
	// unsure are the objects whose removal somebody had begun before: the list may be about to change.
	unsure map[object]bool
	// ensured are the objects that a job asks for.
	ensured map[object]bool
	failed  map[object]error
	// fresh are the marks that this Apply has made: before it nothing of theirs was under way.
	fresh []jit.Claim
}

func newView(m jit.ClaimSet) *view {
	v := &view{marks: m.Claims, version: m.Version, there: map[object]presence{}, unsure: map[object]bool{}, ensured: map[object]bool{}, failed: map[object]error{}}
	for _, m := range v.marks {
		if o, ok := parseObject(m.Object); ok && m.Ending {
			v.unsure[o] = true
		}
	}
	return v
}

// again takes up marks that were written meanwhile. What was seen and done stays true: others write their marks first.
func (v *view) again(m jit.ClaimSet) { v.marks, v.version = m.Claims, m.Version }

// see takes in a list of assignments.
func (v *view) see(all map[object]bool) {
	for o := range all {
		v.there[o] = listed
	}
}

// objects are those of the jobs without an error: what is wanted now, and what was marked before.
func (v *view) objects(jobs []*job) []object {
	found := map[object]bool{}
	for _, j := range jobs {
		if j.err != nil {
			continue
		}
		if j.op == jit.Ensure {
			found[j.object] = true
		}
		for _, m := range v.marks {
			if o, ok := parseObject(m.Object); ok && j.owns(m) {
				found[o] = true
			}
		}
	}
	var all []object
	for o := range found {
		all = append(all, o)
	}
	return all
}

// sets are the permission sets of the objects of the jobs.
func (v *view) sets(jobs []*job) []string {
	var sets []string
	for _, o := range v.objects(jobs) {
		sets = append(sets, o.set)
	}
	slices.Sort(sets)
	return slices.Compact(sets)
}

// claims returns the marks that have to be written for the jobs without an error.
func (v *view) claims(jobs []*job) []jit.Claim {
	next := slices.Clone(v.marks)
	for _, j := range jobs {
		if j.err != nil {
			continue
		}
		wanted := ""
		if j.op == jit.Ensure {
			wanted = j.object.String()
			v.ensured[j.object] = true
		}
		found := false
		for i, m := range next {
			switch {
			case !j.owns(m):
			case m.Object == wanted:
				found = true
				next[i].Ending = false
				next[i].Marker, next[i].Principal, next[i].Role = j.access.Marker, j.access.Binding.Principal, j.access.Binding.Role
			default:
				next[i].Ending = true
			}
		}
		if j.op == jit.Ensure && !found {
			next = append(next, jit.Claim{Marker: j.access.Marker, Object: wanted, Principal: j.access.Binding.Principal, Role: j.access.Binding.Role,
				Prior: v.prior(wanted, j.object)})
		}
		if j.op == jit.Ensure && v.there[j.object] == unlisted {
			for i := range next { // it will be made by us, whatever there was before
				next[i].Prior = next[i].Prior && next[i].Object != wanted
			}
		}
	}
	return slices.DeleteFunc(next, func(m jit.Claim) bool { return slices.Contains(v.marks, m) })
}

// prior reports whether an object was there before any mark of it: another mark tells, or else the list.
func (v *view) prior(name string, o object) bool {
	for _, m := range v.marks {
		if m.Object == name {
			return m.Prior
		}
	}
	return v.there[o] == listed
}

// put takes in marks that have been written.
func (v *view) put(marks []jit.Claim, version int64) {
	for _, m := range marks {
		i := slices.IndexFunc(v.marks, func(is jit.Claim) bool { return same(is, m) })
		if i < 0 {
			v.marks, v.fresh = append(v.marks, m), append(v.fresh, m)
		} else {
			v.marks[i] = m
		}
	}
	v.version = version
}

// same: both are marks of one grant on one object.
func same(a, b jit.Claim) bool {
	return a.Marker.Owner == b.Marker.Owner && a.Marker.ID == b.Marker.ID && a.Object == b.Object
}

// task is what has to be done to an object; zero when nothing.
func (v *view) task(o object) operation {
	name := o.String()
	claimed, prior, marked := false, false, false
	for _, m := range v.marks {
		if m.Object == name {
			marked = true
			claimed = claimed || !m.Ending
			prior = prior || m.Prior
		}
	}
	is := v.there[o]
	switch {
	case claimed && is == gone:
		return creation // a claim that came while we removed it
	case claimed && v.ensured[o] && (is == unlisted || is == listed && v.unsure[o] && !prior):
		return creation
	case marked && !claimed && !prior && is != gone:
		return deletion // also of what is not listed: its making may be under way
	}
	return 0
}

// void returns the marks of the jobs that stand for nothing any more: their grant has given them up, and what
// nobody else claims is gone; or the service has refused to make what they claim.
func (v *view) void(jobs []*job) []jit.Claim {
	var all []jit.Claim
	for _, m := range v.marks {
		o, ok := parseObject(m.Object)
		if !ok || !slices.ContainsFunc(jobs, func(j *job) bool { return j.owns(m) }) {
			continue
		}
		err := v.failed[o]
		fresh := slices.ContainsFunc(v.fresh, func(f jit.Claim) bool { return same(f, m) })
		if m.Ending && err == nil || fresh && !m.Ending && err != nil && answered(err) && v.there[o] == unlisted {
			all = append(all, m)
		}
	}
	return all
}

// has reports whether there is a mark of the job's grant.
func (v *view) has(j *job) bool { return slices.ContainsFunc(v.marks, j.owns) }

// waits reports whether one of the marks to be dropped is of the job's grant.
func (v *view) waits(j *job, drop []jit.Claim) bool { return slices.ContainsFunc(drop, j.owns) }

// held counts the assignments that a permission set is known to have.
func (v *view) held(set string) int {
	n := 0
	for o, is := range v.there {
		if o.set == set && (is == listed || is == made) {
			n++
		}
	}
	return n
}

// wrote takes in the outcome of a write.
func (v *view) wrote(o object, is presence, err error) {
	v.there[o] = is
	delete(v.failed, o)
	if err != nil {
		v.failed[o] = err
	}
}
