package batch

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Shared is a platform whose callers share reads and writes scope by scope: what
// waits at the same time is answered by one call. It is safe for concurrent use.
type Shared struct {
	jit.Platform
	keep time.Duration
	now  func() time.Time

	mu     sync.Mutex
	scopes map[string]*scope
}

var _ jit.Platform = (*Shared)(nil)

// Share puts p behind one queue of reads and one of writes per scope. A read is
// kept for keep and answers later ones, until a write of this process; zero
// keeps nothing. The slices of a shared snapshot belong to all callers: they are read only.
func Share(p jit.Platform, keep time.Duration, now func() time.Time) *Shared {
	return &Shared{Platform: p, keep: keep, now: now, scopes: map[string]*scope{}}
}

// Unwrap returns the platform behind the queues.
func (s *Shared) Unwrap() jit.Platform { return s.Platform }

// patience is how long a write to a scope may take before writes of other grants overtake it: a change that is blocked
// does not hold up the rest.
const patience = 5 * time.Second

// grantsOf yields the grants that changes are for.
func grantsOf(changes []jit.Change, yield func(key string)) {
	for _, c := range changes {
		yield(string(c.Access.Marker.ID))
	}
}

type scope struct {
	reads  *Queue[bool, reading] // asked for with writtenToo
	writes *Queue[[]jit.Change, []error]

	mu   sync.Mutex
	last reading
	writing
}

// writing counts our writes to a scope.
type writing struct{ begun, ended uint64 }

type reading struct {
	snapshot jit.Snapshot
	at       time.Time
	err      error
	// writing is that of the scope when the read began. As long as it is the scope's, and all that has begun has
	// ended, no write of ours has been at work since, so the reading is still the truth.
	writing
}

// begin counts one more write of ours; the function that it returns counts its end.
func (sc *scope) begin() (end func()) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.begun++
	return func() {
		sc.mu.Lock()
		defer sc.mu.Unlock()
		sc.ended++
	}
}

// counted returns how many writes of ours have begun and ended by now.
func (sc *scope) counted() writing {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.writing
}

func (s *Shared) scope(name string) *scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, ok := s.scopes[name]
	if !ok {
		sc = &scope{}
		sc.reads = NewQueue(func(ctx context.Context, writtenToo []bool) []reading { return s.read(ctx, name, sc, writtenToo) })
		sc.writes = NewGathering(func(ctx context.Context, calls [][]jit.Change) [][]error { return s.write(ctx, name, sc, calls) })
		sc.writes.patience, sc.writes.keys = patience, grantsOf
		s.scopes[name] = sc
	}
	return sc
}

// Read returns the scope as it is, or as it was at most keep ago if no write of this process has been under way
// since. A reading that began before a write of ours ended answers nobody who asks after that end.
func (s *Shared) Read(ctx context.Context, name string) (jit.Snapshot, error) {
	return s.reuse(ctx, name, false)
}

// Recent returns the scope as it was at most keep ago, writes of this process since
// then left out. It serves to look for what others have put there.
func (s *Shared) Recent(ctx context.Context, name string) (jit.Snapshot, error) {
	return s.reuse(ctx, name, true)
}

func (s *Shared) reuse(ctx context.Context, name string, writtenToo bool) (jit.Snapshot, error) {
	sc := s.scope(name)
	if last, ok := s.kept(sc, writtenToo); ok {
		return last.snapshot, nil
	}
	r, err := sc.reads.Do(ctx, writtenToo)
	if err != nil {
		return jit.Snapshot{}, err
	}
	return r.snapshot, r.err
}

// kept returns the last reading if it may still be used; with writtenToo also one from before a write of ours.
func (s *Shared) kept(sc *scope, writtenToo bool) (reading, bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	age := s.now().Sub(sc.last.at)
	return sc.last, !sc.last.at.IsZero() && age >= 0 && age < s.keep && (writtenToo || sc.last.writing == sc.writing && sc.begun == sc.ended)
}

// read makes the one call that answers all callers, unless the group before them has just made it.
func (s *Shared) read(ctx context.Context, name string, sc *scope, writtenToo []bool) []reading {
	r, ok := s.kept(sc, !slices.Contains(writtenToo, false))
	if !ok {
		r = reading{at: s.now(), writing: sc.counted()}
		r.snapshot, r.err = s.Platform.Read(ctx, name)
		if r.err == nil {
			sc.mu.Lock()
			sc.last = r
			sc.mu.Unlock()
		}
	}
	all := make([]reading, len(writtenToo))
	for i := range all {
		all[i] = r
	}
	return all
}

// Apply makes the changes together with those of other callers that wait for the same scope.
func (s *Shared) Apply(ctx context.Context, name string, changes []jit.Change) []error {
	errs, err := s.scope(name).writes.Do(ctx, changes)
	if err != nil {
		errs = make([]error, len(changes))
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

// write hands the changes of all callers to the platform in one Apply, or in several if one grant has several changes.
func (s *Shared) write(ctx context.Context, name string, sc *scope, calls [][]jit.Change) [][]error {
	defer sc.begin()() // ended before anybody is answered
	r := inRounds(calls)
	for n := range r.places {
		r.answer(n, s.Platform.Apply(ctx, name, r.changes(n)))
	}
	return r.results
}

// rounds are the changes of many callers, no two for one grant in one round. Changes with an impossible marker are in
// none.
type rounds struct {
	calls   [][]jit.Change
	places  [][]place
	results [][]error
}

// place is one change of one caller.
type place struct{ call, change int }

func inRounds(calls [][]jit.Change) *rounds {
	r := &rounds{calls: calls, results: make([][]error, len(calls))}
	seen := map[jit.ID]int{}
	for i, changes := range calls {
		r.results[i] = make([]error, len(changes))
		for j, c := range changes {
			if r.results[i][j] = c.Access.Marker.Check(); r.results[i][j] != nil {
				continue
			}
			n := seen[c.Access.Marker.ID]
			seen[c.Access.Marker.ID]++
			if n == len(r.places) {
				r.places = append(r.places, nil)
			}
			r.places[n] = append(r.places[n], place{i, j})
		}
	}
	return r
}

func (r *rounds) changes(n int) []jit.Change {
	all := make([]jit.Change, len(r.places[n]))
	for k, p := range r.places[n] {
		all[k] = r.calls[p.call][p.change]
	}
	return all
}

func (r *rounds) answer(n int, errs []error) {
	for k, err := range errs {
		p := r.places[n][k]
		r.results[p.call][p.change] = err
	}
}
