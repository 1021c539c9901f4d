package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresServer is a PostgreSQL cluster of the test process.
type PostgresServer struct {
	URL      string // superuser on database postgres, password included
	Host     string // 127.0.0.1
	Port     int
	User     string // name of the superuser
	Password string // of the superuser
	Major    int    // major version
}

// Postgres returns the PostgreSQL cluster of this process and starts it first
// if need be. Roles belong to the whole cluster, so tests choose names of their
// own; databases come from [PostgresServer.Database]. Passwords are checked
// (scram-sha-256). Durability is off (fsync=off): a test may kill its own
// process or connections, not the machine.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	Acceptance(t)
	server, err := startPostgresOnce()
	if err != nil {
		Unavailable(t, "PostgreSQL", err)
	}
	return server
}

var startPostgresOnce = sync.OnceValues(startPostgres)

// Database creates an empty database for the test and returns its URL. The
// database goes away with the test, open connections or not.
func (s *PostgresServer) Database(t testing.TB) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text()[:12])
	if err := s.exec(`CREATE DATABASE ` + name); err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
			t.Errorf("drop database: %v", err)
		}
	})
	return s.url(name)
}

// exec runs one statement as the superuser.
func (s *PostgresServer) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

func (s *PostgresServer) url(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(s.User, s.Password),
		Host:     net.JoinHostPort(s.Host, strconv.Itoa(s.Port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Standby starts a server that follows another one, which is away: it can only be read. It ends with the test.
func Standby(t testing.TB) *PostgresServer {
	t.Helper()
	Acceptance(t)
	server, proc, err := startCluster(true)
	if err != nil {
		Unavailable(t, "PostgreSQL", err)
	}
	t.Cleanup(func() {
		if err := proc.stop(); err != nil {
			t.Errorf("standby: %v", err)
		}
	})
	return server
}

// startPostgres makes a cluster and serves it. A port found free may be taken
// before the server binds it, hence the attempts.
func startPostgres() (*PostgresServer, error) {
	for attempt := 1; ; attempt++ {
		server, _, err := startCluster(false)
		if err == nil || attempt == 3 {
			return server, err
		}
	}
}

func startCluster(standby bool) (*PostgresServer, *process, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, nil, err
	}
	account, err := unprivileged()
	if err != nil {
		return nil, nil, err
	}
	major, err := postgresMajor(bin)
	if err != nil {
		return nil, nil, err
	}
	dir, err := tempDir(account, "jit-postgres")
	if err != nil {
		return nil, nil, err
	}
	server := &PostgresServer{Host: "127.0.0.1", User: "superuser", Password: rand.Text(), Major: major}
	if server.Port, err = freePort(); err == nil {
		err = initCluster(bin, dir, account, server)
	}
	if err == nil && standby {
		signal := filepath.Join(dir, "data", "standby.signal")
		err = errors.Join(os.WriteFile(signal, nil, 0o600), account.own(signal))
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, nil, err
	}
	server.URL = server.url("postgres")

	proc, err := startSupervised(account, dir, "INT", filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "data"),
		"-c", "listen_addresses="+server.Host, "-c", "port="+strconv.Itoa(server.Port),
		"-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off",
		"-c", "max_connections=200",
	)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, nil, err
	}
	if err := proc.wait(time.Minute, func(context.Context) error { return server.exec("SELECT 1") }); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("postgres: %w", err), proc.stop())
	}
	return server, proc, nil
}

// initCluster runs initdb.
func initCluster(bin, dir string, account *account, server *PostgresServer) error {
	passwordFile := filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(server.Password+"\n"), 0o600); err != nil {
		return err
	}
	if err := account.own(passwordFile); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", filepath.Join(dir, "data"),
		"--username", server.User, "--pwfile", passwordFile, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--no-locale", "--no-sync")
	cmd.Dir = dir
	account.apply(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb in %s: %w: %s; if the directory cannot be entered, set TMPDIR to one that every user can enter", dir, err, out)
	}
	return nil
}

// postgresBin returns the directory with initdb and postgres, the newest that
// Debian installed or that of the PATH.
func postgresBin() (string, error) {
	newest, bin := 0, ""
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	for _, path := range found {
		dir := filepath.Dir(path)
		if major, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && major > newest {
			newest, bin = major, dir
		}
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		bin = filepath.Dir(path)
	}
	if bin == "" {
		return "", errors.New("no initdb on the PATH or in /usr/lib/postgresql; run `make testenv` or install PostgreSQL")
	}
	return bin, nil
}

var postgresVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func postgresMajor(bin string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("postgres --version: %w", err)
	}
	found := postgresVersion.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("postgres --version: no version in %q", out)
	}
	return strconv.Atoi(string(found[1]))
}

// freePort returns a TCP port of 127.0.0.1 that was free a moment ago.
func freePort() (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
