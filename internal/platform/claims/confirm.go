package claims

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The pauses between two lists that are to show a removal.
const (
	firstLook   = 100 * time.Millisecond
	longestLook = 2 * time.Second
)

// outcome returns what a write has made of an object, unless that is unknown. A refusal may concern what was done
// before, so the list decides. It may lag: it proves a removal only if it had the object before, or still lacks it
// when [Scope].Lag has passed.
func (a *application) outcome(ctx context.Context, name string, done presence, err error) (is presence,
	known bool, _ error) {
	if !refused(err) {
		return done, err == nil, err
	}
	a.mu.Lock()
	was := a.there[name]
	a.mu.Unlock()
	for try, end := 0, time.Now().Add(a.scope.Lag); ; try++ {
		there, e := a.objects.List(ctx, []string{name})
		switch {
		case e != nil:
			return absent, false, err
		case there[name] && done == added:
			return added, true, nil
		case there[name]:
			return listed, true, err
		case done == added:
			return absent, true, err
		case was == listed || time.Now().After(end):
			return removed, true, nil
		}
		if backoff.Wait(ctx, try, firstLook, longestLook) != nil {
			return absent, false, err
		}
	}
}

// confirm looks whether the removed objects are gone: the answer to a removal is not the removal. The list may lag, so
// it is read until it lacks them. An object that it still has when [Scope].Lag has passed was not removed, and its
// claims stay. Once somebody else has written claims, the object may be theirs, and confirm stops.
func (a *application) confirm(ctx context.Context) {
	for try, end := 0, time.Now().Add(a.scope.Lag); ; try++ {
		left := slices.Sorted(maps.Keys(a.there))
		left = slices.DeleteFunc(left, func(name string) bool { return a.there[name] != removed || a.gone[name] })
		if len(left) == 0 {
			return
		}
		there, err := a.objects.List(ctx, left)
		left = slices.DeleteFunc(left, func(name string) bool {
			a.gone[name] = err == nil && !there[name]
			return a.gone[name]
		})
		if len(left) == 0 || err == nil && a.overtaken(ctx) {
			return
		}
		late := time.Now().After(end)
		if err == nil && !late {
			err = backoff.Wait(ctx, try, firstLook, longestLook)
		}
		for _, name := range left {
			switch {
			case err != nil:
				a.failed[name] = fmt.Errorf("look whether %s is gone: %w", name, err)
			case late:
				a.there[name], a.failed[name] = listed, &jit.Error{
					Problem: fmt.Sprintf("%s is still listed after its removal was confirmed", name),
					Hint:    "the next sweep or apply looks again, and removes it again",
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// overtaken reports whether somebody else has written claims since ours. Then ours cannot be dropped before they are
// read.
func (a *application) overtaken(ctx context.Context) bool {
	set, err := a.scope.Read(ctx)
	return a.unrecorded == nil && err == nil && set.Version != a.draft.Version
}
