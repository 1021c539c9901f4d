package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// Postgres returns the PostgreSQL cluster of this process; the first call starts it. Roles belong to the whole cluster,
// so tests choose names of their own; databases come from [PostgresServer.Database]. Passwords are checked
// (scram-sha-256). Durability is off (fsync=off): a test may kill its own process or connections, not the machine.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	return shared(t, "PostgreSQL", startPostgresOnce)
}

var startPostgresOnce = sync.OnceValues(func() (*PostgresServer, error) {
	server, _, err := startCluster(clusterOptions{})
	return server, err
})

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

// Standby starts a read-only server, which follows a primary that does not exist. The server ends with the test.
func Standby(t testing.TB) *PostgresServer {
	t.Helper()
	Acceptance(t)
	return ownCluster(t, clusterOptions{standby: true})
}

// DurablePostgres starts a server of its own that writes each commit to the disk, as servers in use do.
func DurablePostgres(t testing.TB) *PostgresServer {
	t.Helper()
	Acceptance(t)
	return ownCluster(t, clusterOptions{durable: true})
}

// ownCluster starts a server that ends with the test.
func ownCluster(t testing.TB, o clusterOptions) *PostgresServer {
	t.Helper()
	server, proc, err := startCluster(o)
	if err != nil {
		Unavailable(t, "PostgreSQL", err)
	}
	t.Cleanup(func() {
		if err := proc.stop(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return server
}

// clusterOptions are what a test can ask of a server of its own.
type clusterOptions struct {
	// standby follows a primary that does not exist.
	standby bool
	// durable writes each commit to the disk.
	durable bool
	// env holds further environment variables.
	env []string
}

// startCluster makes a cluster and serves it.
func startCluster(o clusterOptions) (*PostgresServer, *process, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, nil, err
	}
	account, err := unprivileged()
	if err != nil {
		return nil, nil, err
	}
	server := &PostgresServer{Host: "127.0.0.1", User: "superuser", Password: rand.Text()}
	if server.Major, err = postgresMajor(bin); err != nil {
		return nil, nil, err
	}
	proc, err := startServer("postgres", account, "INT", func(dir string, port int) ([]string, error) {
		server.Port = port
		server.URL = server.url("postgres")
		err := initCluster(bin, dir, account, server)
		if err == nil && o.standby {
			err = account.write(filepath.Join(dir, "data", "standby.signal"), "")
		}
		args := slices.Concat([]string{"env"}, o.env, []string{
			filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "data"),
			"-c", "listen_addresses=" + server.Host, "-c", "port=" + strconv.Itoa(port),
			"-c", "unix_socket_directories=", "-c", "max_connections=200"})
		if !o.durable {
			args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
		}
		return args, err
	}, func(context.Context) error { return server.exec("SELECT 1") })
	return server, proc, err
}

// initCluster runs initdb.
func initCluster(bin, dir string, account *account, server *PostgresServer) error {
	passwordFile := filepath.Join(dir, "password")
	if err := account.write(passwordFile, server.Password+"\n"); err != nil {
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
		return fmt.Errorf("initdb in %s: %w: %s; if the directory cannot be entered, set TMPDIR to one that every "+
			"user can enter", dir, err, out)
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
		if linked, err := filepath.EvalSymlinks(path); err == nil { // the other programs are there
			path = linked
		}
		bin = filepath.Dir(path)
	}
	if bin == "" {
		return "",
			errors.New("no initdb on the PATH or in /usr/lib/postgresql; run `make testenv` or install PostgreSQL")
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
