package broker

import (
	"context"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// unexplained keeps which access of the last reading of each scope no record explains: a plan of many grants to one
// principal asks about the same bindings for each of them. The zero value is ready.
type unexplained struct {
	mu sync.Mutex
	in map[jit.Place]*answers
}

// answers are those about one reading, by principal.
type answers struct {
	snapshot jit.Snapshot
	to       map[string]*answer
}

// answer holds the access of one principal that no record explains: in marked the bindings of the snapshot's Ours, in
// others those of its Standing.
type answer struct {
	mu             sync.Mutex
	known          bool
	others, marked []jit.Standing
}

// to returns the answer about a principal, which may not be known yet. Only a reading that callers share keeps its
// answers, until the next reading of the scope.
func (u *unexplained) to(principal string, at jit.Place, s jit.Snapshot) *answer {
	if !s.Shares(s) {
		return &answer{}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.in == nil {
		u.in = map[jit.Place]*answers{}
	}
	all := u.in[at]
	if all == nil || !all.snapshot.Shares(s) {
		all = &answers{s, map[string]*answer{}}
		u.in[at] = all
	}
	if all.to[principal] == nil {
		all.to[principal] = &answer{}
	}
	return all.to[principal]
}

// standing finds access in a snapshot that gives the same as a grant and outlasts it, with any marker but the grant's
// own. end is the grant's end; zero if it is unknown.
func (b *Broker) standing(
	ctx context.Context, s jit.Snapshot, g jit.Grant, end time.Time,
) (jit.Standing, bool, error) {
	a := b.unexplained.to(g.Principal, g.Place(), s)
	if err := b.explain(ctx, a, s, g); err != nil {
		return jit.Standing{}, false, err
	}
	if found, stands := jit.Shadow(a.others, g.Binding, end); stands {
		return found, true, nil
	}
	for i := range a.marked {
		if a.marked[i].Marker.ID == g.ID { // whatever its record says
			continue
		}
		if found, stands := jit.Shadow(a.marked[i:i+1], g.Binding, end); stands {
			return found, true, nil
		}
	}
	return jit.Standing{}, false, nil
}

// explain completes the answer about the principal of a grant, unless it is known.
func (b *Broker) explain(ctx context.Context, a *answer, s jit.Snapshot, g jit.Grant) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known {
		return nil
	}
	access, bounds := s.To(g.Principal), b.recordsOf(ctx, nil)
	asked := jit.Snapshot{Standing: access.Standing}
	for i := range access.Ours {
		if o := &access.Ours[i]; !bounds.Soon(o.End) {
			asked.Ours = append(asked.Ours, *o)
		}
	}
	records := b.Records(ctx, asked)
	if records.Unread != nil {
		return records.Unread
	}
	a.others = records.Standing(jit.Snapshot{Standing: asked.Standing}, g.Scope)
	a.marked = records.Standing(jit.Snapshot{Ours: asked.Ours}, g.Scope)
	a.known = true
	return nil
}
