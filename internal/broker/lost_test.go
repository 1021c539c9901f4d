package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// slowReads is a platform whose reads arrive late, with the state of the request.
type slowReads struct{ jit.Platform }

func (s slowReads) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	snapshot, err := s.Platform.Read(ctx, scope)
	time.Sleep(150 * time.Millisecond)
	return snapshot, err
}

// TestALostAnswerIsNotAFailure makes grants concurrently, each carried out and answered with an error. They are not
// recorded as failed, and the next apply finds their records.
func TestALostAnswerIsNotAFailure(t *testing.T) {
	for _, apart := range []time.Duration{0, 20 * time.Millisecond, 110 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, jit.Native)
				w.Now = time.Now
				w.platform.Now = time.Now
				w.Targets["db"] = batch.Share(slowReads{w.platform}, time.Minute, time.Now)
				var lost sync.Mutex
				losing := true
				w.platform.Call = func(what string) error {
					lost.Lock()
					defer lost.Unlock()
					if what == "written" && losing {
						return errors.New("504 Gateway Timeout")
					}
					return nil
				}
				ask := func(i int) broker.Request {
					return request(func(r *broker.Request) {
						r.Binding.Principal, r.TTL = fmt.Sprint("person ", i),
							jit.RecordedTTL("1m")
					})
				}
				var all sync.WaitGroup
				for i := range 5 {
					all.Go(func() {
						time.Sleep(time.Duration(i) * apart)
						if _, err := w.Grant(t.Context(), ask(i)); err == nil {
							t.Error("the answer was not lost")
						}
					})
				}
				all.Wait()
				for g, err := range w.ledger.Grants(t.Context(), jit.Filter{}) {
					if err != nil || g.Failed() {
						t.Errorf("%s has access (%t) and is recorded as failed (%t), %v", g.Principal,
							w.platform.Allowed("all", g.Principal, "reader"), g.Failed(), err)
					}
				}
				lost.Lock()
				losing = false
				lost.Unlock()
				time.Sleep(2 * time.Minute)
				for i := range 5 {
					if g, err := w.Grant(t.Context(), ask(i)); err != nil || !g.Over(time.Now()) {
						t.Errorf("after the end, the next apply returned window %+v for grant %d, %v", g.Window, i, err)
					}
				}
			})
		})
	}
}

// The plan of an ended grant says that it has ended, although the record is lost and the target does not answer.
func TestAPlanOfALostGrantThatIsOverReadsNothing(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Traits.StrippedTo = "reader"
	g := w.grant(request())
	w.pass(3 * time.Hour)
	w.lose()
	w.platform.Call = func(what string) error { return errors.New(what + " is unreachable") }
	if d, err := w.PreviewChange(t.Context(), g, request()); err != nil || !d.Over {
		t.Errorf("over %t, %v; want the plan of an ended grant", d.Over, err)
	}
	_, err := w.PreviewChange(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("4h") }))
	wantError(t, err, jit.ErrOver, "ttl", "renewal = 2")
}
