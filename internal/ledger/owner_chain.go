package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// owners are those of recorded grants.
type owners struct {
	// proved never change. claimed are those of records without a reason, which another owner's grant may replace.
	proved, claimed map[jit.ID]string
}

// ownersOf returns the owners of the grants that entries have only events about, as far as they are recorded.
func (l *Ledger) ownersOf(ctx context.Context, entries []jit.Entry) (owners, error) {
	var ids []jit.ID
	for _, e := range entries {
		for _, event := range e.Events {
			if subjects(e) == 0 && event.Grant != "" {
				ids = append(ids, event.Grant)
			}
		}
	}
	of := owners{map[jit.ID]string{}, map[jit.ID]string{}}
	if len(ids) == 0 {
		return of, nil
	}
	for _, e := range entries {
		if e.Grant != nil {
			of.add(e.Grant.ID, e.Grant.Owner, e.Grant.Reason)
		}
	}
	_, err := list(tolerant(ctx), l, func(rows *sql.Rows) (none struct{}, err error) {
		var id jit.ID
		var owner, reason string
		err = rows.Scan(&id, &owner, &reason)
		of.add(id, owner, reason)
		return none, err
	}, "SELECT id, owner, reason FROM jit_grants WHERE id"+l.among("$1"), l.list(texts(ids)))
	return of, err
}

func (o owners) add(id jit.ID, owner, reason string) {
	if reason == "" {
		o.claimed[id] = owner
	} else {
		o.proved[id] = owner
	}
}

// chain returns the chain of an event of an entry.
func (o owners) chain(e jit.Entry, event jit.Event) string {
	switch {
	case e.Grant != nil:
		return jit.ChainOf(e.Grant.Owner)
	case subjects(e) > 0 || event.Grant == "":
		return jit.AllChain
	}
	return jit.ChainOf(cmp.Or(o.proved[event.Grant], e.Owner, o.claimed[event.Grant]))
}

// locked returns the chains that a write of entries locks.
func (o owners) locked(entries []jit.Entry) []string {
	var chains []string
	for _, e := range entries {
		if e.OnlyUnsigned || subjects(e) == 0 && len(e.Events) == 0 || e.Grant == nil && subjects(e) > 0 {
			chains = append(chains, jit.AllChain)
		}
		if e.Grant != nil {
			chains = append(chains, jit.ChainOf(e.Grant.Owner)) // its events' too
			continue
		}
		for _, event := range e.Events {
			chains = append(chains, o.chain(e, event))
		}
	}
	slices.Sort(chains)
	return slices.Compact(chains)
}
