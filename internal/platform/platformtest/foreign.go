package platformtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// foreign is a binding for somebody else to make beside our grants.
func (c *trial) foreign(i int) jit.Binding {
	b := c.binding(i, i)
	if c.Other != "" {
		b.Principal = c.Other
	}
	return b
}

func priorAccess(c *trial) {
	p, a := c.Open(c.T), grant(owner, c.binding(0, 0), "prior")
	c.Foreign(c.T, a.Binding)
	before := c.Dump(c.T)
	c.allowed(a.Binding, true)
	if c.Other == "" {
		c.apply(p, ensure(a)...)
		c.holds(a)
	} else {
		var user *jit.Error
		err := c.try(p, c.Scope, ensure(a)...)[0]
		if !errors.As(err, &user) || user.Attribute != "principal" || user.Hint == "" {
			c.Errorf("Ensure of access that the principal already has: %v, want an error about the principal", err)
		}
		c.holds()
	}
	c.apply(p, remove(a)...)
	c.holds()
	c.allowed(a.Binding, true)
	c.unchanged(before)
}

func standing(c *trial) {
	p := c.Open(c.T)
	ours, theirs := grant(owner, c.binding(0, 0), "ours"), c.binding(1, 1)
	c.apply(p, ensure(ours)...)
	if found := c.standingOf(p, ours.Binding); len(found) > 0 {
		c.Errorf("our own grant is listed as standing access: %+v", found)
	}
	c.Foreign(c.T, theirs)
	if found := c.standingOf(p, ours.Binding); len(found) > 0 {
		c.Errorf("our own grant is listed as standing access: %+v", found)
	}
	if found := c.standingOf(p, theirs); len(found) != 1 || found[0].Detail == "" {
		c.Errorf("found %+v, want the foreign access of %+v once, with its place", found, theirs)
	}
	c.holds(ours)
}

// standingOf reads the standing access of the binding's principal to its role, by itself or as one of its members.
func (c *trial) standingOf(p jit.Platform, b jit.Binding) []jit.Standing {
	return slices.DeleteFunc(c.read(p).Standing, func(s jit.Standing) bool {
		_, includes := jit.Shadow([]jit.Standing{s}, b, time.Time{})
		return (s.Principal != b.Principal || s.Role != b.Role) && (s.Members == "" || !includes)
	})
}

func foreignStays(c *trial) {
	c.Foreign(c.T, c.foreign(0))
	c.Foreign(c.T, c.foreign(1))
	before := c.Dump(c.T)
	p := c.Open(c.T)
	a, b := grant(owner, c.binding(0, 0), "a"), grant(owner, c.binding(1, 1), "b")
	theirs := grant(another, c.binding(0, 0), "c")
	longer := a
	longer.Marker.Window.End = longer.Marker.Window.End.Add(time.Hour)
	steps := []struct {
		name    string
		changes []jit.Change
		holds   []jit.Access
	}{
		{"ensure", ensure(a), []jit.Access{a}},
		{"ensure again", ensure(a), []jit.Access{a}},
		{"another owner", ensure(theirs), []jit.Access{a, theirs}},
		{"replace", ensure(longer), []jit.Access{longer, theirs}},
		{"several", append(ensure(b), remove(theirs)...), []jit.Access{longer, b}},
		{"bad", ensure(grant(owner, c.BadBindings[0].Binding, "bad")), []jit.Access{longer, b}},
		{"remove", remove(longer, b), nil},
		{"remove again", remove(longer, b), nil},
	}
	for _, s := range steps {
		for i, err := range c.try(p, c.Scope, s.changes...) {
			if err != nil && s.name != "bad" {
				c.Fatalf("%s, change %d: %v", s.name, i, err)
			}
		}
		c.holds(s.holds...)
		if after := c.Dump(c.T); after != before {
			c.Fatalf("after %q the foreign state is\n%s\nwas\n%s", s.name, after, before)
		}
	}
}

func concurrent(c *trial) {
	const processes, rounds = 3, 3
	// Each writer makes one grant that stays and one that goes. There are never more than 20 of one principal and role,
	// the most that some platforms hold, and no grant of the foreign principal and role, which some refuse.
	writers := []struct{ stays, goes jit.Binding }{
		{c.binding(0, 0), c.binding(1, 0)}, {c.binding(1, 1), c.binding(1, 1)},
		{c.binding(1, 0), c.binding(1, 0)}, {c.binding(0, 0), c.binding(1, 1)},
	}
	c.Foreign(c.T, c.foreign(0))
	before := c.Dump(c.T)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		kept []jit.Access
	)
	for process := range processes {
		p := c.Open(c.T)
		for writer, grants := range writers {
			wg.Go(func() {
				for round := range rounds {
					why := fmt.Sprintf("process %d writer %d round %d", process, writer, round)
					stays, goes := grant(owner, grants.stays, why), grant(owner, grants.goes, why+" goes")
					c.applyBeside(p, why, ensure(stays, goes))
					c.applyBeside(p, why, remove(goes))
					mu.Lock()
					kept = append(kept, stays)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	c.holds(kept...)
	c.unchanged(before)
	c.apply(c.Open(c.T), remove(kept...)...)
	c.holds()
}

// applyBeside makes changes in a goroutine.
func (c *trial) applyBeside(p jit.Platform, why string, changes []jit.Change) {
	for i, err := range p.Apply(c.ctx, c.Scope, changes) {
		if err != nil {
			c.Errorf("%s, change %d: %v", why, i, err)
		}
	}
}

func tampered(c *trial) {
	p := c.Open(c.T)
	t := c.Tamper
	role := c.binding(0, 1).Role
	tampers := []struct {
		name string
		do   func(jit.Marker)
		skip bool
		// seen reports whether what was read shows the tampering.
		seen func(a jit.Access, found []jit.Observed) bool
	}{
		{"the end moved", func(m jit.Marker) { t.MoveEnd(c.T, m, m.Window.End.Add(24*time.Hour)) }, t.MoveEnd == nil,
			func(a jit.Access, found []jit.Observed) bool {
				return len(found) == 1 && (found[0].Damage != "" ||
					found[0].End.Equal(a.Marker.Window.End.Add(24*time.Hour)))
			}},
		{"the end stripped", func(m jit.Marker) { t.StripEnd(c.T, m) }, t.StripEnd == nil,
			func(_ jit.Access, found []jit.Observed) bool { return len(found) == 1 && found[0].End.IsZero() }},
		{"another role", func(m jit.Marker) { t.ChangeRole(c.T, m, role) }, t.ChangeRole == nil || len(c.Roles) == 1,
			func(_ jit.Access, found []jit.Observed) bool { return len(found) == 1 && found[0].Role == role }},
		{"another principal", func(m jit.Marker) { t.ChangePrincipal(c.T, m, c.Principals[1]) },
			t.ChangePrincipal == nil,
			func(_ jit.Access, found []jit.Observed) bool {
				return len(found) == 1 && found[0].Principal == c.Principals[1]
			}},
		{"a copy", func(m jit.Marker) { t.Duplicate(c.T, m) }, t.Duplicate == nil,
			func(_ jit.Access, found []jit.Observed) bool { return len(found) == 2 }},
		{"deleted", func(m jit.Marker) { t.Delete(c.T, m) }, t.Delete == nil,
			func(_ jit.Access, found []jit.Observed) bool { return len(found) == 0 }},
	}
	for _, tamper := range tampers {
		if tamper.skip {
			continue
		}
		a := grant(owner, c.binding(0, 0), tamper.name)
		c.apply(p, ensure(a)...)
		tamper.do(a.Marker)
		if found := find(c.read(p), a); !tamper.seen(a, found) {
			c.Errorf("%s: Read does not show it: %+v", tamper.name, found)
		}
		c.apply(p, ensure(a)...)
		c.holds(a)
		c.allowed(a.Binding, true)
		tamper.do(a.Marker)
		time.Sleep(c.Lag) // a removal ends what reads show, and of others' writes they may miss the latest
		c.apply(p, remove(a)...)
		c.holds()
		c.allowed(a.Binding, false)
		c.allowed(c.binding(1, 0), false)
	}
}
