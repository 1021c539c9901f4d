package claims

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

const (
	place = "directory"
	group = "groups/oncall"
)

// fault is a failure of one write.
type fault int

const (
	none     fault = iota
	declined       // nothing is done
	unheard        // the request never arrives, and the caller cannot know
	lost           // it takes effect, and the answer is lost
	delayed        // the answer is lost, and it takes effect with the next write of the object, or at last
)

// world is a platform whose objects are members of a group. Its list omits writes under way.
type world struct {
	mu      sync.Mutex
	members map[string]bool   // true: of somebody else
	pending map[string][]bool // writes under way: true adds
	writes  int
	ledger  jit.Claims
	skew    error

	onWrite func(add bool, name string) fault
	onList  func()
}

func newWorld() *world {
	return &world{members: map[string]bool{}, pending: map[string][]bool{}, ledger: &jittest.Claims{}}
}

func (w *world) scope() Scope {
	return Scope{Kind: "test", Place: place, Name: group, Ledger: w.ledger}
}

// Name is the principal.
func (w *world) Name(_ context.Context, a jit.Access, _ string) (string, error) {
	if a.Binding.Principal == "nobody" {
		return "", jit.Invalid("principal", "name somebody", "there is nobody")
	}
	return a.Binding.Principal, nil
}

// List lists the members.
func (w *world) List(ctx context.Context, names []string) (map[string]bool, error) {
	if w.onList != nil {
		w.onList()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	there := map[string]bool{}
	for _, name := range names {
		_, there[name] = w.members[name]
	}
	return there, ctx.Err()
}

// Skew returns the error that is set.
func (w *world) Skew() error { return w.skew }

// Add adds a member.
func (w *world) Add(ctx context.Context, name string) error { return w.write(ctx, true, name) }

// Remove removes a member.
func (w *world) Remove(ctx context.Context, name string) error { return w.write(ctx, false, name) }

func (w *world) write(ctx context.Context, add bool, name string) error {
	f := none
	if w.onWrite != nil {
		f = w.onWrite(add, name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	if err := ctx.Err(); err != nil || f == unheard {
		return errors.Join(err, errors.New("no answer"))
	}
	w.finish(name)
	switch f {
	case declined:
		return Refused(errors.New("the group is full"))
	case delayed:
		w.pending[name] = append(w.pending[name], add)
		return errors.New("no answer")
	case none, unheard, lost:
	}
	w.set(add, name)
	if f == lost {
		return errors.New("no answer")
	}
	return nil
}

// finish carries out the writes under way.
func (w *world) finish(name string) {
	for _, add := range w.pending[name] {
		w.set(add, name)
	}
	delete(w.pending, name)
}

func (w *world) set(add bool, name string) {
	if _, there := w.members[name]; add && !there {
		w.members[name] = false
	} else if !add {
		delete(w.members, name)
	}
}

// with changes the world as an outsider would.
func (w *world) with(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func (w *world) has(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, there := w.members[name]
	return there
}

func (w *world) wants(t *testing.T, name string, want bool, when string) {
	t.Helper()
	if got := w.has(name); got != want {
		t.Errorf("%s: %s is a member: %t, want %t", when, name, got, want)
	}
}

func (w *world) claims(t *testing.T) []jit.Claim {
	t.Helper()
	set, err := w.ledger.ReadClaims(context.WithoutCancel(t.Context()), place, group)
	if err != nil {
		t.Fatal(err)
	}
	return set.Claims
}

// empty fails the test if a claim is left.
func (w *world) empty(t *testing.T, when string) {
	t.Helper()
	if left := w.claims(t); len(left) > 0 {
		t.Errorf("%s: claims are left: %+v", when, left)
	}
}

// do makes changes that must succeed.
func (w *world) do(t *testing.T, changes ...jit.Change) {
	t.Helper()
	for i, err := range Apply(t.Context(), w.scope(), w, changes) {
		if err != nil {
			t.Errorf("%s of %s: %v", changes[i].Op, changes[i].Access.Binding.Principal, err)
		}
	}
}

func access(principal, why string) jit.Access {
	b := jit.Binding{Target: "dir", Principal: principal, Role: "member", Scope: group}
	start := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	return jit.Access{Binding: b, Marker: jit.Marker{
		Owner: "team", ID: jit.NewID("team", b, why, 1), Window: jit.Window{Start: start, End: start.Add(time.Hour)},
	}}
}

func ensure(a jit.Access) jit.Change { return jit.Change{Op: jit.Ensure, Access: a} }
func remove(a jit.Access) jit.Change { return jit.Change{Op: jit.Remove, Access: a} }

// hooked is a ledger whose every call goes through call.
type hooked struct {
	jit.Claims
	call func(update bool, do func() error) error
}

func (h hooked) ReadClaims(ctx context.Context, place, scope string) (set jit.ClaimSet, err error) {
	err = h.call(false, func() (err error) {
		set, err = h.Claims.ReadClaims(ctx, place, scope)
		return err
	})
	return set, err
}

func (h hooked) Update(
	ctx context.Context, place, scope string, version int64, put, drop []jit.Claim,
) (next int64, err error) {
	err = h.call(true, func() (err error) {
		next, err = h.Claims.Update(ctx, place, scope, version, put, drop)
		return err
	})
	return next, err
}

func (f fault) String() string { return fmt.Sprintf("fault %d", int(f)) }
