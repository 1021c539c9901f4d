package platformtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// prompt is how soon a call with a cancelled context must return.
const prompt = 5 * time.Second

func cancelled(c *trial) {
	p := c.Open(c.T)
	there, absent := grant(owner, c.binding(0, 0), "there"), grant(owner, c.binding(1, 1), "absent")
	c.apply(p, ensure(there)...)
	before := c.Dump(c.T)
	ctx, cancel := context.WithCancel(c.ctx)
	cancel()
	started := time.Now()
	for i, err := range c.tryIn(ctx, p, c.Scope, append(ensure(absent), remove(there)...)...) {
		if !errors.Is(err, context.Canceled) {
			c.Errorf("change %d: %v, want the error of the context", i, err)
		}
	}
	if _, err := p.Read(ctx, c.Scope); !errors.Is(err, context.Canceled) {
		c.Errorf("Read: %v, want the error of the context", err)
	}
	if took := time.Since(started); took > prompt {
		c.Errorf("returned after %s, want at once", took)
	}
	c.holds(there)
	c.unchanged(before)
}

func cutOff(c *trial) {
	p := c.Open(c.T)
	c.Foreign(c.T, c.foreign(0))
	before := c.Dump(c.T)
	for _, after := range []time.Duration{
		50 * time.Microsecond, 500 * time.Microsecond, 5 * time.Millisecond, 50 * time.Millisecond,
	} {
		accesses := make([]jit.Access, 10)
		for i := range accesses {
			accesses[i] = grant(owner, c.binding(i%2, i%2), fmt.Sprintf("cut off after %s, %d", after, i))
		}
		ctx, cancel := context.WithTimeout(c.ctx, after)
		started := time.Now()
		errs := c.tryIn(ctx, p, c.Scope, ensure(accesses...)...)
		if took := time.Since(started); took > prompt {
			c.Errorf("returned %s after the start, want about %s", took, after)
		}
		cancel()
		snapshot := c.read(c.Open(c.T))
		for i, a := range accesses {
			c.whole(p, find(snapshot, a), a, errs[i])
		}
		// The answer was lost, so the caller asks again.
		c.apply(p, ensure(accesses...)...)
		c.holds(accesses...)
		c.apply(p, remove(accesses...)...)
	}
	c.unchanged(before)
}

// whole asserts that a change that was cut off, and answered with err, has left its access as it should be, or nothing.
func (c *trial) whole(p jit.Platform, found []jit.Observed, a jit.Access, err error) {
	switch {
	case len(found) > 1:
		c.Errorf("%d bindings of %s", len(found), a.Marker)
	case len(found) == 1 && c.faults(p, found[0], a) != "":
		c.Errorf("half done: %s", c.faults(p, found[0], a))
	case len(found) == 0 && err == nil:
		c.Errorf("%s is missing and its change reported success", a.Marker)
	}
}

func clockSkew(c *trial) {
	if c.OpenAt == nil {
		return // the target has no clock of its own
	}
	there, absent := grant(owner, c.binding(0, 0), "there"), grant(owner, c.binding(1, 1), "absent")
	for _, offset := range []time.Duration{2 * jit.MaxSkew, -2 * jit.MaxSkew} {
		c.apply(c.OpenAt(c.T, jit.MaxSkew/3), ensure(there)...)
		p := c.OpenAt(c.T, offset)
		if err := c.try(p, c.Scope, ensure(absent)...)[0]; !errors.Is(err, jit.ErrSkew) {
			c.Errorf("Ensure with a clock that is off by %s: %v, want ErrSkew", offset, err)
		}
		c.holds(there)
		errs := c.try(p, c.Scope, append(ensure(absent), remove(there)...)...)
		if !errors.Is(errs[0], jit.ErrSkew) || errs[1] != nil {
			c.Errorf("Ensure and Remove together with a clock that is off by %s: %v, want ErrSkew and success", offset,
				errs)
		}
		c.holds()
	}
}

func broken(c *trial) {
	if c.Break == nil {
		return // the target cannot be made to fail
	}
	p := c.Open(c.T)
	c.Foreign(c.T, c.foreign(0))
	there, absent := grant(owner, c.binding(0, 0), "there"), grant(owner, c.binding(1, 1), "absent")
	c.apply(p, ensure(there)...)
	before := c.Dump(c.T)
	repair := c.Break(c.T)
	errs := c.try(p, c.Scope, append(ensure(absent), remove(there)...)...)
	repair()
	for i, err := range errs {
		if err == nil {
			c.Errorf("change %d succeeded on a target that cannot be written to", i)
		}
	}
	c.holds(there)
	c.unchanged(before)
	c.apply(p, append(ensure(absent), remove(there)...)...)
	c.holds(absent)
}
