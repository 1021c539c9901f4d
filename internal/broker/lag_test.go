package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A change whose process died before it reached the target is carried out by the next apply, also while a read there may
// be too old to show it. That is not drift.
func TestAChangeThatACrashCutOffIsMadeThoughReadsLag(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Stale = 5 * time.Second
	g := w.grant(request())
	w.pass(30 * time.Minute)
	longer := request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") })
	w.platform.Call = failAfter(t, "write", 1)
	func() {
		defer func() { _ = recover() }()
		_, _ = w.Change(t.Context(), g, longer)
	}()
	w.platform.Call = nil
	w.pass(time.Second)
	w.mustWrite(1, func() {
		if _, err := w.Change(t.Context(), g, longer); err != nil {
			t.Fatal(err)
		}
	})
	w.pass(2 * time.Hour)
	w.allowed(true)
	for _, kind := range w.kinds() {
		if kind == jit.EventDrift || kind == jit.EventRepaired {
			t.Errorf("the record says %s", kind)
		}
	}
	w.pass(time.Hour)
	w.allowed(false)
}

// Where reads lag, an attempt without a clear answer is never taken for one that gave nothing, and it is not granted
// again by itself.
func TestALostAnswerIsNoFailureThoughTheReadMissesTheWrite(t *testing.T) {
	for name, c := range map[string]struct {
		when   string // of [jittest.Platform.Call]
		err    error
		failed bool
	}{
		"504 after the write":      {"written", errors.New("504 Gateway Timeout"), false},
		"503 before the write":     {"write", errors.New("503 Service Unavailable"), false},
		"403":                      {"write", fmt.Errorf("403: %w", jit.ErrRefused), true},
		"the principal is unknown": {"write", jit.Errorf(nil, "principal", "", "there is no such user"), true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			w.platform.Stale = 5 * time.Second
			w.platform.Call = func(what string) error {
				if what == c.when {
					return c.err
				}
				return nil
			}
			g, err := w.Grant(t.Context(), request())
			if err == nil {
				t.Fatal("the attempt succeeded")
			}
			w.platform.Call = nil
			begun := w.now
			g = w.recorded(g.ID)
			says := strings.Contains(err.Error(), "may be in force: `jit revoke "+string(g.ID)+"` ends it")
			if g.Failed() != c.failed || says == c.failed || g.Live(w.now) == c.failed {
				t.Errorf("failed is %t, live %t: %v", g.Failed(), g.Live(w.now), err)
			}
			w.pass(5 * time.Hour)
			w.allowed(false)
			again := w.grant(request())
			if again.Over(w.now) == c.failed {
				t.Errorf("after its window it is granted again from %s, first from %s", again.Start, begun)
			}
			w.allowed(c.failed)
		})
	}
}
