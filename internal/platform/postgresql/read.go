package postgresql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Read returns the wrappers of all owners and, as standing access, every role that
// a login role is a member of otherwise, directly or through other roles. It is one
// round trip. Superusers have every role's privileges without being a member; that is not listed.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if scope != cluster {
		return jit.Snapshot{}, unknownScope(scope)
	}
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

// snapshot tells what the roles and memberships mean.
func (s *state) snapshot(major int) jit.Snapshot {
	snap := jit.Snapshot{Clock: s.clock.UTC()}
	ours := map[string]bool{}
	for _, w := range s.wrappers() {
		if !w.ours() {
			continue // access through it shows as standing access
		}
		ours[w.Name] = true
		o := jit.Observed{Marker: w.marker, Damage: strings.Join(w.damage(major), "; ")}
		if len(w.members) > 0 {
			o.Principal = w.members[0].Member
		}
		if len(w.memberOf) > 0 {
			o.Role = w.memberOf[0].Role
		}
		snap.Ours = append(snap.Ours, o)
	}
	snap.Standing = s.standing(ours)
	return snap
}

// damage lists what of the wrapper is not as it was written.
func (w *wrapper) damage(major int) []string {
	var found []string
	if len(w.members) == 0 {
		found = append(found, "no principal is a member of it")
	}
	if len(w.memberOf) == 0 {
		found = append(found, "it is not a member of any role")
	}
	for i, m := range w.members {
		if i > 0 && m.Member != w.members[i-1].Member {
			found = append(found, fmt.Sprintf("%q is a member of it too", m.Member))
		}
		if !m.right(major) {
			found = append(found, fmt.Sprintf("the membership of %q has the wrong options%s", m.Member, m.options()))
		}
	}
	for i, m := range w.memberOf {
		if i > 0 && m.Role != w.memberOf[i-1].Role {
			found = append(found, fmt.Sprintf("it is a member of %q too", m.Role))
		}
		if !m.right(major) {
			found = append(found, fmt.Sprintf("its membership in %q has the wrong options%s", m.Role, m.options()))
		}
	}
	for _, a := range w.wrongAttributes() {
		found = append(found, "it is "+a.now)
	}
	return found
}

// options names those of a membership that can be wrong.
func (m membership) options() string {
	return fmt.Sprintf(" (admin %t, inherit %t, set %t)", m.Admin, m.Inherit, m.Set)
}

// attribute is a role attribute that a wrapper must not have.
type attribute struct{ now, want string }

// wrongAttributes lists the attributes that a wrapper has and should not, and how to undo each.
func (w *wrapper) wrongAttributes() []attribute {
	var wrong []attribute
	for _, a := range []struct {
		wrong bool
		attribute
	}{
		{w.Login, attribute{"LOGIN", "NOLOGIN"}},
		{!w.Inherit, attribute{"NOINHERIT", "INHERIT"}},
		{w.Super, attribute{"SUPERUSER", "NOSUPERUSER"}},
		{w.CreateRole, attribute{"CREATEROLE", "NOCREATEROLE"}},
		{w.CreateDB, attribute{"CREATEDB", "NOCREATEDB"}},
		{w.Replicate, attribute{"REPLICATION", "NOREPLICATION"}},
		{w.BypassRLS, attribute{"BYPASSRLS", "NOBYPASSRLS"}},
	} {
		if a.wrong {
			wrong = append(wrong, a.attribute)
		}
	}
	return wrong
}

// standing lists the roles that login roles reach without passing through one of our wrappers.
func (s *state) standing(ours map[string]bool) []jit.Standing {
	rolesOf := map[string][]string{}
	for _, m := range s.memberships {
		if !ours[m.Role] && (m.Inherit || m.Set) && !slices.Contains(rolesOf[m.Member], m.Role) {
			rolesOf[m.Member] = append(rolesOf[m.Member], m.Role)
		}
	}
	var logins []string
	for name, r := range s.roles {
		if r.Login && !ours[name] && len(rolesOf[name]) > 0 {
			logins = append(logins, name)
		}
	}
	slices.Sort(logins)

	var found []jit.Standing
	for _, login := range logins {
		// Breadth first, so that the shortest way to a role is the one that is told.
		seen := map[string]bool{login: true}
		type step struct{ role, through string }
		var queue []step
		for _, r := range rolesOf[login] {
			queue = append(queue, step{role: r})
		}
		for ; len(queue) > 0; queue = queue[1:] {
			at := queue[0]
			if seen[at.role] {
				continue
			}
			seen[at.role] = true
			detail := "member"
			if at.through != "" {
				detail = fmt.Sprintf("member through %q", at.through)
			}
			found = append(found, jit.Standing{Principal: login, Role: at.role, Detail: detail})
			through := at.through
			if through == "" {
				through = at.role
			}
			for _, r := range rolesOf[at.role] {
				queue = append(queue, step{role: r, through: through})
			}
		}
	}
	return found
}

func unknownScope(scope string) error {
	return jit.Invalid("scope", `write scope = "cluster"`, "%q is not a scope of a PostgreSQL server", scope)
}
