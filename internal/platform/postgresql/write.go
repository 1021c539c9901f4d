package postgresql

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// write sends all units, the commit and the ends of sessions at once, then reads
// the answers. Its own error concerns every change; errors of single units go to errs.
//
// One savepoint is open at any time. A unit that succeeds moves it behind itself, one that fails is skipped
// up to its sync, so the rollback that follows undoes either nothing or the failed unit.
func (t *transaction) write(ctx context.Context, conn *pgconn.PgConn, units []unit, sessions map[string][]int) error {
	pipe := conn.StartPipeline(ctx)
	send := func(sql string, params ...[]byte) { pipe.SendQueryParams(sql, params, nil, nil, nil) }
	send("SAVEPOINT unit")
	for _, u := range units {
		for _, s := range u.statements {
			send(s.sql)
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

// answers reads what the server said to what write sent.
func (t *transaction) answers(pipe *pgconn.Pipeline, units []unit, ended []string, sessions map[string][]int) error {
	before := 1 // the SAVEPOINT or ROLLBACK TO in front of a unit
	for _, u := range units {
		at, err := segment(pipe)
		if at < before && err != nil {
			return err
		}
		if err != nil {
			t.failed(u, at-before, err)
		} else if !u.early {
			t.succeeded(u)
		}
	}
	if _, err := segment(pipe); err != nil {
		return err
	}
	for _, principal := range ended {
		if _, err := segment(pipe); err != nil {
			for _, i := range sessions[principal] {
				t.errs[i] = errors.Join(t.errs[i], explainSessions(principal, err))
			}
		}
	}
	return nil
}

// segment reads the answers up to the next sync. It returns the first error of the
// server and the number of statements that succeeded before it.
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

// failed records that the statement at position at of a unit was refused.
func (t *transaction) failed(u unit, at int, err error) {
	// What holds a wrapper is a session of its user, which need not end before long unless we end it.
	var refused *pgconn.PgError
	held := u.dropped != "" && errors.As(err, &refused) && refused.Code == codeLockTimeout
	if lostRace(err) && (!held || t.changes[u.change].Access.TerminateSessions) && !slices.Contains(t.again, u.change) {
		t.again = append(t.again, u.change)
	}
	var s statement
	if at < len(u.statements) {
		s = u.statements[at]
	}
	told := explainStatement(t.changes[u.change], s, err)
	if u.dropped != "" && t.errs[u.change] == nil {
		told = leftover(u, s, err)
	}
	t.errs[u.change] = told
}

// succeeded records that a unit was carried out, which makes up for one before it that only tried to end access.
func (t *transaction) succeeded(u unit) {
	t.errs[u.change] = nil
	t.again = slices.DeleteFunc(t.again, func(i int) bool { return i == u.change })
}

// missingRole says that a role named by a grant is not there.
func missingRole(attribute, name string) error {
	return &jit.Error{
		Attribute: attribute,
		Problem:   fmt.Sprintf("the server has no role %q (case counts)", name),
		Hint:      "create the role first, or correct the name",
	}
}
