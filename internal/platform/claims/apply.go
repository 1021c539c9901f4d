package claims

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Objects lists and changes the objects of one scope, each of which gives one principal one role. Its methods are safe
// for concurrent use; Add and Remove are called for many objects at once.
type Objects interface {
	// Name returns the name of the object that gives the access. The name never changes its meaning. held is the object
	// that the grant claims already, empty if none: an account made anew under the principal's name is another one.
	Name(ctx context.Context, a jit.Access, held string) (string, error)

	// List returns which of the named objects exist. It may lag behind writes, by [Scope].Lag.
	List(ctx context.Context, names []string) (map[string]bool, error)

	// Skew returns an error if the platform's clock, as List found it, disagrees with ours.
	Skew() error

	// Add makes an object, and Remove removes it. Both return when the outcome is confirmed; there is no error if
	// there is nothing to do. An error that is not [Refused] means that the write may still take effect.
	Add(ctx context.Context, name string) error
	Remove(ctx context.Context, name string) error
}

// Refused wraps the error of a write that the platform has refused: nothing was done, and nothing is under way.
func Refused(err error) error { return &refusal{err} }

type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

func refused(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// presence is what is known of an object.
type presence int

const (
	absent  presence = iota // the list lacks it; it may be on its way
	listed                  // the list has it; it may be on its way out
	added                   // its making was confirmed
	removed                 // its removal was confirmed
)

// application is one call of [Apply].
type application struct {
	scope   Scope
	objects Objects
	changes []jit.Change
	names   []string // of the objects to be ensured
	errs    []error
	todo    []int // the changes that can be made

	draft *Draft
	fresh map[claimKey]bool // the claims that this call has added
	// unrecorded is why the claims could not be written. Removals are carried out all the same.
	unrecorded error

	mu     sync.Mutex
	there  map[string]presence
	failed map[string]error // the latest writes that failed
	gone   map[string]bool  // the removed objects that a later list lacks
}

// Apply carries out changes on one scope and returns one error for each. It records the claims first, then brings the
// objects to what the claims ask for, and drops the claims that were given up. If another process has written claims
// meanwhile, it starts over: an object never outlives its last claim, and a claim that came during the removal gets its
// object back.
//
// A removal that fails keeps its claims, so it is tried again. An ensure that the platform refuses leaves none.
func Apply(ctx context.Context, s Scope, o Objects, changes []jit.Change) []error {
	a := &application{
		scope: s, objects: o, changes: changes, names: make([]string, len(changes)), errs: make([]error, len(changes)),
	}
	for i, c := range changes {
		if a.errs[i] = a.accept(ctx, c.Access.Marker); a.errs[i] == nil {
			a.todo = append(a.todo, i)
		}
	}
	if err := a.record(ctx); err != nil {
		for _, i := range a.todo {
			a.errs[i] = err
		}
		return a.errs
	}
	if len(a.todo) > 0 {
		a.converge(ctx)
	}
	for _, i := range a.todo {
		if a.errs[i] == nil {
			a.errs[i] = a.failure(i)
		}
	}
	return a.errs
}

// accept refuses the changes of a grant that has its access elsewhere.
func (a *application) accept(ctx context.Context, m jit.Marker) error {
	places, err := a.scope.Ledger.Places(ctx, m.Owner, m.ID)
	if err == nil && len(places) > 0 && !slices.Contains(places, a.scope.Place) {
		return &jit.Error{
			Problem: fmt.Sprintf("the access was given on %s, and the target is %s", strings.Join(places, ", "),
				a.scope.Place),
			Hint: "point the target there again until the grant has ended",
		}
	}
	return unavailable(err)
}

// name names the objects of the ensures. Those that can never be made are done.
func (a *application) name(ctx context.Context, claims []jit.Claim) {
	a.todo = slices.DeleteFunc(a.todo, func(i int) bool {
		c := a.changes[i]
		if c.Op == jit.Ensure {
			a.names[i], a.errs[i] = a.objects.Name(ctx, c.Access, held(claims, c.Access.Marker))
		}
		return a.errs[i] != nil
	})
}

// held returns the object that a grant claims, empty if none.
func held(claims []jit.Claim, m jit.Marker) string {
	i := slices.IndexFunc(claims, func(c jit.Claim) bool { return !c.Ending && c.Marker.Key() == m.Key() })
	if i < 0 {
		return ""
	}
	return claims[i].Object
}

// record writes the claims of all changes. The objects are listed between the read of the claims and their write, so
// an object that exists without a claim was there before.
func (a *application) record(ctx context.Context) error {
	for try := 0; len(a.todo) > 0; try++ {
		for _, i := range a.todo {
			a.errs[i] = nil // else a change that the previous try refused would not be listed
		}
		set, err := a.scope.Read(ctx)
		if err != nil {
			return err
		}
		if try == 0 {
			a.name(ctx, set.Claims)
		}
		there, err := a.objects.List(ctx, a.concerned(set.Claims))
		if err != nil {
			return err
		}
		a.prepare(set, there, a.objects.Skew())
		fresh, err := a.scope.Record(ctx, a.draft)
		for _, c := range fresh {
			a.fresh[key(c)] = true
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, jit.ErrStale) {
			a.unrecorded = err
			a.prepare(set, there, err)
			return nil
		}
		if err := backoff.Wait(ctx, try, firstPause, maxPause); err != nil {
			return err
		}
	}
	return nil
}

// prepare drafts the claims. With a reason against it, no access begins.
func (a *application) prepare(set jit.ClaimSet, there map[string]bool, against error) {
	a.draft, a.fresh = NewDraft(set), map[claimKey]bool{}
	a.there, a.failed, a.gone = map[string]presence{}, map[string]error{}, map[string]bool{}
	for name, is := range there {
		if is {
			a.there[name] = listed
		}
	}
	for _, i := range a.todo {
		c := a.changes[i]
		switch {
		case c.Op == jit.Remove:
			a.draft.Remove(c.Access.Marker)
		case against != nil:
			a.errs[i] = against
		default:
			a.draft.Ensure(c.Access, a.names[i], there[a.names[i]])
		}
	}
}

// concerned returns the names of the objects that the changes without an error ask for or have claimed.
func (a *application) concerned(claims []jit.Claim) []string {
	var names []string
	of := map[jit.GrantKey]bool{}
	for _, i := range a.todo {
		if a.errs[i] == nil {
			of[a.changes[i].Access.Marker.Key()] = true
			names = append(names, a.names[i])
		}
	}
	for _, c := range claims {
		if of[c.Marker.Key()] {
			names = append(names, c.Object)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// converge writes objects and drops claims until nobody has changed the claims meanwhile.
func (a *application) converge(ctx context.Context) {
	for try := 0; ; try++ {
		a.write(ctx)
		failpoint.Hit(a.scope.Kind + ".after-write")
		a.confirm(ctx)
		void, err := a.void(), a.unrecorded
		if len(void) == 0 {
			return
		}
		if err == nil {
			_, err = a.scope.Ledger.Update(ctx, a.scope.Place, a.scope.Name, a.draft.Version, nil, void)
			err = unavailable(err)
		}
		if err == nil {
			return
		}
		if errors.Is(err, jit.ErrStale) {
			if err = a.reread(ctx, try); err == nil {
				continue
			}
		}
		for _, i := range a.todo {
			of := a.changes[i].Access.Marker.Key()
			if a.errs[i] == nil && a.failure(i) == nil &&
				slices.ContainsFunc(void, func(c jit.Claim) bool { return c.Marker.Key() == of }) {
				a.errs[i] = Unrecorded(err)
			}
		}
		return
	}
}

// reread takes up the claims that somebody has written meanwhile. What is known of the objects stays true, because
// everybody writes claims first.
func (a *application) reread(ctx context.Context, try int) error {
	if err := backoff.Wait(ctx, try, firstPause, maxPause); err != nil {
		return err
	}
	set, err := a.scope.Read(ctx)
	if err == nil {
		a.draft.reread(set)
	}
	return err
}

// write adds and removes what the claims ask for. Objects are added first, so a principal that moves from one to
// another is never without.
func (a *application) write(ctx context.Context) {
	ensured := map[string]bool{}
	for _, i := range a.todo {
		ensured[a.names[i]] = ensured[a.names[i]] || a.errs[i] == nil
	}
	var adds, removes []string
	for _, name := range a.concerned(a.draft.Claims) {
		claimed, is := a.draft.claimed(name), a.there[name]
		// A claim may have come during our removal, and a removal whose answer was lost may still take effect.
		vanished := is == removed || ensured[name] && is == absent || is == listed && a.draft.Contested(name)
		switch {
		case claimed && vanished:
			adds = append(adds, name)
		case is != removed && a.draft.Removable(name): // an absent one may be on its way
			removes = append(removes, name)
		}
	}
	a.each(ctx, adds, a.objects.Add, added)
	a.each(ctx, removes, a.objects.Remove, removed)
}

// each makes one kind of write for several objects at once.
func (a *application) each(ctx context.Context, names []string, write func(context.Context, string) error,
	done presence) {
	var writes sync.WaitGroup
	for _, name := range names {
		writes.Go(func() {
			is, known, err := a.outcome(ctx, name, done, write(ctx, name))
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.failed[name] = err; known {
				a.there[name], a.gone[name] = is, false
			}
		})
	}
	writes.Wait()
}

// failure returns what came of the latest writes for a change.
func (a *application) failure(i int) error {
	c := a.changes[i]
	var errs []error
	if c.Op == jit.Ensure {
		errs = append(errs, a.failed[a.names[i]])
	}
	for _, is := range a.draft.Claims {
		if is.Ending && is.Marker.Key() == c.Access.Marker.Key() {
			errs = append(errs, a.failed[is.Object])
		}
	}
	return errors.Join(errs...)
}

// void returns the claims to be dropped: those that were given up, unless the removal failed, and new ones whose object
// the platform has refused to make.
func (a *application) void() []jit.Claim {
	return slices.DeleteFunc(slices.Clone(a.draft.Claims), func(c jit.Claim) bool {
		err := a.failed[c.Object]
		ended := a.draft.ended(c) && err == nil
		refused := a.fresh[key(c)] && !c.Ending && refused(err) && a.there[c.Object] == absent
		return !ended && !refused
	})
}
