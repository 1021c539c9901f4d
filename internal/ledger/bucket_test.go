package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// bucketURL returns the URL of an empty ledger on a server of the test's own, with an empty cache directory.
func bucketURL(t *testing.T) (string, *buckettest.Server) {
	t.Helper()
	s := buckettest.New(t)
	buckettest.Setenv(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return s.Ledger("team/jit"), s
}

// onMachine opens a ledger with an empty cache directory, as another machine does. It looks into the log at every read.
func onMachine(t *testing.T, url string) *ledger.Ledger {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	l := open(t, url)
	l.LookAlways()
	return l
}

// keyIn is the name of a commit of the ledger of bucketURL.
func keyIn(log string, number int) string { return fmt.Sprintf("team/jit/%s/log/%020d", log, number) }

// objectKey is the name of a commit of the owner of the tests' grants.
func objectKey(number int) string { return keyIn("payments", number) }

// recorded returns the numbers of those grants below most that are recorded.
func recorded(t *testing.T, l *ledger.Ledger, most int) (numbers []int) {
	t.Helper()
	for n := range most {
		_, ok, err := l.Lookup(t.Context(), ledgertest.Grant(n).ID)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func wantGrants(t *testing.T, l *ledger.Ledger, want int) {
	t.Helper()
	if got := recorded(t, l, want+5); len(got) != want {
		t.Errorf("the grants %v are recorded, want %d", got, want)
	}
	if r := verify(t, l); !r.OK() || r.Events != int64(want) {
		t.Errorf("Verify: %d events, want %d; %v %v", r.Events, want, r.Damage, r.Mismatches)
	}
}

func writeGrant(t *testing.T, l *ledger.Ledger, n int) error {
	t.Helper()
	return l.Write(t.Context(), []jit.Entry{ledgertest.Entry(ledgertest.Grant(n))})[0]
}

func TestBucket(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) jit.Ledger {
		url, s := bucketURL(t)
		s.Lag(1)
		return open(t, url)
	})
}

// The same on the servers that others wrote: on versitygw always, and on two more in make test-long.
func TestBucketServers(t *testing.T) {
	names := []string{"versitygw"}
	if os.Getenv("JIT_TEST_LONG") != "" {
		names = append(names, "fake-gcs-server", "azurite")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			url, n := testenv.Buckets()[name](t, "ledger-suite"), 0
			ledgertest.Run(t, func(t *testing.T) jit.Ledger {
				n++
				t.Setenv("XDG_CACHE_HOME", t.TempDir())
				return open(t, strings.Replace(url, "/jit?", fmt.Sprintf("/jit-%d?", n), 1))
			})
		})
	}
}

// Each machine sees what the others have recorded, and a new one has it all from the log.
func TestMachinesShareABucket(t *testing.T) {
	url, s := bucketURL(t)
	s.Lag(2)
	s.Page(3)
	a, b := onMachine(t, url), onMachine(t, url)
	for n := range 12 {
		l := a
		if n%3 == 1 {
			l = b
		}
		if err := writeGrant(t, l, n); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range []*ledger.Ledger{a, b, onMachine(t, url)} {
		wantGrants(t, l, 12)
	}
	if err := writeGrant(t, b, 3); !errors.Is(err, jit.ErrStale) {
		t.Errorf("the same grant once more: %v, want ErrStale", err)
	}
	if before := len(s.Keys()); before != 14 { // one makes the ledger, and one the owner's log
		t.Errorf("%d objects, want 14: %v", before, s.Keys())
	}
}

// Many processes without a copy begin at once: one makes the ledger, and each grant is recorded once.
func TestManyMachinesAtOnce(t *testing.T) {
	url, _ := bucketURL(t)
	const machines = 8
	all := make([]*ledger.Ledger, machines)
	for i := range all {
		all[i] = onMachine(t, url)
	}
	var granted atomic.Int64
	var wg sync.WaitGroup
	for i, l := range all {
		wg.Go(func() {
			for n := range 4 { // of each grant, two machines try to record it
				err := writeGrant(t, l, 4*(i/2)+n)
				switch {
				case err == nil:
					granted.Add(1)
				case !errors.Is(err, jit.ErrStale):
					t.Errorf("machine %d, grant %d: %v", i, n, err)
				}
			}
		})
	}
	wg.Wait()
	if granted.Load() != 2*machines {
		t.Errorf("%d grants were recorded, want %d", granted.Load(), 2*machines)
	}
	wantGrants(t, onMachine(t, url), 2*machines)
}

// Of the grants of one requester that begin without approval at the same time, under several owners and on several
// machines, one is recorded: their logs know nothing of each other.
func TestOneUnsignedGrantAmongOwners(t *testing.T) {
	url, _ := bucketURL(t)
	const machines = 6
	entry := func(n int) jit.Entry {
		g := ledgertest.Of(fmt.Sprintf("team-%d", n), n)
		g.BreakGlass, g.Awaits, g.Requester = true, "1 of: lea", "bob"
		e := ledgertest.Entry(g)
		e.OnlyUnsigned = true
		return e
	}
	all := make([]*ledger.Ledger, machines)
	for i := range all {
		all[i] = onMachine(t, url)
		plain := ledgertest.Of(fmt.Sprintf("team-%d", i), 100+i) // so that each has all logs
		if err := all[i].Write(t.Context(), []jit.Entry{ledgertest.Entry(plain)})[0]; err != nil {
			t.Fatal(err)
		}
	}
	var first atomic.Int64
	first.Store(-1)
	var wg sync.WaitGroup
	for i, l := range all {
		wg.Go(func() {
			switch err := l.Write(t.Context(), []jit.Entry{entry(i)})[0]; {
			case err == nil && first.Swap(int64(i)) != -1:
				t.Error("two grants of one requester are recorded")
			case err != nil && !errors.Is(err, jit.ErrStale):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	won := int(first.Load())
	if won < 0 {
		t.Fatal("no grant is recorded")
	}
	other := (won + 1) % machines
	if err := all[other].Write(t.Context(), []jit.Entry{entry(other)})[0]; !errors.Is(err, jit.ErrStale) {
		t.Errorf("another one later: %v, want ErrStale", err)
	}
	g, _, err := all[other].Lookup(t.Context(), ledgertest.Of(fmt.Sprintf("team-%d", won), won).ID)
	if err != nil {
		t.Fatal(err)
	}
	g.SignedOffAt, g.SignedOffBy = ledgertest.Epoch, "lea"
	for _, e := range []jit.Entry{ledgertest.Entry(g), entry(other)} {
		if err := all[other].Write(t.Context(), []jit.Entry{e})[0]; err != nil {
			t.Errorf("after the sign-off: %v", err)
		}
	}
}

// Azure denies a creation to those who may not replace, if the object exists:
// https://learn.microsoft.com/rest/api/storageservices/create-service-sas. They lose a race like others.
func TestStoreThatDeniesToReplace(t *testing.T) {
	url, s := bucketURL(t)
	s.Decide(func(operation, key string) buckettest.Fault {
		if operation == "create" && s.Object(key) != nil {
			return buckettest.Fault{Status: 403, Code: "AuthorizationPermissionMismatch"}
		}
		return buckettest.Fault{}
	})
	a, b := onMachine(t, url), onMachine(t, url)
	var wg sync.WaitGroup
	for i, l := range []*ledger.Ledger{a, b} {
		wg.Go(func() {
			for n := range 5 {
				if err := writeGrant(t, l, 5*i+n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantGrants(t, onMachine(t, url), 10)
}

// Whatever the store answers to a write, the write is recorded once.
func TestBucketFaults(t *testing.T) {
	for name, fault := range map[string]buckettest.Fault{
		"answer lost":   {Lose: true},
		"request lost":  {Drop: true},
		"503":           {Status: 503, Code: "SlowDown"},
		"500":           {Status: 500, Code: "InternalError"},
		"409":           {Status: 409, Code: "ConditionalRequestConflict"},
		"412 by itself": {Status: 412, Code: "PreconditionFailed"},
	} {
		t.Run(name, func(t *testing.T) {
			url, s := bucketURL(t)
			l := open(t, url)
			var left atomic.Int64
			s.Decide(func(operation, _ string) buckettest.Fault {
				if (operation == "create" || fault.Status == 503) && left.Add(-1) >= 0 {
					return fault
				}
				return buckettest.Fault{}
			})
			for n := range 3 {
				left.Store(2)
				if err := writeGrant(t, l, n); err != nil {
					t.Fatal(err)
				}
			}
			wantGrants(t, l, 3)
			wantGrants(t, onMachine(t, url), 3)
			if got := len(s.Keys()); got != 5 {
				t.Errorf("%d objects, want 5: %v", got, s.Keys())
			}
		})
	}
}

// An answer that is late keeps nobody else waiting, and the write that waits for it is recorded once. A caller that
// does not wait for it is told so.
func TestSlowStore(t *testing.T) {
	url, s := bucketURL(t)
	slow, other := onMachine(t, url), onMachine(t, url)
	if err := writeGrant(t, slow, 0); err != nil {
		t.Fatal(err)
	}
	hold, arrived := make(chan struct{}), make(chan struct{})
	var first sync.Once
	s.Decide(func(operation, key string) (fault buckettest.Fault) {
		if operation == "create" && key == objectKey(2) {
			first.Do(func() {
				close(arrived)
				fault.Hold = hold
			})
		}
		return fault
	})
	written := make(chan error, 1)
	go func() { written <- writeGrant(t, slow, 1) }()
	<-arrived
	for n := range 3 { // whatever the store is busy with
		for _, ok, err := other.Lookup(t.Context(), ledgertest.Grant(1).ID); !ok; {
			if err != nil {
				t.Fatal(err)
			}
			_, ok, err = other.Lookup(t.Context(), ledgertest.Grant(1).ID)
		}
		if err := writeGrant(t, other, 2+n); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := slow.Write(ctx, []jit.Entry{ledgertest.Entry(ledgertest.Grant(9))})[0]; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: %v", err)
	}
	close(hold)
	if err := <-written; err != nil {
		t.Error(err)
	}
	s.Decide(nil)
	wantGrants(t, slow, 5)
	wantGrants(t, onMachine(t, url), 5)
}

// A store that overwrites is refused by name at the first write, before anything is granted.
func TestStoreThatOverwrites(t *testing.T) {
	url, s := bucketURL(t)
	s.Decide(func(string, string) buckettest.Fault { return buckettest.Fault{Ignore: true} })
	l := open(t, url)
	for range 2 {
		told(t, "a write", writeGrant(t, l, 1), "s3://ledger-bucket/team/jit", "only if they are absent", "If-None-Match")
	}
	if got := recorded(t, onMachine(t, url), 5); len(got) > 0 {
		t.Errorf("the grants %v are recorded", got)
	}
	s.Decide(func(operation, _ string) buckettest.Fault {
		if operation == "create" {
			return buckettest.Fault{Status: 501, Code: "NotImplemented"}
		}
		return buckettest.Fault{}
	})
	told(t, "a store without the condition", writeGrant(t, onMachine(t, url), 1), "only if they are absent")
}

// A copy that lacks the last commits, as after a crash between the log and the copy, or that is gone, loses nothing.
func TestCopyFromBefore(t *testing.T) {
	url, _ := bucketURL(t)
	dir := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "terraform-provider-jit")
	session := func(n int) {
		l, err := ledger.Open(t.Context(), ledger.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writeGrant(t, l, n), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	session(0)
	found, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the copies are %v, %v", found, err)
	}
	before, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	session(1)
	if err := os.WriteFile(found[0], before, 0o600); err != nil {
		t.Fatal(err)
	}
	session(2)
	wantGrants(t, open(t, url), 3)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	session(3)
	wantGrants(t, open(t, url), 4)
}
