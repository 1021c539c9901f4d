// Package bench_test measures the numbers that the project sets itself as goals: `make bench`. It prints one table with
// the result, the goal and the verdict. Results are ratios to a floor or a peer that the same run measures.
package bench_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/ssh"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// grants is how many grants every line is about.
const grants = 1000

// parallelism is how many resources Terraform works on at a time.
const parallelism = 10

// table collects the results and fails the benchmark for each missed goal.
type table struct {
	b     *testing.B
	lines []string
}

func (t *table) add(what, got, goal string, reached bool) {
	verdict := "ok"
	if !reached {
		verdict = "MISSED"
		t.b.Errorf("%s: %s, the goal is %s", what, got, goal)
	}
	t.lines = append(t.lines, strings.Join([]string{what, got, goal, verdict}, "\t"))
}

// ratio adds a row for our time and that of a floor or peer.
func (t *table) ratio(what string, ours, floor time.Duration, goal float64) {
	r := ours.Seconds() / floor.Seconds()
	t.add(what, fmt.Sprintf("%.2f x (%.2fs / %.2fs)", r, ours.Seconds(), floor.Seconds()), fmt.Sprintf("%.2f x", goal),
		r <= goal)
}

// unmeasured adds a row without a result.
func (t *table) unmeasured(what string, goal float64, why string) {
	t.lines = append(t.lines, strings.Join([]string{what, "not measured: " + why, fmt.Sprintf("%.2f x", goal), ""},
		"\t"))
}

func (t *table) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tresult\tgoal\t")
	for _, line := range t.lines {
		fmt.Fprintln(w, line)
	}
	_ = w.Flush() // to the terminal
}

// BenchmarkNumbers runs every scenario once. Each is a benchmark of its own: -bench Numbers/memory runs one.
func BenchmarkNumbers(b *testing.B) {
	debug.SetGCPercent(400) // as the released program with a small heap
	t := &table{b: b}
	cli := testenv.Terraforms(b)[0]
	for _, s := range []struct {
		name string
		run  func()
	}{
		{"ssh", func() { t.slowTarget(cli, t.besideNothing(cli)) }},
		{"approvals", func() { t.approvals(cli) }},
		{"review", func() { t.review(cli) }},
		{"memory", func() { t.memory(cli) }},
		{"postgresql", func() { t.postgresql(cli) }},
		{"gcp", func() { t.gcp(cli) }},
		{"lag", t.lag},
		{"sweep", t.sweepBesidePsql},
		{"revoke", t.revokeAll},
		{"linear", t.linear},
		{"million", t.million},
		{"expiries", t.expiries},
		{"replicas", t.replicas},
		{"owners", t.owners},
		{"sealed", t.sealed},
		{"peers", func() { t.peers(cli) }},
	} {
		b.Run(s.name, func(b *testing.B) {
			t.b = b
			for b.Loop() {
				s.run()
			}
		})
	}
	t.print()
}

// calls counts what reaches a target and makes each call last.
type calls struct {
	reads, writes atomic.Int64
	delay         time.Duration
}

func (c *calls) on(op string) {
	if op == "read" {
		c.reads.Add(1)
	} else {
		c.writes.Add(1)
	}
	time.Sleep(c.delay)
}

func (c *calls) reset()       { c.reads.Store(0); c.writes.Store(0) }
func (c *calls) total() int64 { return c.reads.Load() + c.writes.Load() }

// sshWorld is a workspace with 1,000 grants on one authorized_keys file.
func sshWorld(b *testing.B, cli testenv.CLI, o acctest.Options) *acctest.World {
	w := acctest.New(b, cli, o)
	sshConfig(w)
	return w
}

func sshConfig(w *acctest.World) {
	w.Write("authorized_keys", "# nobody yet\n")
	grantAll(w, "ssh", fmt.Sprintf("authorized_keys = %q", w.Path("authorized_keys")),
		fmt.Sprintf("principal = %q\nrole = \"login\"", key))
}

// key is the principal of the grants on ssh.
const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYKhZZyG4rA1HzbbAxkkWxnnIWqGvWGm0HjVgEnQzpG"

// grantAll writes a configuration of 1,000 grants on one target of a platform. settings are those of the target,
// binding holds the attributes that say who gets which access.
func grantAll(w *acctest.World, platform, settings, binding string) {
	w.Write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}
provider "jit" {
  targets = { primary = { %s = { %s } } }
}
resource "jit_grant" "all" {
  count  = %d
  target = "primary"
  reason = "INC-${count.index}: measure"
  ttl    = "2h"
  %s
}
`, platform, settings, grants, binding))
}

// plansNothing fails if a plan after the apply wants to change anything.
func (t *table) plansNothing(w *acctest.World) {
	if code := w.Plan().ExitCode; code != 0 {
		t.b.Errorf("the plan after the apply ends with %d", code)
	}
}

// sweepAll runs one pass that ends all grants.
func (t *table) sweepAll(s *sweeper.Sweeper) {
	if r := s.Pass(t.b.Context()); len(r.Results) != grants || r.Failed() > 0 || len(r.Unread) > 0 {
		t.b.Fatalf("the sweep ended %d grants with %d failures, %v", len(r.Results), r.Failed(), r.Unread)
	}
}

// slowTarget applies, plans and sweeps on a target whose calls last 200 ms. floor is how long a provider that does
// nothing takes to apply as many resources.
func (t *table) slowTarget(cli testenv.CLI, floor time.Duration) {
	c := &calls{delay: 200 * time.Millisecond}
	w := sshWorld(t.b, cli, acctest.Options{Platform: func(p jit.Platform) { p.(*ssh.Platform).OnCall = c.on }})
	begin := time.Now()
	w.Apply()
	took := time.Since(begin)
	t.ratio("apply of 1,000 on ssh, 200 ms a call, beside nothing + the calls", took,
		floor+time.Duration(c.total())*c.delay, 1.25)
	const most = grants/parallelism + 4
	t.add("apply of 1,000 grants: calls", fmt.Sprint(c.total()), fmt.Sprint(most), c.total() <= most)
	c.reset()
	t.plansNothing(w)
	t.add("plan of 1,000 grants: calls", fmt.Sprint(c.total()), "1", c.total() <= 1)

	w.Clock.Advance(3 * time.Hour)
	s := &sweeper.Sweeper{Broker: w.Runtime().Broker, Holder: "bench", DueOnly: true,
		MaxUnplanned: sweeper.DefaultMaxUnplanned}
	c.reset()
	t.sweepAll(s)
	t.add("sweep of 1,000 ended grants: calls", fmt.Sprint(c.total()), "2", c.total() <= 2)
	c.reset()
	s.Pass(t.b.Context())
	t.add("sweep with nothing due: calls", fmt.Sprint(c.total()), "0", c.total() == 0)
}

// besideNothing times the released binary beside a provider that does nothing, with the same command line and as many
// resources. It returns how long that provider's apply takes.
func (t *table) besideNothing(cli testenv.CLI) time.Duration {
	nothing := filepath.Join(t.b.TempDir(), "terraform-provider-nothing")
	if out, err := exec.Command("go", "build", "-o", nothing,
		"github.com/jitaccess/terraform-provider-jit/internal/bench/nothing").CombinedOutput(); err != nil {
		t.b.Fatalf("build the peer: %v\n%s", err, out)
	}
	rc := filepath.Join(t.b.TempDir(), "cli.tfrc")
	text := fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"jitaccess/nothing\" = %q\n  }\n}\n",
		filepath.Dir(nothing))
	if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
		t.b.Fatal(err)
	}
	floor := acctest.New(t.b, cli, acctest.Options{Binary: nothing, Env: []string{"TF_CLI_CONFIG_FILE=" + rc}})
	floor.Write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    nothing = { source = "jitaccess/nothing" }
  }
}
resource "nothing_grant" "all" {
  count     = %d
  target    = "bastion"
  principal = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYKhZZyG4rA1HzbbAxkkWxnnIWqGvWGm0HjVgEnQzpG"
  role      = "login"
  reason    = "INC-${count.index}: measure"
  ttl       = "2h"
}
`, grants))
	ours := sshWorld(t.b, cli, acctest.Options{Binary: acctest.Build(t.b)})

	idle, busy := lasts(func() { floor.Apply() }), lasts(func() { ours.Apply() })
	t.ratio("apply of 1,000 on ssh beside a provider that does nothing", busy, idle, 1.5)
	applied := idle

	// Other work on the machine distorts wall time, so this compares processor time: the median of many pairs of plans,
	// whose order alternates.
	pairs := make([]struct{ idle, busy time.Duration }, 21)
	for i := range pairs {
		var idle, busy time.Duration
		plans := []func(){
			func() { idle = works(func() { floor.Must("plan") }) },
			func() { busy = works(func() { ours.Must("plan") }) },
		}
		if i%2 == 1 {
			slices.Reverse(plans)
		}
		for _, plan := range plans {
			plan()
		}
		pairs[i].idle, pairs[i].busy = idle, busy
	}
	slices.SortFunc(pairs, func(a, b struct{ idle, busy time.Duration }) int {
		return cmp.Compare(a.busy.Seconds()/a.idle.Seconds(), b.busy.Seconds()/b.idle.Seconds())
	})
	middle := pairs[len(pairs)/2]
	t.ratio("plan of 1,000 on ssh beside that provider, processor time, median of 21 pairs", middle.busy, middle.idle,
		1.15)
	return applied
}

// works returns the processor time, user and system, of the programs that f runs.
func works(f func()) time.Duration { return worked(syscall.RUSAGE_CHILDREN, f) }

// worked returns the processor time that f costs this process or its children.
func worked(who int, f func()) time.Duration {
	before := usage(who)
	f()
	return usage(who) - before
}

func usage(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		panic(err) // the kernel always answers
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func lasts(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}
