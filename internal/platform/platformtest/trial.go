package platformtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

const (
	owner   = "conformance"
	another = "another-team"
)

// trial is one case under way.
type trial struct {
	*testing.T
	ctx context.Context
	*Target
}

// binding returns the combination of the given principal and role; on a platform
// with one role every index means that role.
func (c *trial) binding(principal, role int) jit.Binding {
	return jit.Binding{
		Target:    "conformance",
		Principal: c.Principals[principal],
		Role:      c.Roles[role%len(c.Roles)],
		Scope:     c.Scope,
	}
}

// window is an hour that has begun a minute ago.
func window() jit.Window {
	start := jit.Second(time.Now()).Add(-time.Minute)
	return jit.Window{Start: start, End: start.Add(time.Hour)}
}

// grant returns an access of the owner whose id is derived from the binding and why.
func grant(owner string, b jit.Binding, why string) jit.Access {
	return jit.Access{
		Marker:  jit.Marker{Owner: owner, ID: jit.NewID(owner, b, why, 1), Window: window()},
		Binding: b,
	}
}

func ensure(accesses ...jit.Access) []jit.Change { return changes(jit.Ensure, accesses) }
func remove(accesses ...jit.Access) []jit.Change { return changes(jit.Remove, accesses) }

func changes(op jit.Op, accesses []jit.Access) []jit.Change {
	all := make([]jit.Change, len(accesses))
	for i, a := range accesses {
		all[i] = jit.Change{Op: op, Access: a}
	}
	return all
}

// apply makes changes that must succeed.
func (c *trial) apply(p jit.Platform, all ...jit.Change) {
	c.Helper()
	for i, err := range c.try(p, c.Scope, all...) {
		if err != nil {
			c.Fatalf("Apply, change %d (%s %s): %v", i, all[i].Op, all[i].Access.Marker, err)
		}
	}
}

// try makes changes and returns their errors, one for each.
func (c *trial) try(p jit.Platform, scope string, all ...jit.Change) []error {
	c.Helper()
	return c.tryIn(c.ctx, p, scope, all...)
}

func (c *trial) tryIn(ctx context.Context, p jit.Platform, scope string, all ...jit.Change) []error {
	c.Helper()
	jittest.CheckChanges(all)
	errs := p.Apply(ctx, scope, slices.Clone(all))
	if len(errs) != len(all) {
		c.Fatalf("Apply of %d changes returned %d errors; it must return one for each", len(all), len(errs))
	}
	return errs
}

func (c *trial) read(p jit.Platform) jit.Snapshot {
	c.Helper()
	time.Sleep(c.Lag)
	snapshot, err := p.Read(c.ctx, c.Scope)
	if err != nil {
		c.Fatalf("Read: %v", err)
	}
	return snapshot
}

// native reports whether the platform ends the binding by itself.
func (c *trial) native(p jit.Platform, b jit.Binding) bool {
	c.Helper()
	_, traits, err := p.Check(b)
	if err != nil {
		c.Fatalf("Check: %v", err)
	}
	return traits.Enforcement == jit.Native
}

// faults describes how the observed binding differs from the access; empty if it does not.
func (c *trial) faults(p jit.Platform, o jit.Observed, a jit.Access) string {
	c.Helper()
	var faults []string
	if o.Principal != a.Binding.Principal {
		faults = append(faults, fmt.Sprintf("principal %q, want %q", o.Principal, a.Binding.Principal))
	}
	if o.Role != a.Binding.Role {
		faults = append(faults, fmt.Sprintf("role %q, want %q", o.Role, a.Binding.Role))
	}
	if !o.Marker.Window.Equal(a.Marker.Window) {
		faults = append(faults, fmt.Sprintf("window %s, want %s", o.Marker, a.Marker))
	}
	var end time.Time
	if c.native(p, a.Binding) {
		end = a.Marker.Window.End
	}
	if !o.End.Equal(end) {
		faults = append(faults, fmt.Sprintf("end %q, want %q", jit.FormatTime(o.End), jit.FormatTime(end)))
	}
	if o.Damage != "" {
		faults = append(faults, "damage: "+o.Damage)
	}
	return strings.Join(faults, "; ")
}

// find returns the observed bindings with the owner and id of the access.
func find(s jit.Snapshot, a jit.Access) []jit.Observed {
	var found []jit.Observed
	for _, o := range s.Ours {
		if o.Marker.Owner == a.Marker.Owner && o.Marker.ID == a.Marker.ID {
			found = append(found, o)
		}
	}
	return found
}

// holds asserts that a fresh instance reads exactly these accesses on the scope, each as it should be.
func (c *trial) holds(accesses ...jit.Access) {
	c.Helper()
	p := c.Open(c.T)
	snapshot := c.read(p)
	if len(snapshot.Ours) != len(accesses) {
		c.Errorf("the scope holds %d bindings with a marker, want %d: %+v", len(snapshot.Ours), len(accesses),
			snapshot.Ours)
	}
	for _, a := range accesses {
		found := find(snapshot, a)
		if len(found) != 1 {
			c.Errorf("found %d bindings of %s, want 1", len(found), a.Marker)
			continue
		}
		if faults := c.faults(p, found[0], a); faults != "" {
			c.Errorf("%s: %s", a.Marker, faults)
		}
	}
}

// allowed asserts that using the access succeeds, or fails. It asserts nothing if the access cannot be tried.
func (c *trial) allowed(b jit.Binding, want bool) {
	c.Helper()
	if c.Allowed == nil {
		return
	}
	if got := c.Allowed(c.T, b); got != want {
		c.Errorf("%s as %s is allowed: %t, want %t", b.Principal, b.Role, got, want)
	}
}

// unchanged asserts that nothing foreign on the target has changed.
func (c *trial) unchanged(before string) {
	c.Helper()
	if after := c.Dump(c.T); after != before {
		c.Errorf("the foreign state is\n%s\nwas\n%s", after, before)
	}
}

// cost counts the calls of do on the target.
func (c *trial) cost(do func()) (reads, writes int) {
	r, w := c.Calls()
	do()
	reads, writes = c.Calls()
	return reads - r, writes - w
}
