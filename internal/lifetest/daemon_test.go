package lifetest_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// envLong names the variable that turns on the tests that take many minutes.
const envLong = "JIT_TEST_LONG"

// long reports whether faults last for minutes.
func long() bool { return os.Getenv(envLong) != "" }

// post is an environment in which daemons watch the test's grants. The test reaches the ledger and the targets
// directly; the daemons may reach them through proxies.
type post struct {
	t     *testing.T
	dir   string
	jit   string // the command
	owner string
	// ledger is the ledger's URL for the test, and watched its URL for the daemons.
	ledger, watched string
	// targets are the places by target name. The daemons use a target's configuration in through, if it has one.
	targets map[string]place
	through map[string]string
	// people are principals without access, by target.
	people  map[string][]string
	foreign map[string]string
	rt      *config.Runtime
	// started counts the daemons.
	started int
}

// newPost makes a post with the released or the killable program, a ledger in a file and some people for each target.
func newPost(t *testing.T, build func() (string, error), targets map[string]place, people int) *post {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	p := &post{t: t, dir: t.TempDir(), jit: filepath.Join(filepath.Dir(binary), "jit"),
		owner: "life-" + strings.ToLower(rand.Text()[:10]), targets: targets, through: map[string]string{},
		people: map[string][]string{}, foreign: map[string]string{}}
	p.ledger = "sqlite://" + filepath.Join(p.dir, "ledger.db")
	for name, at := range targets {
		p.people[name] = at.people(t, people)
		p.foreign[name] = at.foreign(t)
	}
	return p
}

// open writes the settings and opens the ledger and the targets for the test.
func (p *post) open() {
	p.t.Helper()
	settings := func(name, ledger string, through map[string]string) string {
		text := fmt.Sprintf("ledger = %q\nowner = %q\ntargets = {\n", ledger, p.owner)
		for target, at := range p.targets {
			how, ok := through[target]
			if !ok {
				how = at.target()
			}
			text += fmt.Sprintf("  %s = %s\n", target, how)
		}
		path := filepath.Join(p.dir, name)
		if err := os.WriteFile(path, []byte(text+"}\n"), 0o600); err != nil {
			p.t.Fatal(err)
		}
		return path
	}
	watched := p.watched
	if watched == "" {
		watched = p.ledger
	}
	settings("jit.hcl", watched, p.through)
	p.rt = p.runtime(settings("direct.hcl", p.ledger, nil))
}

// runtime opens the configuration of a settings file until the end of the test.
func (p *post) runtime(path string) *config.Runtime {
	p.t.Helper()
	s, err := config.Load(path)
	if err != nil {
		p.t.Fatal(err)
	}
	rt, err := config.Open(p.t.Context(), s, config.Options{Source: jit.FromTerraform})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = rt.Close() })
	return rt
}

// asked describes the request of a grant.
type asked struct {
	target, who, reason string
	end                 time.Time
	// begin, if set, is when the grant begins.
	begin time.Time
}

// try makes one grant.
func (p *post) try(a asked) (jit.Grant, error) {
	at := p.targets[a.target]
	return p.rt.Broker.Grant(p.t.Context(), broker.Request{
		Binding: jit.Binding{Target: a.target, Principal: a.who, Role: at.role(), Scope: at.scope()},
		Reason:  "INC-1: " + a.reason, Renewal: 1, StartsAt: jit.Second(a.begin), ExpiresAt: jit.Second(a.end),
	})
}

// grant makes grants, all at the same time.
func (p *post) grant(all ...asked) []jit.Grant {
	p.t.Helper()
	made, errs := make([]jit.Grant, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	for i, a := range all {
		wg.Go(func() { made[i], errs[i] = p.try(a) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		p.t.Fatal(err)
	}
	return made
}

// record returns the record of a grant.
func (p *post) record(id jit.ID) jit.Grant {
	p.t.Helper()
	g, known, err := p.rt.Ledger.Lookup(p.t.Context(), id)
	if err != nil || !known {
		p.t.Fatalf("grant %s is recorded: %t, %v", id, known, err)
	}
	return g
}

// events counts the events of every grant by kind.
func (p *post) events() map[jit.ID]map[jit.EventKind]int {
	p.t.Helper()
	all := map[jit.ID]map[jit.EventKind]int{}
	for e, err := range jit.AllEvents(p.t.Context(), p.rt.Ledger) {
		if err != nil {
			p.t.Fatal(err)
		}
		if all[e.Grant] == nil {
			all[e.Grant] = map[jit.EventKind]int{}
		}
		all[e.Grant][e.Kind]++
	}
	return all
}

// history returns the events of a grant as text.
func (p *post) history(id jit.ID) string {
	p.t.Helper()
	var all strings.Builder
	for e, err := range jit.AllEvents(p.t.Context(), p.rt.Ledger) {
		if err != nil {
			p.t.Fatal(err)
		}
		if e.Grant == id {
			fmt.Fprintf(&all, "%s %s %s %v\n", e.At.Format(time.TimeOnly), e.Kind, e.Source, e.Detail)
		}
	}
	return all.String()
}

// checkRecord fails the test unless every event was recorded once, no grant ended early, every expired grant has ended,
// the chain is intact and foreign access is unchanged.
func (p *post) checkRecord() {
	p.t.Helper()
	events := p.events()
	now := time.Now()
	for g, err := range p.rt.Ledger.Grants(p.t.Context(), jit.Filter{Owner: p.owner}) {
		if err != nil {
			p.t.Fatal(err)
		}
		ends := 0
		if g.Over(now) {
			ends = 1
			if g.EndedAt.IsZero() {
				p.t.Errorf("the end of grant %s at %s is not confirmed", g.ID, g.ActualEnd())
			}
		}
		if !g.EndedAt.IsZero() && g.EndedAt.Before(g.ActualEnd()) {
			p.t.Errorf("grant %s was ended at %s, before its end at %s", g.ID, g.EndedAt, g.ActualEnd())
		}
		n := events[g.ID]
		if n[jit.EventRequested] != 1 || n[jit.EventGranted] != 1 || n[jit.EventExpired]+n[jit.EventRevoked] != ends {
			p.t.Errorf(
				"grant %s (ends at %s) has the events %v, want one request, one grant and %d of its end",
				g.ID,
				g.ActualEnd(),
				n,
				ends,
			)
		}
		// Each daemon records a failure once an hour, whatever the daemon before it recorded.
		if n[jit.EventRevokeFailed] > p.started {
			p.t.Errorf("%d failed revocations of grant %s on target %s are recorded, with %d daemons:\n%s",
				n[jit.EventRevokeFailed], g.ID, g.Target, p.started, p.history(g.ID))
		}
	}
	report, err := p.rt.Ledger.Verify(p.t.Context())
	if err != nil || len(report.Damage) > 0 {
		p.t.Errorf("the record is not intact: %v, %v", report.Damage, err)
	}
	for name, at := range p.targets {
		same(p.t, p.foreign[name], at.foreign(p.t), "foreign access on target "+name+" is")
	}
}

// daemon is a running jit sweep --watch.
type daemon struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *tail
	over chan struct{}
}

// watch starts a daemon. By default it looks for due work every second and for drift every two seconds.
func (p *post) watch(env []string, args ...string) *daemon {
	p.t.Helper()
	p.started++
	args = append(
		[]string{"sweep", "--watch", "--interval", "1s", "--drift-interval", "2s", "--config",
			filepath.Join(p.dir, "jit.hcl")},
		args...)
	d := &daemon{t: p.t, cmd: exec.Command(p.jit, args...), log: &tail{}, over: make(chan struct{})}
	d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = p.dir, d.log, d.log
	d.cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "JIT_ACTOR=daemon", noLag}, env)
	if err := d.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.over)
	}()
	p.t.Cleanup(func() {
		d.kill()
		if p.t.Failed() {
			p.t.Logf("the last output of daemon %d:\n%s", d.cmd.Process.Pid, d.log)
		}
	})
	return d
}

// kill ends the daemon as a power cut does.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill()
	<-d.over
}

// stop ends the daemon with a signal.
func (d *daemon) stop() {
	d.t.Helper()
	eventually(d.t, time.Minute, func() string { // before that, it may not handle signals
		if !strings.Contains(d.log.String(), "msg=") {
			return "the daemon has no output"
		}
		return ""
	})
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatalf("the daemon is gone: %v\n%s", err, d.log)
	}
	select {
	case <-d.over:
	case <-time.After(time.Minute):
		d.t.Fatalf("the daemon does not stop:\n%s", d.log)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("the daemon ended with exit code %d\n%s", code, d.log)
	}
}

// dies waits until the daemon has been killed by its failpoint.
func (d *daemon) dies(failpoint string, within time.Duration) {
	d.t.Helper()
	select {
	case <-d.over:
	case <-time.After(within):
		d.t.Fatalf("%s: the daemon was not killed within %s:\n%s", failpoint, within, d.log)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != -1 {
		d.t.Fatalf("%s: the daemon was not killed, it ended with exit code %d:\n%s", failpoint, code, d.log)
	}
}

// tail is a writer that keeps the end of its input.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if extra := len(l.text) - 16<<10; extra > 0 {
		l.text = slices.Delete(l.text, 0, extra)
	}
	return len(b), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.TrimSpace(l.text))
}

// eventually waits until wrong returns "".
func eventually(t *testing.T, within time.Duration, wrong func() string) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(200 * time.Millisecond) {
		found := wrong()
		if found == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still after %s: %s", within, found)
		}
	}
}

// pulse measures stalls of the machine until stop is called: the longest time for a pause of a tenth of a second and a
// small write to the disk.
func pulse(t *testing.T) (stop func() time.Duration) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "pulse"))
	if err != nil {
		t.Fatal(err)
	}
	over, longest := make(chan struct{}), make(chan time.Duration, 1)
	go func() {
		defer func() { _ = f.Close() }()
		most := time.Duration(0)
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-over:
				longest <- most
				return
			case <-time.After(100 * time.Millisecond):
			}
			_, _ = f.WriteString(".") // only the time matters
			_ = f.Sync()
			most = max(most, time.Since(last))
		}
	}()
	return func() time.Duration { close(over); return <-longest }
}
