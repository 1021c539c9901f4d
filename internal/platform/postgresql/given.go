package postgresql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// predefined begins the names of the roles that PostgreSQL makes
// (https://www.postgresql.org/docs/current/predefined-roles.html): some read every table, some run programs on the
// server.
const predefined = "pg_"

// includedFor is how long an answer about included roles is used.
const includedFor = time.Minute

// Given returns the roles that a role is a member of, because membership passes them on. A policy must name a role that
// includes a predefined one or, before version 16, one with attributes such as SUPERUSER.
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

// inclusion is a role that another one includes, or that role itself.
type inclusion struct {
	Name string
	// Powers: it has attributes that give power.
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

// recalled is an answer about a role, and its time.
type recalled struct {
	roles []inclusion
	at    time.Time
}

// includedSQL has OFFSET 0 so that the planner looks members and roles up one by one: it expects many more.
const includedSQL = `WITH RECURSIVE reach (oid) AS (
	SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name
	UNION
	SELECT up.roleid FROM reach, LATERAL (SELECT m.roleid FROM pg_catalog.pg_auth_members m
		WHERE m.member OPERATOR(pg_catalog.=) reach.oid OFFSET 0) up)
SELECT r.rolname::pg_catalog.text, r.rolsuper OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls
FROM reach, LATERAL (SELECT * FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) reach.oid OFFSET 0) r`

func (p *Platform) askIncluded(ctx context.Context, role string) ([]inclusion, error) {
	found, major, err := query[inclusion](ctx, p, fmt.Sprintf("read which roles %q includes", role), includedSQL, role)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b inclusion) int { return strings.Compare(a.Name, b.Name) })
	for i := range found {
		// Since 16 a grant of ours does not permit SET ROLE, and attributes are not passed on.
		found[i].Powers = found[i].Powers && major < 16
	}
	return found, nil
}
