package bench_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/cli"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// memory plans 5,000 grants and reads the peak of the provider's memory.
func (t *table) memory(terraform testenv.CLI) {
	const planned = 5000
	binary := acctest.Build(t.b)
	w := acctest.New(t.b, terraform, acctest.Options{Binary: binary, Timeout: 15 * time.Minute})
	sshConfig(w)
	w.Write("main.tf", strings.Replace(w.Read("main.tf"), fmt.Sprint("count  = ", grants),
		fmt.Sprint("count  = ", planned), 1))
	stop, peak := make(chan struct{}), make(chan float64)
	go func() { peak <- watchPeak(binary, stop) }()
	w.Must("plan", "-out=plan")
	close(stop)
	most := <-peak
	t.add("plan of 5,000 new grants on ssh: memory of the provider", fmt.Sprintf("%.0f MB", most), "150 MB",
		0 < most && most <= 150)
}

// watchPeak returns the most memory, in MB, that any process of the program had until stop.
func watchPeak(program string, stop <-chan struct{}) (most float64) {
	for {
		links, _ := filepath.Glob("/proc/[0-9]*/exe") // the pattern is well-formed
		for _, link := range links {
			if exe, err := os.Readlink(link); err == nil && exe == program {
				peak, _ := peakMemory(filepath.Dir(link)) // the process may have ended
				most = max(most, peak)
			}
		}
		select {
		case <-stop:
			return most
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// peakMemory returns the most memory, in MB, that a process has had so far. dir is its directory in /proc.
func peakMemory(dir string) (float64, error) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024, err
		}
	}
	return 0, fmt.Errorf("%s: no VmHWM in status", dir)
}

// sizes are the numbers of grants at which costs are compared.
var sizes = []int{1000, 5000, 20_000}

// linear compares the processor time per grant at these sizes.
func (t *table) linear() {
	for _, what := range []struct {
		name string
		cost func(n int) time.Duration
	}{
		{"jit sweep of due grants", t.sweepCost},
		{"jit revoke --all", t.revokeCost},
		{"jit list", t.listCost},
		{"plan of as many new grants beside as many live ones of the same access", t.planCost},
	} {
		each := slices.Repeat([]float64{math.Inf(1)}, len(sizes))
		for range rounds { // all sizes in each round, for the machine may be busy during some of them
			for i, n := range sizes {
				each[i] = min(each[i], what.cost(n).Seconds()/float64(n))
			}
		}
		ratio := each[2] / each[0]
		t.add(fmt.Sprintf("%s: processor time per grant at 1,000, 5,000 and 20,000, beside the first, least of %d",
			what.name, rounds), fmt.Sprintf("1.00, %.2f, %.2f x", each[1]/each[0], ratio), "1.30 x", ratio <= 1.3)
	}
}

// sweepCost sweeps n grants that are due.
func (t *table) sweepCost(n int) time.Duration {
	return t.commandCost(n, time.Now().Add(-time.Second), "sweep")
}

// revokeCost revokes n live grants.
func (t *table) revokeCost(n int) time.Duration {
	return t.commandCost(n, time.Now().Add(time.Hour), "revoke", "--all", "--yes", "--reason", "SEC-13: stop")
}

// listCost lists n live grants.
func (t *table) listCost(n int) time.Duration {
	return t.commandCost(n, time.Now().Add(time.Hour), "list")
}

// commandCost is the processor time of a command on a ledger of n grants of ten scopes of a target that does nothing.
func (t *table) commandCost(n int, end time.Time, args ...string) time.Duration {
	dir := t.b.TempDir()
	url, settings := "sqlite://"+filepath.Join(dir, "ledger.db"), filepath.Join(dir, "jit.hcl")
	fill(t.b, openLedger(t.b, url), n, 10, end.Truncate(time.Second))
	text := fmt.Sprintf("ledger = %q\ntargets = { nothing = { ssh = { authorized_keys = %q } } }\n", url,
		filepath.Join(dir, "authorized_keys"))
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.b.Fatal(err)
	}
	o := cli.Options{Wrap: func(string, jit.Platform) jit.Platform { return nothing{} }}
	return worked(syscall.RUSAGE_SELF, func() {
		var out, errs strings.Builder
		args = append([]string{"--config", settings}, args...)
		if code := cli.Run(t.b.Context(), args, strings.NewReader(""), &out, &errs, o); code != 0 ||
			strings.Count(out.String(), "\n") < n {
			t.b.Fatalf("jit %s: exit code %d, %d lines\n%s", args[2], code, strings.Count(out.String(), "\n"), errs.String())
		}
	})
}

// planCost reads n live grants and decides on n new ones, all of the same principal and role on one scope whose target
// enforces no end: each is compared with all others.
func (t *table) planCost(n int) time.Duration {
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	l := openLedger(t.b, "sqlite://"+filepath.Join(t.b.TempDir(), "ledger.db"))
	unenforced := func(g *jit.Grant) { g.Enforcement = jit.Sweeper }
	fill(t.b, l, n, 1, end, unenforced)
	target := nothing{grants: n, spread: 1, end: end, unenforced: true}
	b := &broker.Broker{Ledger: l, Targets: map[string]jit.Platform{"nothing": batch.Share(target, time.Hour, time.Now)},
		Owner: "jit", MaxTTL: 24 * time.Hour, Now: time.Now, Actor: jit.Actor{Name: "bench", Source: jit.FromTerraform}}
	return worked(syscall.RUSAGE_SELF, func() {
		for i := range n {
			g := granted(i, 1, end)
			unenforced(&g)
			if drift, err := b.Observe(t.b.Context(), g); err != nil || drift != "" {
				t.b.Fatalf("a live grant differs: %q, %v", drift, err)
			}
			r := broker.Request{Binding: g.Binding, Reason: fmt.Sprintf("NEW-%d: measure", i), Renewal: 1, TTL: g.TTL}
			if _, err := b.Preview(t.b.Context(), r, true); err != nil {
				t.b.Fatal(err)
			}
		}
	})
}
