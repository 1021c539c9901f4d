package bench_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/postgresql"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
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

// lag measures how long after their end 1,000 grants that end in one second are gone from a PostgreSQL server, beside
// psql doing the same.
func (t *table) lag() {
	server := testenv.Postgres(t.b)
	db, err := pgx.Connect(t.b.Context(), server.URL)
	if err != nil {
		t.b.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	if _, err := db.Exec(t.b.Context(), `CREATE ROLE lag_reporting NOLOGIN; CREATE ROLE lag_bob LOGIN`); err != nil {
		t.b.Fatal(err)
	}
	l := openLedger(t.b, server.Database(t.b))
	target, err := postgresql.New(postgresql.Config{URL: server.URL}, jit.Services{Now: time.Now})
	if err != nil {
		t.b.Fatal(err)
	}
	br := &broker.Broker{Ledger: l, Targets: map[string]jit.Platform{"db": target}, Owner: "jit", MaxTTL: time.Hour,
		Now:   time.Now,
		Actor: jit.Actor{Name: "bench", Source: jit.FromSweeper}}

	binding, traits, err := target.Check(jit.Binding{Target: "db", Principal: "lag_bob", Role: "lag_reporting"})
	if err != nil {
		t.b.Fatal(err)
	}
	end := time.Now().Add(15 * time.Second).Truncate(time.Second)
	var entries []jit.Entry
	var changes []jit.Change
	for n := range grants {
		reason := fmt.Sprintf("INC-%d: measure", n)
		g := jit.Grant{ID: jit.NewID("jit", binding, reason, 1), Owner: "jit", Binding: binding, Reason: reason,
			Renewal: 1, TTL: jit.RecordedTTL("1m"),
			Window: jit.Window{Start: end.Add(-time.Minute),
				End: end}, Enforcement: traits.Enforcement, SessionTail: traits.SessionTail,
			RequestedAt: end.Add(-time.Minute), GrantedAt: end.Add(-time.Minute), Holder: 1}
		entries = append(entries, jit.Entry{Grant: &g})
		changes = append(changes, jit.Change{Op: jit.Ensure, Access: g.Access()})
	}
	for _, err := range append(l.Write(t.b.Context(), entries),
		target.Apply(t.b.Context(), binding.Scope, changes)...) {
		if err != nil {
			t.b.Fatal(err)
		}
	}
	if wait := time.Until(end); wait < 3*time.Second {
		t.b.Fatalf("it took too long to make the grants: %s are left", wait)
	}
	o := &observed{}
	stop := watching(br, l.Leases(), "bench", o)
	waitFor(t.b, 2*time.Minute, "all grants are ended", func() bool { return o.done() >= grants })
	stop()
	if o.failed > 0 {
		t.b.Errorf("%d ends failed", o.failed)
	}
	slices.Sort(o.lags)
	t.ratio("1,000 ends in one second on postgresql, --watch: lag of the last beside psql in one transaction",
		o.lags[grants-1], t.psql(server, db), 1.5)
}

// psql times 1,000 REVOKE and DROP ROLE by psql, as fast as it can: in one transaction.
func (t *table) psql(server *testenv.PostgresServer, db *pgx.Conn) time.Duration {
	var before, statements strings.Builder
	for n := range grants {
		fmt.Fprintf(&before, "CREATE ROLE lag_%d NOLOGIN; GRANT lag_reporting TO lag_%d; GRANT lag_%d TO lag_bob;\n",
			n, n, n)
		fmt.Fprintf(&statements, "REVOKE lag_%d FROM lag_bob; DROP ROLE lag_%d;\n", n, n)
	}
	if _, err := db.Exec(t.b.Context(), before.String()); err != nil {
		t.b.Fatal(err)
	}
	file := filepath.Join(t.b.TempDir(), "revoke.sql")
	if err := os.WriteFile(file, []byte(statements.String()), 0o600); err != nil {
		t.b.Fatal(err)
	}
	return lasts(func() {
		if out, err := exec.CommandContext(t.b.Context(), "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f",
			file, server.URL).CombinedOutput(); err != nil {
			t.b.Fatalf("psql: %v\n%s", err, out)
		}
	})
}

// nothing is a target that does nothing. It says that it holds what [fill] made, and its writes take a while where one
// is set.
type nothing struct {
	takes          time.Duration
	grants, spread int
	end            time.Time
}

func (nothing) Kind() string { return "nothing" }

func (nothing) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	return b, jit.Traits{Enforcement: jit.Native}, nil
}

func (nothing) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	return jit.AsWritten(b), nil
}

func (nothing) Scopes(context.Context) ([]string, error) { return nil, nil }

func (n nothing) Read(_ context.Context, scope string) (s jit.Snapshot, err error) {
	first, err := strconv.Atoi(strings.TrimPrefix(scope, projects))
	for i := first; i < n.grants; i += n.spread {
		g := granted(i, n.spread, n.end)
		s.Ours = append(s.Ours, jit.Observed{Marker: g.Marker(), Principal: g.Principal, Role: g.Role, End: g.End})
	}
	return s, err
}

func (n nothing) Apply(_ context.Context, _ string, changes []jit.Change) []error {
	time.Sleep(n.takes)
	return make([]error, len(changes))
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
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		w.b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				w.b.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	w.b.Fatal("the kernel does not tell the peak of the memory")
	return 0
}

// projects begins the scopes of the target that does nothing.
const projects = "projects/p"

// granted is the i-th grant on the target that does nothing.
func granted(i, scopes int, end time.Time) jit.Grant {
	binding := jit.Binding{Target: "nothing", Principal: "user:alice@example.com", Role: "roles/cloudsql.client",
		Scope: fmt.Sprint(projects, i%scopes)}
	reason := fmt.Sprintf("INC-%d: measure", i)
	return jit.Grant{ID: jit.NewID("jit", binding, reason, 1), Owner: "jit", Binding: binding, Reason: reason,
		Renewal: 1, TTL: jit.RecordedTTL("2h"),
		Window: jit.Window{Start: end.Add(-2 * time.Hour), End: end}, Enforcement: jit.Native,
		RequestedAt: end.Add(-2 * time.Hour), GrantedAt: end.Add(-2 * time.Hour), Holder: 1}
}

// fill records n live grants on the target that does nothing, spread over scopes, and returns the last end.
func fill(b *testing.B, l jit.Ledger, n, scopes int, end time.Time) {
	const batch = 5000
	for first := 0; first < n; first += batch {
		entries := make([]jit.Entry, 0, batch)
		for i := first; i < min(n, first+batch); i++ {
			g := granted(i, scopes, end)
			entries = append(entries, jit.Entry{Grant: &g})
		}
		for _, err := range l.Write(b.Context(), entries) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// million starts a watcher on a ledger with a million live grants.
func (t *table) million() {
	url := "sqlite://" + filepath.Join(t.b.TempDir(), "ledger.db")
	task := watcherTask{Ledger: url, Grants: 1_000_000, Scopes: 1000,
		End: time.Now().Add(time.Hour).Truncate(time.Second)}
	fill(t.b, openLedger(t.b, url), task.Grants, task.Scopes, task.End)
	began := time.Now()
	w := startWatcher(t.b, task)
	w.says("due")
	first := time.Since(began)
	w.says("drift")
	drift := time.Since(began)
	peak := w.peak()
	w.end()
	t.add("1,000,000 live grants: start to first pass, due work", fmt.Sprintf("%.2fs", first.Seconds()), "10s",
		first <= 10*time.Second)
	t.add("1,000,000 live grants: start to first pass, every scope read and compared",
		fmt.Sprintf("%.1fs", drift.Seconds()), "10s", drift <= 10*time.Second)
	t.add("1,000,000 live grants: memory, with both passes", fmt.Sprintf("%.0f MB", peak), "300 MB", peak <= 300)
}

// replicas times 10,000 grants that end together on one PostgreSQL ledger, 200 ms a call, with one watcher, with two,
// and with three of which one is killed at work.
func (t *table) replicas() {
	const due = 10_000
	run := func(watchers int, kill bool) (took time.Duration, once bool) {
		url := testenv.Postgres(t.b).Database(t.b)
		l := openLedger(t.b, url)
		all := make([]*watcher, watchers)
		for i := range all {
			all[i] = startWatcher(t.b, watcherTask{Ledger: url, Takes: 200 * time.Millisecond})
		}
		end := time.Now().Add(15 * time.Second).Truncate(time.Second)
		fill(t.b, l, due, 100, end)
		if time.Until(end) < time.Second {
			t.b.Fatal("it took too long to make the grants")
		}
		time.Sleep(time.Until(end))
		if kill {
			waitFor(t.b, time.Minute, "some grants are ended", func() bool { return len(ends(t.b, l)) > 0 })
			if err := all[0].cmd.Process.Kill(); err != nil {
				t.b.Fatal(err)
			}
			_ = all[0].cmd.Wait() // it was killed
			all = all[1:]
		}
		waitFor(t.b, 5*time.Minute, "all grants are ended", func() bool { return !anyDue(t.b, l) })
		took = time.Since(end)
		for _, w := range all {
			w.end()
		}
		told := ends(t.b, l)
		once = len(told) == due
		for _, n := range told {
			once = once && n == 1
		}
		return took, once
	}
	one, two, first, second := time.Hour, time.Hour, true, true
	for range 5 {
		took, once := run(1, false)
		one, first = min(one, took), first && once
		took, once = run(2, false)
		two, second = min(two, took), second && once
	}
	t.ratio("10,000 ends at once, 200 ms a call, two replicas beside one, least of 5 each", two, one, 1)
	three, third := run(3, true)
	t.add("10,000 ends at once, three replicas, one killed: every end recorded once",
		fmt.Sprintf("%v, %v, %v (%.1fs)", first, second, third, three.Seconds()),
		"true", first && second && third)
}

// anyDue reports whether any grant is due.
func anyDue(b *testing.B, l *ledger.Ledger) bool {
	for _, err := range l.Grants(b.Context(), jit.Filter{Owner: "jit", DueBy: time.Now()}) {
		if err != nil {
			b.Fatal(err)
		}
		return true
	}
	return false
}

// ends counts the events that tell of the end of each grant.
func ends(b *testing.B, l *ledger.Ledger) map[jit.ID]int {
	told := map[jit.ID]int{}
	for e, err := range l.Events(b.Context(), 1) {
		if err != nil {
			b.Fatal(err)
		}
		if e.Kind == jit.EventExpired {
			told[e.Grant]++
		}
	}
	return told
}

// expiries times how fast due grants go through a watcher whose target does nothing: with a ledger that keeps nothing,
// and with one that records each end durably.
func (t *table) expiries() {
	rate := func(due int, l jit.Ledger, leases jit.Leases) float64 {
		b := &broker.Broker{Ledger: l, Targets: map[string]jit.Platform{"nothing": nothing{}}, Owner: "jit",
			MaxTTL: 24 * time.Hour, Now: time.Now,
			Actor: jit.Actor{Name: "bench", Source: jit.FromSweeper}}
		o := &observed{}
		began := time.Now()
		stop := watching(b, leases, "bench", o)
		waitFor(t.b, 5*time.Minute, "all grants are ended", func() bool { return o.done() >= due })
		took := time.Since(began)
		stop()
		return float64(due) / took.Seconds()
	}
	end := time.Now().Add(-time.Second).Truncate(time.Second)
	kept := &forgetful{waiting: map[jit.Place][]jit.Grant{}}
	fill(t.b, kept, 1_000_000, 100, end)
	scheduler := rate(1_000_000, kept, kept)
	t.add("expiries a second through the scheduler, the ledger keeps nothing", fmt.Sprintf("%.0f", scheduler), "50000",
		scheduler >= 50_000)
	file := openLedger(t.b, "sqlite://"+filepath.Join(t.b.TempDir(), "ledger.db"))
	fill(t.b, file, 100_000, 100, end)
	t.add("expiries a second, each recorded durably in SQLite",
		fmt.Sprintf("%.0f", rate(100_000, file, file.Leases())), "-", true)
}

// forgetful is a ledger that gives out once, scope by scope, what was put into it and keeps nothing.
type forgetful struct {
	jit.Ledger
	mu      sync.Mutex
	scopes  []jit.Place
	waiting map[jit.Place][]jit.Grant
}

func (f *forgetful) Write(_ context.Context, entries []jit.Entry) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries {
		if !e.Grant.EndedAt.IsZero() {
			continue
		}
		at := e.Grant.Place()
		if _, known := f.waiting[at]; !known {
			f.scopes = append(f.scopes, at)
		}
		f.waiting[at] = append(f.waiting[at], *e.Grant)
	}
	return make([]error, len(entries))
}

func (f *forgetful) AcquireDue(_ context.Context, q jit.DueQuery) (claimed []jit.Grant, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.scopes {
		if !slices.Contains(q.Except, at) {
			n := min(q.Limit-len(claimed), len(f.waiting[at]))
			claimed = append(claimed, f.waiting[at][:n]...)
			f.waiting[at] = f.waiting[at][n:]
		}
	}
	return claimed, nil
}

func (f *forgetful) Clock(context.Context) (time.Time, error) { return time.Time{}, nil }

func (f *forgetful) NextDue(context.Context, jit.Owners, time.Time) (time.Time, error) {
	return time.Time{}, nil
}

func (f *forgetful) Places(context.Context, jit.Owners, time.Time) ([]jit.Place, error) {
	return nil, nil
}

func (f *forgetful) Acquire(context.Context, string, string, time.Time, time.Time) (int64, bool, error) {
	return 0, false, nil
}

func (f *forgetful) Renew(context.Context, string, string, int64, time.Time) error { return nil }

func (f *forgetful) Release(context.Context, string, string, int64) error { return nil }

func (f *forgetful) Holder(context.Context, string) (int64, string, time.Time, error) {
	return 0, "", time.Time{}, nil
}
