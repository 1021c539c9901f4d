package kubernetes

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// newSweep returns a broker with a ledger that has the grants, and its sweeper.
func newSweep(t *testing.T, p jit.Platform, grants ...jit.Grant) (*broker.Broker, *sweeper.Sweeper) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	records, err := ledger.Open(t.Context(), ledger.Config{URL: "sqlite://" + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	entries := make([]jit.Entry, len(grants))
	for i := range grants {
		grants[i].RequestedAt = grants[i].Start
		entries[i].Grant = &grants[i]
	}
	if err := errors.Join(records.Write(t.Context(), entries)...); err != nil {
		t.Fatal(err)
	}
	b := &broker.Broker{Ledger: records, Targets: map[string]jit.Platform{"cluster": p}, Owner: "team",
		MaxTTL: 24 * time.Hour, Actor: jit.Actor{Name: "alice", Source: jit.FromSweeper}, Now: time.Now}
	return b, &sweeper.Sweeper{Broker: b, Holder: "test", MaxUnplanned: 20}
}

// ours returns the results about one grant.
func ours(report sweeper.Report, g jit.Grant) (found []sweeper.Result) {
	for _, r := range report.Results {
		if r.Grant.ID == g.ID {
			found = append(found, r)
		}
	}
	return found
}

// The API server restarts during a sweep: nothing is recorded as ended while it gives access, and the next pass ends it.
func TestTheServerRestartsDuringASweep(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p, proxy := s.behind(t)
		a := s.access("namespaces/"+s.namespace, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "restart")
		apply(t, p, ensured(a))
		g := recorded(a)
		g.Start = g.Start.Add(-2 * time.Hour)
		g.End, g.GrantedAt = g.Start.Add(time.Hour), g.Start
		b, sweep := newSweep(t, p, g)
		for _, fault := range []testenv.Fault{testenv.Refusing, testenv.Cutting, testenv.Sound} {
			proxy.Set(fault)
			patience := time.Minute
			if fault != testenv.Sound {
				patience = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			report := sweep.Pass(ctx)
			cancel()
			proxy.Set(testenv.Sound)
			now, _, err := b.Lookup(t.Context(), g.ID, g)
			if err != nil {
				t.Fatal(err)
			}
			if allowed := s.allowed(t, a.Binding); allowed && !now.EndedAt.IsZero() {
				t.Errorf("%v: it is recorded as ended and gives access: %+v", fault, report.Results)
			} else if fault == testenv.Sound && (allowed || now.EndedAt.IsZero()) {
				t.Errorf("after the restart access goes on: %t; ended at %s", allowed, now.EndedAt)
			}
		}
	})
}

// The grant of a service account that is made anew is over: one pass says so, and no later pass or plan does.
func TestASweepEndsTheGrantOfAnotherServiceAccount(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		s.makeAccount(t, "deployer")
		a := s.access("namespaces/"+s.namespace, "serviceaccount:"+s.namespace+"/deployer", "ClusterRole/"+s.role(0),
			"another")
		b, sweep := newSweep(t, p)
		g, err := b.Grant(t.Context(), broker.Request{Binding: a.Binding, Reason: "INC-1", Renewal: 1,
			TTL: jit.RecordedTTL("1h")})
		if err != nil {
			t.Fatal(err)
		}
		a = g.Access()
		s.remakeAccount(t, "deployer")
		if found := ours(sweep.Pass(t.Context()), g); len(found) != 1 || found[0].Severity != jit.Critical ||
			!errors.Is(found[0].Err, jit.ErrOver) {
			t.Errorf("the first pass reports %+v", found)
		}
		if s.allowed(t, a.Binding) || len(observed(t, p, a)) > 0 {
			t.Error("the new service account has the access")
		}
		if g, _, err = b.Lookup(t.Context(), g.ID, g); err != nil || g.EndedAt.IsZero() ||
			!strings.Contains(g.RevokeReason, "made anew") {
			t.Errorf("ended at %s: %q, %v", g.EndedAt, g.RevokeReason, err)
		}
		if found := ours(sweep.Pass(t.Context()), g); len(found) > 0 {
			t.Errorf("the second pass reports %+v", found)
		}
		if drift, err := b.Observe(t.Context(), g); drift != "" || err != nil {
			t.Errorf("a plan says %q, %v", drift, err)
		}
	})
}
