package platformtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func ensureThenRead(c *trial) {
	a, b := grant(owner, c.binding(0, 0), "first"), grant(owner, c.binding(1, 1), "second")
	c.holds()
	c.allowed(a.Binding, false)
	c.apply(c.Open(c.T), ensure(a)...)
	c.holds(a)
	c.allowed(a.Binding, true)
	c.allowed(b.Binding, false)
	c.apply(c.Open(c.T), ensure(b)...)
	c.holds(a, b)
	c.allowed(b.Binding, true)
}

func ensureTwice(c *trial) {
	p, a := c.Open(c.T), grant(owner, c.binding(0, 0), "twice")
	c.apply(p, ensure(a)...)
	c.apply(p, ensure(a)...)
	c.holds(a)
	c.apply(c.Open(c.T), ensure(a)...)
	c.holds(a)
	c.allowed(a.Binding, true)
}

func ensureReplaces(c *trial) {
	p, a := c.Open(c.T), grant(owner, c.binding(0, 0), "window")
	c.apply(p, ensure(a)...)
	for _, move := range []time.Duration{2 * time.Hour, -30 * time.Minute} {
		a.Marker.Window.End = a.Marker.Window.End.Add(move)
		c.apply(p, ensure(a)...)
		c.holds(a)
		c.allowed(a.Binding, true)
	}
}

func removeTwice(c *trial) {
	p, a := c.Open(c.T), grant(owner, c.binding(0, 0), "remove")
	c.apply(p, ensure(a)...)
	c.apply(p, remove(a)...)
	c.holds()
	c.allowed(a.Binding, false)
	c.apply(p, remove(a)...)
	c.apply(c.Open(c.T), remove(a)...)
	c.holds()
}

func removeByID(c *trial) {
	a, b := grant(owner, c.binding(0, 0), "by id"), grant(owner, c.binding(1, 1), "stays")
	c.apply(c.Open(c.T), ensure(a, b)...)
	time.Sleep(c.Lag) // nothing but a read tells where an id is, and it may miss what another process wrote
	byID := jit.Access{Marker: jit.Marker{Owner: owner, ID: a.Marker.ID}}
	c.apply(c.Open(c.T), jit.Change{Op: jit.Remove, Access: byID, Held: true})
	c.holds(b)
	c.allowed(a.Binding, false)
	c.allowed(b.Binding, true)
}

func removeAbsent(c *trial) {
	before := c.Dump(c.T)
	a := grant(owner, c.binding(0, 0), "never was")
	c.apply(c.Open(c.T), remove(a)...)
	c.apply(c.Open(c.T), remove(jit.Access{Marker: jit.Marker{Owner: owner, ID: a.Marker.ID}})...)
	c.holds()
	c.unchanged(before)
}

func noSuchScope(c *trial) {
	p, a := c.Open(c.T), grant(owner, c.binding(0, 0), "nowhere")
	const nowhere = "no-such-place/none of ours"
	a.Binding.Scope = nowhere
	if err := c.try(p, nowhere, ensure(a)...)[0]; err == nil {
		c.Errorf("Ensure on the scope %q, which the target cannot have, succeeded", nowhere)
	}
	c.try(p, nowhere, remove(a)...) // success or an error, in time and without a panic
	if s, err := p.Read(c.ctx, nowhere); err == nil && len(s.Ours)+len(s.Standing) > 0 {
		c.Errorf("Read of the scope %q = %+v", nowhere, s)
	}
	if c.Gone != "" {
		c.vanished(p, a)
	}
	c.holds()
}

// vanished asserts that a scope that has vanished refuses Ensure, and has nothing to remove or read.
func (c *trial) vanished(p jit.Platform, a jit.Access) {
	a.Binding.Scope = c.Gone
	if err := c.try(p, c.Gone, ensure(a)...)[0]; err == nil {
		c.Errorf("Ensure on the scope %q, which has vanished, succeeded", c.Gone)
	}
	if err := c.try(p, c.Gone, remove(a)...)[0]; err != nil {
		c.Errorf("Remove on the scope %q, which has vanished with all its access: %v", c.Gone, err)
	}
	if s, err := p.Read(c.ctx, c.Gone); err != nil || len(s.Ours)+len(s.Standing) > 0 {
		c.Errorf("Read of the scope %q, which has vanished = %+v, %v", c.Gone, s, err)
	}
}

func batchCost(c *trial) {
	const few, many = 2, 40
	accesses := make([]jit.Access, many)
	for i := range accesses {
		accesses[i] = grant(owner, c.binding(i%2, i%2), fmt.Sprintf("batch %d", i))
	}
	c.apply(c.Open(c.T), ensure(accesses...)...)
	c.holds(accesses...)
	c.apply(c.Open(c.T), remove(accesses...)...)
	c.holds()
	if c.Calls == nil {
		return
	}
	p := c.Open(c.T)
	for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
		fewReads, fewWrites := c.cost(func() { c.apply(p, changes(op, accesses[:few])...) })
		// A batch of both operations may need what neither does alone, so each starts from the same state.
		c.apply(p, changes(jit.Ensure+jit.Remove-op, accesses[:few])...)
		reads, writes := c.cost(func() { c.apply(p, changes(op, accesses)...) })
		mostReads, mostWrites := fewReads, fewWrites
		if c.MaxCalls != nil {
			mostReads, mostWrites = c.MaxCalls(op, many)
		}
		if reads > mostReads || writes > mostWrites {
			c.Errorf("%s of %d at once made %d reads and %d writes, want at most %d and %d",
				op, many, reads, writes, mostReads, mostWrites)
		}
	}
	reads, writes := c.cost(func() { c.read(p) })
	if writes != 0 || reads == 0 {
		c.Errorf("Read made %d reads and %d writes", reads, writes)
	}
}

func badNeighbour(c *trial) {
	p := c.Open(c.T)
	first, last := grant(owner, c.binding(0, 0), "first"), grant(owner, c.binding(1, 1), "last")
	gone := grant(owner, c.binding(0, 0), "gone")
	c.apply(p, ensure(gone)...)
	bad := make([]jit.Access, 0, len(c.BadBindings)+1)
	for _, b := range c.BadBindings {
		if b.Attribute != "scope" { // the scope of a change is that of its batch
			bad = append(bad, grant(owner, b.Binding, b.Name))
		}
	}
	if c.Impossible != nil {
		bad = append(bad, grant(owner, *c.Impossible, "impossible"))
	}
	batch := slices.Concat(ensure(first), ensure(bad...), remove(gone), ensure(last))
	for i, err := range c.try(p, c.Scope, batch...) {
		if good := i == 0 || i > len(bad); good != (err == nil) {
			c.Errorf("change %d of %+v: %v; want success only for good bindings", i, batch[i].Access.Binding, err)
		}
	}
	c.holds(first, last)
	c.allowed(first.Binding, true)
	c.allowed(last.Binding, true)
}

func overlapping(c *trial) {
	p := c.Open(c.T)
	a, b := grant(owner, c.binding(0, 0), "incident"), grant(owner, c.binding(0, 0), "deployment")
	b.Marker.Window.End = b.Marker.Window.End.Add(time.Hour)
	for _, order := range [][2]jit.Access{{a, b}, {b, a}} {
		c.apply(p, ensure(a, b)...)
		c.holds(a, b)
		c.apply(p, remove(order[0])...)
		c.holds(order[1])
		c.allowed(a.Binding, true)
		c.apply(p, remove(order[1])...)
		c.holds()
		c.allowed(a.Binding, false)
	}
}

func otherOwner(c *trial) {
	p := c.Open(c.T)
	ours, theirs := grant(owner, c.binding(0, 0), "shared"), grant(another, c.binding(0, 0), "shared")
	theirs.Marker.ID = ours.Marker.ID
	theirs.Marker.Window.End = theirs.Marker.Window.End.Add(time.Hour)
	c.apply(p, ensure(ours)...)
	c.apply(p, ensure(theirs)...)
	c.holds(ours, theirs)
	ours.Marker.Window.End = ours.Marker.Window.End.Add(-time.Minute)
	c.apply(p, ensure(ours)...)
	c.holds(ours, theirs)
	c.apply(p, remove(ours)...)
	c.holds(theirs)
	c.allowed(theirs.Binding, true)
	c.apply(p, remove(theirs)...)
	c.holds()
}

func scopesListed(c *trial) {
	p, a := c.Open(c.T), grant(owner, c.binding(0, 0), "scopes")
	c.apply(p, ensure(a)...)
	time.Sleep(c.Lag)
	scopes, err := c.Open(c.T).Scopes(c.ctx)
	if err != nil {
		c.Fatalf("Scopes: %v", err)
	}
	if !slices.Contains(scopes, c.Scope) {
		c.Errorf("Scopes() = %q, want %q among them", scopes, c.Scope)
	}
}

func endsByItself(c *trial) {
	p, a := c.Open(c.T), grant(owner, c.binding(0, 0), "end")
	_, traits, err := p.Check(a.Binding)
	if err != nil {
		c.Fatalf("Check: %v", err)
	}
	if traits.Enforcement == jit.Native && c.AllowedAt == nil {
		c.Fatal("the platform says that it ends access by itself and the target has no AllowedAt to show it")
	}
	c.apply(p, ensure(a)...)
	if traits.Enforcement != jit.Native {
		return // the other cases check what it holds instead
	}
	w := a.Marker.Window
	c.givesAt(a.Binding, []moment{ // not at its start, which is past: a late request may begin late
		{"now", time.Now(), true},
		{"in the last second", w.End.Add(-time.Second - c.Early), true},
		{"at the end", w.End, false},
		{"a second after", w.End.Add(time.Second), false},
		{"a year after", w.End.AddDate(1, 0, 0), false},
	})
	if !traits.NativeStart {
		return
	}
	c.startsByItself(p, a)
}

// startsByItself asserts that the platform begins access at its start, wherever it is moved. there is a grant beside
// it.
func (c *trial) startsByItself(p jit.Platform, there jit.Access) {
	later, w := grant(owner, c.binding(1, 1), "start"), there.Marker.Window
	w = jit.Window{Start: w.Start.Add(time.Hour), End: w.End.Add(time.Hour)}
	for _, moved := range []time.Duration{0, 30 * time.Minute, -15 * time.Minute} {
		later.Marker.Window = jit.Window{Start: w.Start.Add(moved), End: w.End.Add(moved)}
		start, end := later.Marker.Window.Start, later.Marker.Window.End
		c.apply(p, ensure(later)...)
		c.holds(there, later)
		for _, o := range find(c.read(p), later) {
			if !o.Start.Equal(start) {
				c.Errorf("Read reports the beginning %q of a binding that begins at %s",
					jit.FormatTime(o.Start), jit.FormatTime(start))
			}
		}
		c.givesAt(later.Binding, []moment{
			{"now", time.Now(), false},
			{"a second before the start", start.Add(-time.Second), false},
			{"at the start", start, true},
			{"in the last second", end.Add(-time.Second - c.Early), true},
			{"at the end", end, false},
		})
	}
	// It is to begin at once after all.
	w.Start = jit.Second(time.Now())
	later.Marker.Window = w
	c.apply(p, ensure(later)...)
	c.holds(there, later)
	c.givesAt(later.Binding, []moment{
		{"moved to now, a moment later", time.Now().Add(time.Second), true},
		{"moved to now, at the end", w.End, false},
	})
}

// moment is a time, and whether access must be given then.
type moment struct {
	name string
	at   time.Time
	want bool
}

// givesAt asserts at which times the target, as it stands, gives the access.
func (c *trial) givesAt(b jit.Binding, moments []moment) {
	c.Helper()
	for _, m := range moments {
		if got := c.AllowedAt(c.T, b, m.at); got != m.want {
			c.Errorf("%s (%s) access is given: %t, want %t", m.name, jit.FormatTime(m.at), got, m.want)
		}
	}
}
