package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// growth is how far the heap grows between two collections, in percent. A plan of many grants allocates many
	// short-lived values within seconds, so memory is cheaper than time. The smallest heap of Go, 4 MiB, then becomes as
	// large as the headroom.
	growth = 1400
	// headroom caps that growth, in bytes, until the heap is as large as the headroom itself. A larger heap doubles.
	headroom = 56 << 20
)

// tuneGC sets how far the heap may grow, now and after each collection. GOGC in the environment takes precedence.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(growthOf(live[0].Value.Uint64()))
	type collected struct{ _ *byte } // with a pointer, so that it has memory of its own
	runtime.AddCleanup(&collected{}, func(struct{}) { tuneGC() }, struct{}{})
}

// growthOf returns how far a heap may grow, in percent, if it has this many bytes after a collection.
func growthOf(live uint64) int {
	return int(min(growth, max(100, 100*headroom/max(live, 1))))
}
