package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// withSnapshots fills a ledger with the grants of two owners, a policy, dedup keys and leases, and with snapshots of
// each log; more: the log of the first owner goes on after its snapshot.
func withSnapshots(t *testing.T, more int) (url string, s *buckettest.Server) {
	t.Helper()
	url, s = bucketURL(t)
	l := open(t, url)
	l.SnapshotEach(4)
	now := time.Now()
	for n := range 4 {
		name := fmt.Sprintf("p%d", n)
		theirs := ledgertest.Of("other", 100+n)
		for _, err := range l.Write(t.Context(), []jit.Entry{
			ledgertest.Entry(theirs),
			{Policy: &jit.Policy{Name: name, Effect: jit.Permit}, Events: []jit.Event{
				{Kind: jit.EventPolicyChanged, Policy: name, At: ledgertest.Epoch}}},
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		key := jit.DedupKey{Name: "soon/" + name, At: now, Until: now.Add(time.Hour)}
		told := jit.Entry{Events: []jit.Event{ledgertest.Event(theirs.ID)}, Dedup: key}
		if err := l.Write(t.Context(), []jit.Entry{told})[0]; err != nil {
			t.Fatal(err)
		}
		if _, ok, err := l.Leases().Acquire(t.Context(), name, "me", now, now.Add(time.Hour)); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	for n := range 4 + more {
		if err := writeGrant(t, l, n); err != nil {
			t.Fatal(err)
		}
	}
	return url, s
}

// asWritten compares what a new machine reads with what withSnapshots wrote.
func asWritten(t *testing.T, url string, grants int) {
	t.Helper()
	l := onMachine(t, url)
	if got := recorded(t, l, grants+5); len(got) != grants {
		t.Errorf("the grants %v are recorded, want %d", got, grants)
	}
	if r := verify(t, l); len(r.Damage) > 0 || r.Events != int64(grants)+12 {
		t.Errorf("Verify: %d events, want %d; %v", r.Events, grants+12, r.Damage)
	}
	for _, m := range verify(t, l).Mismatches {
		if m.Grant != "" {
			t.Errorf("a grant is not as it was written: %v", m)
		}
	}
	if _, holder, _, err := l.Leases().Holder(t.Context(), "p3"); err != nil || holder != "me" {
		t.Errorf("the lease belongs to %q, %v", holder, err)
	}
	now := time.Now()
	again := jit.Entry{Events: []jit.Event{ledgertest.Event(ledgertest.Of("other", 101).ID)},
		Dedup: jit.DedupKey{Name: "soon/p1", At: now, Until: now.Add(time.Hour)}}
	if err := l.Write(t.Context(), []jit.Entry{again})[0]; !errors.Is(err, jit.ErrDuplicate) {
		t.Errorf("a dedup key once more: %v, want ErrDuplicate", err)
	}
	if err := writeGrant(t, l, 50); err != nil {
		t.Error(err)
	}
}

// snapshotsOf lists the parts of snapshots of a log.
func snapshotsOf(s *buckettest.Server, log string) (keys []string) {
	for _, key := range s.Keys() {
		if strings.Contains(key, "/"+log+"/snapshot/") {
			keys = append(keys, key)
		}
	}
	return keys
}

// A new machine reads snapshots and the commits after them, and then has all that the log has.
func TestSnapshots(t *testing.T) {
	url, s := withSnapshots(t, 3)
	for _, log := range []string{"_all", "_shared", "payments", "other"} {
		if len(snapshotsOf(s, log)) == 0 {
			t.Errorf("no snapshot of %s: %v", log, s.Keys())
		}
	}
	early := func(key string) bool { // a commit that a snapshot spares
		return strings.HasSuffix(key, "0002") && strings.Contains(key, "payments/log/")
	}
	asked := make(chan string, 100)
	s.Decide(func(operation, key string) buckettest.Fault {
		if operation == "get" && early(key) {
			asked <- key
		}
		return buckettest.Fault{}
	})
	asWritten(t, url, 7)
	for range len(asked) {
		if key := <-asked; early(key) {
			t.Errorf("%s was read, want only what follows the snapshot", key)
			break
		}
	}
}

// A snapshot that does not fit the log is no snapshot.
func TestSnapshotsThatDoNotFit(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *buckettest.Server, key string){
		"a part is missing": func(_ *testing.T, s *buckettest.Server, key string) { s.Put(key, nil) },
		"cut off":           func(_ *testing.T, s *buckettest.Server, key string) { s.Put(key, s.Object(key)[:50]) },
		"of another commit, with another role": func(t *testing.T, s *buckettest.Server, _ string) {
			for _, key := range snapshotsOf(s, "payments") {
				altered(t, s, key, func(text string) string {
					return strings.Replace(strings.Replace(text, `"prev":"`, `"prev":"0`, 1), `"login"`, `"root"`, 1)
				})
			}
		},
		"of another ledger": func(t *testing.T, s *buckettest.Server, key string) {
			altered(t, s, key, func(text string) string { return strings.Replace(text, `"ledger":"`, `"ledger":"0`, 1) })
		},
		"of a table that is not there": func(t *testing.T, s *buckettest.Server, key string) {
			altered(t, s, key, func(text string) string { return strings.Replace(text, `"table":"`, `"table":"x`, 1) })
		},
		"with an owner's name changed": func(t *testing.T, s *buckettest.Server, key string) {
			altered(t, s, key, func(text string) string { return strings.Replace(text, `["payments"`, `["other"`, 1) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, s := withSnapshots(t, 0)
			parts := snapshotsOf(s, "payments")
			if len(parts) < 3 {
				t.Fatalf("parts %v", parts)
			}
			damage(t, s, parts[0])
			asWritten(t, url, 4)
		})
	}
}
