package bucket_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
)

// Each store says in its own words what keeps an object, and until when; an object that nothing keeps is told too, and
// snapshots and foreign objects are no part of the record.
func TestRetention(t *testing.T) {
	until := time.Date(2033, 11, 23, 12, 0, 0, 0, time.UTC)
	modes := map[string]map[string]string{
		"s3":     {"COMPLIANCE": "object lock, compliance", "GOVERNANCE": "object lock, governance"},
		"gs":     {"Locked": "object retention, locked", "": "retention policy of the bucket"},
		"azblob": {"locked": "immutability policy, locked"},
	}
	onEach(t, func(t *testing.T, s *buckettest.Server, open func() *bucket.Log) {
		s.Page(2)
		l := open()
		fill(t, l, bucket.Head{}, 5)
		keys := s.Keys()
		s.Put("jit/payments/snapshot/00000000000000000001-00001-00001", []byte("x"))
		s.Put("jit/payments/log/notes.txt", []byte("x"))
		s.Put("jit/payments/deep/log/00000000000000000001", []byte("x"))
		s.Put("jitter/payments/log/00000000000000000001", []byte("x"))
		want, n := map[string]bucket.Retention{}, 0
		for _, key := range keys {
			want[key] = bucket.Retention{Key: key}
		}
		for mode, by := range modes[strings.ReplaceAll(t.Name(), "TestRetention/", "")] {
			s.Keep(keys[n], buckettest.Kept{Mode: mode, Until: until})
			want[keys[n]] = bucket.Retention{Key: keys[n], By: by, Until: until}
			n++
		}
		check := func() {
			t.Helper()
			found := 0
			err := l.Retention(t.Context(), func(r bucket.Retention) {
				if found++; r != want[r.Key] || r.Key == "" {
					t.Errorf("got %+v, want %+v", r, want[r.Key])
				}
			})
			if err != nil || found != len(keys) || n == 0 {
				t.Errorf("%d objects, %v; want %d", found, err, len(keys))
			}
		}
		check()
		if !strings.HasSuffix(t.Name(), "azblob") {
			return
		}
		s.KeepAll()
		for _, key := range keys[n:] {
			want[key] = bucket.Retention{Key: key, By: "immutability policy of the container"}
		}
		check()
	})
}

// Who may not ask is told the permission.
func TestRetentionNeedsAPermission(t *testing.T) {
	l, s := fake(t)
	fill(t, l, bucket.Head{}, 1)
	s.Decide(func(operation, _ string) buckettest.Fault {
		if operation == "retention" {
			return buckettest.Fault{Status: 403, Code: "AccessDenied"}
		}
		return buckettest.Fault{}
	})
	err := l.Retention(t.Context(), func(bucket.Retention) {})
	if err == nil || !strings.Contains(err.Error(), "s3:GetObjectRetention") {
		t.Errorf("got %v", err)
	}
}
