package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Pooler starts a PgBouncer in front of the server, in transaction mode: each transaction of a client may run in
// another session. It returns the URL of a database of the server through it, as the superuser. The pooler ends with
// the test.
func (s *PostgresServer) Pooler(t testing.TB, database string) string {
	t.Helper()
	pooled, proc, err := s.startPooler(database)
	if err != nil {
		Unavailable(t, "PgBouncer", err)
	}
	t.Cleanup(func() {
		if err := proc.stop(); err != nil {
			t.Errorf("pgbouncer: %v", err)
		}
	})
	return pooled
}

func (s *PostgresServer) startPooler(database string) (url string, p *process, err error) {
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		if bin = "/usr/sbin/pgbouncer"; !isFile(bin) {
			return "", nil, errors.New("no pgbouncer on the PATH; run `make testenv` or install it")
		}
	}
	account, err := unprivileged()
	if err != nil {
		return "", nil, err
	}
	p, err = startServer("pgbouncer", account, "INT", func(dir string, port int) ([]string, error) {
		front := *s
		front.Port = port
		url = front.url(database)
		users, settings := filepath.Join(dir, "users"), filepath.Join(dir, "ini")
		return []string{bin, settings}, errors.Join(
			account.write(users, fmt.Sprintf("%q %q\n", s.User, s.Password)),
			account.write(settings, strings.Join([]string{
				"[databases]", fmt.Sprintf("* = host=%s port=%d", s.Host, s.Port),
				"[pgbouncer]", "listen_addr = 127.0.0.1", "listen_port = " + strconv.Itoa(port), "unix_socket_dir =",
				"pool_mode = transaction", "default_pool_size = 3", "auth_type = scram-sha-256", "auth_file = " + users,
				"",
			}, "\n")))
	}, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
	return url, p, err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
