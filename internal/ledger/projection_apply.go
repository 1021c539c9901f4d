package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// apply writes the rows of a commit of somebody else. It refuses whatever this program would not have written: other
// tables or columns, rows of another log, another ledger, a changed event, events that do not follow the last.
func (p projection) apply(ctx context.Context, c *bucket.Commit) error {
	before, err := p.ledger(ctx)
	if err != nil {
		return err
	}
	schema := max(before.schema, c.Schema)
	switch {
	case schema > len(p.migrations):
		return newerLedger(p.name, c.Schema, len(p.migrations), "")
	case before.id != "" && c.Ledger != before.id:
		return p.damaged(c, fmt.Sprintf("it belongs to the ledger %s, and the others to %s", c.Ledger, before.id))
	case c.Chain != jit.AllChain && c.Schema > before.schema:
		return p.damaged(c, fmt.Sprintf("it has schema version %d, and %s has %d", c.Schema, jit.AllChain, before.schema))
	}
	for version := before.schema; version < c.Schema; version++ {
		if err := p.exec(ctx, p.migrations[version]...); err != nil {
			return err
		}
	}
	was, err := p.tip(ctx, c)
	if err != nil {
		return err
	}
	shapes, err := p.shapes(ctx)
	if err != nil {
		return err
	}
	yields, err := p.yields(ctx, c)
	if err != nil {
		return err
	}
	if err := p.takeOver(ctx, c); err != nil {
		return err
	}
	for _, t := range c.Tables {
		if err := p.applyTable(ctx, c, yields.from(t), shapes); err != nil {
			return err
		}
	}
	if c.Schema < dueSchema && schema >= dueSchema {
		if err := p.deriveDue(ctx, c, yields); err != nil {
			return err
		}
	}
	if err := p.checkDue(ctx, c); err != nil {
		return err
	}
	now, err := p.ledger(ctx)
	if err != nil {
		return err
	}
	if now.id != c.Ledger || now.schema != schema {
		return p.damaged(c, "its row of the ledger is of another ledger or schema")
	}
	if err := p.checkEvents(ctx, c, was); err != nil {
		return err
	}
	return p.setHead(ctx, c)
}

func (p projection) damaged(c *bucket.Commit, why string) error {
	return &jit.Error{Attribute: "ledger", Err: jit.ErrAltered,
		Problem: fmt.Sprintf("commit %d of the log %s in %s was not made by this program: %s",
			c.Number, c.Chain, p.name, why),
		Hint: "restore that object from an older version of it or from a backup; " + bucket.Until(c.Chain)}
}

// applyTable writes the rows of one table.
func (p projection) applyTable(
	ctx context.Context, c *bucket.Commit, t bucket.Table, shapes map[string]tableShape,
) error {
	shape, ok := shapes[t.Name]
	unknown := func(columns []string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { return !slices.Contains(shape.columns, c) })
	}
	if !ok || unknown(t.Columns) || len(t.Deleted) > 0 && !slices.Equal(t.Key, shape.key) {
		return p.damaged(c, fmt.Sprintf("the table %q has no such columns", jit.Said(t.Name)))
	}
	if why := cmp.Or(shape.unfit(t), foreign(c, t)); why != "" {
		return p.damaged(c, why)
	}
	if len(t.Deleted) > 0 {
		where := strings.Join(shape.key, " = ? AND ") + " = ?"
		gone, ofOwner := t.Deleted, t.Name == "jit_due"
		switch {
		case ofOwner && c.Chain == jit.AllChain:
			where += " AND owner NOT IN (SELECT chain FROM jit_chains)"
		case ofOwner:
			where += " AND owner = ?"
			gone = make([][]any, len(t.Deleted))
			for i, key := range t.Deleted {
				gone[i] = append(slices.Clone(key), c.Chain)
			}
		}
		columns := strings.Count(where, "?")
		err := p.each(ctx, c, "DELETE FROM "+t.Name+" WHERE "+where, columns, gone, false)
		if err == nil && ofOwner {
			err = p.checkGone(ctx, c, t.Deleted)
		}
		if err != nil {
			return err
		}
	}
	if len(t.Rows) == 0 {
		return nil
	}
	statement := "INSERT INTO " + t.Name + " (" + strings.Join(t.Columns, ", ") + ") VALUES (?" +
		strings.Repeat(",?", len(t.Columns)-1) + ")"
	conflict := " ON CONFLICT (" + strings.Join(shape.key, ", ") + ") DO "
	switch {
	case t.Name == logTable || t.Name == oldTable: // an event is never replaced
	case t.Name == chainTable && c.Chain == sharedLog:
		return p.each(ctx, c, statement+conflict+"NOTHING", len(t.Columns), t.Rows, false)
	case t.Name == "jit_grants" || t.Name == "jit_due":
		statement += conflict + "UPDATE SET " + excluded(t.Columns) + " WHERE " + t.Name + ".owner = excluded.owner"
	default:
		statement += conflict + "UPDATE SET " + excluded(t.Columns)
	}
	return p.each(ctx, c, statement, len(t.Columns), t.Rows, true)
}

// idsIn returns the ids in the rows that a commit has of a table.
func idsIn(c *bucket.Commit, table string) (ids []string) {
	for _, t := range c.Tables {
		if at := slices.Index(t.Columns, "id"); t.Name == table && at >= 0 {
			for _, row := range t.Rows {
				ids = append(ids, fmt.Sprint(row[at]))
			}
		}
	}
	return ids
}

// deriveDue makes the due work of the grants in a commit of a program that knew no jit_due, as the migration does for
// the grants that it finds: the logs of owners are read after that of [jit.AllChain], which has the migration. That of
// the grants for which records of the commit make way stays as it is.
func (p projection) deriveDue(ctx context.Context, c *bucket.Commit, made yielding) error {
	ids := slices.DeleteFunc(idsIn(c, "jit_grants"), func(id string) bool { return made[id] })
	if len(ids) == 0 {
		return nil
	}
	of := " id" + sqliteDialect.among("$1")
	for _, statement := range []string{"DELETE FROM jit_due WHERE" + of, deriveDue + " AND" + of} {
		if _, err := p.tx.ExecContext(ctx, statement, sqliteDialect.list(ids)); err != nil {
			return err
		}
	}
	return nil
}

// checkDue refuses due work without a grant of its owner.
func (p projection) checkDue(ctx context.Context, c *bucket.Commit) error {
	ids := idsIn(c, "jit_due")
	if len(ids) == 0 {
		return nil
	}
	unknown, err := collect(ctx, p.tx, scanOne[string],
		"SELECT id FROM jit_due WHERE id"+sqliteDialect.among("$1")+" AND NOT "+ofGrant, sqliteDialect.list(ids))
	if err == nil && len(unknown) > 0 {
		return p.damaged(c, "it has due work without a grant of its owner")
	}
	return err
}

// foreign says what a table of a commit has that belongs to another log; empty if nothing.
func foreign(c *bucket.Commit, t bucket.Table) string {
	switch {
	case t.Name == oldTable:
		return "it has events from before there were several chains"
	case len(t.Deleted) > 0 && !removable[t.Name]:
		return "it removes what is never removed"
	case c.Chain != jit.AllChain && !slices.Contains(tablesOf(c.Chain), t.Name):
		return fmt.Sprintf("a row of %q belongs to another log", jit.Said(t.Name))
	}
	for _, row := range t.Rows {
		if len(row) != len(t.Columns) {
			return "a row has another number of values than columns"
		}
		for _, column := range needed[t.Name] {
			if !slices.Contains(t.Columns, column) {
				return fmt.Sprintf("a row of %q lacks %q", jit.Said(t.Name), column)
			}
		}
		if log := logOfRow(t, row, c.Chain); log != c.Chain {
			return fmt.Sprintf("a row of %q belongs to the log of %q", t.Name, jit.Said(log))
		}
		value := func(column string) string { return fmt.Sprint(row[slices.Index(t.Columns, column)]) }
		switch t.Name {
		case "jit_grants":
			if !fits(value) {
				return fmt.Sprintf("the id %s is not that of the grant which it records", jit.Said(value("id")))
			}
		case "jit_leases":
			if !isLeaseOf(c.Chain, value("name"), value("holder")) {
				return "a lease or a dedup key belongs to another log"
			}
		case chainTable:
			if !isChainOf(c, value("chain"), value("head_hash")) {
				return "a chain belongs to another log, or does not begin as others do"
			}
		}
	}
	return ""
}

// fits reports whether a grant has the id that its facts lead to. Nobody can use up the id of another owner's grant
// with it. A record that was rebuilt from a marker has no reason yet, and may have any id.
func fits(value func(column string) string) bool {
	reason := value("reason")
	renewal, err := strconv.ParseInt(value("renewal"), 10, 64)
	binding := jit.Binding{Target: value("target"), Principal: value("principal"), Role: value("role"),
		Scope: value("scope")}
	return reason == "" || err == nil && string(jit.NewID(value("owner"), binding, reason, renewal)) == value("id")
}

// isLeaseOf reports whether a row of jit_leases may be in a log: leases with a holder in [sharedLog], and in each other
// log its dedup keys.
func isLeaseOf(log, name, holder string) bool {
	if log == sharedLog {
		return holder != "" && !strings.HasPrefix(name, "once/")
	}
	return holder == "" && strings.HasPrefix(name, keyPrefix(log))
}

// isChainOf reports whether a row of jit_chains may be in the log of a commit: in [sharedLog] the beginnings of the
// chains of owners, and in the log of an owner its chain.
func isChainOf(c *bucket.Commit, chain, hash string) bool {
	switch c.Chain {
	case jit.AllChain:
		return true
	case sharedLog:
		return jit.CheckOwner(chain) == nil && hash == jit.Genesis(c.Ledger, chain)
	}
	return chain == c.Chain
}

// removable are the tables of which a commit may remove rows.
var removable = map[string]bool{
	"jit_policies": true, "jit_persons": true, "jit_marks": true, "jit_due": true,
}

// tablesOf returns the tables of which a log other than that of [jit.AllChain] may have rows.
func tablesOf(log string) []string {
	if log == sharedLog {
		return []string{chainTable, "jit_leases"}
	}
	return []string{"jit_grants", "jit_due", chainTable, logTable, "jit_leases", "jit_sweeps"}
}

// needed are the columns that say to which log a row belongs.
var needed = map[string][]string{
	"jit_grants": {"id", "owner", "target", "principal", "role", "scope", "reason", "renewal"},
	"jit_due":    {"id", "owner"}, "jit_sweeps": {"owner"}, logTable: {"chain"},
	chainTable: {"chain", "head_seq", "head_hash"}, "jit_leases": {"name", "holder"},
}

// each runs a statement for each row. all: it has to change every row.
func (p projection) each(
	ctx context.Context, c *bucket.Commit, statement string, columns int, rows [][]any, all bool,
) error {
	values := make([][]any, len(rows))
	for i, row := range rows {
		if len(row) != columns {
			return p.damaged(c, "a row has another number of values than columns")
		}
		values[i] = make([]any, columns)
		for n, value := range row {
			switch v := value.(type) {
			case nil, string:
				values[i][n] = v
			case json.Number:
				whole, err := v.Int64()
				if err != nil {
					return p.damaged(c, "a row has a number that is not whole")
				}
				values[i][n] = whole
			default:
				return p.damaged(c, "a row has a value that is neither text nor number")
			}
		}
	}
	changed, err := execEach(ctx, p.tx, statement, values)
	if sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT {
		return p.damaged(c, "it changes an event that is recorded, or lacks a value")
	}
	if err == nil && all && changed != int64(len(rows)) {
		return p.damaged(c, "it changes a grant or due work of another owner")
	}
	return err
}

// tip returns the last event of the chain of a commit.
func (p projection) tip(ctx context.Context, c *bucket.Commit) (t tip, err error) {
	err = p.tx.QueryRowContext(ctx, "SELECT head_seq, head_hash FROM jit_chains WHERE chain = $1", c.Chain).
		Scan(&t.seq, &t.hash)
	if errors.Is(err, sql.ErrNoRows) {
		return tip{0, jit.Genesis(c.Ledger, c.Chain)}, nil
	}
	return t, err
}

// checkEvents refuses events that do not follow those before the commit, or are not as their hashes say.
func (p projection) checkEvents(ctx context.Context, c *bucket.Commit, was tip) error {
	now, err := p.tip(ctx, c)
	if err != nil {
		return err
	}
	whole := true
	err = each(ctx, p.tx, scanEvent, func(e jit.Event) bool {
		whole = e.Seq == was.seq+1 && e.Prev == was.hash && e.Sum() == e.Hash
		was.seq, was.hash = e.Seq, e.Hash
		return whole
	}, selectFrom(logTable)+" WHERE chain = $1 AND seq > $2 ORDER BY seq", c.Chain, was.seq)
	if err != nil {
		return err
	}
	if !whole || now != was {
		return p.damaged(c, "its events do not follow those before it, or differ from their hashes")
	}
	return nil
}
