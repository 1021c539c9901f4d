package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// memory plans 5,000 grants and reads the peak of the provider's memory.
func (t *table) memory(cli testenv.CLI) {
	const planned = 5000
	binary := acctest.Build(t.b)
	w := acctest.New(t.b, cli, acctest.Options{Binary: binary, Timeout: 15 * time.Minute})
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

// linear compares the processor time per grant of a sweep and of a ledger read at 1,000, 5,000 and 20,000 grants.
func (t *table) linear() {
	end := time.Now().Add(-time.Second).Truncate(time.Second)
	sweeps, reads := map[int]time.Duration{}, map[int]time.Duration{}
	sizes := []int{1000, 5000, 20_000}
	for _, n := range sizes {
		sweeps[n], reads[n] = time.Hour, time.Hour
		for range 3 {
			l := openLedger(t.b, "sqlite://"+filepath.Join(t.b.TempDir(), "ledger.db"))
			fill(t.b, l, n, 10, end)
			reads[n] = min(reads[n], worked(syscall.RUSAGE_SELF, func() {
				for _, err := range l.Grants(t.b.Context(), jit.Filter{Owner: "jit", DueBy: time.Now()}) {
					if err != nil {
						t.b.Fatal(err)
					}
				}
			}))
			s := &sweeper.Sweeper{Holder: "bench", MaxUnplanned: sweeper.DefaultMaxUnplanned, DueOnly: true,
				Broker: &broker.Broker{Ledger: l, Targets: map[string]jit.Platform{"nothing": nothing{}}, Owner: "jit",
					MaxTTL: 24 * time.Hour, Now: time.Now, Actor: jit.Actor{Name: "bench", Source: jit.FromSweeper}}}
			sweeps[n] = min(sweeps[n], worked(syscall.RUSAGE_SELF, func() {
				if r := s.Pass(t.b.Context()); len(r.Results) != n || r.Failed() > 0 {
					t.b.Fatalf("the sweep ended %d of %d grants with %d failures", len(r.Results), n, r.Failed())
				}
			}))
		}
	}
	for _, what := range []struct {
		name string
		took map[int]time.Duration
	}{{"sweep", sweeps}, {"ledger read", reads}} {
		each := func(n int) float64 { return what.took[n].Seconds() * 1e6 / float64(n) }
		ratio := each(20_000) / each(1000)
		t.add(what.name+": processor time per grant at 20,000 beside 1,000, least of 3 each",
			fmt.Sprintf("%.2f x (%.0f, %.0f, %.0f µs at 1,000, 5,000, 20,000)", ratio, each(1000), each(5000),
				each(20_000)), "1.30 x", ratio <= 1.3)
	}
}
