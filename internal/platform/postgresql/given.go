package postgresql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// predefined begins the names of the roles that PostgreSQL makes
// (https://www.postgresql.org/docs/current/predefined-roles.html): some read every table, some run programs on the server.
const predefined = "pg_"

// includedFor is how long the roles that a role includes are taken to be the same.
const includedFor = time.Minute

// Given tells which roles a role is a member of, since membership passes them on. A role that includes a predefined one,
// or before version 16 one with attributes such as SUPERUSER, has to be named.
func (p *Platform) Given(ctx context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	if strings.HasPrefix(b.Role, predefined) {
		g.Role.Guard = "PostgreSQL itself gives it powers over the whole server"
	}
	if !ask {
		g.Role.Unresolved = true
		if g.Role.Guard == "" {
			g.Role.Guard = "it may include a role with powers over the whole server"
		}
		return g, nil
	}
	included, err := p.included(ctx, b.Role)
	if err != nil {
		return g, err
	}
	for _, r := range included {
		if r.Name != b.Role {
			g.Role.Covers = append(g.Role.Covers, r.Name)
		}
		if g.Role.Guard == "" && (r.Powers || strings.HasPrefix(r.Name, predefined)) {
			g.Role.Guard = fmt.Sprintf("it includes %q, which has powers over the whole server", r.Name)
		}
	}
	return g, nil
}

// inclusion is a role that another one includes, itself among them, and whether it has attributes that give power.
type inclusion struct {
	Name   string
	Powers bool
}

// included returns the roles that a role includes, as they were at most [includedFor] ago.
func (p *Platform) included(ctx context.Context, role string) ([]inclusion, error) {
	p.mu.Lock()
	known, ok := p.inclusions[role]
	p.mu.Unlock()
	if ok && p.now().Sub(known.at).Abs() < includedFor {
		return known.roles, nil
	}
	roles, err, _ := p.asking.Do(role, func() (any, error) { return p.askIncluded(ctx, role) })
	if err != nil {
		return nil, err
	}
	found := roles.([]inclusion)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inclusions == nil {
		p.inclusions = map[string]recalled{}
	}
	p.inclusions[role] = recalled{found, p.now()}
	return found, nil
}

// recalled is what was known of a role at a time.
type recalled struct {
	roles []inclusion
	at    time.Time
}

const includedSQL = `WITH RECURSIVE reach (oid) AS (
	SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name
	UNION
	SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN reach ON reach.oid OPERATOR(pg_catalog.=) m.member)
SELECT r.rolname::pg_catalog.text, r.rolsuper OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls
FROM reach JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) reach.oid`

func (p *Platform) askIncluded(ctx context.Context, role string) ([]inclusion, error) {
	conn, major, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	var found []inclusion
	batch := &pgx.Batch{}
	p.begin(batch, "READ COMMITTED READ ONLY")
	batch.Queue(includedSQL, role).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[inclusion])
		return err
	})
	batch.Queue("COMMIT")
	p.call("read")
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return nil, p.explain(ctx, fmt.Sprintf("read which roles %q includes", role), err)
	}
	slices.SortFunc(found, func(a, b inclusion) int { return strings.Compare(a.Name, b.Name) })
	for i := range found {
		// Since 16 a grant of ours does not permit SET ROLE, and attributes are not passed on.
		found[i].Powers = found[i].Powers && major < 16
	}
	return found, nil
}
