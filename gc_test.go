package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestGrowthOf(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 1400, 4 << 20: 1400, 14 << 20: 400, 28 << 20: 200, 56 << 20: 100, 1 << 30: 100,
	} {
		if got := growthOf(live); got != want {
			t.Errorf("a heap of %d MiB grows by %d %%, want %d %%", live>>20, got, want)
		}
	}
}

// TestALargeHeapGrowsLess: the growth follows the heap, up and down, and GOGC takes precedence.
func TestALargeHeapGrowsLess(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	current := func() int {
		percent := debug.SetGCPercent(100)
		debug.SetGCPercent(percent)
		return percent
	}
	becomes := func(least, most int) {
		t.Helper()
		for range 200 {
			runtime.GC()
			if got := current(); least <= got && got <= most {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("the heap grows by %d %%, want %d to %d %%", current(), least, most)
	}
	t.Setenv("GOGC", "50")
	tuneGC()
	becomes(100, 100) // as it was
	t.Setenv("GOGC", "")
	tuneGC()
	becomes(400, growth)
	large := make([]byte, 200<<20)
	becomes(100, 100)
	runtime.KeepAlive(large)
	becomes(400, growth)
}
