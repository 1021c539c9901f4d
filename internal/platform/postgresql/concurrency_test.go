package postgresql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// envWriter makes the test binary one writer, of grants made from the names in it: URL, principal, role, label.
const envWriter = "JIT_TEST_POSTGRESQL_WRITER"

func TestMain(m *testing.M) {
	if args := strings.Split(os.Getenv(envWriter), "\n"); len(args) == 4 {
		if err := writerProcess(args[0], args[1], args[2], args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// grantsEach is how many grants a writer makes, and leaves every other of.
const grantsEach = 6

func writerProcess(url, principal, role, label string) error {
	p, err := New(Config{URL: url}, jit.Services{Now: time.Now})
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return write(ctx, p, jit.Binding{Target: "db", Principal: principal, Role: role, Scope: cluster}, label)
}

func nth(b jit.Binding, label string, i int) jit.Access {
	start := time.Date(2030, 1, 1, 0, 0, i, 0, time.UTC)
	return jit.Access{Binding: b, Marker: jit.Marker{Owner: "payments",
		ID:     jit.NewID("payments", b, fmt.Sprint(label, i), 1),
		Window: jit.Window{Start: start, End: start.Add(time.Hour)}}}
}

// write makes grants one by one, extends them, and removes every other.
func write(ctx context.Context, p *Platform, b jit.Binding, label string) error {
	for i := range grantsEach {
		a, longer := nth(b, label, i), nth(b, label, i)
		longer.Marker.Window.End = longer.Marker.Window.End.Add(time.Hour)
		steps := []jit.Change{ensured(longer), ensured(a)}
		if i%2 == 1 {
			steps = append(steps, removed(a))
		}
		for _, c := range steps {
			if err := p.Apply(ctx, cluster, []jit.Change{c})[0]; err != nil {
				return fmt.Errorf("writer %s, grant %d, %s: %w", label, i, c.Op, err)
			}
		}
	}
	return nil
}

// wantWritten fails unless exactly what the writers of these labels leave is there and whole.
func wantWritten(t *testing.T, p *Platform, bindings map[string]jit.Binding) {
	t.Helper()
	snap, err := p.Read(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	found := map[jit.ID]jit.Observed{}
	for _, o := range snap.Ours {
		found[o.Marker.ID] = o
	}
	want := 0
	for label, b := range bindings {
		for i := range grantsEach {
			a := nth(b, label, i)
			o, there := found[a.Marker.ID]
			if there != (i%2 == 0) {
				t.Errorf("grant %d of writer %s is there: %t", i, label, there)
			}
			if there {
				want++
				if a.Binding = b; o != whole(a) {
					t.Errorf("grant %d of writer %s is %+v", i, label, o)
				}
			}
		}
	}
	if len(snap.Ours) != want {
		t.Errorf("%d wrappers are there, want %d", len(snap.Ours), want)
	}
}

func TestFiftyWritersOfTwoDatabasesAndThreeProcesses(t *testing.T) {
	s := newSite(t)
	before := s.dump(t)
	other := s.server.Database(t) // writers of another database are not held off by the lock
	bindings := map[string]jit.Binding{}
	binding := func(i int) jit.Binding {
		return jit.Binding{Target: "db", Principal: s.principals[i%2], Role: s.roles[i/2%2], Scope: cluster}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range 50 {
		label := fmt.Sprint("goroutine ", i)
		bindings[label] = binding(i)
		p := s.openAs(t, []string{s.url, other}[i%2], time.Now)
		all.Go(func() {
			if err := write(ctx, p, binding(i), label); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 3 {
		label := fmt.Sprint("process ", i)
		b := binding(i)
		bindings[label] = b
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), envWriter+"="+strings.Join([]string{s.url, b.Principal, b.Role, label}, "\n"))
		all.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", label, err, out)
			}
		})
	}
	all.Wait()
	wantWritten(t, s.open(t), bindings)
	if after := s.dump(t); after != before {
		t.Errorf("the foreign roles are\n%s\nwere\n%s", after, before)
	}
}

func TestWritersOfOneGrantThroughTwoDatabases(t *testing.T) {
	s := newSite(t)
	a := s.access(0, 0, "the same")
	platforms := []*Platform{s.openAs(t, s.url, time.Now), s.openAs(t, s.server.Database(t), time.Now)}
	for round := range 20 {
		change := ensured(a)
		if round%2 == 1 {
			change = removed(a)
		}
		var both sync.WaitGroup
		for _, p := range platforms {
			both.Go(func() {
				if err := p.Apply(t.Context(), cluster, []jit.Change{change})[0]; err != nil {
					t.Errorf("round %d: %s: %v", round, change.Op, err)
				}
			})
		}
		both.Wait()
		if _, there := observed(t, platforms[0], a); there != (change.Op == jit.Ensure) {
			t.Errorf("round %d: after %s the grant is there: %t", round, change.Op, there)
		}
	}
}

func TestForeignToolGrantsAndRevokesTheSamePair(t *testing.T) {
	s := newSite(t)
	p := s.open(t)
	b := s.access(0, 0, "").Binding
	foreign := connect(t, s.url)
	stop := make(chan struct{})
	var tool sync.WaitGroup
	rounds := 0
	tool.Go(func() {
		for {
			for _, sql := range []string{"GRANT " + quote(b.Role) + " TO " + quote(b.Principal), "REVOKE " +
				quote(b.Role) + " FROM " + quote(b.Principal)} {
				_, err := foreign.Exec(t.Context(), sql)
				var refused *pgconn.PgError
				if err != nil && !(errors.As(err, &refused) && lostRace(err)) {
					t.Errorf("the foreign tool: %v", err)
					return
				}
			}
			rounds++
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	if err := write(t.Context(), p, b, "beside a tool"); err != nil {
		t.Error(err)
	}
	close(stop)
	tool.Wait()
	if rounds < 5 {
		t.Errorf("the foreign tool made %d rounds meanwhile; that is no race", rounds)
	}
	wantWritten(t, p, map[string]jit.Binding{"beside a tool": b})
	if !s.allowed(t, b) {
		t.Error("our grant gives no access after the foreign tool revoked its own")
	}
	s.exec(t, "GRANT "+quote(b.Role)+" TO "+quote(b.Principal))
	for i := range grantsEach {
		apply(t, p, removed(nth(b, "beside a tool", i)))
	}
	if !s.allowed(t, b) {
		t.Error("the foreign grant was taken away with ours")
	}
}

func TestChangesOfOneGrantInOneCallAreMadeInOrder(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "order")
	for range 2 { // absent at first, then there
		apply(t, p, removed(a), ensured(a))
		wantWhole(t, p, a)
	}
	apply(t, p, ensured(a), removed(a), removed(a))
	if _, there := observed(t, p, a); there {
		t.Error("the grant is there after its last change removed it")
	}
}

func TestWaitingForTheLockEndsWithTheContext(t *testing.T) {
	s := newSite(t)
	p, holder := s.open(t), connect(t, s.url)
	if _, err := holder.Exec(t.Context(), fmt.Sprintf("SELECT pg_advisory_lock(%d)", int64(lockKey))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	started := time.Now()
	err := p.Apply(ctx, cluster, []jit.Change{ensured(s.access(0, 0, "held off"))})[0]
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the deadline's", err)
	}
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
	// The server gives up too, or its backend would make the change when nobody waits for it.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		waiting := s.text(t, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
		if waiting == "0" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s backends still wait for the lock", waiting)
		}
	}
}
