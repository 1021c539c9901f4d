package bucket_test

import (
	"strings"
	"testing"

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
