package gcp

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// After a temporary fault, the change is made once and nothing of others changes.
func TestFaultsThatPass(t *testing.T) {
	for name, fault := range map[string]gcptest.Fault{
		"busy":                     {Status: http.StatusServiceUnavailable, Message: "The service is currently unavailable."},
		"too many requests":        {Status: http.StatusTooManyRequests, Message: "Quota exceeded.", RetryAfter: "1"},
		"the question was lost":    {Lost: true},
		"the answer was lost":      {Lost: true, After: true},
		"the gateway failed":       {Status: http.StatusBadGateway},
		"somebody else was faster": {},
	} {
		for _, op := range []string{"getIamPolicy", "setIamPolicy"} {
			if fault == (gcptest.Fault{}) && op == "getIamPolicy" {
				continue // who writes before a read is read
			}
			t.Run(name+", "+op, func(t *testing.T) {
				t.Parallel()
				s := newWorld(t)
				before := foreign(t, s, project)
				a, gone := access(project, alice, sqlRole, "new"), access(project, bob, sqlRole, "old")
				apply(t, open(t, s, Config{}), project, ensured(gone)...)
				var n atomic.Int64
				began := time.Now()
				s.Inject(func(r gcptest.Request) gcptest.Fault {
					if r.Verb != op || n.Add(1) > 2 {
						return gcptest.Fault{}
					}
					if fault == (gcptest.Fault{}) {
						s.Edit(project, func(*gcptest.Policy) {}) // it is as it was, with another etag
					}
					return fault
				})
				apply(t, open(t, s, Config{}), project, append(ensured(a), removed(gone)...)...)
				if !allowed(s, a.Binding, time.Now()) || allowed(s, gone.Binding, time.Now()) {
					t.Error("the changes were not made")
				}
				if n.Load() < 2 {
					t.Errorf("the fault happened %d times", n.Load())
				}
				if waited := time.Since(began); fault.RetryAfter != "" && waited < 2*time.Second {
					t.Errorf("it took %s, and the service asked to wait a second, twice", waited)
				}
				if after := foreign(t, s, project); after != before || s.Blind() != 0 {
					t.Errorf("what is not ours is\n%s\nwas\n%s", after, before)
				}
			})
		}
	}
}

// A lasting fault is reported soon, and no change is half done.
func TestFaultsThatStay(t *testing.T) {
	s := newWorld(t)
	there := access(project, bob, sqlRole, "there")
	apply(t, open(t, s, Config{}), project, ensured(there)...)
	s.Inject(func(r gcptest.Request) gcptest.Fault {
		return gcptest.Fault{
			Status:     http.StatusTooManyRequests,
			Message:    "Quota exceeded for policy writes.",
			RetryAfter: "3600",
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	for _, err := range open(t, s, Config{}).Apply(ctx, project, append(ensured(access(project, alice, sqlRole, "new")), removed(there)...)) {
		wantTold(t, err, "", "Quota exceeded for policy writes.")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to say that there is no time left to wait an hour", took)
	}
	if !allowed(s, there.Binding, time.Now()) {
		t.Error("access was taken away by a change that failed")
	}
}

// A writer that loses many races in a row gets its turn.
func TestAStormOfConflicts(t *testing.T) {
	s := newWorld(t)
	there := access(project, bob, sqlRole, "there")
	apply(t, open(t, s, Config{}), project, ensured(there)...)
	storm := atomic.Bool{}
	storm.Store(true)
	var lost atomic.Int64
	s.Inject(func(r gcptest.Request) gcptest.Fault {
		if r.Write() && storm.Load() {
			s.Edit(project, func(*gcptest.Policy) {})
			if lost.Add(1) == 8 {
				storm.Store(false) // it has to be over some time
			}
		}
		return gcptest.Fault{}
	})
	apply(t, open(t, s, Config{}), project, removed(there)...)
	if allowed(s, there.Binding, time.Now()) || lost.Load() != 8 {
		t.Errorf("after %d lost races the access is there", lost.Load())
	}
}

// A proxy that removes the conditions from a write is noticed at once.
func TestLostConditionsAreNoticed(t *testing.T) {
	s := newWorld(t)
	s.Inject(func(r gcptest.Request) gcptest.Fault { return gcptest.Fault{Downgrade: r.Write()} })
	err := open(t, s, Config{}).Apply(t.Context(), project, ensured(access(project, alice, sqlRole, "x")))[0]
	wantTold(t, err, "", "2 conditions that were sent are not in the answer")
	if strings.Contains(err.Error(), "no answer") {
		t.Errorf("%v; it was answered", err)
	}
}

// A policy without an etag is not written, because that would overwrite changes of others.
func TestNoWriteWithoutAnEtag(t *testing.T) {
	if _, err := decodePolicy([]byte(`{"version": 1, "bindings": []}`)); err == nil ||
		!strings.Contains(err.Error(), "etag") {
		t.Errorf("a policy without an etag: %v", err)
	}
}

// The pause is the time that the answer asks for plus a random time that grows.
func TestBackoff(t *testing.T) {
	answer := &http.Response{Header: http.Header{"Retry-After": {"7"}}}
	for n := range 20 {
		got := untilNext(firstWait, maxWait, n, answer)
		least, most := 7*time.Second, 7*time.Second+min(firstWait<<n, maxWait)
		if got < least || got > most {
			t.Errorf("pause %d is %s, want %s to %s", n, got, least, most)
		}
	}
	date := time.Now().Add(time.Minute)
	dated := &http.Response{Header: http.Header{"Retry-After": {date.UTC().Format(http.TimeFormat)}}}
	if got := retryAfter(dated); got < 50*time.Second || got > time.Minute {
		t.Errorf("Retry-After as a date in a minute is %s", got)
	}
}
