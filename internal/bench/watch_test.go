package bench_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// observed collects what a watcher does.
type observed struct {
	mu     sync.Mutex
	lags   []time.Duration
	failed int
	passed func(kind string)
}

func (o *observed) Stepped(r sweeper.Result, lag time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Err != nil {
		o.failed++
	} else {
		o.lags = append(o.lags, lag)
	}
}

func (o *observed) Passed(kind string, _ sweeper.Passed) {
	if o.passed != nil {
		o.passed(kind)
	}
}

func (o *observed) done() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.lags)
}

// watching runs a watcher until stop.
func watching(b *broker.Broker, leases jit.Leases, holder string, o sweeper.Observer) (stop func()) {
	w := &sweeper.Watcher{
		Sweeper: sweeper.Sweeper{Broker: b, Holder: holder, MaxUnplanned: sweeper.DefaultMaxUnplanned},
		Leases:  leases, Observer: o,
		Interval: sweeper.DefaultInterval, DriftInterval: sweeper.DefaultDriftInterval,
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { w.Run(ctx); close(over) }()
	return func() { cancel(); <-over }
}

func openLedger(b *testing.B, url string) *ledger.Ledger {
	l, err := ledger.Open(b.Context(), ledger.Config{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	return l
}

func waitFor(b *testing.B, most time.Duration, what string, so func() bool) {
	for end := time.Now().Add(most); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("waited in vain for %s: %s", most, what)
		}
	}
}

// envWatcher makes the test binary a watcher of its own: the JSON of [watcherTask].
const envWatcher = "JIT_BENCH_WATCHER"

type watcherTask struct {
	Ledger         string
	Takes          time.Duration
	Grants, Scopes int
	End            time.Time
}

// TestMain is the process of a watcher where one is asked for.
func TestMain(m *testing.M) {
	if text := os.Getenv(envWatcher); text != "" {
		if err := watcherProcess(text, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// watcherProcess watches until its input ends, says when each kind of pass was complete for the first time, and at the
// end how many steps it did and failed.
func watcherProcess(text string, in io.Reader, out io.Writer) error {
	var task watcherTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		return err
	}
	l, err := ledger.Open(context.Background(), ledger.Config{URL: task.Ledger})
	if err != nil {
		return err
	}
	b := &broker.Broker{Ledger: l, Targets: map[string]jit.Platform{"nothing": nothing{takes: task.Takes,
		grants: task.Grants, spread: task.Scopes, end: task.End}}, Owner: "jit", MaxTTL: 24 * time.Hour, Now: time.Now,
		Actor: jit.Actor{Name: "bench", Source: jit.FromSweeper}}
	var mu sync.Mutex
	seen := map[string]bool{}
	o := &observed{passed: func(kind string) {
		mu.Lock()
		defer mu.Unlock()
		if !seen[kind] {
			seen[kind] = true
			fmt.Fprintln(out, kind)
		}
	}}
	stop := watching(b, l.Leases(), fmt.Sprint("bench/", os.Getpid()), o)
	_, _ = io.Copy(io.Discard, in)
	stop()
	fmt.Fprintln(out, "steps", o.done(), "failed", o.failed)
	return l.Close()
}

// watcher is a process that watches.
type watcher struct {
	b    *testing.B
	cmd  *exec.Cmd
	stop io.Closer
	out  *bufio.Scanner
}

func startWatcher(b *testing.B, task watcherTask) *watcher {
	text, err := json.Marshal(task)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envWatcher+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return &watcher{b, cmd, in, bufio.NewScanner(out)}
}

// says waits for a line that begins with a word and returns it.
func (w *watcher) says(word string) string {
	for w.out.Scan() {
		if strings.HasPrefix(w.out.Text(), word) {
			return w.out.Text()
		}
	}
	w.b.Fatalf("the watcher ended without saying %q", word)
	return ""
}

func (w *watcher) end() {
	_ = w.stop.Close()
	w.says("steps")
	if err := w.cmd.Wait(); err != nil {
		w.b.Fatal(err)
	}
}

// peak is the most memory that the process has had so far, in MB.
func (w *watcher) peak() float64 {
	most, err := peakMemory(fmt.Sprintf("/proc/%d", w.cmd.Process.Pid))
	if err != nil {
		w.b.Fatal(err)
	}
	return most
}
