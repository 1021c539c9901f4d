package postgresql

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
)

// writeTogether sends all statements and the commit at once, without savepoints, which cost several times as much as
// the statements. If one fails, nothing is committed, and the error is the server's.
func (t *transaction) writeTogether(ctx context.Context, conn *pgx.Conn, units []unit) error {
	pipe := conn.PgConn().StartPipeline(ctx)
	for _, sql := range joined(units) {
		pipe.SendQueryParams(sql, nil, nil, nil, nil)
	}
	pipe.SendQueryParams("COMMIT", nil, nil, nil, nil)
	pipe.SendPipelineSync()
	failpoint.Hit("postgresql.before-commit")
	err := pipe.Flush()
	failpoint.Hit("postgresql.commit-sent")
	if err == nil {
		_, err = segment(pipe)
	}
	if closed := pipe.Close(); err == nil {
		err = closed
	}
	if sqlState(err) != "" {
		_, _ = conn.Exec(ctx, "ROLLBACK") // else releasing the connection closes it
	}
	if err != nil {
		return t.platform.explain(ctx, "change roles", err)
	}
	return nil
}

// write sends all units, the commit and the ends of sessions at once, then reads the answers. Its error concerns every
// change; errors of single units go to errs.
//
// One savepoint is open at any time. A unit that succeeds moves it behind itself. One that fails is skipped up to its
// sync, so the rollback that follows undoes either nothing or the failed unit.
func (t *transaction) write(ctx context.Context, conn *pgconn.PgConn, units []unit, sessions map[string][]int) error {
	pipe := conn.StartPipeline(ctx)
	send := func(sql string, params ...[]byte) { pipe.SendQueryParams(sql, params, nil, nil, nil) }
	send("SAVEPOINT unit")
	for _, u := range units {
		for _, s := range u.statements {
			send(s.sql())
		}
		send("RELEASE SAVEPOINT unit")
		send("SAVEPOINT unit")
		pipe.SendPipelineSync()
		send("ROLLBACK TO SAVEPOINT unit")
	}
	send("COMMIT")
	pipe.SendPipelineSync()
	ended := slices.Sorted(maps.Keys(sessions))
	for _, principal := range ended {
		for _, sql := range t.platform.pin {
			send(sql)
		}
		send(terminateSQL, []byte(principal))
		pipe.SendPipelineSync()
	}
	failpoint.Hit("postgresql.before-commit")
	err := pipe.Flush()
	failpoint.Hit("postgresql.commit-sent")
	if err == nil {
		err = t.answers(pipe, units, ended, sessions)
	}
	if closed := pipe.Close(); err == nil && ctx.Err() != nil {
		err = closed
	}
	if err != nil {
		return t.platform.explain(ctx, "change roles", err)
	}
	return nil
}

// answers reads the server's answers to what write sent.
func (t *transaction) answers(pipe *pgconn.Pipeline, units []unit, ended []string, sessions map[string][]int) error {
	before := 1 // the SAVEPOINT or ROLLBACK TO in front of a unit
	outcomes := map[int]*outcome{}
	for _, u := range units {
		at, err := segment(pipe)
		if at < before && err != nil {
			return err
		}
		o := outcomes[u.change]
		if o == nil {
			o = &outcome{}
			outcomes[u.change] = o
		}
		o.take(u, at-before, err)
	}
	if _, err := segment(pipe); err != nil {
		return err
	}
	for _, i := range slices.Sorted(maps.Keys(outcomes)) {
		t.conclude(i, outcomes[i])
	}
	for _, principal := range ended {
		if _, err := segment(pipe); err != nil {
			for _, i := range sessions[principal] {
				t.errs[i] = withSessions(t.errs[i], explainSessions(principal, err))
			}
		}
	}
	return nil
}

// segment reads the answers up to the next sync. It returns the server's first error and the number of statements that
// succeeded before it.
func segment(pipe *pgconn.Pipeline) (succeeded int, failure error) {
	for {
		results, err := pipe.GetResults()
		if reader, ok := results.(*pgconn.ResultReader); ok && err == nil {
			_, err = reader.Close()
		}
		var refused *pgconn.PgError
		switch _, sync := results.(*pgconn.PipelineSync); {
		case sync:
			return succeeded, failure
		case err == nil && results == nil:
			return succeeded, errors.New("the server's answers ended early")
		case err == nil:
			succeeded++
		case errors.As(err, &refused) && refused.SeverityUnlocalized == "ERROR":
			failure = err
		default:
			return succeeded, err
		}
	}
}

// outcome holds the answers to the units of one change.
type outcome struct {
	// uncut is the first refusal to take a member off the wrapper.
	uncut refusal
	// severed: the wrapper no longer gives anything.
	severed bool
	// last is the answer to the unit that must succeed.
	last refusal
}

// refusal is the answer to a unit: its error, nil after success, and the statement that failed.
type refusal struct {
	unit      unit
	statement statement
	err       error
}

// take stores the answer to one unit: err, from the statement at position at.
func (o *outcome) take(u unit, at int, err error) {
	r := refusal{unit: u, err: err}
	if err != nil && at < len(u.statements) {
		r.statement = u.statements[at]
	}
	switch u.part {
	case cuts:
		if o.uncut.err == nil {
			o.uncut = r
		}
	case severs:
		o.severed = err == nil
	case ensures, drops:
		o.last = r
	}
}

// conclude records the outcome of a change, and whether and how it is tried again.
func (t *transaction) conclude(i int, o *outcome) {
	m := &t.memory[i]
	m.blocked = nil
	if o.last.err == nil {
		t.errs[i] = nil
		return
	}
	m.over = m.over || o.last.unit.part == drops && (o.severed || o.uncut.err == nil && !t.logins[i])
	blame := o.last
	if !m.over && o.uncut.err != nil {
		blame = o.uncut
	}
	t.errs[i] = explainStatement(t.changes[i], blame.statement, blame.err)
	if m.over {
		t.errs[i] = leftover(o.last)
	}
	next := m.how.after(o)
	again := next != m.how || lostRace(blame.err)
	if sqlState(blame.err) == codeLockTimeout {
		m.blocked = &blame.unit
		m.waited++
		again = next != m.how || m.waited < waits
	}
	m.how = next
	if again {
		t.again = append(t.again, i)
	}
}

// after returns how hard the change tries after an outcome that failed.
func (h how) after(o *outcome) how {
	code := sqlState(o.last.err)
	if o.last.unit.part == ensures {
		h.rebuild = h.rebuild || code == codePrivilege
		return h
	}
	h.sever = h.sever || o.uncut.err != nil
	h.clean = h.clean || code == codeDependents
	return h
}
