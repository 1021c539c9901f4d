package sweeper

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// endSeen ends grants that are over, of owners that are not served, where their bindings are on the targets of this sweeper. The target of
// that name may be another system than their owner means: what is not seen here has not ended. Nothing is claimed, so whoever
// serves the owner is not held up; an end that two make is recorded once.
func (p *pass) endSeen(ctx context.Context, grants []jit.Grant) {
	places := map[jit.Place]bool{}
	for _, g := range grants {
		places[g.Place()] = true
	}
	var mu sync.Mutex
	seen, unseen := map[jit.Marker]bool{}, map[jit.Place]string{}
	p.each(places, func(at jit.Place) {
		snapshot, err := p.Broker.Targets[at.Target].Read(ctx, at.Scope)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			unseen[at] = fmt.Sprintf("; it cannot be read here: %v", err)
		}
		for _, o := range snapshot.Ours {
			seen[jit.Marker{Owner: o.Marker.Owner, ID: o.Marker.ID}] = true
		}
	})
	there := slices.DeleteFunc(grants, func(g jit.Grant) bool {
		here := seen[jit.Marker{Owner: g.Owner, ID: g.ID}]
		if !here {
			p.beyond(g, fmt.Sprintf("this sweeper does not see it on its target %q, which may be another system than the owner %q means: owners does not name that owner%s", g.Target, g.Owner, unseen[g.Place()]))
		}
		return !here
	})
	p.run(ctx, p.stripped(ctx, reconcile.Plan(p.now, jit.Owners(nil).Include, there, nil, nil)))
}

// endUnnamed ends what is over of owners that the watcher does not serve, as [pass.endSeen] does.
func (w *Watcher) endUnnamed(now time.Time) {
	if len(w.Owners) > 0 || w.EveryOwner || !w.unnamed.TryLock() {
		return
	}
	defer w.unnamed.Unlock()
	ctx, cancel := context.WithTimeout(w.calls, callTimeout)
	defer cancel()
	p := w.pass()
	sound, _, err := w.soundNow(ctx, now)
	if err != nil {
		return // the next look tells
	}
	p.now, p.behind = sound, now.Sub(sound)
	if _, unnamed, err := p.allDue(ctx); err == nil {
		p.endSeen(ctx, unnamed)
	}
	done := w.Broker.Now()
	for _, r := range p.report.Results {
		lag := time.Duration(-1)
		if !r.Failed() {
			lag = max(0, done.Sub(dueAt(r.Step)))
		}
		w.told(r, lag)
	}
}
