package gcp

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// BigQuery and Compute Engine answer 403 where others answer 429. Such a request is repeated, and nobody is told that a
// permission is missing: https://cloud.google.com/bigquery/docs/troubleshoot-quotas,
// https://cloud.google.com/compute/api-quota
func TestRateLimitsWithTheStatusOfARefusal(t *testing.T) {
	for scope, reason := range map[string]string{
		dataset: "quotaExceeded",
		project + "/zones/europe-west6-a/instances/web": "rateLimitExceeded",
	} {
		for _, verb := range []string{"getIamPolicy", "setIamPolicy"} {
			t.Run(verb+" "+scope, func(t *testing.T) {
				t.Parallel()
				s := newWorld(t)
				s.Add(scope, project)
				var n atomic.Int64
				s.Inject(func(r gcptest.Request) gcptest.Fault {
					if r.Verb != verb || n.Add(1) > 1 {
						return gcptest.Fault{}
					}
					return gcptest.Fault{Status: http.StatusForbidden, Reason: reason, Message: "Exceeded rate limits."}
				})
				a := access(scope, alice, sqlRole, "x")
				apply(t, open(t, s, Config{}), scope, ensured(a)...)
				if !allowed(s, a.Binding, time.Now()) || n.Load() < 2 {
					t.Errorf("after %d requests there is no access", n.Load())
				}
				if verb == "setIamPolicy" {
					return
				}
				s.Inject(func(gcptest.Request) gcptest.Fault {
					return gcptest.Fault{Status: http.StatusForbidden, Reason: reason, Message: "Exceeded rate limits.",
						RetryAfter: "3600"}
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := open(t, s, Config{}).Apply(ctx, scope, ensured(access(scope, bob, sqlRole, "x")))[0]
				wantTold(t, err, "", "too busy (403): Exceeded rate limits.")
				if errors.Is(err, jit.ErrRefused) {
					t.Errorf("%v counts as a refusal", err)
				}
			})
		}
	}
}
