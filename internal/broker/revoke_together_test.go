package broker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// A ledger that does not answer costs its longest wait. Access ends after one such wait.
func TestRevokingManyGrantsAsksAFailingLedgerOnce(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	all := w.team(3)
	calls, hung := map[string]int{}, errors.New("no answer for a minute")
	w.ledger.Call = func(what string) error {
		calls[what]++
		return hung
	}
	w.platform.Call = func(what string) error {
		if calls["write"] != 1 || calls["read"] != 0 {
			t.Errorf("%s of the target after the calls %v on the ledger, want one write", what, calls)
		}
		return nil
	}
	for i, err := range w.RevokeAll(t.Context(), all, nil) {
		wantError(t, err, broker.ErrUnrecorded, hung.Error())
		if w.platform.Allowed("all", all[i].Grant.Principal, "reader") {
			t.Errorf("%s still has access", all[i].Grant.Principal)
		}
	}
}

// distant is a ledger each of whose listings takes 100 ms.
type distant struct{ *jittest.Ledger }

func (d distant) Grants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	time.Sleep(100 * time.Millisecond)
	return d.Ledger.Grants(ctx, f)
}

// Where another tool can strip a binding, each removal asks the ledger who else has the access. The questions do not
// wait for each other.
func TestRevokingManyGrantsAsksAboutOthersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, jit.Sweeper)
		w.platform.Traits.StrippedTo = "reader"
		all := w.team(60)
		w.Ledger = distant{w.ledger}
		began := time.Now()
		for i, err := range w.RevokeAll(t.Context(), all, nil) {
			if err != nil {
				t.Errorf("%s: %v", all[i].Grant.Principal, err)
			}
		}
		if took := time.Since(began); took < 100*time.Millisecond || took > time.Second {
			t.Errorf("60 revocations took %s, want less than a second and at least one question", took)
		}
		w.gone(all)
	})
}

// When two processes revoke the same grants, both succeed, and each end is asked for and recorded once.
func TestTwoProcessesRevokeTheSameGrants(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	all := w.team(60)
	other := &broker.Broker{
		Ledger: w.ledger, Targets: map[string]jit.Platform{"db": batch.Share(w.platform, 0, w.Now)}, Owner: "jit",
		MaxTTL: 24 * time.Hour, Now: w.Now, Actor: jit.Actor{Name: "carol", Source: jit.FromTerraform},
	}
	w.Targets["db"] = batch.Share(w.platform, 0, w.Now)
	var both sync.WaitGroup
	for _, b := range []*broker.Broker{w.Broker, other} {
		both.Go(func() {
			for i, err := range b.RevokeAll(t.Context(), all, nil) {
				if err != nil {
					t.Errorf("%s revokes the grant of %s: %v", b.Actor.Name, all[i].Grant.Principal, err)
				}
			}
		})
	}
	both.Wait()
	w.gone(all)
	count := map[jit.EventKind]int{}
	for _, kind := range w.kinds() {
		count[kind]++
	}
	if count[jit.EventRevokeAsked] != len(all) || count[jit.EventRevoked] != len(all) {
		t.Errorf("events %v, want each end asked for and recorded once", count)
	}
}

// Wherever an interrupt comes, no end of access that is there is recorded or reported. What is recorded as asked is
// ended by the next sweep.
func TestInterruptedRevocationOfManyGrants(t *testing.T) {
	for _, at := range []string{"ledger write 1", "ledger written 1", "target write 1", "target written 1",
		"ledger write 2", "ledger written 2"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			all := w.team(5)
			ctx, interrupt := context.WithCancel(t.Context())
			calls := map[string]int{}
			on := func(seam string) func(string) error {
				return func(what string) error {
					call := seam + " " + what
					calls[call]++
					if fmt.Sprint(call, " ", calls[call]) != at {
						return nil
					}
					interrupt()
					return ctx.Err()
				}
			}
			w.ledger.Call, w.platform.Call = on("ledger"), on("target")
			errs := w.RevokeAll(ctx, all, nil)
			if ctx.Err() == nil {
				t.Fatal("it was not interrupted")
			}
			w.ledger.Call, w.platform.Call = nil, nil
			for i, r := range all {
				g := w.record(r.Grant)
				w.mustBeTrue(g, errs[i])
				if g.RevokedAt.IsZero() || !g.EndedAt.IsZero() {
					continue
				}
				if err := w.execute(reconcile.End, g, "", ""); err != nil || w.platform.Allowed("all", g.Principal, "reader") {
					t.Errorf("%s has access after the sweep: %v", g.Principal, err)
				}
			}
		})
	}
}

// mustBeTrue fails the test if the record of a grant or the answer to its revocation claims an end that was not.
func (w *world) mustBeTrue(g jit.Grant, answer error) {
	w.t.Helper()
	has, ended := w.platform.Allowed("all", g.Principal, "reader"), !g.EndedAt.IsZero()
	if has && (ended || answer == nil) || !ended && answer == nil {
		w.t.Errorf("%s has access: %t, and its end is recorded: %t; the answer is %v", g.Principal, has, ended, answer)
	}
}
