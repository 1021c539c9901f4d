package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Write records entries and their events, in one transaction with those of other waiting calls. It does not change the
// grants of the entries: the recorded version is one higher than theirs.
func (l *Ledger) Write(ctx context.Context, entries []jit.Entry) []error {
	if len(entries) == 0 {
		return nil
	}
	errs, err := l.writes.Do(ctx, detached(entries))
	if err != nil {
		return slices.Repeat([]error{l.fail("write", err)}, len(entries))
	}
	return errs
}

// detached copies entries: a caller whose context ends may change them during the write.
func detached(entries []jit.Entry) []jit.Entry {
	entries = slices.Clone(entries)
	for i, e := range entries {
		if e.Grant != nil {
			entries[i].Grant = new(*e.Grant)
		}
		if e.Policy != nil {
			entries[i].Policy = new(*e.Policy)
		}
		if e.Person != nil {
			entries[i].Person = new(*e.Person)
		}
		entries[i].Events = slices.Clone(e.Events)
	}
	return entries
}

// record writes the entries of several calls in one transaction.
func (l *Ledger) record(ctx context.Context, calls [][]jit.Entry) [][]error {
	all := slices.Concat(calls...)
	var errs []error
	owners, err := l.ownersOf(ctx, all)
	err = cmp.Or(err, l.lookFirst(ctx, all))
	switch _, apart := l.db.(committer); {
	case err != nil:
		errs = slices.Repeat([]error{l.fail("write", err)}, len(all))
	case apart:
		errs = l.recordApart(ctx, all, owners)
	default:
		errs = l.recordAll(ctx, all, owners)
	}
	answers := make([][]error, len(calls))
	for i, call := range calls {
		answers[i], errs = errs[:len(call):len(call)], errs[len(call):]
	}
	return answers
}

// recordAll writes entries in one transaction.
func (l *Ledger) recordAll(ctx context.Context, all []jit.Entry, owners owners) []error {
	errs := make([]error, len(all))
	var seen comparison
	var last *state
	var err error
	chains := owners.locked(all)
	for again := true; again && err == nil; {
		err = l.transact(ctx, chains, func(ctx context.Context, tx *sql.Tx, s *state) (err error) {
			clear(errs)
			last = s
			if seen, err = l.compare(ctx, tx, s, l.kept(s.tips)); err == nil {
				err = l.put(ctx, tx, s, seen, all, owners, errs)
			}
			return err
		})
		if again = errors.Is(err, errUnlocked); again {
			chains, err = append(chains, jit.AllChain), nil
		}
	}
	switch {
	case err != nil:
		errs = slices.Repeat([]error{l.fail("write", err)}, len(all))
	case seen.lost == (jit.Head{}):
		l.committed(last, seen.epoch())
	}
	return errs
}

// errUnlocked says that a write must also lock [jit.AllChain].
var errUnlocked = errors.New("the chain of all is to be locked")

// put writes all entries after the tips of the locked chains, which it moves. A refused entry gets its own error and
// writes nothing.
func (l *Ledger) put(
	ctx context.Context, tx *sql.Tx, s *state, seen comparison, entries []jit.Entry, owners owners, errs []error,
) error {
	doubt := seen.behind(l.db.name())
	if doubt != nil && !seen.reported && !s.locked[jit.AllChain] {
		return errUnlocked
	}
	recorded, err := l.recorded(ctx, tx, entries)
	if err != nil {
		return err
	}
	if err := l.dedup(ctx, tx, logOf(owners.locked(entries)), entries, errs); err != nil {
		return err
	}
	if err := l.refuseRemoved(ctx, tx, s.layout(), entries, recorded, errs); err != nil {
		return err
	}
	unsigned, err := l.unsigned(ctx, tx, entries)
	if err != nil {
		return err
	}
	c := newCommit(s, l.now())
	c.recorded, c.unsigned = recorded, unsigned
	if doubt != nil && !seen.reported {
		c.report(seen, l.actor, l.run)
	}
	if doubt == nil {
		doubt = l.db.exposed()
	}
	for i, e := range entries {
		if e.Current && errs[i] == nil {
			errs[i] = doubt
		}
		if errs[i] == nil {
			errs[i] = c.add(e, owners)
		}
	}
	return l.insertAll(ctx, tx, c)
}

// commit holds the rows of one transaction.
type commit struct {
	// state holds the tips, which each event moves; those that have moved are in moved.
	*state
	moved map[string]bool
	now   time.Time
	// recorded are the stored facts of the grants, as the rows of the commit leave them.
	recorded map[jit.ID]stored
	// grants, policies and persons hold the last row of each; a nil row removes the policy or person.
	grants map[jit.ID][]any
	// due holds the changed rows of due work; a nil row removes it.
	due               map[jit.ID][]any
	policies, persons map[string][]any
	events            [][]any
	// runs are the rows of the runs of Terraform that changed policies or persons.
	runs [][]any
	// unsigned are the requesters of unsigned grants; nil if no entry depends on them.
	unsigned map[jit.ID]string
}

func newCommit(s *state, now time.Time) *commit {
	return &commit{state: s, moved: map[string]bool{}, now: now, grants: map[jit.ID][]any{}, due: map[jit.ID][]any{},
		policies: map[string][]any{}, persons: map[string][]any{}}
}

// stored is what a write needs to know of a recorded grant; the zero value means that there is no record.
type stored struct {
	version int64
	indexed
	due due
	// moved: the commit changes indexed columns.
	moved bool
}

// add adds an entry. It refuses one that is stale or has more than one subject.
func (c *commit) add(e jit.Entry, owners owners) error {
	switch n := subjects(e); {
	case n > 1:
		return fmt.Errorf("write the ledger: an entry holds %d subjects; it can hold one grant, policy or person: %w",
			n, jit.ErrInvalid)
	case e.Grant != nil:
		if err := c.addGrant(*e.Grant, e.OnlyUnsigned); err != nil {
			return err
		}
	case e.Policy != nil:
		if err := put(c.policies, e.Policy.Name, e.Policy); err != nil {
			return fmt.Errorf("policy %q: %w", e.Policy.Name, err)
		}
	case e.DropPolicy != "":
		c.policies[e.DropPolicy] = nil
	case e.Person != nil:
		if err := put(c.persons, e.Person.Name, e.Person); err != nil {
			return fmt.Errorf("person %q: %w", e.Person.Name, err)
		}
	case e.DropPerson != "":
		c.persons[e.DropPerson] = nil
	}
	for _, event := range e.Events {
		c.addEvents(owners.chain(e, event), []jit.Event{event})
	}
	return nil
}

// addEvents adds events to a locked chain.
func (c *commit) addEvents(chain string, events []jit.Event) {
	for _, event := range events {
		t, after := c.tips[chain], int64(0)
		if chain != jit.AllChain {
			after = c.all().seq
		}
		event = t.follow(event, chain, after, c.now)
		c.tips[chain], c.moved[chain] = t, true
		c.events = append(c.events, eventRow(event))
		if run := event.Run(); run != "" {
			c.runs = append(c.runs, []any{run, event.Seq})
		}
	}
}

// put adds the row of a policy or person.
func put(rows map[string][]any, name string, of any) error {
	body, err := json.Marshal(of)
	rows[name] = []any{name, string(body)}
	return err
}

// addGrant adds the row of a grant. only: it must be the only unsigned grant of its requester.
func (c *commit) addGrant(g jit.Grant, only bool) error {
	was := c.recorded[g.ID]
	if was.version != g.Version {
		return fmt.Errorf("write grant %s: version %d is recorded, %d was read: %w",
			g.ID, was.version, g.Version, jit.ErrStale)
	}
	if was.version > 0 && was.owner != text(g.Owner) { // a record that was read before it made way
		return fmt.Errorf("write grant %s: it is recorded for the owner %s: %w", g.ID, was.owner, jit.ErrStale)
	}
	if err := c.signsOff(&g, only); err != nil {
		return err
	}
	g.Version++
	now := stored{version: g.Version, indexed: indexedOf(&g), due: dueOf(&g)}
	other := was.version == 0 || was.indexed != now.indexed
	if now.due != was.due || other && now.due.at.Valid {
		c.due[g.ID] = now.due.row(g.ID, now.indexed)
	}
	now.moved = was.moved || other
	c.recorded[g.ID] = now
	c.grants[g.ID] = grantRow(&g)
	return nil
}

// subjects counts what an entry writes besides its events.
func subjects(e jit.Entry) (n int) {
	for _, set := range []bool{
		e.Grant != nil, e.Policy != nil, e.DropPolicy != "", e.Person != nil, e.DropPerson != "",
	} {
		if set {
			n++
		}
	}
	return n
}

// insertAll writes the rows of a commit, with the moved tips.
func (l *Ledger) insertAll(ctx context.Context, tx *sql.Tx, c *commit) error {
	for table, rows := range map[string]map[string][]any{"jit_policies": c.policies, "jit_persons": c.persons} {
		if err := l.replace(ctx, tx, table, rows); err != nil {
			return err
		}
	}
	var moved, facts, tips [][]any
	for id, row := range sorted(c.grants) {
		if c.recorded[id].moved {
			moved = append(moved, row)
		} else {
			facts = append(facts, factsOf(row))
		}
	}
	for chain := range sorted(c.moved) {
		tips = append(tips, []any{chain, c.tips[chain].seq, c.tips[chain].hash})
	}
	for _, t := range []struct {
		table      string
		columns    []string
		rows       [][]any
		onConflict string
	}{
		{"jit_grants", grantColumns, moved, replaceGrant},
		{logTable, eventColumns, c.events, ""},
		{chainTable, chainColumns, tips,
			" ON CONFLICT (chain) DO UPDATE SET head_seq = excluded.head_seq, head_hash = excluded.head_hash"},
		{"jit_runs", runColumns, c.runs, " ON CONFLICT (run) DO NOTHING"},
	} {
		if err := l.insert(ctx, tx, t.table, t.columns, t.rows, t.onConflict); err != nil {
			return err
		}
	}
	if err := l.updateFacts(ctx, tx, facts); err != nil {
		return err
	}
	return l.writeDue(ctx, tx, c.due)
}

// replace writes the rows of policies or persons, and deletes those without a row.
func (l *Ledger) replace(ctx context.Context, tx *sql.Tx, table string, rows map[string][]any) error {
	var kept [][]any
	for name, row := range sorted(rows) {
		if row != nil {
			kept = append(kept, row)
		} else if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE name = $1", name); err != nil {
			return err
		}
	}
	return l.insert(ctx, tx, table, []string{"name", "body"}, kept,
		" ON CONFLICT (name) DO UPDATE SET body = excluded.body")
}

// refuseRemoved refuses to recreate a record that somebody removed from the ledger: its events still say how it ended.
func (l *Ledger) refuseRemoved(ctx context.Context, tx *sql.Tx, lay layout, entries []jit.Entry,
	recorded map[jit.ID]stored, errs []error) error {
	created := map[jit.ID][]int{}
	var ids []jit.ID
	for i, e := range entries {
		if e.Grant != nil && e.Grant.Version == 0 && recorded[e.Grant.ID].version == 0 {
			created[e.Grant.ID] = append(created[e.Grant.ID], i)
			ids = append(ids, e.Grant.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	removed, err := collect(ctx, tx, scanEvent, lay.events(eventsOf+l.among("$1")+
		" AND kind IN ('requested', 'adopted')"), l.list(texts(ids)))
	for _, e := range removed {
		id := e.Grant
		for _, i := range created[id] {
			if !e.Concerns(entries[i].Grant.Owner) { // another owner cannot use up the id
				continue
			}
			errs[i] = &jit.Error{
				Problem: fmt.Sprintf("the record of grant %s was removed from %s, but its events are still there",
					id, l.db.name()),
				Hint: "run `jit audit verify`, and restore the ledger from a backup",
				Err:  jit.ErrAltered,
			}
		}
	}
	return err
}

// recorded returns the stored facts of every grant in entries.
func (l *Ledger) recorded(ctx context.Context, tx *sql.Tx, entries []jit.Entry) (map[jit.ID]stored, error) {
	all := map[jit.ID]stored{}
	var ids []jit.ID
	asked := map[jit.ID]jit.Grant{}
	for _, e := range entries {
		if e.Grant != nil {
			ids = append(ids, e.Grant.ID)
			asked[e.Grant.ID] = *e.Grant
		}
	}
	if len(ids) == 0 {
		return all, nil
	}
	_, err := collect(ctx, tx, func(rows *sql.Rows) (none struct{}, err error) {
		var id jit.ID
		var s stored
		var reason string
		err = rows.Scan(&id, &s.version, &s.owner, &s.target, &s.principal, &s.scope, &s.end, &reason, &s.due.at,
			&s.due.startBy)
		was := jit.Grant{ID: id, Owner: s.owner, Reason: reason}
		if was.YieldsTo(asked[id]) { // with its due work
			s = stored{due: s.due}
		}
		all[id] = s
		return none, err
	}, "SELECT g.id, g.version, g.owner, g.target, g.principal, g.scope, g.expires_at, g.reason, d.due_at, d.start_by "+
		"FROM jit_grants g LEFT JOIN jit_due d ON d.id = g.id WHERE g.id"+l.among("$1"), l.list(texts(ids)))
	return all, err
}

// insert inserts rows.
func (l *Ledger) insert(ctx context.Context, tx *sql.Tx, table string, columns []string, rows [][]any,
	onConflict string) error {
	if len(rows) == 0 {
		return nil
	}
	return l.dialect.insert(ctx, tx, "INSERT INTO "+table+" ("+strings.Join(columns, ", ")+") ", rows, onConflict)
}

// updateFacts updates recorded grants; the rows are those of [factsOf]. A grant whose row is gone is an error.
func (l *Ledger) updateFacts(ctx context.Context, tx *sql.Tx, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	updated, err := l.update(ctx, tx, rows)
	if err == nil && updated != int64(len(rows)) {
		err = fmt.Errorf("the records of %d of %d grants are gone", int64(len(rows))-updated, len(rows))
	}
	return err
}
