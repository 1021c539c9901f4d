package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteFile is a ledger in one SQLite file, in WAL mode. Reading opens it
// read-only; the file and its directory are made for the first writer.
type sqliteFile struct {
	path string

	mu   sync.Mutex
	file fs.FileInfo // the file that the connections belong to
	ro   *sql.DB
	rw   *sql.DB
}

var _ engine = (*sqliteFile)(nil)

var sqliteDialect = dialect{
	mark:  func(int) string { return "?" },
	among: func(mark string) string { return " IN (SELECT value FROM json_each(" + mark + "))" },
	list: func(values []string) any {
		text, err := json.Marshal(values)
		if err != nil {
			panic(err) // texts always marshal
		}
		return string(text)
	},
	prepares: true,
}

func openSQLite(path string) (*sqliteFile, error) {
	path, err := absolute(path)
	if err != nil {
		return nil, err
	}
	return &sqliteFile{path: path}, nil
}

func (s *sqliteFile) name() string { return "sqlite://" + s.path }

func (s *sqliteFile) reader(context.Context) (*sql.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there, err := s.follow()
	if err != nil || !there {
		return nil, err
	}
	if s.ro == nil {
		s.ro, err = s.connect("mode=ro&_busy_timeout=5000&_error_rc=1")
		if err != nil {
			return nil, err
		}
		s.ro.SetMaxIdleConns(4)
	}
	return s.ro, nil
}

func (s *sqliteFile) writer(context.Context) (*sql.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there, err := s.follow()
	if err != nil {
		return nil, err
	}
	if !there {
		if err := s.create(); err != nil {
			return nil, err
		}
		if _, err := s.follow(); err != nil {
			return nil, err
		}
	}
	if s.rw == nil {
		s.rw, err = s.connect("mode=rw&_txlock=immediate&_busy_timeout=5000&_journal_mode=WAL&_synchronous=FULL&_pragma=fullfsync(1)&_pragma=cache_size(-32000)&_pragma=temp_store(MEMORY)&_error_rc=1")
		if err != nil {
			return nil, err
		}
		// SQLite has one writer at a time; a second connection would only wait for the first.
		s.rw.SetMaxOpenConns(1)
	}
	return s.rw, nil
}

// follow looks which file has the ledger's name now and lets go of connections to one
// that was removed or replaced: what they wrote nobody would find again.
func (s *sqliteFile) follow() (there bool, err error) {
	now, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		now = nil
	case err != nil:
		return false, err
	case now.IsDir():
		return false, &fs.PathError{Op: "open", Path: s.path, Err: errIsDirectory}
	}
	if s.file != nil && (now == nil || !os.SameFile(s.file, now)) {
		if err := s.disconnect(); err != nil {
			return false, err
		}
	}
	s.file = now
	return now != nil, nil
}

var errIsDirectory = errors.New("is a directory")

// create makes the directory and an empty file that only this user can read.
func (s *sqliteFile) create() error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	// Closing any descriptor of a file drops the process's locks on it, so one that is there is not opened here.
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func (s *sqliteFile) connect(options string) (*sql.DB, error) {
	path := filepath.ToSlash(s.path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // file:///C:/…
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: options}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func (s *sqliteFile) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disconnect()
}

// disconnect closes the writer last: the last connection that may write tidies up beside the file.
func (s *sqliteFile) disconnect() error {
	var errs []error
	for _, db := range []*sql.DB{s.ro, s.rw} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	s.ro, s.rw, s.file = nil, nil, nil
	return errors.Join(errs...)
}

func (s *sqliteFile) absent(err error) bool {
	return sqliteCode(err) == sqlite3.SQLITE_ERROR && strings.Contains(err.Error(), "no such table: jit_")
}

func (s *sqliteFile) conflict(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return false
}

func (s *sqliteFile) exists(error) bool { return false }

func (s *sqliteFile) explain(err error) (problem, hint string) {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return "another process has kept it locked", "run again when that process is done; many writers are better served by a postgres:// ledger"
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return "the file is damaged or is no ledger", "restore it from a backup, or correct ledger if it names the wrong file"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return "the file cannot be opened: " + err.Error(), "give this user the right to read and write the file and its directory, where SQLite keeps two more files beside it"
	case sqlite3.SQLITE_FULL:
		return "the disk is full", "make room on the disk and run again"
	case sqlite3.SQLITE_IOERR:
		return "the disk refuses: " + err.Error(), "check that the disk has room and works, then run again"
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Error(), "ledger has to name a file, in a directory that this user may write to"
	}
	return err.Error(), ""
}

// sqliteCode returns the primary result code of a SQLite error, 0 of any other.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}
