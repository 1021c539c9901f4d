package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// chainsSchema is the schema version that brought several chains. An older ledger has one: the beginning of
// [jit.AllChain].
const chainsSchema = 15

// tip is the last event of a chain.
type tip struct {
	seq  int64
	hash string
}

// state is what a transaction or a read knows of the ledger: its row and the tips of chains, with that of
// [jit.AllChain].
type state struct {
	head
	tips map[string]tip
	// locked are the chains that a transaction has locked.
	locked map[string]bool
}

// all returns the tip of [jit.AllChain].
func (s *state) all() tip { return s.tips[jit.AllChain] }

// genesis returns what the first event of a chain follows.
func (h head) genesis(chain string) string {
	if chain == jit.AllChain && h.layout().old {
		return h.id
	}
	return jit.Genesis(h.id, chain)
}

// layout says in which tables the events of a ledger are.
type layout struct {
	// old: in jit_events, up to the event last. log: in jit_log.
	old, log bool
	last     int64
}

// layout returns the layout of the ledger.
func (h head) layout() layout {
	if h.schema < chainsSchema {
		return layout{old: true, last: h.seq}
	}
	return layout{old: h.seq > 0, log: true, last: h.seq}
}

// chainTable holds the tips of the chains.
const chainTable = "jit_chains"

// oldTable and logTable hold the events: those from before there were several chains, and all others.
const oldTable, logTable = "jit_events", "jit_log"

// union joins the queries that part returns for the tables of the layout.
func (l layout) union(part func(table string) string) string {
	var parts []string
	if l.old {
		parts = append(parts, part(oldTable))
	}
	if l.log {
		parts = append(parts, part(logTable))
	}
	return strings.Join(parts, " UNION ALL ")
}

// events returns a query for the events that a condition selects.
func (l layout) events(condition string) string {
	return l.union(func(table string) string { return selectFrom(table) + " WHERE " + condition })
}

// lockChains selects chains and locks them in the order of their names, so that two writers cannot wait for each other.
func (l *Ledger) lockChains(ctx context.Context, tx *sql.Tx, chains []string) (map[string]tip, error) {
	tips := map[string]tip{}
	if len(chains) == 0 {
		return tips, nil
	}
	err := l.addTips(ctx, tx, tips, " WHERE chain"+l.among("$1")+" ORDER BY chain"+l.forUpdate, l.list(chains))
	if l.db.absent(err) {
		return nil, errOutdated
	}
	return tips, err
}

// addTips adds the tips that the end of a query selects.
func (l *Ledger) addTips(ctx context.Context, q queryer, tips map[string]tip, where string, args ...any) error {
	return each(ctx, q, func(rows *sql.Rows) (none struct{}, err error) {
		var chain string
		var t tip
		err = rows.Scan(&chain, &t.seq, &t.hash)
		tips[chain] = t
		return none, err
	}, func(struct{}) bool { return true }, "SELECT chain, head_seq, head_hash FROM jit_chains"+where, args...)
}

// lock locks chains and returns them with the row of the ledger and the tip of [jit.AllChain], which are read after
// that: so of one chain they never go back. The error is errOutdated if the ledger must be migrated, and errNoChain if
// a chain has no row yet.
func (l *Ledger) lock(ctx context.Context, tx *sql.Tx, chains []string) (*state, error) {
	tips, err := l.lockChains(ctx, tx, chains)
	if err != nil {
		return nil, err
	}
	s, err := l.joined(ctx, tx, "c.chain = $1", jit.AllChain)
	switch {
	case err != nil:
		return nil, err
	case s.refused != nil:
		return nil, s.refused
	case s.schema < len(l.migrations):
		return nil, errOutdated
	case len(tips) < len(chains):
		return nil, errNoChain
	}
	s.locked = map[string]bool{}
	for chain, t := range tips {
		s.tips[chain], s.locked[chain] = t, true
	}
	return s, nil
}

// joined reads the row of the ledger with the tips of the chains that a condition selects. The error is errOutdated if
// there is no ledger, or one with one chain.
func (l *Ledger) joined(ctx context.Context, q interface {
	queryer
	headReader
}, on string, args ...any) (*state, error) {
	s := &state{tips: map[string]tip{}}
	found := false
	err := each(ctx, q, func(rows *sql.Rows) (none struct{}, err error) {
		var chain, hash sql.NullString
		var seq sql.NullInt64
		err = rows.Scan(&s.id, &s.schema, &s.seq, &s.hash, &chain, &seq, &hash)
		found = true
		if chain.Valid {
			s.tips[chain.String] = tip{seq.Int64, hash.String}
		}
		return none, err
	}, func(struct{}) bool { return true }, "SELECT l.id, l.schema_version, l.head_seq, l.head_hash, "+
		"c.chain, c.head_seq, c.head_hash FROM jit_ledger l LEFT JOIN jit_chains c ON "+on, args...)
	switch {
	case err != nil && l.db.absent(err):
		return nil, errOutdated
	case err != nil:
		return nil, err
	case !found:
		return nil, l.headless(ctx, q)
	}
	return s, l.checkSchema(ctx, q, &s.head)
}

// errNoChain says that a chain has no row yet.
var errNoChain = errors.New("a chain is to be created")

// createChains creates the rows of chains that have none. It locks the row of the ledger, as migrations do, which then
// know all chains.
func (l *Ledger) createChains(ctx context.Context, db *sql.DB, chains []string) error {
	return l.inWrite(ctx, db, sharedLog, func(tx *sql.Tx) error {
		h, err := l.head(ctx, tx, l.forUpdate)
		if err = cmp.Or(err, h.refused); err != nil {
			return err
		}
		rows := make([][]any, len(chains))
		for i, chain := range chains {
			rows[i] = []any{chain, int64(0), h.genesis(chain)}
		}
		return l.insert(ctx, tx, chainTable, chainColumns, rows, " ON CONFLICT (chain) DO NOTHING")
	})
}

// chainColumns are those of jit_chains.
var chainColumns = []string{"chain", "head_seq", "head_hash"}

// state reads the row of the ledger and the tips of all chains.
func (l *Ledger) state(ctx context.Context, q interface {
	queryer
	headReader
}) (*state, error) {
	if k := l.known.Load(); k != nil && k.layout.log {
		if s, err := l.joined(ctx, q, "1 = 1"); !errors.Is(err, errOutdated) {
			return s, err
		}
	}
	h, err := l.head(ctx, q, "")
	if err != nil {
		return nil, err
	}
	s := &state{head: h, tips: map[string]tip{}}
	if h.schema < chainsSchema {
		s.tips[jit.AllChain] = tip{h.seq, h.hash}
		return s, nil
	}
	return s, l.addTips(ctx, q, s.tips, "")
}

// list returns the tips of chains with events, by chain.
func (s *state) list() []jit.Tip {
	var all []jit.Tip
	for chain, t := range s.tips {
		if t.seq > 0 {
			all = append(all, jit.Tip{Chain: chain, Seq: t.seq, Hash: t.hash})
		}
	}
	slices.SortFunc(all, func(a, b jit.Tip) int { return cmp.Compare(a.Chain, b.Chain) })
	return all
}

// Chains returns the last event of each chain, by the name of the chain.
func (l *Ledger) Chains(ctx context.Context) ([]jit.Tip, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	s, err := l.state(ctx, db)
	if err != nil {
		return nil, l.fail("read", err)
	}
	return s.list(), nil
}
