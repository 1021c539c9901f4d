package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// inParallel calls f for 0 to n-1, some at a time.
func inParallel(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var all errgroup.Group
	all.SetLimit(10) // as Terraform does by default
	for i := range n {
		all.Go(func() error { return f(i) })
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
}

// grantEverywhere makes n namespaces with one grant each. At the end real ones have no bindings: the cluster is shared.
func (s *site) grantEverywhere(t *testing.T, p *Platform, n int) []jit.Grant {
	t.Helper()
	all := make([]jit.Grant, n)
	changes := make([]jit.Change, n)
	inParallel(t, n, func(i int) error {
		name := fmt.Sprintf("%s-many%d", s.name, i)
		s.makeNamespace(t, name)
		a := s.access("namespaces/"+name, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "everywhere")
		all[i], changes[i] = recorded(a), ensured(a)
		return p.Apply(t.Context(), a.Binding.Scope, changes[i:i+1])[0]
	})
	t.Cleanup(func() {
		if s.real != nil {
			inParallel(t, n, func(i int) error {
				return s.rbac.RoleBindings(fmt.Sprintf("%s-many%d", s.name, i)).DeleteCollection(
					context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{})
			})
		}
	})
	return all
}

// With grants in many namespaces, a scan, a sweep and a plan make one request for each namespace, share those for the
// ClusterRoleBindings, and make no more at a time than for a few.
func TestManyNamespaces(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		n := 300
		if s.fake == nil {
			n = 50 // making more takes longer than all that is tested
		} else {
			s.fake.pageSize = pageSize
		}
		p := s.open(t)
		grants := s.grantEverywhere(t, p, n)
		var now, most atomic.Int64
		p.OnCall = func(string) { s.reads.Add(1) }
		shared := batch.Share(&counted{p, &now, &most}, 0, time.Now)
		b, sweep := newSweep(t, shared, grants...)
		for _, c := range []struct {
			name string
			do   func()
		}{
			{"scan", func() {
				o := sweep.Observe(t.Context(), func(string) bool { return true })
				if len(o.Unread) > 0 || len(o.Snapshots) < n {
					t.Errorf("%d scopes were read; %v", len(o.Snapshots), o.Unread)
				}
			}},
			{"sweep", func() {
				report := sweep.Pass(t.Context())
				about := func(r sweeper.Result) bool { return r.Grant.Principal == grants[0].Principal }
				if slices.ContainsFunc(report.Results, about) || len(report.Unread) > 0 {
					t.Errorf("the sweep reports %+v, %v", report.Results, report.Unread)
				}
			}},
			{"plan", func() {
				inParallel(t, n, func(i int) error {
					drift, err := b.Observe(t.Context(), grants[i])
					if drift != "" {
						t.Error(drift)
					}
					return err
				})
			}},
		} {
			before, began := s.reads.Load(), time.Now()
			c.do()
			calls := int(s.reads.Load() - before)
			t.Logf("%s of %d namespaces: %d requests in %s, at most %d reads at a time", c.name, n, calls,
				time.Since(began).Round(time.Millisecond), most.Load())
			if most := n + 2*n/3 + 50; calls > most {
				t.Errorf("%s of %d namespaces: %d requests, want at most %d", c.name, n, calls, most)
			}
			if most.Load() > parallel {
				t.Errorf("%s: %d reads at a time", c.name, most.Load())
			}
		}
	})
}

// counted counts the reads at a time.
type counted struct {
	*Platform
	now, most *atomic.Int64
}

func (c *counted) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
	}
	return c.Platform.Read(ctx, scope)
}
