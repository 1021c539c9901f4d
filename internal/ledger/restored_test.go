package ledger

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// rewound is a ledger that can be put back to an earlier state behind the back of those who have it open.
type rewound struct {
	url string
	// save keeps the state; back puts it back, as a restore does.
	save, back func(t *testing.T)
	// forget removes what this machine keeps beside the record, as on another machine.
	forget func(t *testing.T)
}

// onBoth runs a test on a ledger of each dialect.
func onBoth(t *testing.T, test func(t *testing.T, r rewound)) {
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		path, kept := filepath.Join(dir, "ledger.db"), filepath.Join(t.TempDir(), "copy.db")
		test(t, rewound{"sqlite://" + path, func(t *testing.T) { vacuumInto(t, path, kept) }, func(t *testing.T) {
			putBack(t, kept, path)
		}, func(*testing.T) { _ = os.Remove(path + headFile) }})
	})
	t.Run("bucket", func(t *testing.T) {
		buckettest.Setenv(t)
		cache := t.TempDir()
		t.Setenv("XDG_CACHE_HOME", cache)
		s := buckettest.New(t)
		var kept []string
		test(t, rewound{s.Ledger("jit"), func(*testing.T) { kept = s.Keys() }, func(*testing.T) {
			for _, key := range s.Keys() {
				if !slices.Contains(kept, key) {
					s.Put(key, nil)
				}
			}
		}, func(t *testing.T) { must(t, os.RemoveAll(filepath.Join(cache, "terraform-provider-jit"))) }})
	})
	t.Run("postgres", func(t *testing.T) {
		url := testenv.Postgres(t).Database(t)
		run := func(t *testing.T, statements string) {
			l := opened(t, url)
			db, err := l.db.writer(t.Context())
			for s := range strings.SplitSeq(statements, ";") {
				if err == nil {
					_, err = db.ExecContext(t.Context(), s)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var save, back []string
		for _, table := range []string{
			"jit_ledger", "jit_grants", "jit_events", "jit_log", "jit_chains", "jit_policies", "jit_persons",
		} {
			save = append(save, "CREATE TABLE kept_"+table+" AS SELECT * FROM "+table)
			back = append(back, "DELETE FROM "+table, "INSERT INTO "+table+" SELECT * FROM kept_"+table)
		}
		test(t, rewound{url, func(t *testing.T) { run(t, strings.Join(save, ";")) },
			func(t *testing.T) { run(t, strings.Join(back, ";")) }, func(*testing.T) {}})
	})
}

// vacuumInto backs a ledger up as the guide says.
func vacuumInto(t *testing.T, path, into string) {
	t.Helper()
	l := opened(t, "sqlite://"+path)
	db, err := l.db.writer(t.Context())
	if err == nil {
		_, err = db.ExecContext(t.Context(), "VACUUM INTO ?", into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// putBack puts a backup in the place of a ledger.
func putBack(t *testing.T, backup, path string) {
	t.Helper()
	from, err := os.Open(backup)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	to, err := os.Create(path + ".restored")
	if err == nil {
		_, err = io.Copy(to, from)
	}
	for _, end := range []string{"-wal", "-shm"} {
		if err == nil && os.Remove(path+end) != nil {
			continue // it was closed
		}
	}
	if err == nil {
		err = errors.Join(to.Close(), os.Rename(path+".restored", path))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, url string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := l.db.(*inBucket); ok {
		b.fresh = 0 // the tests change the log behind its back
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

var carol = jit.Actor{Name: "carol", Source: jit.FromCLI}

// say records an event; current as one that leads to access.
func say(t *testing.T, l *Ledger, current bool) error {
	t.Helper()
	e := jit.Event{Kind: jit.EventDrift, Actor: carol, Detail: map[string]string{"note": t.Name()}}
	return l.Write(t.Context(), []jit.Entry{{Events: []jit.Event{e}, Current: current}})[0]
}

func kinds(t *testing.T, l *Ledger) (all []jit.EventKind) {
	t.Helper()
	for e, err := range jit.AllEvents(t.Context(), l) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Kind)
	}
	return all
}

// newest returns the newest head of the chain of all that a process remembers.
func newest(l *Ledger) jit.Head {
	for _, h := range l.Heads("") {
		return h
	}
	return jit.Head{}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustBeBehind(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, jit.ErrBehind) {
		t.Fatalf("the error is %v, want ErrBehind", err)
	}
}

// A process that has the ledger open notices that it went back, records that, refuses what leads to access, and records
// everything else. Accepting begins a new epoch, and every process goes on.
func TestLedgerThatGoesBackInTime(t *testing.T) {
	onBoth(t, func(t *testing.T, r rewound) {
		daemon := opened(t, r.url)
		must(t, say(t, daemon, true))
		r.save(t)
		must(t, say(t, daemon, true))
		must(t, daemon.Recall(t.Context()))
		lost := newest(daemon)
		r.back(t)
		mustBeBehind(t, daemon.Recall(t.Context()))
		if got := len(kinds(t, daemon)); got != 1 {
			t.Fatalf("noticing alone wrote: %d events", got)
		}
		mustBeBehind(t, say(t, daemon, true))
		must(t, say(t, daemon, false))
		must(t, say(t, daemon, false)) // as many events as were lost, and more
		want := []jit.EventKind{jit.EventDrift, jit.EventLedgerBehind, jit.EventDrift, jit.EventDrift}
		if got := kinds(t, daemon); !slices.Equal(got, want) {
			t.Fatalf("events %v, want %v", got, want)
		}
		mustBeBehind(t, daemon.Recall(t.Context()))
		// The record tells a process that remembers nothing.
		r.forget(t)
		other := opened(t, r.url)
		mustBeBehind(t, other.Recall(t.Context()))
		mustBeBehind(t, say(t, other, true))

		accepted, err := other.Accept(t.Context(), carol, "restored from the backup of last night", "")
		must(t, err)
		if accepted.Kind != jit.EventLedgerRestored || accepted.Detail[jit.LostHashDetail] != lost.Hash {
			t.Errorf("accepted is %+v", accepted)
		}
		for _, l := range []*Ledger{daemon, other, opened(t, r.url)} {
			must(t, l.Recall(t.Context(), lost))
			must(t, say(t, l, true))
			if h := newest(l); h.Epoch != accepted.Hash {
				t.Errorf("the head is %+v, want the epoch %s", h, accepted.Hash)
			}
		}
		if report, err := daemon.Verify(t.Context()); err != nil || !report.OK() {
			t.Errorf("Verify = %+v, %v", report, err)
		}
		// The same backup once more: what was accepted is lost too.
		r.back(t)
		for _, l := range []*Ledger{daemon, other} {
			mustBeBehind(t, l.Recall(t.Context()))
		}
	})
}

// A state that remembers a head stops its own run, which records that once, and nobody else: the state may belong to a
// copy of the ledger. Accepting frees the run, also if the lost head is of an epoch that the ledger never had.
func TestHeadRememberedElsewhere(t *testing.T) {
	onBoth(t, func(t *testing.T, r rewound) {
		l := opened(t, r.url)
		must(t, say(t, l, true))
		first := newest(l)
		r.save(t)
		must(t, say(t, l, true))
		lost := newest(l)
		ofCopy := lost
		ofCopy.Epoch = strings.Repeat("e", 64)
		r.back(t)
		r.forget(t)
		run := func(run string) *Ledger {
			l := opened(t, r.url)
			l.run = run
			return l
		}
		fresh, again, others, later := run("one"), run("one"), run("two"), run("three")
		must(t, fresh.Recall(t.Context(), first, jit.Head{}))
		another := first
		another.Ledger = "another"
		if err := fresh.Recall(t.Context(), another); !errors.Is(err, jit.ErrOtherLedger) {
			t.Errorf("a head of another ledger: %v", err)
		}
		must(t, say(t, fresh, true)) // a new event in the place of the lost one
		for l, head := range map[*Ledger]jit.Head{fresh: lost, later: ofCopy} {
			if err := l.Recall(t.Context(), head); !errors.Is(err, jit.ErrStateAhead) {
				t.Errorf("the head of a state: %v", err)
			}
			mustBeBehind(t, say(t, l, true))
			mustBeBehind(t, say(t, l, true))
		}
		must(t, say(t, fresh, false)) // ending goes on
		mustBeBehind(t, say(t, again, true))
		for _, l := range []*Ledger{l, others, opened(t, r.url)} { // l has seen the head itself
			err := cmp.Or(l.Recall(t.Context()), say(t, l, true))
			if seen := newest(l) == lost; seen != errors.Is(err, jit.ErrBehind) || !seen && err != nil {
				t.Errorf("another process, which has seen the head: %v: %v", seen, err)
			}
			if newest(l) == lost { // that blocks everybody
				mustBeBehind(t, opened(t, r.url).Recall(t.Context()))
				_, err := opened(t, r.url).Accept(t.Context(), carol, "restored", "")
				must(t, err)
			}
		}
		for _, l := range []*Ledger{fresh, again, others, later} {
			must(t, l.Recall(t.Context(), lost, ofCopy))
			must(t, say(t, l, true))
		}
	})
}

// The file beside a SQLite ledger tells the next process, is of one user, and is never ahead of a failed write.
func TestHeadFile(t *testing.T) {
	path, kept := filepath.Join(t.TempDir(), "ledger.db"), filepath.Join(t.TempDir(), "copy.db")
	l := opened(t, "sqlite://"+path)
	must(t, say(t, l, true))
	vacuumInto(t, path, kept)
	must(t, say(t, l, true))
	before, err := os.ReadFile(path + headFile)
	must(t, err)
	db, err := l.db.writer(t.Context())
	must(t, err)
	if _, err := db.ExecContext(t.Context(), "CREATE TRIGGER full BEFORE UPDATE ON jit_chains "+
		"BEGIN SELECT RAISE(ABORT, 'no'); END"); err != nil {
		t.Fatal(err)
	}
	if err := say(t, l, true); err == nil {
		t.Fatal("the write did not fail")
	}
	if after, err := os.ReadFile(path + headFile); err != nil || string(after) != string(before) {
		t.Errorf("a failed write left %s, %v; want %s", after, err, before)
	}
	must(t, l.Recall(t.Context()))
	must(t, l.Close())
	if info, err := os.Stat(path + headFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file beside the ledger: %v, %v", info.Mode(), err)
	}
	putBack(t, kept, path)
	mustBeBehind(t, say(t, opened(t, "sqlite://"+path), true))
	if after, err := os.ReadFile(path + headFile); err != nil || string(after) != string(before) {
		t.Errorf("the file forgot the lost head: %s, %v", after, err)
	}
	if left, _ := filepath.Glob(path + headFile + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// A new ledger at the same place is another ledger, not an older one.
	must(t, os.Remove(path))
	must(t, say(t, opened(t, "sqlite://"+path), true))
}
