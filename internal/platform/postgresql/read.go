package postgresql

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Read returns the wrappers of all owners in one round trip. Standing access is every other role that a login role has,
// directly or through other roles, and the attributes of login roles that give access to everything. The role that we
// act as is left out.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if scope != cluster {
		return jit.Snapshot{}, unknownScope(scope)
	}
	for n := 0; ; n++ {
		// A statement_timeout of the database can end the first statements, before it is pinned.
		snap, err := p.readOnce(ctx)
		if n+1 == attempts || sqlState(err) != codeCanceled || ctx.Err() != nil {
			return snap, err
		}
	}
}

func (p *Platform) readOnce(ctx context.Context) (jit.Snapshot, error) {
	conn, major, err := p.acquire(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	defer conn.Release()
	var s state
	batch := &pgx.Batch{}
	p.begin(batch, "REPEATABLE READ READ ONLY")
	s.queueAll(batch, major)
	batch.Queue("COMMIT")
	p.call("read")
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return jit.Snapshot{}, p.explain(ctx, "read roles and memberships", err)
	}
	return s.snapshot(major), nil
}

// snapshot turns roles and memberships into a snapshot.
func (s *state) snapshot(major int) jit.Snapshot {
	snap := jit.Snapshot{Clock: s.clock.UTC()}
	ours := map[string]bool{}
	for _, w := range s.wrappers() {
		if !w.ours() {
			continue // access through it shows as standing access
		}
		ours[w.Name] = true
		snap.Ours = append(snap.Ours, w.observed(major, s.dropped(w.principal))...)
	}
	snap.Standing = s.standing(ours)
	snap.Advise = s.advise(major)
	return snap
}

// dropped reports whether the server has no role of that oid; an empty one is unknown.
func (s *state) dropped(oid string) bool {
	if s.oids == nil {
		s.oids = make(map[string]bool, len(s.roles))
		for _, r := range s.roles {
			s.oids[strconv.FormatUint(uint64(r.OID), 10)] = true
		}
	}
	return oid != "" && !s.oids[oid]
}

// observed returns one entry for each member and role of the wrapper; if it gives nothing, one entry without a
// principal. gone: the role that the grant was made for was dropped.
func (w *wrapper) observed(major int, gone bool) []jit.Observed {
	o := jit.Observed{Marker: w.marker, Detail: fmt.Sprintf("role %q", w.Name),
		Damage: strings.Join(w.damage(major), "; ")}
	var members, roles []string
	for _, m := range w.members {
		if m.gives() {
			members = append(members, m.Member)
		}
	}
	if w.Login {
		members = append(members, w.Name)
	}
	for _, m := range w.memberOf {
		if m.gives() {
			roles = append(roles, m.Role)
		}
	}
	members, roles = slices.Compact(members), slices.Compact(roles) // they are in order
	if len(members) == 0 || len(roles) == 0 {
		o.Role, o.Gone = strings.Join(roles, ", "), gone && len(members) == 0
		return []jit.Observed{o}
	}
	var all []jit.Observed
	for _, o.Principal = range members {
		for _, o.Role = range roles {
			all = append(all, o)
		}
	}
	return all
}

// damage lists how the wrapper differs from what we wrote.
func (w *wrapper) damage(major int) []string {
	var found []string
	if len(w.members) == 0 {
		found = append(found, "no principal is a member of it")
	}
	if len(w.memberOf) == 0 {
		found = append(found, "it is not a member of any role")
	}
	for _, m := range w.members {
		if !m.right(major) {
			found = append(found, fmt.Sprintf("the membership of %q has the wrong options%s", m.Member, m.options()))
		}
	}
	for _, m := range w.memberOf {
		if !m.right(major) {
			found = append(found, fmt.Sprintf("its membership in %q has the wrong options%s", m.Role, m.options()))
		}
	}
	for _, a := range w.wrongAttributes() {
		found = append(found, "it is "+a.now)
	}
	return found
}

// options names the options of a membership that can be wrong.
func (m membership) options() string {
	return fmt.Sprintf(" (admin %t, inherit %t, set %t)", m.Admin, m.Inherit, m.Set)
}

func unknownScope(scope string) error {
	return jit.Invalid("scope", `write scope = "cluster"`, "%q is not a scope of a PostgreSQL server", scope)
}
