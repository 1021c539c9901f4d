package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Rulebook holds the policies and persons of a ledger at each time, according to its events. It is safe for concurrent
// use.
type Rulebook struct {
	history approval.History
	// ledger is the id of the ledger; empty if no policy has ever asked for approval.
	ledger string
	// asking are the policies that ask for approval, each for as long as it did.
	asking []asking
}

// asking is a policy while it asks for approval.
type asking struct {
	name, match string
	// where are the targets, platforms and owners of each entry. An empty list means all.
	where [][3][]jit.Glob
	// until is zero if it still asks.
	until time.Time
}

// Rulebook reads the events about policies and persons.
func (b *Broker) Rulebook(ctx context.Context) (r *Rulebook, err error) {
	r = &Rulebook{}
	for e, err := range b.Ledger.Rules(ctx, 1) {
		if err != nil {
			return nil, fmt.Errorf("read the events of policies and persons: %w", err)
		}
		r.add(e)
	}
	if len(r.asking) > 0 {
		r.ledger, err = b.Ledger.ID(ctx)
	}
	return r, err
}

func (r *Rulebook) add(e jit.Event) {
	r.history.Add(e)
	if e.Kind != jit.EventPolicyChanged && e.Kind != jit.EventPolicyRemoved {
		return
	}
	asks, match := e.Kind == jit.EventPolicyChanged && e.Detail["approval"] != "", e.Detail["match"]
	for i, a := range r.asking {
		if a.name != e.Policy || !a.until.IsZero() {
			continue
		}
		if asks && a.match == match {
			return
		}
		r.asking[i].until = e.At
	}
	if asks {
		r.asking = append(r.asking, asking{name: e.Policy, match: match, where: whereOf(match)})
	}
}

// whereOf returns the targets, platforms and owners of each entry of a recorded match. What cannot be read means all.
func whereOf(match string) (all [][3][]jit.Glob) {
	var m jit.Matches
	if json.Unmarshal([]byte(match), &m) != nil {
		m = nil
	}
	for _, entry := range m.Entries() {
		all = append(all, whereOfEntry(entry))
	}
	return all
}

func whereOfEntry(m jit.Match) (where [3][]jit.Glob) {
	for i, list := range [][]string{m.Targets, m.Platforms, m.Owners} {
		for _, pattern := range list {
			g, err := jit.ParseGlob("match", pattern)
			if err != nil {
				where[i] = nil
				break
			}
			where[i] = append(where[i], g)
		}
	}
	return where
}

// longestRun is how long before a grant is requested a policy may have stopped to ask: a run of Terraform obeys the
// policies from before the run.
const longestRun = 24 * time.Hour

// mayAsk reports whether a policy may have asked for the approval of a grant, since it was requested or later. It never
// reports false where one did.
func (r *Rulebook) mayAsk(g jit.Grant, platform string) bool {
	since := g.RequestedAt
	if g.Start.Before(since) {
		since = g.Start
	}
	since = since.Add(-longestRun)
	fields := [3]string{g.Target, platform, g.Owner}
	return slices.ContainsFunc(r.asking, func(a asking) bool {
		if !a.until.IsZero() && a.until.Before(since) {
			return false
		}
		return slices.ContainsFunc(a.where, func(where [3][]jit.Glob) bool { return isAt(where, fields) })
	})
}

// isAt reports whether each list of globs matches its field.
func isAt(where [3][]jit.Glob, fields [3]string) bool {
	for i, globs := range where {
		if len(globs) > 0 && !slices.ContainsFunc(globs, func(p jit.Glob) bool { return p.Match(fields[i]) }) {
			return false
		}
	}
	return true
}
