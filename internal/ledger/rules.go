package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// runsSchema is the schema version that brought jit_runs.
const runsSchema = 12

// runColumns are those of jit_runs.
var runColumns = []string{"run", "first_seq"}

const changedRules = "SELECT first_seq FROM jit_runs WHERE run = $1"

// ChangedRules reports whether that run of Terraform has changed policies or persons. A ledger of an older schema
// has no change of a run.
func (l *Ledger) ChangedRules(ctx context.Context, run string) (bool, error) {
	ctx = tolerant(ctx)
	db, err := l.read(ctx)
	if err != nil || db == nil || l.known.Load().schema < runsSchema {
		return false, err
	}
	var first int64
	return l.row(ctx, changedRules, []any{run}, &first)
}

// ruleEvents selects the events that change policies and persons. It repeats the condition of their index word for
// word: SQLite uses the index for nothing else.
const ruleEvents = "kind IN ('policy_changed', 'policy_removed', 'person_changed', 'person_removed') AND "

// Rules returns the events that change policies and persons from sequence number first of [jit.AllChain] on, in order.
func (l *Ledger) Rules(ctx context.Context, first int64) iter.Seq2[jit.Event, error] {
	return l.eventsFrom(ctx, jit.AllChain, ruleEvents, first)
}

// unsignedGrants selects the grants that are [jit.Grant.Unsigned].
const unsignedGrants = "break_glass = 1 AND awaits <> '' AND signed_off_at IS NULL AND " + notFailed

// unsigned returns who asked for the grants that are unsigned, under names that are the same for one person. Without an
// entry that asks for it, the result is nil.
func (l *Ledger) unsigned(ctx context.Context, tx *sql.Tx, entries []jit.Entry) (map[jit.ID]string, error) {
	if !slices.ContainsFunc(entries, func(e jit.Entry) bool { return e.OnlyUnsigned }) {
		return nil, nil
	}
	all := map[jit.ID]string{}
	_, err := collect(ctx, tx, func(rows *sql.Rows) (none struct{}, err error) {
		var id jit.ID
		var requester string
		err = rows.Scan(&id, &requester)
		all[id] = jit.FoldName(requester)
		return none, err
	}, "SELECT id, requester FROM jit_grants WHERE "+unsignedGrants)
	return all, err
}

// signsOff keeps unsigned up to date with a grant of the commit. It refuses one that must be the only unsigned grant of
// its requester and is not.
func (c *commit) signsOff(g *jit.Grant, only bool) error {
	requester := jit.FoldName(g.Requester)
	for id, other := range c.unsigned {
		if only && id != g.ID && other == requester {
			return fmt.Errorf("write grant %s: grant %s of %s is not signed off: %w",
				g.ID, id, g.Requester, jit.ErrStale)
		}
	}
	switch {
	case c.unsigned == nil:
	case g.Unsigned():
		c.unsigned[g.ID] = requester
	default:
		delete(c.unsigned, g.ID)
	}
	return nil
}

// rebuildRuns compares the rows of runs with the first changes that the events tell of.
func (l *Ledger) rebuildRuns(ctx context.Context, tx *sql.Tx, told map[string]string, r *Report) error {
	stored := map[string]string{}
	err := each(ctx, tx, func(rows *sql.Rows) (row [2]any, err error) {
		return row, rows.Scan(&row[0], &row[1])
	}, func(row [2]any) bool {
		stored[fmt.Sprint(row[0])] = fmt.Sprint(row[1])
		return true
	}, "SELECT run, first_seq FROM jit_runs")
	if err != nil {
		return err
	}
	for run, first := range sorted(told) {
		if stored[run] != first {
			r.add(Mismatch{Run: run, Problem: "its row does not say that its first change is event " + first})
		}
	}
	return nil
}
