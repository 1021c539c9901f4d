package batch

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Shared is a platform whose callers share reads and writes of a scope: one call answers all callers that wait at the
// same time. It is safe for concurrent use.
type Shared struct {
	jit.Platform
	keep time.Duration
	now  func() time.Time

	mu     sync.Mutex
	scopes map[string]*scope
}

var _ jit.Platform = (*Shared)(nil)

// Share puts p behind one queue of reads and one of writes per scope. A read is kept for keep and answers later reads,
// until a write of this process; zero keeps nothing. The slices of a snapshot are shared by all callers and read-only.
func Share(p jit.Platform, keep time.Duration, now func() time.Time) *Shared {
	return &Shared{Platform: p, keep: keep, now: now, scopes: map[string]*scope{}}
}

// Unwrap returns the platform behind the queues.
func (s *Shared) Unwrap() jit.Platform { return s.Platform }

// patience is how long a write to a scope may take before writes of other grants overtake it, so that a blocked change
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
	// at is when the read began, and ended when it ended: the clock of the snapshot is as it stood then.
	at, ended time.Time
	err       error
	// writing is the count of the scope when the read began. While it equals the scope's, and every begun write has
	// ended, no write of ours has run since, so the reading is current.
	writing
}

// begin counts the beginning of a write; the returned function counts its end.
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

// counted returns how many writes of ours have begun and ended.
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
		sc.reads = NewQueue(func(ctx context.Context, writtenToo []bool) []reading {
			return s.read(ctx, name, sc, writtenToo)
		})
		sc.writes = NewGathering(func(ctx context.Context, calls [][]jit.Change) [][]error {
			return s.write(ctx, name, sc, calls)
		}, func(changes []jit.Change) int { return len(changes) })
		sc.writes.patience, sc.writes.keys = patience, grantsOf
		s.scopes[name] = sc
	}
	return sc
}

// Read returns the scope as it is, or as it was at most keep ago if no write of this process has run since. A caller
// that asks after a write never gets a reading that began before the write ended.
func (s *Shared) Read(ctx context.Context, name string) (jit.Snapshot, error) {
	return s.reuse(ctx, name, false)
}

// Recent returns the scope as it was at most keep ago, possibly without later writes of this process. It serves to find
// bindings of others.
func (s *Shared) Recent(ctx context.Context, name string) (jit.Snapshot, error) {
	return s.reuse(ctx, name, true)
}

func (s *Shared) reuse(ctx context.Context, name string, writtenToo bool) (jit.Snapshot, error) {
	sc := s.scope(name)
	if last, ok := s.kept(sc, writtenToo); ok {
		if !last.snapshot.Clock.IsZero() { // as it stands now
			last.snapshot.Clock = last.snapshot.Clock.Add(s.now().Sub(last.ended))
		}
		return last.snapshot, nil
	}
	r, err := sc.reads.Do(ctx, writtenToo)
	if err != nil {
		return jit.Snapshot{}, err
	}
	return r.snapshot, r.err
}

// kept returns the last reading if it may still be used; with writtenToo even if a write of ours has run since.
func (s *Shared) kept(sc *scope, writtenToo bool) (reading, bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	age := s.now().Sub(sc.last.at)
	fresh := !sc.last.at.IsZero() && age >= 0 && age < s.keep
	return sc.last, fresh && (writtenToo || sc.last.writing == sc.writing && sc.begun == sc.ended)
}

// read makes the one call that answers all callers, unless the group before them has just made it.
func (s *Shared) read(ctx context.Context, name string, sc *scope, writtenToo []bool) []reading {
	r, ok := s.kept(sc, !slices.Contains(writtenToo, false))
	if !ok {
		r = reading{at: s.now(), writing: sc.counted()}
		r.snapshot, r.err = s.Platform.Read(ctx, name)
		r.snapshot = r.snapshot.Indexed()
		r.ended = s.now()
		r.snapshot.Clock = jit.ClockAfter(r.snapshot.Clock, r.at, r.ended)
		if r.err == nil {
			sc.mu.Lock()
			sc.last = r
			sc.mu.Unlock()
		}
	}
	return slices.Repeat([]reading{r}, len(writtenToo))
}

// Apply makes the changes together with those of other callers that wait for the same scope.
func (s *Shared) Apply(ctx context.Context, name string, changes []jit.Change) []error {
	errs, err := s.scope(name).writes.Do(ctx, changes)
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	return errs
}

// write hands the changes of all callers to the platform in one Apply, or in several if one grant has several changes.
func (s *Shared) write(ctx context.Context, name string, sc *scope, calls [][]jit.Change) [][]error {
	defer sc.begin()() // it ends before anybody is answered
	rounds, results := inRounds(calls)
	for _, round := range rounds {
		changes := make([]jit.Change, len(round))
		for i, p := range round {
			changes[i] = p.Change
		}
		for i, err := range s.Platform.Apply(ctx, name, changes) {
			*round[i].result = err
		}
	}
	return results
}

// pending is a change of one caller and the place of its result.
type pending struct {
	jit.Change
	result *error
}

// inRounds divides the changes of many callers into rounds in which no grant has two changes. A change with an invalid
// marker fails and is in no round.
func inRounds(calls [][]jit.Change) (rounds [][]pending, results [][]error) {
	results = make([][]error, len(calls))
	seen := map[jit.ID]int{}
	for i, changes := range calls {
		results[i] = make([]error, len(changes))
		for j, c := range changes {
			id := c.Access.Marker.ID
			if results[i][j] = c.Access.Marker.Check(); results[i][j] != nil {
				continue
			}
			if seen[id] == len(rounds) {
				rounds = append(rounds, nil)
			}
			rounds[seen[id]] = append(rounds[seen[id]], pending{c, &results[i][j]})
			seen[id]++
		}
	}
	return rounds, results
}
