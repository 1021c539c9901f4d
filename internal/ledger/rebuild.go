package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxMismatches is how many mismatches a report lists; the rest is counted.
const maxMismatches = 1000

// Mismatch is a row of the ledger that does not agree with the events.
type Mismatch struct {
	// Grant or Policy says whose row it is.
	Grant  jit.ID `json:"grant,omitempty"`
	Policy string `json:"policy,omitempty"`
	// Problem is about the row as a whole, Facts about its columns.
	Problem string              `json:"problem,omitempty"`
	Facts   []jit.Contradiction `json:"facts,omitempty"`
}

// String says which row it is and what is wrong with it.
func (m Mismatch) String() string {
	subject := "grant " + string(m.Grant)
	if m.Policy != "" {
		subject = fmt.Sprintf("policy %q", m.Policy)
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

// mismatch notes what is wrong with a row.
func (r *Report) mismatch(m Mismatch) {
	if m.Problem == "" && len(m.Facts) == 0 {
		return
	}
	if r.MismatchCount++; len(r.Mismatches) < maxMismatches {
		r.Mismatches = append(r.Mismatches, m)
	}
}

// rebuild compares the rows of grants and policies with what the events tell of them. policies are the details of the events
// that recorded them last. What is in memory at a time is a page of grants, whatever number there is.
func (l *Ledger) rebuild(ctx context.Context, tx *sql.Tx, schema int, policies map[string]map[string]string, r *Report) error {
	if err := l.rebuildPolicies(ctx, tx, policies, r); err != nil {
		return err
	}
	next := l.grantPages(tx, schema)
	for {
		page, more, err := next(ctx)
		if err != nil {
			return err
		}
		if err := l.rebuildPage(ctx, tx, page, r); err != nil {
			return err
		}
		if !more {
			return l.removed(ctx, tx, r)
		}
	}
}

// storedRow is a row of a grant as it is stored, readable or not.
type storedRow struct {
	grant jit.Grant
	due   sql.NullInt64
	err   error
}

// grantPages returns a function that reads the next page of all grants by their id.
func (l *Ledger) grantPages(tx *sql.Tx, schema int) func(context.Context) (page []storedRow, more bool, err error) {
	last, first := "", true
	return func(ctx context.Context) ([]storedRow, bool, error) {
		query, args := "SELECT due_at, "+columnsOf(schema)+" FROM jit_grants WHERE id > $1 ORDER BY id LIMIT $2", []any{last, int64(pageSize)}
		if first { // SQLite also keeps a row whose id is NULL
			query, args = "SELECT due_at, "+columnsOf(schema)+" FROM jit_grants ORDER BY id LIMIT $1", args[1:]
		}
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, false, err
		}
		page, err := collect(rows, scanStored)
		if err != nil || len(page) == 0 {
			return page, false, err
		}
		before := last
		last = string(page[len(page)-1].grant.ID)
		// An id that is no text sorts after all texts and is found again and again.
		more := len(page) == pageSize && (last != before || first)
		first = false
		return page, more, nil
	}
}

// scanStored reads a row of due_at and grantColumns. SQLite keeps whatever somebody writes into a column: a row that
// cannot be read is returned with its error, and its id where that is readable.
func scanStored(rows *sql.Rows) (storedRow, error) {
	var s storedRow
	s.grant, s.err = scanGrant(rows, &s.due)
	if s.err == nil {
		return s, nil
	}
	raw := make([]any, len(grantColumns)+1)
	at := make([]any, len(raw))
	for i := range raw {
		at[i] = &raw[i]
	}
	err := rows.Scan(at...)
	s.grant = jit.Grant{ID: jit.ID(fmt.Sprint(raw[1]))}
	return s, err
}

func (l *Ledger) rebuildPage(ctx context.Context, tx *sql.Tx, page []storedRow, r *Report) error {
	told := make(map[jit.ID]*jit.Account, len(page))
	ids := make([]jit.ID, len(page))
	for i, row := range page {
		ids[i] = row.grant.ID
		told[row.grant.ID] = &jit.Account{}
	}
	err := l.visitOf(ctx, tx, ids, func(e jit.Event) bool {
		if account, asked := told[e.Grant]; asked {
			account.Add(e)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, row := range page {
		r.Grants++
		account := told[row.grant.ID]
		m := Mismatch{Grant: row.grant.ID}
		switch {
		case row.err != nil:
			m.Problem = "its row cannot be read: " + row.err.Error()
		case !account.Told():
			m.Problem = "no event tells of it"
		default:
			m.Facts = account.Contradictions(row.grant)
			if due := moment(row.due); !due.Equal(row.grant.DueAt()) {
				m.Facts = append(m.Facts, jit.Contradiction{Fact: "due_at", Recorded: jit.FormatTime(due), Told: jit.FormatTime(row.grant.DueAt())})
			}
			if !account.Whole() {
				r.Older++
			}
		}
		r.mismatch(m)
	}
	return nil
}

// removed notes the grants that events tell of and that have no row. Bindings that the ledger does not know have events too; these
// tell of no request.
func (l *Ledger) removed(ctx context.Context, tx *sql.Tx, r *Report) error {
	rows, err := tx.QueryContext(ctx, `SELECT DISTINCT grant_id FROM jit_events WHERE grant_id <> '' AND kind IN ('requested', 'adopted')
		AND NOT EXISTS (SELECT 1 FROM jit_grants g WHERE g.id = jit_events.grant_id)`)
	if err != nil {
		return err
	}
	return each(rows, func(rows *sql.Rows) (id jit.ID, err error) { return id, rows.Scan(&id) }, func(id jit.ID) bool {
		r.mismatch(Mismatch{Grant: id, Problem: "its row was removed; the events tell of it"})
		return true
	})
}

func (l *Ledger) rebuildPolicies(ctx context.Context, tx *sql.Tx, told map[string]map[string]string, r *Report) error {
	rows, err := tx.QueryContext(ctx, "SELECT name, body FROM jit_policies ORDER BY name")
	if err != nil {
		return err
	}
	there := map[string]bool{}
	err = each(rows, func(rows *sql.Rows) (Mismatch, error) {
		var name, body any
		if err := rows.Scan(&name, &body); err != nil {
			return Mismatch{}, err
		}
		return comparePolicy(fmt.Sprint(name), fmt.Sprint(body), told), nil
	}, func(m Mismatch) bool {
		there[m.Policy] = true
		r.mismatch(m)
		return true
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if !there[name] {
			r.mismatch(Mismatch{Policy: name, Problem: "its row was removed; the events tell of it"})
		}
	}
	return nil
}

// comparePolicy compares a row with the event that recorded it last.
func comparePolicy(name, body string, told map[string]map[string]string) Mismatch {
	m := Mismatch{Policy: name}
	facts, recorded := told[name]
	p, err := parsePolicy(name, body)
	switch {
	case !recorded:
		m.Problem = "no event tells of it"
	case err != nil:
		m.Problem = "its row cannot be read: " + err.Error()
	case p.Name != name:
		m.Problem = fmt.Sprintf("its row holds the policy %q", p.Name)
	default:
		m.Facts = p.Contradictions(facts)
	}
	return m
}
