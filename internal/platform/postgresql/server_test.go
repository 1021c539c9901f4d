package postgresql

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// password is that of every role that logs in.
const password = "correct horse ' battery"

// site is a database of a real server with two people, two roles, and a table for each role
// that only members of the role may read.
type site struct {
	server     *testenv.PostgresServer
	url        string // of the database, as superuser
	admin      *pgx.Conn
	principals []string
	roles      []string
	reads      atomic.Int64
	writes     atomic.Int64
}

// newSite makes a site whose names try to break out of their quotes; the roles go away with the test.
func newSite(t testing.TB) *site {
	t.Helper()
	server := testenv.Postgres(t)
	tag := strings.ToLower(rand.Text()[:8])
	s := &site{
		server:     server,
		url:        server.Database(t),
		principals: []string{`Al"ice '; DROP ROLE superuser; -- ` + tag, `bøb 名 \` + tag},
		roles:      []string{`Readers "$1" $$ ` + tag, `writers;` + tag},
	}
	s.admin = connect(t, s.url)
	t.Cleanup(func() { s.exec(t, dropWrappers) })
	for _, name := range s.principals {
		s.role(t, name, "LOGIN PASSWORD "+pgsession.Literal(password))
	}
	for _, name := range s.roles {
		s.role(t, name, "NOLOGIN")
		s.exec(t, `CREATE TABLE `+quote("data of "+name)+` AS SELECT 42 AS answer`)
		s.exec(t, `GRANT SELECT ON `+quote("data of "+name)+` TO `+quote(name))
	}
	return s
}

// dropWrappers removes what a test left of ours on the server that all tests share.
const dropWrappers = `DO $$ DECLARE w text; BEGIN
	FOR w IN SELECT rolname FROM pg_roles WHERE left(rolname, 4) = 'jit:' LOOP
		EXECUTE format('DROP OWNED BY %I CASCADE', w); EXECUTE format('DROP ROLE %I', w);
	END LOOP; END $$`

// role creates a role and drops it, with what depends on it here, when the test ends.
func (s *site) role(t testing.TB, name, options string) {
	t.Helper()
	s.exec(t, "CREATE ROLE "+quote(name)+" "+options)
	t.Cleanup(func() {
		s.exec(t, "DROP OWNED BY "+quote(name)+" CASCADE")
		s.exec(t, "DROP ROLE "+quote(name))
	})
}

func (s *site) exec(t testing.TB, sql string) {
	t.Helper()
	// Not the test's context: cleanups run after it has ended.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := s.admin.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// text returns the one value of a query.
func (s *site) text(t *testing.T, sql string, args ...any) string {
	t.Helper()
	var got string
	if err := s.admin.QueryRow(t.Context(), sql, args...).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

// open returns a platform of its own pool, as the superuser.
func (s *site) open(t testing.TB) *Platform { return s.openAs(t, s.url, time.Now) }

func (s *site) openAs(t testing.TB, url string, now func() time.Time) *Platform {
	t.Helper()
	p, err := New(Config{URL: url}, jit.Services{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	p.OnCall = func(op string) {
		if op == "write" {
			s.writes.Add(1)
		} else {
			s.reads.Add(1)
		}
	}
	t.Cleanup(p.Close)
	return p
}

// as returns the URL of the site's database for another user.
func (s *site) as(user string) string {
	u, err := url.Parse(s.url)
	if err != nil {
		panic(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

// access is a grant of the first owner.
func (s *site) access(principal, role int, why string) jit.Access {
	b := jit.Binding{Target: "db", Principal: s.principals[principal], Role: s.roles[role], Scope: cluster}
	start := jit.Second(time.Now())
	return jit.Access{Binding: b, Marker: jit.Marker{Owner: "payments", ID: jit.NewID("payments", b, why, 1),
		Window: jit.Window{Start: start, End: start.Add(time.Hour)}}}
}

// allowed connects as the principal and tries to read the role's table.
func (s *site) allowed(t *testing.T, b jit.Binding) bool {
	t.Helper()
	return selects(t, connect(t, s.as(b.Principal)), b.Role)
}

// selects tries to read the role's table in the session.
func selects(t *testing.T, conn *pgx.Conn, role string) bool {
	t.Helper()
	var answer int
	err := conn.QueryRow(t.Context(), `SELECT answer FROM `+quote("data of "+role)).Scan(&answer)
	var refused *pgconn.PgError
	switch {
	case err == nil && answer == 42:
		return true
	case errors.As(err, &refused) && refused.Code == codePrivilege:
		return false
	}
	t.Fatalf("read the table of %q: %d, %v", role, answer, err)
	return false
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// dump is every role, membership, comment and setting that is not a wrapper's, byte for byte.
func (s *site) dump(t *testing.T) string {
	t.Helper()
	return s.text(t, `SELECT concat(
	(SELECT string_agg(to_jsonb(r)::text, E'\n' ORDER BY r.oid) FROM pg_authid r WHERE left(rolname, 4) <> 'jit:'), E'\n',
	(SELECT string_agg(to_jsonb(m)::text, E'\n' ORDER BY m.roleid, m.member, m.grantor) FROM pg_auth_members m
		WHERE NOT EXISTS (SELECT FROM pg_authid w WHERE w.oid IN (m.roleid, m.member) AND left(w.rolname, 4) = 'jit:')), E'\n',
	(SELECT string_agg(to_jsonb(d)::text, E'\n' ORDER BY d.classoid, d.objoid) FROM pg_shdescription d
		WHERE NOT EXISTS (SELECT FROM pg_authid w WHERE w.oid = d.objoid AND left(w.rolname, 4) = 'jit:')), E'\n',
	(SELECT string_agg(to_jsonb(a)::text, E'\n' ORDER BY a.setdatabase, a.setrole) FROM pg_db_role_setting a))`)
}

// apply makes changes that have to succeed.
func apply(t *testing.T, p *Platform, changes ...jit.Change) {
	t.Helper()
	for i, err := range p.Apply(t.Context(), cluster, changes) {
		if err != nil {
			t.Fatalf("change %d (%s): %v", i, changes[i].Op, err)
		}
	}
}

func ensured(a jit.Access) jit.Change { return jit.Change{Op: jit.Ensure, Access: a} }
func removed(a jit.Access) jit.Change { return jit.Change{Op: jit.Remove, Access: a} }

// observed returns what the platform reads of one grant; ok is false when there is nothing.
func observed(t *testing.T, p *Platform, a jit.Access) (o jit.Observed, ok bool) {
	t.Helper()
	snap, err := p.Read(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range snap.Ours {
		if o.Marker.Owner == a.Marker.Owner && o.Marker.ID == a.Marker.ID {
			return o, true
		}
	}
	return jit.Observed{}, false
}

// whole is what is read of a grant that is as it was asked for.
func whole(a jit.Access) jit.Observed {
	return jit.Observed{Marker: a.Marker, Principal: a.Binding.Principal, Role: a.Binding.Role,
		Detail: fmt.Sprintf("role %q", wrapperName(a.Marker.Owner, a.Marker.ID))}
}

// wantWhole fails unless the grant is there exactly as asked for.
func wantWhole(t *testing.T, p *Platform, a jit.Access) {
	t.Helper()
	got, _ := observed(t, p, a)
	want := whole(a)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("observed %+v, want %+v", got, want)
	}
}
