package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// filling is a copy into a bucket. The commits of the owners come first. Each asks for the last commit of
// [jit.AllChain], which comes last: before it is there, every reader refuses the ledger.
type filling struct {
	*inBucket
	*source
	heads  map[string]bucket.Head
	after  int64 // the number of commits of [jit.AllChain]
	proven bool
}

// fill writes a copy into a bucket.
func (b *inBucket) fill(ctx context.Context, s *source, from string) error {
	if s.layout().old {
		return jit.Errorf(jit.ErrInvalid, "ledger", "copy it to PostgreSQL, or keep it for audits and begin a new ledger "+
			"in the bucket when no grant is live here and `jit prune` has taken out those that are over",
			"%s has events from before there were several chains, which a bucket cannot hold", from)
	}
	var events int64
	err := s.tx.QueryRowContext(ctx, "SELECT count(*) FROM jit_log WHERE chain = $1", jit.AllChain).Scan(&events)
	if err != nil {
		return s.fail("read", err)
	}
	f := &filling{inBucket: b, source: s, heads: map[string]bucket.Head{}, after: 1 + (events+pageSize-1)/pageSize}
	defer b.doubt() // it was empty a moment ago
	if err := f.shared(ctx); err != nil {
		return err
	}
	for _, owner := range s.owners() {
		if err := f.owner(ctx, owner); err != nil {
			return err
		}
	}
	return f.all(ctx)
}

// append creates the next commit of a log.
func (f *filling) append(ctx context.Context, chain string, tables ...bucket.Table) error {
	last := f.heads[chain]
	c := &bucket.Commit{Ledger: f.state.id, Chain: chain, Number: last.Number + 1, Prev: last.Hash, After: f.after,
		Writer: f.inBucket.id, ID: uuid.NewString(), Schema: f.schema, Tables: tables}
	if chain == jit.AllChain {
		c.After = 0
	}
	err := f.log.Append(ctx, c)
	if err == nil && !f.proven {
		err = f.log.Prove(ctx, chain, c.Number)
		f.proven = err == nil
	}
	if errors.Is(err, bucket.ErrTaken) {
		return occupied(f.name(), "of another copy or of another writer")
	}
	f.heads[chain] = bucket.Head{Number: c.Number, Hash: c.Hash}
	return err
}

// table reads the rows that a query selects from a table.
func (f *filling) table(ctx context.Context, name, where string, args ...any) (t bucket.Table, err error) {
	t.Name = name
	err = f.source.read(ctx, selectCopied(name)+where, args, func(columns []string, rows [][]any) error {
		t.Columns, t.Rows = columns, append(t.Rows, rows...)
		f.count(name, len(rows))
		return nil
	})
	return t, err
}

// pages creates a commit for each page of the rows that a query selects from a table.
func (f *filling) pages(ctx context.Context, chain, name, where string) error {
	return f.source.read(ctx, selectCopied(name)+where, []any{chain}, func(columns []string, rows [][]any) error {
		f.count(name, len(rows))
		tables := []bucket.Table{{Name: name, Columns: columns, Rows: rows}}
		if name == logTable {
			last := rows[len(rows)-1]
			seq, hash := last[slices.Index(columns, "seq")], last[slices.Index(columns, "hash")]
			tables = append(tables, chainRows([]any{chain, seq, hash}))
		}
		return f.append(ctx, chain, tables...)
	})
}

func chainRows(rows ...[]any) bucket.Table {
	return bucket.Table{Name: chainTable, Columns: chainColumns, Rows: rows}
}

// shared writes which owners there are, and the positions of notices. It comes first.
func (f *filling) shared(ctx context.Context) error {
	var chains [][]any
	for _, owner := range f.owners() {
		chains = append(chains, []any{owner, 0, f.genesis(owner)})
	}
	leases, err := f.table(ctx, "jit_leases", positions)
	if err != nil {
		return err
	}
	var tables []bucket.Table
	for _, t := range []bucket.Table{chainRows(chains...), leases} {
		if len(t.Rows) > 0 {
			tables = append(tables, t)
		}
	}
	return f.append(ctx, sharedLog, tables...) // also without rows: it asks for the last commit
}

// owner writes the log of an owner.
func (f *filling) owner(ctx context.Context, owner string) error {
	if err := f.pages(ctx, owner, logTable, " WHERE chain = $1 ORDER BY seq"); err != nil {
		return fmt.Errorf("copy the events of %s: %w", owner, err)
	}
	if err := f.pages(ctx, owner, "jit_grants", " WHERE owner = $1 ORDER BY id"); err != nil {
		return fmt.Errorf("copy the grants of %s: %w", owner, err)
	}
	if err := f.pages(ctx, owner, "jit_due", " WHERE owner = $1 AND "+ofGrant+" ORDER BY id"); err != nil {
		return fmt.Errorf("copy the due work of %s: %w", owner, err)
	}
	return nil
}

// all writes the log of [jit.AllChain]: the ledger and its rules in one commit, and then the events.
func (f *filling) all(ctx context.Context) error {
	tables := []bucket.Table{chainRows([]any{jit.AllChain, 0, f.genesis(jit.AllChain)})}
	for _, from := range []struct{ name, where string }{
		{"jit_ledger", ""}, {"jit_policies", ""}, {"jit_persons", ""}, {"jit_runs", ""}, {"jit_mark_scopes", ""},
		{"jit_marks", ""}, {"jit_grants", " WHERE owner NOT IN (SELECT chain FROM jit_chains)"},
		{"jit_due", " WHERE owner NOT IN (SELECT chain FROM jit_chains) AND " + ofGrant},
	} {
		t, err := f.table(ctx, from.name, from.where)
		if err != nil {
			return fmt.Errorf("copy %s: %w", from.name, err)
		}
		if len(t.Rows) > 0 {
			tables = append(tables, t)
		}
	}
	if err := f.append(ctx, jit.AllChain, tables...); err != nil {
		return err
	}
	return f.pages(ctx, jit.AllChain, logTable, " WHERE chain = $1 ORDER BY seq")
}
