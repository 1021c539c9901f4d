package platformtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// faultOf names the environment variable that breaks the platform of these tests.
const faultOf = "JIT_PLATFORMTEST_FAULT"

// place is a target in memory: what it holds, and what somebody broke.
type place struct {
	mu            sync.Mutex
	ours          []jit.Observed
	foreign       []jit.Binding
	down          bool
	reads, writes int
}

// memory is a platform over a place. It keeps every promise but the one that fault names.
type memory struct {
	*place
	offset time.Duration
	fault  string
}

func (p *memory) Kind() string { return "memory" }

func (p *memory) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	traits := jit.Traits{Enforcement: jit.Native}
	if p.fault == "calls in Check" {
		p.reads++
	}
	for _, part := range []struct{ attribute, value string }{{"principal", b.Principal}, {"role", b.Role}} {
		if err := jit.CheckText(part.attribute, part.value); err != nil {
			return b, traits, err
		}
		if part.value == "" || part.value == "nobody" {
			blamed := part.attribute
			if p.fault == "blames another attribute" {
				blamed = "target"
			}
			return b, traits, jit.Invalid(blamed, "write alice", "%q cannot be", part.value)
		}
	}
	return b, traits, nil
}

func (p *memory) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	return jit.AsWritten(b), nil
}

func (p *memory) Scopes(context.Context) ([]string, error) {
	if p.fault == "lists no scope" {
		return nil, nil
	}
	return []string{"all"}, nil
}

func (p *memory) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads++
	var s jit.Snapshot
	if scope != "all" {
		return s, nil
	}
	s.Ours = slices.Clone(p.ours)
	for i, b := range p.foreign {
		s.Standing = append(s.Standing, jit.Standing{Principal: b.Principal, Role: b.Role, Detail: fmt.Sprint(i)})
	}
	switch p.fault {
	case "hides the end":
		for i := range s.Ours {
			s.Ours[i].End = s.Ours[i].Marker.Window.End
		}
	case "lists ours as standing":
		for _, o := range s.Ours {
			s.Standing = append(s.Standing, jit.Standing{Principal: o.Principal, Role: o.Role, Detail: "ours"})
		}
	case "hides standing access":
		s.Standing = nil
	}
	return s, ctx.Err()
}

func (p *memory) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	if err := ctx.Err(); err != nil && p.fault != "ignores the context" {
		return all(errs, err)
	}
	p.mu.Lock()
	down := p.down
	now := slices.Clone(p.ours)
	p.reads++
	p.mu.Unlock()
	if down && p.fault != "says success when down" {
		return all(errs, fmt.Errorf("the place is down"))
	}
	for i, c := range changes {
		if p.fault == "a call a change" {
			p.writes++
		}
		if scope != "all" {
			if c.Op == jit.Ensure {
				errs[i] = jit.Invalid("scope", "write all", "%q is no scope", scope)
			}
			continue
		}
		if errs[i] = p.change(&now, c); errs[i] != nil && p.fault == "one fails all" {
			return all(errs, errs[i])
		}
	}
	if p.fault == "writes over others" {
		time.Sleep(time.Millisecond) // both have read before either writes
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	if p.fault == "writes over others" {
		p.ours = now
		return errs
	}
	for i, c := range changes { // on what is there now
		if errs[i] == nil && scope == "all" && !p.down {
			errs[i] = p.change(&p.ours, c)
		}
	}
	return errs
}

func (p *memory) change(ours *[]jit.Observed, c jit.Change) error {
	a := c.Access
	same := func(o jit.Observed) bool {
		switch {
		case p.fault == "ignores the owner":
			return o.Marker.ID == a.Marker.ID
		case p.fault == "one grant of a pair":
			return o.Principal == a.Binding.Principal && o.Role == a.Binding.Role
		case p.fault == "needs the binding to remove" && c.Op == jit.Remove:
			return o.Marker.ID == a.Marker.ID && o.Principal == a.Binding.Principal
		}
		return o.Marker.Owner == a.Marker.Owner && o.Marker.ID == a.Marker.ID
	}
	there := slices.ContainsFunc(*ours, same)
	if c.Op == jit.Remove {
		if !there && p.fault == "fails on what is absent" {
			return fmt.Errorf("not found")
		}
		*ours = slices.DeleteFunc(*ours, same)
		if p.fault == "removes prior access" {
			p.foreign = slices.DeleteFunc(p.foreign,
				func(b jit.Binding) bool { return b.Principal == a.Binding.Principal })
		}
		return nil
	}
	if _, _, err := p.Check(a.Binding); err != nil {
		return err
	}
	if p.fault != "ignores the clock" {
		if err := jit.CheckSkew(time.Now().Add(p.offset), time.Now()); err != nil {
			return err
		}
	}
	if p.fault == "does not replace" && there {
		return nil
	}
	if p.fault != "adds a copy" {
		*ours = slices.DeleteFunc(*ours, same)
	}
	end := a.Marker.Window.End
	if p.fault == "ends a second late" {
		end = end.Add(time.Second)
	}
	*ours = append(*ours, jit.Observed{Marker: a.Marker, Principal: a.Binding.Principal, Role: a.Binding.Role,
		End: end})
	return nil
}

func all(errs []error, err error) []error {
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func (p *place) edit(m jit.Marker, change func(*jit.Observed)) {
	for i := range p.ours {
		if p.ours[i].Marker.ID == m.ID {
			change(&p.ours[i])
		}
	}
}

func (p *place) allowed(b jit.Binding, at time.Time) bool {
	return slices.Contains(p.foreign, b) || slices.ContainsFunc(p.ours, func(o jit.Observed) bool {
		return o.Principal == b.Principal && o.Role == b.Role && (o.End.IsZero() || at.Before(o.End))
	})
}

func newPlace(*testing.T) *Target {
	p, fault := &place{}, os.Getenv(faultOf)
	return &Target{
		Open: func(*testing.T) jit.Platform { return &memory{place: p, fault: fault} },
		OpenAt: func(_ *testing.T, offset time.Duration) jit.Platform {
			return &memory{place: p, offset: offset, fault: fault}
		},
		Principals: []string{"alice", "bob"}, Roles: []string{"reader", "writer"}, Scope: "all",
		BadBindings: []BadBinding{{"nobody", jit.Binding{Principal: "nobody", Role: "reader", Scope: "all"},
			"principal"}},
		Allowed:   func(_ *testing.T, b jit.Binding) bool { return p.allowed(b, time.Now()) },
		AllowedAt: func(_ *testing.T, b jit.Binding, at time.Time) bool { return p.allowed(b, at) },
		Foreign:   func(_ *testing.T, b jit.Binding) { p.foreign = append(p.foreign, b) },
		Dump:      func(*testing.T) string { return fmt.Sprint(p.foreign) },
		Calls:     func() (int, int) { return p.reads, p.writes },
		Tamper: Tamper{
			MoveEnd: func(_ *testing.T, m jit.Marker,
				end time.Time) {
				p.edit(m, func(o *jit.Observed) { o.End = end })
			},
			StripEnd: func(_ *testing.T, m jit.Marker) { p.edit(m, func(o *jit.Observed) { o.End = time.Time{} }) },
			ChangeRole: func(_ *testing.T, m jit.Marker, role string) {
				p.edit(m, func(o *jit.Observed) { o.Role = role })
			},
			ChangePrincipal: func(_ *testing.T, m jit.Marker, principal string) {
				p.edit(m, func(o *jit.Observed) { o.Principal = principal })
			},
			Duplicate: func(_ *testing.T, m jit.Marker) {
				p.edit(m, func(o *jit.Observed) { p.ours = append(p.ours, *o) })
			},
			Delete: func(_ *testing.T, m jit.Marker) {
				p.ours = slices.DeleteFunc(p.ours, func(o jit.Observed) bool { return o.Marker.ID == m.ID })
			},
		},
		Break: func(*testing.T) func() { p.down = true; return func() { p.down = false } },
	}
}

// TestAPlatformThatKeepsItsPromisesPasses runs the suite on memory. With a
// fault in the environment it is what [TestEveryBrokenPromiseIsCaught] starts.
func TestAPlatformThatKeepsItsPromisesPasses(t *testing.T) {
	Run(t, Harness{New: newPlace})
}

// TestEveryBrokenPromiseIsCaught breaks one promise at a time, and the suite must fail by that name.
func TestEveryBrokenPromiseIsCaught(t *testing.T) {
	faults := map[string]string{
		"calls in Check":              "Check brings a binding into one canonical form",
		"blames another attribute":    "Check refuses what cannot be",
		"lists no scope":              "the scope is listed",
		"hides the end":               "tampering is visible",
		"lists ours as standing":      "standing access is listed",
		"hides standing access":       "standing access is listed",
		"ignores the context":         "a cancelled context does nothing",
		"says success when down":      "a target that fails",
		"a call a change":             "a batch costs no more calls",
		"one fails all":               "one bad change",
		"writes over others":          "concurrent writers",
		"ignores the owner":           "another owner's grant",
		"one grant of a pair":         "overlapping grants",
		"needs the binding to remove": "Remove needs nothing but",
		"fails on what is absent":     "Remove of what never was",
		"removes prior access":        "access that the principal had before",
		"ignores the clock":           "disagreeing clocks",
		"does not replace":            "Ensure with another window",
		"adds a copy":                 "a second Ensure",
		"ends a second late":          "access ends by itself",
	}
	for fault, promise := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestAPlatformThatKeepsItsPromisesPasses",
				"-test.timeout=1m")
			cmd.Env = append(os.Environ(), faultOf+"="+fault)
			out, err := cmd.CombinedOutput()
			want := strings.ReplaceAll(promise, " ", "_")
			if failed := "--- FAIL: TestAPlatformThatKeepsItsPromisesPasses/"; err == nil ||
				!strings.Contains(string(out), failed+want) {
				t.Errorf("the suite ended with %v and did not fail by %q:\n%s", err, promise, out)
			}
		})
	}
}
