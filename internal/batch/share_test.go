package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// slow is a platform of one scope that takes 200 ms a call: a read for Read, a read and a write for Apply.
type slow struct {
	mu            sync.Mutex
	reads, writes int
	held          map[jit.ID]int
	refuse        jit.ID
	apply         time.Duration // how long Apply takes; 0: 400 ms
}

func (s *slow) Kind() string { return "slow" }
func (s *slow) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	return b, jit.Traits{}, nil
}
func (s *slow) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	return jit.AsWritten(b), nil
}

func (s *slow) Scopes(context.Context) ([]string, error) { return []string{"only"}, nil }

func (s *slow) Read(ctx context.Context, _ string) (jit.Snapshot, error) {
	s.mu.Lock()
	s.reads++
	var snapshot jit.Snapshot
	for id := range s.held {
		snapshot.Ours = append(snapshot.Ours, jit.Observed{Marker: jit.Marker{ID: id}})
	}
	s.mu.Unlock()
	time.Sleep(200 * time.Millisecond) // the answer is as old as its way is long
	return snapshot, nil
}

func (s *slow) Apply(ctx context.Context, _ string, changes []jit.Change) []error {
	time.Sleep(cmp.Or(s.apply, 400*time.Millisecond))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	s.writes++
	errs := make([]error, len(changes))
	inThis := map[jit.ID]bool{}
	for i, c := range changes {
		id := c.Access.Marker.ID
		if inThis[id] {
			errs[i] = errors.New("two changes of one grant in one batch")
			continue
		}
		inThis[id] = true
		switch {
		case id == s.refuse:
			errs[i] = errors.New("refused")
		case c.Op == jit.Ensure:
			s.held[id]++
		default:
			delete(s.held, id)
		}
	}
	return errs
}

// marker is that of grant i.
func marker(i int) jit.Marker {
	return jit.Marker{Owner: "payments", ID: jit.ID(fmt.Sprintf("%08x-0000-8000-8000-000000000000", i))}
}

func ensure(i int) []jit.Change {
	return []jit.Change{{Op: jit.Ensure, Access: jit.Access{Marker: marker(i)}}}
}

// eachOfTen calls f for 0 … n-1 from ten goroutines, as Terraform does by default.
func eachOfTen(n int, f func(i int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func TestThousandGrantsTakeTwoCallsForEachWaveOfTen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slow{held: map[jit.ID]int{}}
		shared := Share(p, time.Minute, time.Now)
		start := time.Now()
		eachOfTen(1000, func(i int) {
			if _, err := shared.Recent(t.Context(), "only"); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Duration(i%10) * 4 * time.Millisecond) // callers do not come at once
			if err := shared.Apply(t.Context(), "only", ensure(i))[0]; err != nil {
				t.Error(err)
			}
		})
		if p.writes > 101 || p.reads > p.writes+1 {
			t.Errorf("%d reads and %d writes, want at most 102 and 101", p.reads, p.writes)
		}
		if took := time.Since(start); took > 45*time.Second {
			t.Errorf("took %s, want at most 45s", took)
		}
		if len(p.held) != 1000 {
			t.Errorf("the platform holds %d grants, want 1000", len(p.held))
		}
	})
}

func TestReadsAreSharedUntilAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slow{held: map[jit.ID]int{}}
		shared := Share(p, time.Minute, time.Now)
		read := func() int {
			s, err := shared.Read(t.Context(), "only")
			if err != nil {
				t.Error(err)
			}
			return len(s.Ours)
		}
		eachOfTen(1000, func(int) { read() })
		if p.reads != 1 {
			t.Errorf("1000 reads took %d calls, want 1", p.reads)
		}
		if err := shared.Apply(t.Context(), "only", ensure(1))[0]; err != nil {
			t.Fatal(err)
		}
		if got := read(); got != 1 {
			t.Errorf("after a write a read sees %d grants, want 1", got)
		}
		calls := p.reads
		time.Sleep(59 * time.Second)
		read()
		if p.reads != calls {
			t.Error("a read was not kept for its minute")
		}
		time.Sleep(2 * time.Second)
		read()
		if p.reads != calls+1 {
			t.Error("a read was kept for more than its minute")
		}
	})
}

func TestRecentMayBeOlderThanOurWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slow{held: map[jit.ID]int{}}
		shared := Share(p, time.Minute, time.Now)
		if _, err := shared.Recent(t.Context(), "only"); err != nil {
			t.Fatal(err)
		}
		if err := shared.Apply(t.Context(), "only", ensure(1))[0]; err != nil {
			t.Fatal(err)
		}
		calls := p.reads
		if _, err := shared.Recent(t.Context(), "only"); err != nil {
			t.Fatal(err)
		}
		if p.reads != calls {
			t.Error("what others did a moment ago was read again")
		}
	})
}

func TestNothingIsKeptWithoutKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slow{held: map[jit.ID]int{}}
		shared := Share(p, 0, time.Now)
		for range 3 {
			if _, err := shared.Read(t.Context(), "only"); err != nil {
				t.Fatal(err)
			}
		}
		if p.reads != 3 {
			t.Errorf("%d calls for 3 reads one after the other, want 3", p.reads)
		}
		start := time.Now()
		if err := shared.Apply(t.Context(), "only", ensure(1))[0]; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 400*time.Millisecond {
			t.Errorf("a lone write took %s, want the 400ms of the call", took)
		}
	})
}

func TestARefusedChangeFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slow{held: map[jit.ID]int{}, refuse: marker(3).ID}
		shared := Share(p, time.Minute, time.Now)
		var mu sync.Mutex
		var failed []int
		eachOfTen(10, func(i int) {
			if shared.Apply(t.Context(), "only", ensure(i))[0] != nil {
				mu.Lock()
				failed = append(failed, i)
				mu.Unlock()
			}
		})
		if len(failed) != 1 || failed[0] != 3 {
			t.Errorf("changes %v failed, want 3 alone", failed)
		}
	})
}

func TestTwoChangesOfOneGrantAreNeverInOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slow{held: map[jit.ID]int{}}
		shared := Share(p, time.Minute, time.Now)
		eachOfTen(30, func(int) {
			if err := shared.Apply(t.Context(), "only", ensure(7))[0]; err != nil {
				t.Error(err)
			}
		})
		if p.held[marker(7).ID] != 30 {
			t.Errorf("%d of 30 changes were made", p.held[marker(7).ID])
		}
	})
}

func TestACallerThatGoesIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slow{held: map[jit.ID]int{}}
		shared := Share(p, time.Minute, time.Now)
		go shared.Apply(t.Context(), "only", ensure(0))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := shared.Apply(ctx, "only", ensure(1))[0]
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		if took := time.Since(start); took > 20*time.Millisecond {
			t.Errorf("the caller was kept for %s", took)
		}
		time.Sleep(time.Second)
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.held) != 1 {
			t.Error("a change whose caller had gone before its group began was made all the same")
		}
	})
}

func TestCallersThatComeBackOneByOneShareWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slow{held: map[jit.ID]int{}}
		shared := Share(p, time.Minute, time.Now)
		start := time.Now()
		core := make(chan struct{}, 1) // Terraform saves its state after each grant, one at a time
		eachOfTen(1000, func(i int) {
			if err := shared.Apply(t.Context(), "only", ensure(i))[0]; err != nil {
				t.Error(err)
			}
			core <- struct{}{}
			time.Sleep(15 * time.Millisecond)
			<-core
		})
		if p.writes > 101 {
			t.Errorf("%d writes, want at most 101", p.writes)
		}
		// 101 writes of 400 ms and the 15 s of the core.
		if took := time.Since(start); took > 56*time.Second {
			t.Errorf("took %s, want at most 56s", took)
		}
		if len(p.held) != 1000 {
			t.Errorf("the platform holds %d grants, want 1000", len(p.held))
		}
	})
}

// lossy is a slow platform that carries every write out and then loses the answer.
type lossy struct{ *slow }

func (l lossy) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := l.slow.Apply(ctx, scope, changes)
	for i := range errs {
		errs[i] = errors.New("504: the answer was lost")
	}
	return errs
}

// TestAReadAfterAWriteIsNeverOlder: a caller that reads after a write sees it, whatever others read and write
// meanwhile.
func TestAReadAfterAWriteIsNeverOlder(t *testing.T) {
	for _, c := range []struct {
		name         string
		keep, stride time.Duration
	}{
		{"five together", time.Minute, 0},
		{"one after the other", time.Minute, 70 * time.Millisecond},
		{"far apart", time.Minute, 330 * time.Millisecond},
		{"nothing kept", 0, 70 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &slow{held: map[jit.ID]int{}, apply: 150 * time.Millisecond}
				shared := Share(lossy{p}, c.keep, time.Now)
				if _, err := shared.Read(t.Context(), "only"); err != nil {
					t.Fatal(err)
				}
				var all sync.WaitGroup
				for i := range 20 {
					all.Go(func() {
						time.Sleep(time.Duration(i) * c.stride)
						if shared.Apply(t.Context(), "only", ensure(i))[0] == nil {
							t.Error("the answer was not lost")
						}
						// Some ask at once, some while the others' reads are under way.
						time.Sleep(time.Duration(i%5) * 45 * time.Millisecond)
						got, err := shared.Read(t.Context(), "only")
						if err != nil {
							t.Error(err)
						}
						if !slices.ContainsFunc(got.Ours,
							func(o jit.Observed) bool { return o.Marker.ID == ensure(i)[0].Access.Marker.ID }) {
							t.Errorf("grant %d is on the platform and a read after its write does not show it", i)
						}
					})
				}
				all.Wait()
			})
		})
	}
}

// TestAReadDuringAWriteIsNotKept: it may show half of the write.
func TestAReadDuringAWriteIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slow{held: map[jit.ID]int{}, apply: time.Second}
		shared := Share(p, time.Minute, time.Now)
		var write sync.WaitGroup
		write.Go(func() {
			if err := shared.Apply(t.Context(), "only", ensure(1))[0]; err != nil {
				t.Error(err)
			}
		})
		time.Sleep(700 * time.Millisecond) // a first write waits for others before it begins
		if _, err := shared.Read(t.Context(), "only"); err != nil {
			t.Fatal(err)
		}
		write.Wait()
		got, err := shared.Read(t.Context(), "only")
		if err != nil || len(got.Ours) != 1 {
			t.Errorf("after the write a read sees %d grants (%v), want 1", len(got.Ours), err)
		}
	})
}

func TestAnImpossibleMarkerReachesNoPlatform(t *testing.T) {
	p := &slow{held: map[jit.ID]int{}, apply: time.Millisecond}
	shared := Share(p, 0, time.Now)
	for _, bad := range []jit.Marker{
		{ID: marker(1).ID},
		{Owner: "Payments", ID: marker(1).ID},
		{Owner: "payments", ID: "x"},
		{Owner: "payments", ID: "0000000A-0000-8000-8000-000000000000"},
	} {
		for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
			change := jit.Change{Op: op, Access: jit.Access{Marker: bad}}
			if err := shared.Apply(t.Context(), "only", []jit.Change{change})[0]; !errors.Is(err, jit.ErrInvalid) {
				t.Errorf("%s of %+v: %v, want ErrInvalid", op, bad, err)
			}
			if errs := shared.Apply(t.Context(), "only", append(ensure(1), change)); errs[0] != nil || errs[1] == nil {
				t.Errorf("%s of %+v beside a good change: %v", op, bad, errs)
			}
		}
	}
	if p.held[marker(1).ID] != 8 || len(p.held) != 1 || p.writes != 8 {
		t.Errorf("%d writes, the platform holds %v", p.writes, p.held)
	}
}
