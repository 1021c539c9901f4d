package sweeper

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// endSeen ends grants that are over and whose owners the sweeper does not serve, where it sees their bindings on its
// targets. Another owner may call another system by the name of a target, so a binding that is not seen has not ended:
// unseen lists those that are overdue. Nothing is claimed; an end that two sweepers make is recorded once.
func (e *engine) endSeen(now time.Time, grants []jit.Grant) (unseen []reconcile.Step) {
	places := byPlace(grants)
	var mu sync.Mutex
	e.visitAll(maps.Keys(places), func(ctx context.Context, v *visit) {
		snapshot, err := e.Broker.Targets[v.at.Target].Read(ctx, v.at.Scope)
		unread := ""
		if err != nil {
			unread = fmt.Sprintf("; reading it failed: %v", err)
		}
		seen := map[jit.Marker]bool{}
		for _, o := range snapshot.Ours {
			seen[jit.Marker{Owner: o.Marker.Owner, ID: o.Marker.ID}] = true
		}
		there := slices.DeleteFunc(places[v.at], func(g jit.Grant) bool {
			here := seen[jit.Marker{Owner: g.Owner, ID: g.ID}]
			if !here {
				mu.Lock()
				defer mu.Unlock()
				unseen = appendOverdue(unseen, now, g, fmt.Sprintf("this sweeper does not see it on its target %q, "+
					"which may be another system than the target of owner %q: owners does not name that owner%s",
					g.Target, g.Owner, unread))
			}
			return !here
		})
		v.run(ctx, v.findStripped(ctx, reconcile.Plan(now, jit.Owners(nil).Include, there, nil, nil)))
		e.completed(v)
	})
	return unseen
}

// endUnserved ends grants that are over and whose owners the watcher does not serve; see [engine.endSeen].
func (w *Watcher) endUnserved() {
	if len(w.Owners) > 0 || w.EveryOwner || !w.unserved.TryLock() {
		return
	}
	defer w.unserved.Unlock()
	ctx, cancel := context.WithTimeout(w.calls, callTimeout)
	defer cancel()
	now, _, err := w.agreedNow(ctx)
	if err != nil {
		return // the next poll reports it
	}
	if all, err := w.allDue(ctx, now); err == nil {
		w.endSeen(now, all.unserved)
	}
}
