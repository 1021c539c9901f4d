package bench_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/postgresql"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// postgresql applies, plans and destroys 1,000 grants on one cluster that takes 100 ms a call: the provider waits for
// further callers only if a call costs more than the wait.
func (t *table) postgresql(cli testenv.CLI) {
	server := testenv.Postgres(t.b)
	c := &calls{delay: 100 * time.Millisecond}
	w := acctest.New(t.b, cli, acctest.Options{Platform: func(p jit.Platform) { p.(*postgresql.Platform).OnCall = c.on }, RealTime: true})
	admin, err := pgx.Connect(t.b.Context(), server.URL)
	if err != nil {
		t.b.Fatal(err)
	}
	if _, err := admin.Exec(t.b.Context(), `CREATE ROLE reporting NOLOGIN; CREATE ROLE alice LOGIN`); err != nil {
		t.b.Fatal(err)
	}
	if err := admin.Close(t.b.Context()); err != nil {
		t.b.Fatal(err)
	}
	grantAll(w, "postgresql", fmt.Sprintf("url = %q", server.URL), "principal = \"alice\"\nrole = \"reporting\"")
	const most = 2*grants/parallelism + 4
	took := lasts(func() { w.Apply() })
	t.add("apply of 1,000 grants on postgresql: calls", fmt.Sprintf("%d (%.1fs)", c.total(), took.Seconds()), fmt.Sprint(most),
		c.total() <= most)
	c.reset()
	t.plansNothing(w)
	t.add("plan of 1,000 grants on postgresql: calls", fmt.Sprint(c.total()), "1", c.total() <= 1)
	c.reset()
	took = lasts(func() { w.Must("destroy", "-auto-approve") })
	t.add("destroy of 1,000 grants on postgresql: calls", fmt.Sprintf("%d (%.1fs)", c.total(), took.Seconds()), fmt.Sprint(most),
		c.total() <= most)
}

// cluster is a PostgreSQL target with a ledger beside it. Its roles begin with the prefix.
type cluster struct {
	*table
	prefix  string
	server  *testenv.PostgresServer
	db      *pgx.Conn
	url     string // of the ledger
	ledger  *ledger.Ledger
	broker  *broker.Broker
	target  *postgresql.Platform
	binding jit.Binding
	traits  jit.Traits
}

func (t *table) cluster(prefix string) *cluster {
	c := &cluster{table: t, prefix: prefix, server: testenv.Postgres(t.b)}
	var err error
	if c.db, err = pgx.Connect(t.b.Context(), c.server.URL); err != nil {
		t.b.Fatal(err)
	}
	t.b.Cleanup(func() { _ = c.db.Close(context.Background()) })
	if _, err := c.db.Exec(t.b.Context(), fmt.Sprintf(
		`CREATE ROLE %[1]s_reporting NOLOGIN; CREATE ROLE %[1]s_bob LOGIN`, prefix)); err != nil {
		t.b.Fatal(err)
	}
	c.url = c.server.Database(t.b)
	c.ledger = openLedger(t.b, c.url)
	c.target, err = postgresql.New(postgresql.Config{URL: c.server.URL}, jit.Services{Now: time.Now})
	if err != nil {
		t.b.Fatal(err)
	}
	c.broker = &broker.Broker{Ledger: c.ledger, Targets: map[string]jit.Platform{"db": c.target}, Owner: "jit",
		MaxTTL: 2 * time.Hour, Now: time.Now, Actor: jit.Actor{Name: "bench", Source: jit.FromSweeper}}
	c.binding, c.traits, err = c.target.Check(jit.Binding{Target: "db", Principal: prefix + "_bob",
		Role: prefix + "_reporting"})
	if err != nil {
		t.b.Fatal(err)
	}
	return c
}

// grant makes and records 1,000 grants that end together.
func (c *cluster) grant(end time.Time) {
	var entries []jit.Entry
	var changes []jit.Change
	for n := range grants {
		reason := fmt.Sprintf("INC-%d: measure", n)
		g := jit.Grant{ID: jit.NewID("jit", c.binding, reason, 1), Owner: "jit", Binding: c.binding, Reason: reason,
			Renewal: 1, TTL: jit.RecordedTTL("1m"), Window: jit.Window{Start: end.Add(-time.Minute), End: end},
			Enforcement: c.traits.Enforcement, SessionTail: c.traits.SessionTail,
			RequestedAt: end.Add(-time.Minute), GrantedAt: end.Add(-time.Minute), Holder: 1}
		entries = append(entries, jit.Entry{Grant: &g})
		changes = append(changes, jit.Change{Op: jit.Ensure, Access: g.Access()})
	}
	for _, err := range append(c.ledger.Write(c.b.Context(), entries),
		c.target.Apply(c.b.Context(), c.binding.Scope, changes)...) {
		if err != nil {
			c.b.Fatal(err)
		}
	}
}

// grantEnding makes grants that end soon and returns their end, which is still to come.
func (c *cluster) grantEnding() time.Time {
	end := time.Now().Add(30 * time.Second).Truncate(time.Second)
	c.grant(end)
	if wait := time.Until(end); wait < 3*time.Second {
		c.b.Fatalf("it took too long to make the grants: %s are left", wait)
	}
	return end
}

// psql times 1,000 REVOKE and DROP ROLE by psql, as fast as it can: in one transaction.
func (c *cluster) psql() time.Duration {
	var before, statements strings.Builder
	for n := range grants {
		fmt.Fprintf(&before, "CREATE ROLE %[1]s_%[2]d NOLOGIN; GRANT %[1]s_reporting TO %[1]s_%[2]d; "+
			"GRANT %[1]s_%[2]d TO %[1]s_bob;\n", c.prefix, n)
		fmt.Fprintf(&statements, "REVOKE %[1]s_%[2]d FROM %[1]s_bob; DROP ROLE %[1]s_%[2]d;\n", c.prefix, n)
	}
	if _, err := c.db.Exec(c.b.Context(), before.String()); err != nil {
		c.b.Fatal(err)
	}
	file := filepath.Join(c.b.TempDir(), "revoke.sql")
	if err := os.WriteFile(file, []byte(statements.String()), 0o600); err != nil {
		c.b.Fatal(err)
	}
	return lasts(func() {
		if out, err := exec.CommandContext(c.b.Context(), "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f",
			file, c.server.URL).CombinedOutput(); err != nil {
			c.b.Fatalf("psql: %v\n%s", err, out)
		}
	})
}

// lag measures how long after their end 1,000 grants that end in one second are gone from a PostgreSQL server, beside
// psql doing the same.
func (t *table) lag() {
	c := t.cluster("lag")
	c.grantEnding()
	o := &observed{}
	stop := watching(c.broker, c.ledger.Leases(), "bench", o)
	waitFor(t.b, 2*time.Minute, "all grants are ended", func() bool { return o.done() >= grants })
	stop()
	if o.failed > 0 {
		t.b.Errorf("%d ends failed", o.failed)
	}
	slices.Sort(o.lags)
	t.ratio("1,000 ends in one second on postgresql, --watch: lag of the last beside psql in one transaction",
		o.lags[grants-1], c.psql(), 1.5)
}

// sweepBesidePsql times a sweep that ends 1,000 grants, beside psql doing the same: medians, since either takes well
// below a second.
func (t *table) sweepBesidePsql() {
	ours, theirs := make([]time.Duration, rounds), make([]time.Duration, rounds)
	for i := range rounds {
		c := t.cluster(fmt.Sprint("swept", i))
		c.grant(time.Now().Add(-time.Second).Truncate(time.Second))
		s := &sweeper.Sweeper{Broker: c.broker, Holder: "bench", DueOnly: true,
			MaxUnplanned: sweeper.DefaultMaxUnplanned}
		ours[i], theirs[i] = lasts(func() { t.sweepAll(s) }), c.psql()
	}
	t.ratio("sweep of 1,000 ended on postgresql beside psql in one transaction", median(ours), median(theirs), 1)
}

// revokeAll times jit revoke --all of 1,000 grants, beside psql doing the same: medians, since either takes well below a
// second.
func (t *table) revokeAll() {
	ours, theirs := make([]time.Duration, rounds), make([]time.Duration, rounds)
	for i := range rounds {
		c := t.cluster(fmt.Sprint("stopped", i))
		c.grant(time.Now().Add(time.Hour).Truncate(time.Second))
		ours[i], theirs[i] = c.revokeAll(), c.psql()
	}
	t.ratio("jit revoke --all of 1,000 on postgresql beside psql in one transaction", median(ours), median(theirs), 1.5)
}

// revokeAll times jit revoke --all.
func (c *cluster) revokeAll() time.Duration {
	dir := c.b.TempDir()
	jitCommand := filepath.Join(dir, "jit")
	settings := fmt.Sprintf("ledger = %q\ntargets = { db = { postgresql = { url = %q } } }\n", c.url, c.server.URL)
	err := os.Symlink(acctest.Build(c.b), jitCommand)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "jit.hcl"), []byte(settings), 0o600)
	}
	if err != nil {
		c.b.Fatal(err)
	}
	return lasts(func() {
		cmd := exec.CommandContext(c.b.Context(), jitCommand, "revoke", "--all", "--yes", "--reason", "SEC-13: stop")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			c.b.Fatalf("jit revoke --all: %v\n%s", err, out)
		}
	})
}
