package bucket_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

func contains(err error, words string) bool {
	return err != nil && strings.Contains(err.Error(), words)
}

// The servers honour the condition, and a log on them is read as it was written.
func TestServers(t *testing.T) {
	for name, server := range testenv.Buckets() {
		t.Run(name, func(t *testing.T) {
			url := server(t, "ledger-log")
			raceForOne(t, func() *bucket.Log { return open(t, strings.Replace(url, "/jit?", "/race?", 1)) })
			l := open(t, url)
			head := fill(t, l, bucket.Head{}, 5)
			if err := l.Prove(t.Context(), chain, head.Number); err != nil {
				t.Fatal(err)
			}
			if got, err := since(t, open(t, url), bucket.Head{}); err != nil || len(got) != 5 {
				t.Errorf("the log has %v, %v, want 5 commits", got, err)
			}
			if got, err := since(t, l, head); err != nil || len(got) > 0 {
				t.Errorf("after the head there is %v, %v", got, err)
			}
		})
	}
}

// A server that others wrote tells which objects it keeps.
func TestRetentionOnVersityGW(t *testing.T) {
	url := testenv.Buckets()["versitygw"](t, "ledger-not-locked")
	keep := testenv.VersityGW(t).LockedBucket(t, "ledger-locked")
	for name, locked := range map[string]bool{"ledger-not-locked": false, "ledger-locked": true} {
		l := open(t, strings.Replace(url, "ledger-not-locked", name, 1))
		fill(t, l, bucket.Head{}, 3)
		check := func(want int) {
			t.Helper()
			kept, all := 0, 0
			err := l.Retention(t.Context(), func(r bucket.Retention) {
				if all++; r.By == "object lock, compliance" && r.Until.After(time.Now()) {
					kept++
				}
			})
			if err != nil || kept != want || all != 3 {
				t.Errorf("%s: %d of %d objects are kept, %v; want %d of 3", name, kept, all, err, want)
			}
		}
		check(0)
		if locked {
			keep("jit/payments/log/00000000000000000002")
			check(1)
		}
	}
}
