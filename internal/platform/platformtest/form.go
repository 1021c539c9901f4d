package platformtest

import (
	"errors"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func checkCanonical(c *trial) {
	p := c.Open(c.T)
	check := func(b jit.Binding) (jit.Binding, jit.Traits) {
		canonical, traits, err := p.Check(b)
		if err != nil {
			c.Fatalf("Check(%+v): %v", b, err)
		}
		return canonical, traits
	}
	c.noCall(func() {
		for principal := range c.Principals {
			for role := range c.Roles {
				b := c.binding(principal, role)
				canonical, traits := check(b)
				if canonical != b {
					c.Errorf("Check(%+v) = %+v; the target's own bindings must be canonical", b, canonical)
				}
				c.plausible(traits)
			}
		}
		for _, alias := range c.Aliases {
			canonical, _ := check(alias.Written)
			if canonical != alias.Canonical {
				c.Errorf("Check(%+v) = %+v, want %+v", alias.Written, canonical, alias.Canonical)
			}
			if again, _ := check(canonical); again != canonical {
				c.Errorf("Check of its own result %+v = %+v", canonical, again)
			}
		}
	})
	if p.Kind() == "" || p.Kind() != c.Open(c.T).Kind() {
		c.Errorf("Kind() = %q; it must be the platform's name", p.Kind())
	}
}

// plausible asserts that traits have possible values.
func (c *trial) plausible(traits jit.Traits) {
	if traits.Enforcement != jit.Native && traits.Enforcement != jit.Sweeper {
		c.Errorf("enforcement is %q", traits.Enforcement)
	}
	if traits.SessionTail < 0 && traits.SessionTail != jit.Unlimited {
		c.Errorf("session tail is %d", traits.SessionTail)
	}
}

// noCall asserts that checks make no call.
func (c *trial) noCall(checks func()) {
	if c.Calls == nil {
		checks()
	} else if reads, writes := c.cost(checks); reads+writes != 0 {
		c.Errorf("Check made %d reads and %d writes, want no call", reads, writes)
	}
}

func checkRefusal(c *trial) {
	p := c.Open(c.T)
	control := c.binding(0, 0)
	control.Principal += "\n" + control.Principal
	bad := append([]BadBinding{
		{Name: "no principal", Binding: jit.Binding{Role: c.Roles[0], Scope: c.Scope}, Attribute: "principal"},
		{Name: "no role", Binding: jit.Binding{Principal: c.Principals[0], Scope: c.Scope}, Attribute: "role"},
		{Name: "a line feed in the principal", Binding: control, Attribute: "principal"},
	}, c.BadBindings...)
	c.noCall(func() {
		for _, b := range bad {
			c.refused(p, b)
		}
	})
}

// refused asserts that Check refuses a binding with a useful error.
func (c *trial) refused(p jit.Platform, b BadBinding) {
	_, _, err := p.Check(b.Binding)
	var user *jit.Error
	if !errors.As(err, &user) || !errors.Is(err, jit.ErrInvalid) {
		c.Errorf("%s: Check(%+v) = %v, want a *jit.Error of the kind ErrInvalid", b.Name, b.Binding, err)
		return
	}
	if user.Attribute != b.Attribute {
		c.Errorf("%s: the error blames %q, want %q: %v", b.Name, user.Attribute, b.Attribute, err)
	}
	if user.Hint == "" {
		c.Errorf("%s: the error does not say what to write instead: %v", b.Name, err)
	}
}
