package testenv

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Replicated is a PostgreSQL server with one that follows it by streaming replication, as many teams run it: commits do
// not wait for the replica.
type Replicated struct {
	Primary, Replica *PostgresServer

	primary *process
}

// ReplicatedPostgres starts a primary and its replica, which end with the test.
func ReplicatedPostgres(t testing.TB) *Replicated {
	t.Helper()
	Acceptance(t)
	primary, first, err := startCluster(clusterOptions{})
	if err != nil {
		Unavailable(t, "PostgreSQL", err)
	}
	t.Cleanup(func() { _ = first.stop() }) // [Replicated.FailOver] may have ended it
	replica, second, err := startReplica(primary)
	if err != nil {
		t.Fatalf("start a replica: %v", err)
	}
	t.Cleanup(func() {
		if err := second.stop(); err != nil {
			t.Errorf("stop the replica: %v", err)
		}
	})
	return &Replicated{Primary: primary, Replica: replica, primary: first}
}

// startReplica copies a running server and follows it.
func startReplica(primary *PostgresServer) (*PostgresServer, *process, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, nil, err
	}
	account, err := unprivileged()
	if err != nil {
		return nil, nil, err
	}
	replica := *primary
	p, err := startServer("replica", account, "INT", func(dir string, port int) ([]string, error) {
		replica.Port = port
		replica.URL = replica.url("postgres")
		data := filepath.Join(dir, "data")
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "pg_basebackup"), "--pgdata", data, "--dbname", primary.URL,
			"--write-recovery-conf", "--checkpoint", "fast", "--no-sync")
		cmd.Dir = dir
		account.apply(cmd)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("pg_basebackup: %w: %s", err, out)
		}
		return []string{filepath.Join(bin, "postgres"), "-D", data, "-c", "listen_addresses=" + replica.Host,
			"-c", "port=" + strconv.Itoa(port), "-c", "unix_socket_directories=", "-c", "max_connections=200",
			"-c", "fsync=off"}, nil
	}, func(context.Context) error { return replica.exec("SELECT 1") })
	return &replica, p, err
}

// FallBehind lets the replica catch up and then follow no longer, as when the network between the two is down.
func (r *Replicated) FallBehind(t testing.TB) {
	t.Helper()
	var written string
	r.Primary.value(t, &written, "SELECT pg_current_wal_lsn()::text")
	r.Replica.await(t, "SELECT pg_last_wal_replay_lsn() >= '"+written+"'::pg_lsn")
	for _, statement := range []string{"ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"} {
		if err := r.Replica.exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	r.Replica.await(t, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
}

// FailOver ends the primary and makes the replica a server that takes writes.
func (r *Replicated) FailOver(t testing.TB) {
	t.Helper()
	if err := r.primary.stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.Replica.exec("SELECT pg_promote()"); err != nil {
		t.Fatal(err)
	}
	r.Replica.await(t, "SELECT NOT pg_is_in_recovery()")
}

// await asks until a query says true.
func (s *PostgresServer) await(t testing.TB, query string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var holds bool
		if s.value(t, &holds, query); holds {
			return
		}
	}
	t.Fatalf("after a minute it is not so: %s", query)
}

// value reads the answer to a query of one value.
func (s *PostgresServer) value(t testing.TB, into any, query string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL)
	if err == nil {
		err = conn.QueryRow(t.Context(), query).Scan(into)
		_ = conn.Close(t.Context())
	}
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
