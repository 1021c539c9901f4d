package ledger_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// A plan in which nothing is new costs one list of each log, later reads only ask for the next commits, and the writes
// of a process cost one request each, and one to prove the store.
func TestRequestsToABucket(t *testing.T) {
	url, s := bucketURL(t)
	l := open(t, url)
	for n := range 4 {
		if err := writeGrant(t, l, n); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Count("create"); got != 7 { // the ledger, the owner's log, the proof, four grants
		t.Errorf("%d creates, want 7", got)
	}
	const logs = 3
	plan := open(t, url)
	for _, want := range []struct{ lists, gets int }{
		{logs, 2 * logs}, // the commit that it knows, and the one that may follow
		{0, logs},
	} {
		lists, gets, creates := s.Count("list"), s.Count("get"), s.Count("create")
		for n := range 4 {
			if _, _, err := plan.Lookup(t.Context(), ledgertest.Grant(n).ID); err != nil {
				t.Fatal(err)
			}
		}
		lists, gets, creates = s.Count("list")-lists, s.Count("get")-gets, s.Count("create")-creates
		if lists != want.lists || gets != want.gets || creates != 0 {
			t.Errorf("%d lists, %d gets, %d creates, want %+v and none", lists, gets, creates, want)
		}
		plan.LookAgain()
	}
}

// Passes of a sweeper are recorded seldom while there is nothing to sweep, and count as recent then.
func TestSweepsRecordedInABucket(t *testing.T) {
	url, s := bucketURL(t)
	var ahead atomic.Int64
	l, err := ledger.Open(t.Context(), ledger.Config{URL: url,
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	policy := jit.Entry{Policy: &jit.Policy{Name: "a", Effect: jit.Permit}}
	if err := errors.Join(l.Write(t.Context(), []jit.Entry{policy})...); err != nil {
		t.Fatal(err)
	}
	pass := func(after time.Duration) (written int) {
		t.Helper()
		ahead.Store(int64(after))
		before := s.Count("create")
		if err := l.Swept(t.Context(), jit.Sweep{Owners: jit.Owners{"payments"}, Targets: []string{"bastion"}}); err != nil {
			t.Fatal(err)
		}
		return s.Count("create") - before
	}
	ago := func() time.Duration {
		t.Helper()
		all, err := l.SweptSince(t.Context(), "payments", time.Now().Add(time.Duration(ahead.Load())))
		since, known := all["bastion"]
		if err != nil || !known {
			t.Fatalf("%v, %v", all, err)
		}
		return since
	}
	if n := pass(0); n == 0 {
		t.Error("the first pass is not recorded")
	}
	for d := 10 * time.Minute; d < 12*time.Hour; d += 70 * time.Minute {
		if n := pass(d); n != 0 || ago() > time.Minute {
			t.Errorf("after %s: %d writes, and the last pass is %s ago", d, n, ago())
		}
	}
	if n := pass(13 * time.Hour); n == 0 {
		t.Error("no pass is recorded in half a day")
	}
	ahead.Store(int64(27 * time.Hour))
	if ago() < 10*time.Hour {
		t.Errorf("a sweeper that has stopped passed %s ago", ago())
	}
	g := ledgertest.Grant(1)
	g.RequestedAt = time.Now().Add(27 * time.Hour)
	if err := errors.Join(l.Write(t.Context(), []jit.Entry{ledgertest.Entry(g)})...); err != nil {
		t.Fatal(err)
	}
	if n := pass(27 * time.Hour); n == 0 {
		t.Error("with a grant, the first pass is not recorded")
	}
	if n := pass(27*time.Hour + 4*time.Minute); n != 0 {
		t.Error("each pass is recorded")
	}
	if n := pass(27*time.Hour + 6*time.Minute); n == 0 {
		t.Error("no pass is recorded in six minutes with a grant")
	}
	ahead.Store(int64(27*time.Hour + 30*time.Minute))
	if got := ago(); got < 20*time.Minute {
		t.Errorf("with a grant, a sweeper that has stopped passed %s ago", got)
	}
}

// While nobody writes, a daemon looks less and less often.
func TestIdleReads(t *testing.T) {
	url, s := bucketURL(t)
	l := open(t, url)
	if err := writeGrant(t, l, 1); err != nil {
		t.Fatal(err)
	}
	before := s.Count("list") + s.Count("get")
	at := time.Now()
	for l.Validity() < 10*time.Second {
		if time.Since(at) > time.Minute {
			t.Fatalf("a look is valid for %s", l.Validity())
		}
		if _, _, err := l.Lookup(t.Context(), ledgertest.Grant(1).ID); err != nil {
			t.Fatal(err)
		}
		l.LookAgain()
	}
	if looks := s.Count("list") + s.Count("get") - before; looks > 40 {
		t.Errorf("%d requests until then", looks)
	}
	if err := writeGrant(t, onMachine(t, url), 2); err != nil {
		t.Fatal(err)
	}
	if got := recorded(t, l, 5); len(got) != 2 || l.Validity() > time.Second {
		t.Errorf("grants %v; a look is valid for %s after a write", got, l.Validity())
	}
}
