package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const chain = "payments"

func open(t *testing.T, url string) *bucket.Log {
	t.Helper()
	at, err := bucket.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	return bucket.Open(at)
}

func fake(t *testing.T) (*bucket.Log, *buckettest.Server) {
	t.Helper()
	buckettest.Setenv(t)
	s := buckettest.New(t)
	return open(t, s.Ledger("jit")), s
}

// onEach runs a test on a store of each protocol.
func onEach(t *testing.T, test func(t *testing.T, s *buckettest.Server, open func() *bucket.Log)) {
	for _, scheme := range bucket.Schemes {
		t.Run(scheme, func(t *testing.T) {
			_, s := fake(t)
			test(t, s, func() *bucket.Log { return open(t, s.LedgerBy(scheme, "jit")) })
		})
	}
}

// commit returns a commit that follows a head.
func commit(head bucket.Head, id string) *bucket.Commit {
	return &bucket.Commit{Ledger: "ledger", Chain: chain, Number: head.Number + 1, Prev: head.Hash, Writer: "w", ID: id,
		Schema: 1, Tables: []bucket.Table{{Name: "jit_grants", Columns: []string{"id", "n"}, Rows: [][]any{{id, 7}}}}}
}

// fill appends commits and returns the last.
func fill(t *testing.T, l *bucket.Log, head bucket.Head, count int) bucket.Head {
	t.Helper()
	for n := range count {
		c := commit(head, fmt.Sprint("commit ", n))
		if err := l.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		head = bucket.Head{Number: c.Number, Hash: c.Hash}
	}
	return head
}

// since returns the numbers of the commits after a head.
func since(t *testing.T, l *bucket.Log, head bucket.Head) (numbers []int64, err error) {
	t.Helper()
	for c, err := range l.Since(t.Context(), chain, head) {
		if err != nil {
			return numbers, err
		}
		numbers = append(numbers, c.Number)
	}
	return numbers, nil
}

// raceForOne lets many writers create the same commit: one wins, and the others are told.
func raceForOne(t *testing.T, open func() *bucket.Log) {
	t.Helper()
	const writers = 20
	var won, lost atomic.Int64
	var wg sync.WaitGroup
	for n := range writers {
		l := open()
		wg.Go(func() {
			switch err := l.Append(t.Context(), commit(bucket.Head{}, fmt.Sprint("writer ", n))); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, bucket.ErrTaken):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != writers-1 {
		t.Errorf("%d writers won and %d lost, want 1 and %d", won.Load(), lost.Load(), writers-1)
	}
	if got, err := since(t, open(), bucket.Head{}); err != nil || len(got) != 1 {
		t.Errorf("the log has %v, %v, want one commit", got, err)
	}
}

func TestOneOfManyWritersWins(t *testing.T) {
	onEach(t, func(t *testing.T, _ *buckettest.Server, open func() *bucket.Log) { raceForOne(t, open) })
}

// A reader gets every commit in order, whatever the pages of a list, and however far the list lags.
func TestSince(t *testing.T) {
	for _, tc := range []struct{ lag, page, count int }{
		{0, 1000, 0}, {0, 1000, 1}, {0, 1000, 150}, {0, 4, 9}, {1, 4, 9}, {5, 4, 9}, {9, 4, 9}, {100, 1, 3}, {3, 64, 131},
		{0, 1000, 1005}, // more than one block of numbers
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			onEach(t, func(t *testing.T, s *buckettest.Server, open func() *bucket.Log) {
				l := open()
				head := fill(t, l, bucket.Head{}, tc.count/2)
				s.Lag(tc.lag)
				s.Page(tc.page)
				fill(t, l, head, tc.count-tc.count/2)
				for _, from := range []bucket.Head{{}, head} {
					got, err := since(t, open(), from)
					if err != nil || len(got) != tc.count-int(from.Number) {
						t.Errorf("after commit %d: %v, %v", from.Number, got, err)
					}
					for i, n := range got {
						if n != from.Number+int64(i)+1 {
							t.Errorf("commit %d is number %d", i, n)
						}
					}
				}
			})
		})
	}
}

// A reader whose head the log does not have, or has another commit in place of, is told.
func TestRewound(t *testing.T) {
	l, s := fake(t)
	head := fill(t, l, bucket.Head{}, 5)
	for name, bad := range map[string]bucket.Head{
		"a commit that is gone":  {Number: 6, Hash: head.Hash},
		"another commit instead": {Number: 3, Hash: head.Hash},
	} {
		if got, err := since(t, open(t, s.Ledger("jit")), bad); !errors.Is(err, bucket.ErrRewound) {
			t.Errorf("%s: %v, %v, want ErrRewound", name, got, err)
		}
	}
	if _, err := since(t, l, head); err != nil {
		t.Fatal(err)
	}
	s.Put(fmt.Sprintf("jit/%s/log/%020d", chain, 5), nil)
	if _, err := since(t, l, head); !errors.Is(err, bucket.ErrRewound) {
		t.Errorf("a log that lost a commit while it was open: %v, want ErrRewound", err)
	}
}

// The store's own problems are explained, and an answer is never taken for another.
func TestStoreProblems(t *testing.T) {
	for _, tc := range []struct {
		fault buckettest.Fault
		words map[string]string
	}{
		{buckettest.Fault{Status: 403, Code: "AccessDenied"}, map[string]string{
			"s3": "s3:PutObject", "gs": "storage.objects.create", "azblob": "blobs/add/action"}},
		{buckettest.Fault{Status: 404, Code: "NoSuchBucket"}, map[string]string{
			"s3": "create it first", "gs": "create it first"}},
		{buckettest.Fault{Status: 404, Code: "ContainerNotFound"}, map[string]string{"azblob": "create it first"}},
		{buckettest.Fault{Status: 501, Code: "NotImplemented"}, map[string]string{"s3": "only if they are absent"}},
		{buckettest.Fault{Status: 400, Code: "Odd"}, map[string]string{"s3": "400", "gs": "400", "azblob": "400"}},
	} {
		for scheme, words := range tc.words {
			_, s := fake(t)
			s.Decide(func(operation, _ string) buckettest.Fault {
				if operation == "create" {
					return tc.fault
				}
				return buckettest.Fault{}
			})
			err := open(t, s.LedgerBy(scheme, "jit")).Append(t.Context(), commit(bucket.Head{}, "a"))
			var about *jit.Error
			if !errors.As(err, &about) || about.Attribute != "ledger" || about.Hint == "" || !contains(err, words) {
				t.Errorf("%s, %s: %v, want a *jit.Error with %q", scheme, tc.fault.Code, err, words)
			}
			if len(s.Keys()) > 0 {
				t.Errorf("%s, %s: %v was created", scheme, tc.fault.Code, s.Keys())
			}
		}
	}
}

// A write whose answers are all lost fails once the patience is over, and says nothing of the credentials.
func TestUnansweredWrite(t *testing.T) {
	onEach(t, func(t *testing.T, s *buckettest.Server, open func() *bucket.Log) {
		t.Setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2023-11-03&sig=signed&se=hunter2")
		ctx, cancel := context.WithCancel(t.Context())
		var tries atomic.Int64
		s.Decide(func(string, string) buckettest.Fault {
			if tries.Add(1) == 3 {
				cancel()
			}
			return buckettest.Fault{Lose: true}
		})
		err := open().Append(ctx, commit(bucket.Head{}, "a"))
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "sig=") {
			t.Errorf("the error is %v, want one without the signature", err)
		}
		if tries.Load() < 3 {
			t.Errorf("there were %d tries", tries.Load())
		}
	})
}
