package lifetest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// envLong makes the tests of faults last for minutes.
const envLong = "JIT_TEST_LONG"

// daemon is a process of jit sweep --watch.
type daemon struct {
	t   *testing.T
	cmd *exec.Cmd

	mu   sync.Mutex
	log  strings.Builder
	over chan struct{}
}

// watch starts a daemon on the settings of the site, with env in its environment.
func (s *site) watch(env []string, args ...string) *daemon {
	s.t.Helper()
	cmd := exec.CommandContext(context.Background(), filepath.Join(filepath.Dir(s.binary), "jit"), append([]string{"sweep", "--watch", "--interval", "1s", "--drift-interval", "3s"}, args...)...)
	cmd.Dir = s.Dir
	cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir}, environment(s.place), env)
	out, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	d := &daemon{t: s.t, cmd: cmd, over: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(d.over)
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadString('\n')
			d.mu.Lock()
			d.log.WriteString(line)
			d.mu.Unlock()
			if err != nil {
				if err != io.EOF {
					s.t.Log(err)
				}
				_ = cmd.Wait() // how it ended shows in its state
				return
			}
		}
	}()
	s.t.Cleanup(d.kill)
	return d
}

func (d *daemon) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// kill ends the process as the kernel does, if it lives, and waits for it.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may be dead
	<-d.over
}

// Promises 7 and 8 of the daemon: wherever it dies while it ends a grant, the next one makes it right, and the end is recorded once.
func TestFaultsWatchKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, p := range places[:2] { // files, and a server with transactions
		for _, point := range slices.Concat([]string{"revoke.after-platform", "revoke.after-outcome"}, writing[p.name]) {
			t.Run(p.name+"/"+point, func(t *testing.T) {
				t.Parallel()
				watchKilledAt(t, newSite(t, testenv.Terraforms(t)[0], p.open(t), killable), point)
			})
		}
	}
}

func watchKilledAt(t *testing.T, s *site, point string) {
	foreign := s.foreign(t)
	s.configure(s.grant("short", `ttl = "1m"`), s.grant("live"))
	s.Apply()
	s.waitFor("short", "expires_at")
	d := s.watch(at(point))
	select {
	case <-d.over:
		if state := d.cmd.ProcessState; state.Exited() {
			t.Fatalf("the daemon was not killed: %s\n%s", state, d.said())
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the daemon did not come to the failpoint\n%s", d.said())
	}
	same(t, foreign, s.foreign(t), "after the crash what is not ours is")
	d = s.watch(nil)
	id := s.fact("short", "id")
	for deadline := time.Now().Add(time.Minute); s.endsOf(id) == 0 && time.Now().Before(deadline); { // the lease of the dead ends in 30 s
		time.Sleep(500 * time.Millisecond)
	}
	time.Sleep(4 * time.Second) // a drift pass more
	d.kill()
	if n := s.endsOf(id); n != 1 {
		t.Errorf("%d events tell of the end, want 1\n%s", n, d.said())
	}
	if n := s.marked(t); n != 1 {
		t.Errorf("%d bindings are ours, want the live one\n%s\n%s", n, s.dump(t), d.said())
	}
	s.may(true, "the live grant")
	same(t, foreign, s.foreign(t), "what is not ours is")
	says(t, s.mustJit("audit", "verify"), "intact")
	s.Must("destroy", "-auto-approve")
}

// endsOf counts the events that tell of the end of a grant.
func (s *site) endsOf(id string) (n int) {
	s.t.Helper()
	for line := range strings.Lines(s.mustJit("audit", "export").Stdout) {
		var e jit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatal(err)
		}
		if string(e.Grant) == id && (e.Kind == jit.EventExpired || e.Kind == jit.EventRevoked) {
			n++
		}
	}
	return n
}

// Three replicas on one ledger are killed at random while grants come and go: every grant that is over is gone, none ended early, nothing foreign was
// touched, and every end is recorded once. A minute, or ten of them where time does not matter.
func TestFaultsReplicasKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server := testenv.Postgres(t)
	lasts := time.Minute
	if os.Getenv(envLong) != "" {
		lasts = 10 * time.Minute
	}
	s := newSite(t, testenv.Terraforms(t)[0], newDatabase(t), released)
	s.ledger = server.Database(t)
	people := s.people(t, 4)
	foreign := s.foreign(t)
	s.configure()
	settings, err := config.Load(s.Path("jit.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	rt, err := config.Open(t.Context(), settings, config.Options{Source: jit.FromCLI})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rt.Close() }()

	end := time.Now().Add(lasts)
	var all sync.WaitGroup
	killed := 0
	all.Go(func() { // the replicas
		replicas := []*daemon{s.watch(nil), s.watch(nil), s.watch(nil)}
		for time.Now().Before(end.Add(time.Minute)) { // until the last grant is over
			time.Sleep(time.Second + rand.N(2*time.Second))
			i := rand.IntN(len(replicas))
			replicas[i].kill()
			killed++
			replicas[i] = s.watch(nil)
		}
	})
	var mu sync.Mutex
	var made []jit.Grant
	for n, who := range people { // the load; the last of the people keeps the access
		all.Go(func() {
			for k := 0; time.Now().Before(end); k++ {
				ttl := "1m"
				if n == len(people)-1 {
					ttl = "1h"
				}
				g, err := rt.Broker.Grant(t.Context(), broker.Request{
					Binding: jit.Binding{Target: "here", Principal: who, Role: s.role(), Scope: s.scope()}, Reason: fmt.Sprintf("INC-%d: load", k), Renewal: 1, TTL: ttl,
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				made = append(made, g)
				mu.Unlock()
				time.Sleep(rand.N(time.Second))
			}
		})
	}
	all.Wait()
	last := s.watch(nil)
	due := func() (open, live int) {
		for _, g := range made {
			recorded, _, err := rt.Ledger.Lookup(t.Context(), g.ID)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case recorded.Live(time.Now()):
				live++
			case recorded.EndedAt.IsZero():
				open++
			case recorded.EndedAt.Before(recorded.End):
				t.Errorf("%s ended at %s, its window at %s", g.ID, recorded.EndedAt, recorded.End)
			}
		}
		return open, live
	}
	open, live := due()
	for deadline := time.Now().Add(90 * time.Second); open > 0 && time.Now().Before(deadline); open, live = due() {
		time.Sleep(time.Second)
	}
	last.kill()
	ended := len(made) - live
	t.Logf("%d grants, %d ended, %d live; %d times a replica was killed in %s", len(made), ended, live, killed, lasts)
	if open > 0 || live == 0 || ended == 0 {
		t.Errorf("%d of %d grants are over and not ended, %d are live\n%s", open, len(made), live, last.said())
	}
	if n := s.marked(t); n != live {
		t.Errorf("%d bindings are ours, want the %d live ones", n, live)
	}
	for n, who := range people {
		may(t, s.place, who, n == len(people)-1, "after it all")
	}
	ends := map[jit.ID]int{}
	for e, err := range rt.Ledger.Events(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == jit.EventExpired || e.Kind == jit.EventRevoked {
			ends[e.Grant]++
		}
	}
	for id, n := range ends {
		if n != 1 {
			t.Errorf("%d events tell of the end of %s", n, id)
		}
	}
	if len(ends) != ended {
		t.Errorf("%d ends are recorded, want %d", len(ends), ended)
	}
	same(t, foreign, s.foreign(t), "what is not ours was changed")
	says(t, s.mustJit("audit", "verify"), "intact")
	s.mustJit("revoke", "--all", "--yes", "--reason", "INC-1: done")
}
