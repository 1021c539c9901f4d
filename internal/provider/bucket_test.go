package provider_test

import (
	"fmt"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// Runs without a copy of the ledger, as on runners that are thrown away, find in the bucket what the others granted.
func TestRunnersShareABucket(t *testing.T) {
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			w := acctest.New(t, cli, acctest.Options{RealTime: true}) // the bucket has a clock
			s := buckettest.New(t)
			buckettest.Setenv(t)
			runner := func() { t.Setenv("XDG_CACHE_HOME", t.TempDir()) }
			w.Write("authorized_keys", foreign)
			configureWith(w, fmt.Sprintf("ledger = %q", s.Ledger("jit")), grant("a"))
			runner()
			if r := w.Plan(); r.ExitCode != 2 || len(s.Keys()) > 0 {
				t.Errorf("plan: exit code %d; objects %v, want none:\n%s", r.ExitCode, s.Keys(), r.Text())
			}
			runner()
			w.Apply()
			if lines(w) != 1 {
				t.Errorf("after apply the file is %q", w.Read("authorized_keys"))
			}
			runner()
			objects := len(s.Keys())
			unchanged(t, w, "on another runner")
			if len(s.Keys()) != objects {
				t.Errorf("plans wrote: %v", s.Keys())
			}
			runner()
			w.Must("destroy", "-auto-approve")
			if got := w.Read("authorized_keys"); got != foreign {
				t.Errorf("after destroy the file is %q", got)
			}
			configureWith(w, fmt.Sprintf("ledger = %q", s.Ledger("jit")), grant("a"))
			runner()
			if r := w.Plan(); r.ExitCode != 1 {
				t.Errorf("the same grant once more: exit code %d, want an error that names renewal:\n%s", r.ExitCode, r.Text())
			}
		})
	}
}
