package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxMismatches is how many mismatches a report lists; it counts the rest.
const maxMismatches = 1000

// Mismatch is a row of the ledger that differs from the events.
type Mismatch struct {
	// Grant, Policy, Person or Run identifies the row.
	Grant  jit.ID `json:"grant,omitempty"`
	Policy string `json:"policy,omitempty"`
	Person string `json:"person,omitempty"`
	Run    string `json:"run,omitempty"`
	// Problem is about the row as a whole, Facts about its columns.
	Problem string              `json:"problem,omitempty"`
	Facts   []jit.Contradiction `json:"facts,omitempty"`
}

// String returns the mismatch as a line.
func (m Mismatch) String() string {
	subject := "grant " + string(m.Grant)
	switch {
	case m.Policy != "":
		subject = fmt.Sprintf("policy %q", m.Policy)
	case m.Person != "":
		subject = fmt.Sprintf("person %q", m.Person)
	case m.Run != "":
		subject = fmt.Sprintf("run %q", m.Run)
	}
	problems := make([]string, 0, len(m.Facts)+1)
	if m.Problem != "" {
		problems = append(problems, m.Problem)
	}
	for _, c := range m.Facts {
		problems = append(problems, c.String())
	}
	return subject + ": " + strings.Join(problems, "; ")
}

// add adds a mismatch, unless it has no finding.
func (r *Report) add(m Mismatch) {
	if m.Problem == "" && len(m.Facts) == 0 {
		return
	}
	if r.MismatchCount++; len(r.Mismatches) < maxMismatches {
		r.Mismatches = append(r.Mismatches, m)
	}
}

// rebuild compares the rows of grants, policies and persons with the facts in their events, which v has followed. It
// holds one page of grants in memory at a time.
func (v *verifier) rebuild(ctx context.Context) error {
	for _, k := range namedKinds {
		if v.state.schema < k.since {
			continue
		}
		if err := v.rebuildNamed(ctx, v.tx, k, v.told[k.noun], v.report); err != nil {
			return err
		}
	}
	if v.state.schema >= runsSchema {
		if err := v.rebuildRuns(ctx, v.tx, v.runs, v.report); err != nil {
			return err
		}
	}
	if v.grants != nil {
		return v.rebuildSome(ctx)
	}
	next := v.grantPages(v.tx, v.state.schema, v.report.Owner)
	for {
		page, more, err := next(ctx)
		if err != nil {
			return err
		}
		if err := v.rebuildPage(ctx, page); err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := v.unknownWork(ctx); err != nil {
		return err
	}
	return v.removed(ctx)
}

// unknownWork adds the rows of due work that belong to no grant.
func (v *verifier) unknownWork(ctx context.Context) error {
	if v.state.schema < dueSchema {
		return nil
	}
	where, args := "", []any{}
	if v.report.Owner != "" {
		where, args = " AND owner = $1", append(args, v.report.Owner)
	}
	return each(ctx, v.tx, scanOne[jit.ID], func(id jit.ID) bool {
		v.report.add(Mismatch{Grant: id, Problem: "it is due, and there is no such grant"})
		return true
	}, "SELECT id FROM jit_due WHERE NOT EXISTS (SELECT 1 FROM jit_grants g WHERE g.id = jit_due.id)"+where, args...)
}

// storedRow is a row of a grant as it is stored, readable or not.
type storedRow struct {
	grant jit.Grant
	// due is the row of due work, and work is how that differs from the grant in what else it has.
	due  sql.NullInt64
	work string
	err  error
}

// storedDue selects the time at which the grant of a row of jit_grants is due, and the first other column of its due work
// that is not as in the grant.
func storedDue(schema int) string {
	if schema < dueSchema {
		return "due_at, ''"
	}
	of := func(what string) string {
		return "(SELECT " + what + " FROM jit_due d WHERE d.id = jit_grants.id)"
	}
	return of("due_at") + ", coalesce(" + of(`CASE WHEN d.owner <> jit_grants.owner THEN 'owner'
		WHEN d.target <> jit_grants.target THEN 'target' WHEN d.scope <> jit_grants.scope THEN 'scope'
		WHEN d.expires_at <> jit_grants.expires_at THEN 'expires_at'
		WHEN d.start_by IS DISTINCT FROM CASE WHEN jit_grants.revoked_at IS NULL THEN jit_grants.start_by END
			THEN 'start_by' ELSE '' END`) + ", '')"
}

// grantPages returns a function that reads the next page of the grants of an owner, or of all, by their id.
func (l *Ledger) grantPages(
	tx *sql.Tx, schema int, owner string,
) func(context.Context) (page []storedRow, more bool, err error) {
	last, first := "", true
	return func(ctx context.Context) ([]storedRow, bool, error) {
		where, args := " WHERE id > $2", []any{int64(pageSize), last}
		switch {
		case owner != "":
			where, args = where+" AND owner = $3", append(args, owner)
		case first: // SQLite can also store a row whose id is NULL
			where, args = "", args[:1]
		}
		page, err := collect(ctx, tx, scanStored, "SELECT "+storedDue(schema)+", "+columnsOf(schema)+
			" FROM jit_grants"+where+" ORDER BY id LIMIT $1", args...)
		if err != nil || len(page) == 0 {
			return page, false, err
		}
		before := last
		last = string(page[len(page)-1].grant.ID)
		// An id that is not a text sorts after all texts, and would be found again and again.
		more := len(page) == pageSize && (last != before || first)
		first = false
		return page, more, nil
	}
}

// scanStored reads a row of storedDue and grantColumns. SQLite keeps whatever somebody writes into a column: a row that
// cannot be read is returned with its error, and with its id if that is readable.
func scanStored(rows *sql.Rows) (storedRow, error) {
	var s storedRow
	s.grant, s.err = scanGrant(rows, &s.due, &s.work)
	if s.err == nil {
		return s, nil
	}
	raw := make([]any, len(grantColumns)+2)
	at := make([]any, len(raw))
	for i := range raw {
		at[i] = &raw[i]
	}
	err := rows.Scan(at...)
	s.grant = jit.Grant{ID: jit.ID(fmt.Sprint(raw[2]))}
	return s, err
}

// told is what the events tell about one grant.
type told struct {
	chain   string
	account jit.Account
	trial   approval.Trial
	// elsewhere are the events in chains of other owners than that of the row.
	elsewhere []jit.Event
}

// add takes in an event. Those of a grant are in the chain of its owner, or in [jit.AllChain] as long as the ledger did
// not know the grant, or had one chain only.
func (t *told) add(e jit.Event) {
	if e.InChain() != t.chain && e.InChain() != jit.AllChain {
		t.elsewhere = append(t.elsewhere, e)
		return
	}
	t.account.Add(e)
	t.trial.Add(e, &t.account)
}

// settle accuses the events elsewhere, after the last event. If nothing else tells of the grant, or its row cannot be
// read, the row is wrong about the owner and the events are believed. Without accuse, the check is of one owner, and what
// others write into their own chains is no finding.
func (t *told) settle(readable, accuse bool) {
	believed := t.account.Empty() || !readable
	for _, e := range t.elsewhere {
		if believed {
			t.account.Add(e)
			t.trial.Add(e, &t.account)
		} else if accuse {
			t.trial.Faults = append(t.trial.Faults,
				fmt.Sprintf("event %s about it is in the chain of another owner", e.Place()))
		}
	}
}

func (v *verifier) rebuildPage(ctx context.Context, page []storedRow) error {
	r := v.report
	grants := make(map[jit.ID]*told, len(page))
	ids := make([]jit.ID, len(page))
	for i, row := range page {
		ids[i] = row.grant.ID
		trial := approval.Trial{History: &v.persons, Ledger: r.Ledger}
		grants[row.grant.ID] = &told{chain: jit.ChainOf(row.grant.Owner), trial: trial}
	}
	err := v.visitOf(ctx, v.tx, v.state.layout(), "", ids, func(e jit.Event) bool {
		if g, wanted := grants[e.Grant]; wanted {
			g.add(e)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, row := range page {
		r.Grants++
		g := grants[row.grant.ID]
		g.settle(row.err == nil, r.Owner == "")
		r.compare(row, &g.account)
		for _, fault := range g.trial.Faults {
			r.add(Mismatch{Grant: row.grant.ID, Problem: fault})
		}
	}
	return nil
}

// compare compares the row of a grant with the account in its events.
func (r *Report) compare(row storedRow, account *jit.Account) {
	m := Mismatch{Grant: row.grant.ID}
	switch {
	case row.err != nil:
		m.Problem = "its row cannot be read: " + row.err.Error()
	case account.Empty():
		m.Problem = "it has no event"
	default:
		m.Facts = account.Contradictions(row.grant)
		if due := moment(row.due); !due.Equal(row.grant.DueAt()) {
			m.Facts = append(m.Facts, jit.Contradiction{
				Fact: "due_at", Recorded: jit.FormatTime(due), Told: jit.FormatTime(row.grant.DueAt()),
			})
		}
		if row.work != "" {
			m.Problem = "its row of due work has another " + row.work
		}
		if !account.Whole() {
			r.Older++
		}
	}
	r.add(m)
}

// rowRemoved is the problem of a grant or policy without a row.
const rowRemoved = "its row was removed, but its events are still there"

// removed adds the grants, all or those with these ids, that have events but no row. Bindings that the ledger does not
// know also have events, but were never requested.
func (v *verifier) removed(ctx context.Context, ids ...jit.ID) error {
	var args []any
	only, among := "", ""
	if v.report.Owner != "" {
		only, args = " AND chain = $1", []any{jit.ChainOf(v.report.Owner)}
	}
	if len(ids) > 0 {
		args = append(args, v.list(texts(ids)))
		among = " AND grant_id" + v.among(numbered(len(args)))
	}
	return each(ctx, v.tx, scanOne[jit.ID], func(id jit.ID) bool {
		v.report.add(Mismatch{Grant: id, Problem: rowRemoved})
		return true
	}, "SELECT DISTINCT grant_id FROM ("+v.state.layout().union(func(table string) string {
		if table == oldTable && only != "" { // whose grants these were is not known
			return "SELECT grant_id FROM jit_events WHERE 1 = 0"
		}
		of := ""
		if table == logTable {
			of = only
		}
		return "SELECT grant_id FROM " + table + " WHERE grant_id <> '' AND kind IN ('requested', 'adopted')" + of + among
	})+") AS asked WHERE NOT EXISTS (SELECT 1 FROM jit_grants g WHERE g.id = asked.grant_id)", args...)
}

// facts are the details of the events that recorded named things last, by name.
type facts map[string]map[string]string

// namedKind is a kind of things that a ledger stores by name.
type namedKind struct {
	noun, table string
	// since is the first schema that has the table.
	since int
	// mismatch returns a mismatch about the thing of that name.
	mismatch func(name string) Mismatch
	// contradictions compares a stored body with the facts of its event; name is the name in the body.
	contradictions func(name, body string, told map[string]string) (inBody string, wrong []jit.Contradiction, err error)
}

var namedKinds = []namedKind{
	{"policy", "jit_policies", 1, func(name string) Mismatch { return Mismatch{Policy: name} },
		func(name, body string, told map[string]string) (string, []jit.Contradiction, error) {
			p, err := parseNamed[jit.Policy]("policy", name, body)
			return p.Name, p.Contradictions(told), err
		}},
	{"person", "jit_persons", personsSchema, func(name string) Mismatch { return Mismatch{Person: name} },
		func(name, body string, told map[string]string) (string, []jit.Contradiction, error) {
			p, err := parseNamed[jit.Person]("person", name, body)
			return p.Name, p.Contradictions(told), err
		}},
}

// rebuildNamed compares the rows of a kind with the facts of their events.
func (l *Ledger) rebuildNamed(ctx context.Context, tx *sql.Tx, k namedKind, told facts, r *Report) error {
	stored := map[string]bool{}
	err := each(ctx, tx, func(rows *sql.Rows) (row [2]any, err error) {
		return row, rows.Scan(&row[0], &row[1])
	}, func(row [2]any) bool {
		name, body := fmt.Sprint(row[0]), fmt.Sprint(row[1])
		stored[name] = true
		r.add(k.compare(name, body, told))
		return true
	}, "SELECT name, body FROM "+k.table+" ORDER BY name")
	if err != nil {
		return err
	}
	for name := range sorted(told) {
		if !stored[name] {
			m := k.mismatch(name)
			m.Problem = rowRemoved
			r.add(m)
		}
	}
	return nil
}

// compare compares a row with the facts of the event that recorded it last.
func (k namedKind) compare(name, body string, told facts) Mismatch {
	m := k.mismatch(name)
	recorded, known := told[name]
	inBody, wrong, err := k.contradictions(name, body, recorded)
	switch {
	case !known:
		m.Problem = "it has no event"
	case err != nil:
		m.Problem = "its row cannot be read: " + err.Error()
	case inBody != name:
		m.Problem = fmt.Sprintf("its row holds the %s %q", k.noun, inBody)
	default:
		m.Facts = wrong
	}
	return m
}
