package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Whoever records a commit whose number is a multiple of snapshotEach stores a snapshot of its log, in parts of
// partRows rows.
const (
	snapshotEach = 1000
	partRows     = 5000
)

// snapshot is a snapshot that is ready to be stored.
type snapshot struct {
	of    *bucket.Commit
	parts [][]byte
}

// keysOf selects the dedup keys of a log; see dedupName.
const keysOf = "substr(name, 1, length($1) + 6) = 'once/' || $1 || '/'"

// rowsOf returns, by table, the condition that selects the rows of a log.
func rowsOf(log string) map[string]string {
	switch log {
	case sharedLog:
		return map[string]string{chainTable: "chain <> '" + jit.AllChain + "'", "jit_leases": "holder <> ''"}
	case jit.AllChain:
		return map[string]string{"jit_ledger": "1 = 1", "jit_policies": "1 = 1", "jit_persons": "1 = 1", "jit_runs": "1 = 1",
			"jit_marks": "1 = 1", "jit_mark_scopes": "1 = 1", chainTable: "chain = $1", logTable: "chain = $1",
			"jit_leases": keysOf, "jit_grants": "owner NOT IN (SELECT chain FROM jit_chains)",
			"jit_due":    "owner NOT IN (SELECT chain FROM jit_chains)",
			"jit_sweeps": "owner NOT IN (SELECT chain FROM jit_chains)"}
	}
	return map[string]string{chainTable: "chain = $1", logTable: "chain = $1", "jit_leases": keysOf,
		"jit_grants": "owner = $1", "jit_due": "owner = $1", "jit_sweeps": "owner = $1"}
}

// snapshot reads the rows of the log of a commit.
func (p projection) snapshot(ctx context.Context, c *bucket.Commit) (s snapshot, err error) {
	shapes, err := p.shapes(ctx)
	if err != nil {
		return s, err
	}
	s.of = c
	part := bucket.Commit{Ledger: c.Ledger, Chain: c.Chain, Number: c.Number, Prev: c.Hash, After: c.After,
		Schema: c.Schema}
	add := func(t bucket.Table) error {
		part.Tables = []bucket.Table{t}
		object, err := part.Encode()
		s.parts = append(s.parts, object)
		return err
	}
	for table, where := range sorted(rowsOf(c.Chain)) {
		shape := shapes[table]
		values := jsonArray(table, shape.columns)
		if table == chainTable && c.Chain == sharedLog { // as the chains begin
			values = "json_array(chain, 0, (SELECT id FROM jit_ledger) || '/' || chain)"
		}
		var args []any
		if strings.Contains(where, "$1") {
			args = append(args, c.Chain)
		}
		t := bucket.Table{Name: table, Columns: shape.columns}
		var failed error
		err := each(ctx, p.tx, scanOne[string], func(row string) bool {
			if t.Rows, failed = appendRow(t.Rows, row); failed == nil && len(t.Rows) == partRows {
				failed = add(t)
				t.Rows = nil
			}
			return failed == nil
		}, "SELECT "+values+" FROM "+table+" WHERE "+where+" ORDER BY "+strings.Join(shape.key, ", "), args...)
		if err = errors.Join(err, failed); err == nil && len(t.Rows) > 0 {
			err = add(t)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// applyNewest applies the newest snapshot of a log of which the projection has nothing. A snapshot that does not fit is
// no error: the commits say the same.
func (b *inBucket) applyNewest(ctx context.Context, p projection, log string) (applied int, err error) {
	c, err := b.log.Newest(ctx, log)
	if err != nil || c.Number == 0 {
		return 0, err
	}
	if err := p.exec(ctx, "SAVEPOINT newest"); err != nil {
		return 0, err
	}
	err = b.apply(ctx, p, &c)
	var damaged *jit.Error
	if errors.As(err, &damaged) && errors.Is(err, jit.ErrAltered) {
		return 0, p.exec(ctx, "ROLLBACK TO newest", "RELEASE newest")
	}
	if err != nil {
		return 0, err
	}
	return 1, p.exec(ctx, "RELEASE newest")
}

// keepSnapshots reads what is to be stored after the commits.
func (t *attempt) keepSnapshots(ctx context.Context, commits []*bucket.Commit) error {
	for _, c := range commits {
		if c.Number%t.snapshotEach != 0 {
			continue
		}
		s, err := t.snapshot(ctx, c)
		if err != nil {
			return fmt.Errorf("make a snapshot: %w", err)
		}
		t.snapshots = append(t.snapshots, s)
	}
	return nil
}

// save stores snapshots. An error is none of the write: readers do without.
func (b *inBucket) save(ctx context.Context, all []snapshot) {
	for _, s := range all {
		_ = b.log.Save(ctx, s.of.Chain, s.of.Number, s.parts)
	}
}
