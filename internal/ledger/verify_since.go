package ledger

import (
	"context"
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// VerifySince is [Ledger.Verify] for what is newer than heads that were kept: it checks the events after them, all
// policies and persons, and with all their events the grants that are open, that newer events tell of, or that wait to
// be signed off. It trusts the other events up to the heads. A chain without a head is checked whole. owner is as in
// [Ledger.VerifyOwner]; empty is all.
func (l *Ledger) VerifySince(ctx context.Context, owner string, heads []jit.Tip) (Report, error) {
	since := map[string]tip{}
	for _, h := range heads {
		since[h.Chain] = tip{h.Seq, h.Hash}
	}
	return l.verify(ctx, owner, since)
}

// some are the grants that a verifier looks at, if not at all.
type some map[jit.ID]bool

// sinceHeads finds the grants to look at, and takes in what the older events tell of them and of the rules.
func (v *verifier) sinceHeads(ctx context.Context, chains []string) error {
	v.grants = some{}
	for _, chain := range chains {
		since := v.since[chain].seq
		if err := v.newer(ctx, chain, since); err != nil {
			return err
		}
		if chain == jit.AllChain && since > 0 {
			if err := v.olderRules(ctx, since); err != nil {
				return err
			}
		}
	}
	if err := v.open(ctx); err != nil {
		return err
	}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(v.grants)), pageSize) {
		if err := v.olderEvents(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

// newer adds the grants that the events of a chain after a head tell of.
func (v *verifier) newer(ctx context.Context, chain string, since int64) error {
	lay := v.state.layout()
	if chain == jit.AllChain && lay.old && since < lay.last {
		if err := v.choose(ctx, "SELECT DISTINCT grant_id FROM jit_events WHERE seq > $1", since); err != nil {
			return err
		}
	}
	if !lay.log {
		return nil
	}
	return v.choose(ctx, "SELECT DISTINCT grant_id FROM jit_log WHERE chain = $2 AND seq > $1", since, chain)
}

// choose adds the grants that a query selects.
func (v *verifier) choose(ctx context.Context, query string, args ...any) error {
	return each(ctx, v.tx, scanOne[jit.ID], func(id jit.ID) bool {
		if id != "" {
			v.grants[id] = true
		}
		return true
	}, query, args...)
}

// open adds the open grants of the checked owners, and those that wait to be signed off.
func (v *verifier) open(ctx context.Context) error {
	of, args := "", []any(nil)
	if v.report.Owner != "" {
		of, args = " AND owner = $1", []any{v.report.Owner}
	}
	conditions := []string{"ended_at IS NULL AND " + notFailed}
	if v.state.schema >= personsSchema {
		conditions = append(conditions, unsignedGrants)
	}
	for _, condition := range conditions { // not by jit_due, whose rows somebody may have removed
		if err := v.choose(ctx, "SELECT id FROM jit_grants WHERE "+condition+of, args...); err != nil {
			return err
		}
	}
	if v.state.schema < dueSchema {
		return v.choose(ctx, "SELECT id FROM jit_grants WHERE due_at IS NOT NULL"+of, args...)
	}
	return v.choose(ctx, "SELECT id FROM jit_due WHERE 1 = 1"+of, args...)
}

// olderRules takes in the changes of policies and persons up to a head.
func (v *verifier) olderRules(ctx context.Context, since int64) error {
	return each(ctx, v.tx, scanEvent, func(e jit.Event) bool {
		if v.matches(e) {
			v.add(e)
		}
		return true
	}, v.state.layout().union(func(table string) string {
		of := ""
		if table == logTable {
			of = " AND chain = '" + jit.AllChain + "'"
		}
		return selectFrom(table) + " WHERE " + ruleEvents + "seq <= $1" + of
	})+" ORDER BY seq", since)
}

// olderEvents takes in the decisions of people in the older events of grants, and accuses those that do not match their
// hashes.
func (v *verifier) olderEvents(ctx context.Context, ids []jit.ID) error {
	return v.visitOf(ctx, v.tx, v.state.layout(), "", ids, func(e jit.Event) bool {
		if e.Seq <= v.since[e.InChain()].seq && !e.ChangesRules() && v.matches(e) {
			v.persons.Add(e)
		}
		return true
	})
}

// matches reports whether an older event matches its hash, and accuses it if not.
func (v *verifier) matches(e jit.Event) bool {
	if e.Sum() == e.Hash {
		return true
	}
	v.report.Damage = append(v.report.Damage, Damage{e.InChain(), Edited, e.Seq, e.Seq, "it does not match its hash"})
	return false
}

// rebuildSome is rebuild for the grants that v looks at.
func (v *verifier) rebuildSome(ctx context.Context) error {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(v.grants)), pageSize) {
		page, err := collect(ctx, v.tx, scanStored, "SELECT "+storedDue(v.state.schema)+", "+columnsOf(v.state.schema)+
			" FROM jit_grants WHERE id"+v.among("$1"), v.list(texts(ids)))
		if err != nil {
			return err
		}
		if v.report.Owner != "" {
			page = slices.DeleteFunc(page, func(row storedRow) bool { return row.grant.Owner != v.report.Owner })
		}
		if err := v.rebuildPage(ctx, page); err != nil {
			return err
		}
		if err := v.removed(ctx, ids...); err != nil {
			return err
		}
	}
	return v.unknownWork(ctx)
}

// storedChains lists the chains of jit_log. The index leads from one to the next.
func (v *verifier) storedChains(ctx context.Context) ([]string, error) {
	return collect(ctx, v.tx, scanOne[string], `WITH RECURSIVE chains (chain) AS (
			SELECT min(chain) FROM jit_log
			UNION ALL
			SELECT (SELECT min(l.chain) FROM jit_log l WHERE l.chain > chains.chain) FROM chains WHERE chain IS NOT NULL
		) SELECT chain FROM chains WHERE chain IS NOT NULL`)
}
