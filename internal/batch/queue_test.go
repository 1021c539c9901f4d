package batch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// runs records the groups that a queue ran.
type runs struct {
	mu     sync.Mutex
	groups [][]int
	busy   bool
}

// take returns a run that takes that long and answers each call n with 10 × n.
func (r *runs) take(t *testing.T, d time.Duration) func(context.Context, []int) []int {
	return func(_ context.Context, calls []int) []int {
		r.mu.Lock()
		if r.busy {
			t.Error("two groups run at the same time")
		}
		r.busy = true
		r.groups = append(r.groups, slices.Clone(calls))
		r.mu.Unlock()
		time.Sleep(d)
		r.mu.Lock()
		r.busy = false
		r.mu.Unlock()
		results := make([]int, len(calls))
		for i, n := range calls {
			results[i] = 10 * n
		}
		return results
	}
}

func (r *runs) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.groups)
}

// ask makes call n and checks that the answer is the one to n.
func ask(t *testing.T, q *Queue[int, int], n int) {
	got, err := q.Do(t.Context(), n)
	if err != nil || got != 10*n {
		t.Errorf("Do(%d) = %d, %v; want %d", n, got, err, 10*n)
	}
}

// one is the number of items of a call.
func one(int) int { return 1 }

func TestLoneCallerIsNotDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 200 * time.Millisecond
		r := &runs{}
		q := NewGathering(r.take(t, each), one)
		for n := range 5 {
			started := time.Now()
			ask(t, q, n)
			if took := time.Since(started); took != each {
				t.Errorf("call %d took %s, want %s", n, took, each)
			}
			time.Sleep(time.Duration(n) * time.Second)
		}
	})
}

// A queue that does not gather runs all waiting callers.
func TestPlainQueueNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 200 * time.Millisecond
		r := &runs{}
		q := NewQueue(r.take(t, each))
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() { ask(t, q, n) })
		}
		wg.Wait()
		started := time.Now()
		ask(t, q, 21)
		if took := time.Since(started); took != each {
			t.Errorf("a call after many took %s, want %s", took, each)
		}
	})
}

// What was learned of many callers costs a caller that is alone again at most one wait.
func TestLoneCallerAfterMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 200 * time.Millisecond
		r := &runs{}
		q := NewGathering(r.take(t, each), one)
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() { ask(t, q, n) })
		}
		wg.Wait()
		time.Sleep(time.Minute)
		for n, most := range []time.Duration{each + each/2, each, each} {
			started := time.Now()
			ask(t, q, n)
			if took := time.Since(started); took < each || took > most {
				t.Errorf("call %d took %s, want %s to %s", n, took, each, most)
			}
		}
	})
}

// Callers that come back within the spread after each answer, as Terraform's walkers do, share every run.
func TestWavesShareRuns(t *testing.T) {
	const callers, each, spread = 10, 200 * time.Millisecond, 40 * time.Millisecond
	for _, total := range []int{1, 10, 11, 95, 1000} {
		t.Run(fmt.Sprint(total), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &runs{}
				q := NewGathering(r.take(t, each), one)
				work := make(chan int, total)
				for n := range total {
					work <- n
				}
				close(work)
				started := time.Now()
				var wg sync.WaitGroup
				for i := range callers {
					random := rand.New(rand.NewPCG(uint64(i), uint64(total)))
					wg.Go(func() {
						for n := range work {
							time.Sleep(time.Duration(random.Int64N(int64(spread))))
							ask(t, q, n)
						}
					})
				}
				wg.Wait()
				took, most := time.Since(started), (total+callers-1)/callers+1
				if got := r.count(); got > most {
					t.Errorf("%d calls by %d callers needed %d runs, want at most %d", total, callers, got, most)
				}
				if limit := time.Duration(most) * (each + each/2); took > limit {
					t.Errorf("it took %s, want at most %s", took, limit)
				}
				var all []int
				for _, g := range r.groups {
					all = append(all, g...)
				}
				slices.Sort(all)
				for n := range total {
					if len(all) != total || all[n] != n {
						t.Fatalf("the runs saw %d calls, want each of %d once", len(all), total)
					}
				}
			})
		})
	}
}

func TestCancelledCallerReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sawEnd error
		started := make(chan struct{})
		q := NewGathering(func(ctx context.Context, calls []int) []int {
			close(started)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			sawEnd = ctx.Err()
			return calls
		}, one)
		q.expected, q.gap = 2, time.Second // so that both are in one group
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			begun := time.Now()
			if _, err := q.Do(ctx, 1); !errors.Is(err, context.Canceled) {
				t.Errorf("Do of the cancelled caller = %v", err)
			}
			if took := time.Since(begun); took != 100*time.Millisecond {
				t.Errorf("the cancelled caller returned after %s, want 100ms", took)
			}
		})
		wg.Go(func() {
			if got, err := q.Do(t.Context(), 2); err != nil || got != 2 {
				t.Errorf("Do of the other caller = %d, %v; want 2", got, err)
			}
		})
		<-started
		time.Sleep(100 * time.Millisecond)
		cancel()
		wg.Wait()
		if sawEnd != nil {
			t.Errorf("the run's context ended (%v) while a caller was waiting", sawEnd)
		}
	})
}

func TestRunEndsWhenAllHaveGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		q := NewGathering(func(ctx context.Context, calls []int) []int {
			begun := time.Now()
			<-ctx.Done()
			ended <- time.Since(begun)
			return calls
		}, one)
		q.expected, q.gap = 3, time.Second
		var wg sync.WaitGroup
		for n := range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(3-n)*time.Second)
			defer cancel()
			wg.Go(func() {
				if _, err := q.Do(ctx, n); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Do(%d) = %v", n, err)
				}
			})
		}
		wg.Wait()
		if took := <-ended; took != 3*time.Second {
			t.Errorf("the run's context ended after %s, want 3s, when the last caller went", took)
		}
	})
}

// A call whose caller went before its group began is not made.
func TestAbandonedCallIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &runs{}
		q := NewGathering(r.take(t, time.Second), one)
		var wg sync.WaitGroup
		wg.Go(func() { ask(t, q, 1) })
		synctest.Wait() // 1 runs
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		wg.Go(func() {
			if _, err := q.Do(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Do(2) = %v", err)
			}
		})
		wg.Go(func() { ask(t, q, 3) })
		wg.Wait()
		gone, cancelled := context.WithCancel(t.Context())
		cancelled()
		if _, err := q.Do(gone, 4); !errors.Is(err, context.Canceled) {
			t.Errorf("Do(4) = %v", err)
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		ask(t, q, 5)
		if want := [][]int{{1}, {3}, {5}}; !slices.EqualFunc(r.groups, want, slices.Equal) {
			t.Errorf("the runs saw %v, want %v", r.groups, want)
		}
	})
}

// The values of a context (a logger, a trace) reach the run, its deadline does not.
func TestRunSeesValuesOfTheFirstCaller(t *testing.T) {
	type key struct{}
	type seen struct {
		value   any
		bounded bool
	}
	q := NewGathering(func(ctx context.Context, calls []int) []seen {
		_, bounded := ctx.Deadline()
		return slices.Repeat([]seen{{ctx.Value(key{}), bounded}}, len(calls))
	}, one)
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "trace"), time.Hour)
	defer cancel()
	if got, err := q.Do(ctx, 1); err != nil || got != (seen{"trace", false}) {
		t.Errorf("the run saw %v, %v", got, err)
	}
}

// A run that cannot account for every call ends the program; see NewQueue.
func TestFaultyRunEndsTheProgram(t *testing.T) {
	faults := map[string]func(context.Context, []int) []int{
		"panic":    func(context.Context, []int) []int { panic("the run is broken") },
		"too few":  func(context.Context, []int) []int { return nil },
		"too many": func(_ context.Context, calls []int) []int { return append(calls, 0) },
	}
	const variable = "BATCH_TEST_FAULT"
	if fault := os.Getenv(variable); fault != "" {
		_, err := NewGathering(faults[fault], one).Do(t.Context(), 1)
		t.Fatalf("survived with %v", err)
	}
	for fault, says := range map[string]string{"panic": "the run is broken", "too few": "0 results for 1 calls",
		"too many": "2 results for 1 calls"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		self := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$")
		self.Env = append(os.Environ(), variable+"="+fault)
		out, err := self.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "panic: ") || !strings.Contains(string(out), says) {
			t.Errorf("%s: %v\n%s", fault, err, out)
		}
	}
}

// A group that is taken is not a group whose callers have gone.
func TestQueueKeepsTheContextOfATakenGroup(t *testing.T) {
	q := NewQueue(func(ctx context.Context, calls []int) []error {
		for range 100 {
			runtime.Gosched()
		}
		errs := make([]error, len(calls))
		for i := range errs {
			errs[i] = ctx.Err()
		}
		return errs
	})
	for i := range 50_000 {
		if err, _ := q.Do(t.Context(), i); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}
