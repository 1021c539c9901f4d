package broker_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestAnExtensionWaits for the people who decide, as a new grant does. Meanwhile the grant goes on as it is.
func TestAnExtensionWaits(t *testing.T) { synctest.Test(t, testAnExtensionWaits) }

func testAnExtensionWaits(t *testing.T) {
	o := newOffice(t)
	o.signs("lea", request())
	g := o.grant(request())
	longer := request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("4h") })
	asked, _, err := o.Check(longer)
	if err != nil {
		t.Fatal(err)
	}
	waits := func() { o.newRun(func(b *broker.Broker) { b.WaitForApproval = time.Minute }) }
	for _, patience := range []time.Duration{12 * time.Second, time.Hour} { // Ctrl-C, and nobody decides
		waits()
		ctx, stop := context.WithTimeout(t.Context(), patience)
		begun := time.Now()
		_, err := o.Change(ctx, g, longer)
		stop()
		wantError(t, err, jit.ErrUnapproved, "1 of: lea, leo", "jit approve --plan plan.json")
		if waited := time.Since(begun); waited != min(patience, time.Minute) {
			t.Errorf("waited %s", waited)
		}
		recorded, _, err := o.ledger.Lookup(t.Context(), g.ID)
		if err != nil || recorded.State(o.now) != jit.StateActive || !recorded.Window.Equal(g.Window) {
			t.Errorf("recorded as %s, %+v, %v", recorded.State(o.now), recorded.Window, err)
		}
		o.allowed(true)
	}
	kinds := o.kinds()
	if n := len(slices.DeleteFunc(kinds, func(k jit.EventKind) bool { return k != jit.EventApprovalWanted })); n != 1 {
		t.Errorf("the request is recorded %d times, want once", n)
	}
	id, err := o.ledger.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if wanted := o.last(jit.EventApprovalWanted).Detail; wanted["request_digest"] != asked.RequestDigest(id) ||
		wanted["command"] != "jit approve --plan plan.json" {
		t.Errorf("recorded with %v", wanted)
	}

	waits()
	time.AfterFunc(7*time.Second, func() { o.signs("leo", longer) })
	begun := time.Now()
	g, err = o.Change(t.Context(), g, longer)
	if err != nil || g.Length() != 4*time.Hour || time.Since(begun) != 10*time.Second {
		t.Errorf("after %s: %s, %v", time.Since(begun), g.Length(), err)
	}
}

// TestAnExtensionDoesNotWaitBeyondTheEnd: a grant that ends meanwhile stays over.
func TestAnExtensionDoesNotWaitBeyondTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.signs("lea", request())
		g := o.grant(request())
		longer := request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("4h") })
		var later atomic.Int64
		o.newRun(func(b *broker.Broker) {
			b.WaitForApproval = time.Minute
			b.Now = func() time.Time { return o.now.Add(time.Duration(later.Load())) }
		})
		time.AfterFunc(7*time.Second, func() { later.Store(int64(3 * time.Hour)); o.signs("leo", longer) })
		_, err := o.Change(t.Context(), g, longer)
		wantError(t, err, jit.ErrOver, "renewal = 2")
	})
}

// TestEachExtensionIsWanted: another extension of the same grant is another request.
func TestEachExtensionIsWanted(t *testing.T) {
	o := newOffice(t)
	o.signs("lea", request())
	g := o.grant(request())
	o.newRun()
	var last string
	for _, ttl := range []string{"4h", "5h"} {
		_, err := o.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL(ttl) }))
		wantError(t, err, jit.ErrUnapproved)
		note := o.last(jit.EventApprovalWanted).Detail["note"]
		if note == last {
			t.Errorf("the people who decide are not told of %s: %q", ttl, note)
		}
		last = note
	}
}
