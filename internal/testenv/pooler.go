package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pooler starts a PgBouncer before the server, in transaction mode: each transaction of a client may
// run in another session. It returns the URL of a database of the server through it, as the superuser. The pooler
// ends with the test.
func (s *PostgresServer) Pooler(t testing.TB, database string) string {
	t.Helper()
	at, err := s.startPooler(t, database)
	if err != nil {
		Unavailable(t, "PgBouncer", err)
	}
	return at
}

func (s *PostgresServer) startPooler(t testing.TB, database string) (string, error) {
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		if bin = "/usr/sbin/pgbouncer"; !isFile(bin) {
			return "", errors.New("no pgbouncer on the PATH; run `make testenv` or install it")
		}
	}
	account, err := unprivileged()
	if err != nil {
		return "", err
	}
	dir, err := tempDir(account, "jit-pgbouncer")
	if err != nil {
		return "", err
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{
		"users": fmt.Sprintf("%q %q\n", s.User, s.Password),
		"ini": strings.Join([]string{
			"[databases]", fmt.Sprintf("* = host=%s port=%d", s.Host, s.Port),
			"[pgbouncer]", "listen_addr = 127.0.0.1", "listen_port = " + strconv.Itoa(port), "unix_socket_dir =",
			"pool_mode = transaction", "default_pool_size = 3", "auth_type = scram-sha-256", "auth_file = " + filepath.Join(dir, "users"), "",
		}, "\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
		if err := account.own(filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	u, err := url.Parse(s.url(database))
	if err != nil {
		return "", err
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	proc, err := startSupervised(account, dir, "INT", bin, filepath.Join(dir, "ini"))
	if err != nil {
		return "", err
	}
	t.Cleanup(func() {
		if err := proc.stop(); err != nil {
			t.Errorf("pgbouncer: %v", err)
		}
	})
	err = proc.wait(time.Minute, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, u.String())
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
	return u.String(), err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
