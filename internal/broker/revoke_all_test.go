package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// team grants the same role to several people and returns a revocation of each recorded grant.
func (w *world) team(n int) (all []broker.Revocation) {
	w.t.Helper()
	for i := range n {
		g := w.grant(request(func(r *broker.Request) { r.Binding.Principal = fmt.Sprint("user-", i) }))
		all = append(all, broker.Revocation{Grant: w.record(g), Reason: "SEC-1: stop"})
	}
	return all
}

func (w *world) record(g jit.Grant) jit.Grant {
	w.t.Helper()
	g, known, err := w.Ledger.Lookup(w.t.Context(), g.ID)
	if err != nil || !known {
		w.t.Fatalf("the ledger knows the grant: %t, %v", known, err)
	}
	return g
}

// gone fails the test unless none of the grants gives access and the end of each is recorded.
func (w *world) gone(all []broker.Revocation) {
	w.t.Helper()
	for _, r := range all {
		if w.platform.Allowed(r.Grant.Scope, r.Grant.Principal, r.Grant.Role) {
			w.t.Errorf("%s still has access", r.Grant.Principal)
		}
		if g := w.record(r.Grant); g.EndedAt.IsZero() {
			w.t.Errorf("the end of the access of %s is not recorded", g.Principal)
		}
	}
}

// counted counts the calls on a ledger or a platform by their name.
func counted(calls map[string]int) func(string) error {
	return func(what string) error {
		calls[what]++
		return nil
	}
}

// However many grants there are, revoking them takes one write of their intents, one call on the target and one write
// of their outcomes. The access is there until every intent is recorded.
func TestRevokingManyGrantsSharesTheCalls(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	all := w.team(50)
	onLedger, onTarget := map[string]int{}, map[string]int{}
	w.ledger.Call = counted(onLedger)
	w.platform.Call = func(what string) error {
		onTarget[what]++
		if what == "write" {
			for _, r := range all {
				if g := w.record(r.Grant); g.RevokedAt.IsZero() || g.RevokeReason != r.Reason {
					t.Errorf("the target is called before the intent for %s is recorded", g.Principal)
				}
			}
		}
		return nil
	}
	for i, err := range w.RevokeAll(t.Context(), all, nil) {
		if err != nil {
			t.Errorf("%s: %v", all[i].Grant.Principal, err)
		}
	}
	if onLedger["write"] != 2 || onTarget["write"] != 1 || onTarget["read"] != 0 {
		t.Errorf("calls on the ledger %v and on the target %v, want two writes and one", onLedger, onTarget)
	}
	w.gone(all)
}

// A grant whose record has changed, whose window is over, that has ended, or that is asked for twice ends as it does by
// itself, and keeps no other from ending. A grant of another owner stays.
func TestRevokingManyGrantsEndsEachAsByItself(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	all := w.team(5)
	w.pass(time.Hour)
	changed := request(func(r *broker.Request) {
		r.Binding.Principal, r.TTL = all[1].Grant.Principal, jit.RecordedTTL("4h")
	})
	if _, err := w.Change(t.Context(), all[1].Grant, changed); err != nil {
		t.Fatal(err)
	}
	w.revoke(all[2])
	all[2].Grant = w.record(all[2].Grant)
	ended := all[2].Grant.EndedAt
	w.Owner = "others"
	foreign := w.grant(request(func(r *broker.Request) { r.Binding.Principal = "carol" }))
	w.Owner = "jit"
	asked := append(all, all[3], broker.Revocation{Grant: w.record(foreign), Reason: "SEC-1: stop"})
	errs := w.RevokeAll(t.Context(), asked, nil)
	for i, err := range errs[:len(errs)-1] {
		if err != nil {
			t.Errorf("%d, %s: %v", i, asked[i].Grant.Principal, err)
		}
	}
	wantError(t, errs[len(errs)-1], broker.ErrOtherOwner, `owner "others"`)
	if !w.platform.Allowed("all", "carol", "reader") {
		t.Error("the access of another owner's grant is gone")
	}
	if g := w.record(all[2].Grant); !g.EndedAt.Equal(ended) {
		t.Errorf("the end of a grant that had ended moved from %s to %s", ended, g.EndedAt)
	}
	w.gone(all)
}

// Access ends although the ledger refuses the intents, and the error says that it is unrecorded. Where the target fails
// one grant, the others end.
func TestRevokingManyGrantsWithoutLedgerOrTarget(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	all := w.team(3)
	full := errors.New("the disk is full")
	w.ledger.Call = func(what string) error {
		if what == "write" {
			return full
		}
		return nil
	}
	for i, err := range w.RevokeAll(t.Context(), all, nil) {
		if !errors.Is(err, broker.ErrUnrecorded) || !errors.Is(err, full) {
			t.Errorf("%s: %v, want an unrecorded end", all[i].Grant.Principal, err)
		}
		if w.platform.Allowed("all", all[i].Grant.Principal, "reader") {
			t.Errorf("%s still has access", all[i].Grant.Principal)
		}
	}
	w = newWorld(t, jit.Sweeper)
	all = w.team(3)
	down := errors.New("no route to host")
	w.platform.Call = func(string) error { return down }
	for i, err := range w.RevokeAll(t.Context(), all, nil) {
		if !errors.Is(err, down) {
			t.Errorf("%s: %v, want the target's error", all[i].Grant.Principal, err)
		}
		if g := w.record(all[i].Grant); g.RevokedAt.IsZero() || !g.EndedAt.IsZero() {
			t.Errorf("the record of %s is revoked %s, ended %s; want it revoked and due", g.Principal, g.RevokedAt, g.EndedAt)
		}
	}
	w.platform.Call = nil
	for i := range all {
		all[i].Grant = w.record(all[i].Grant)
	}
	for i, err := range w.RevokeAll(t.Context(), all, nil) {
		if err != nil {
			t.Errorf("%s, again: %v", all[i].Grant.Principal, err)
		}
	}
	w.gone(all)
}
