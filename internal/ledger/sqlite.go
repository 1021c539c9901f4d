package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// sqliteFile is a ledger in one SQLite file, in WAL mode. Reading opens it read-only; the first writer creates the file
// and its directory.
type sqliteFile struct {
	path string
	// copied: another place holds the record, so a commit need not outlive a power failure.
	copied bool

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
	insert:   insertEach,
	update:   updateEach,
	prepares: true,
	size:     "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
}

// insertEach inserts row by row: SQLite parses one statement of many rows slower than it runs a short one many times.
func insertEach(ctx context.Context, tx *sql.Tx, into string, rows [][]any, onConflict string) error {
	_, err := execEach(ctx, tx, into+"VALUES (?"+strings.Repeat(",?", len(rows[0])-1)+")"+onConflict, rows)
	return err
}

// updateFact updates one grant.
var updateFact = "UPDATE jit_grants SET " + strings.Join(factColumns[1:], " = ?, ") +
	" = ? WHERE id = ?"

// updateEach updates row by row.
func updateEach(ctx context.Context, tx *sql.Tx, rows [][]any) (int64, error) {
	for i, row := range rows {
		rows[i] = append(row[1:], row[0])
	}
	return execEach(ctx, tx, updateFact, rows)
}

// execEach runs a statement for each row of parameters and returns how many rows it changed in all.
func execEach(ctx context.Context, tx *sql.Tx, statement string, rows [][]any) (changed int64, err error) {
	each, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return 0, err
	}
	defer func() { _ = each.Close() }()   // its errors are those of Exec
	lasting := context.WithoutCancel(ctx) // the driver starts a goroutine for each statement that can be canceled
	for _, row := range rows {
		if err := ctx.Err(); err != nil {
			return changed, err
		}
		done, err := each.ExecContext(lasting, row...)
		if err != nil {
			return changed, cmp.Or(ctx.Err(), err) // the end of ctx also ends the transaction
		}
		n, _ := done.RowsAffected() // SQLite always knows
		changed += n
	}
	return changed, nil
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
	exists, err := s.follow()
	if err != nil || !exists {
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
	exists, err := s.follow()
	if err == nil && !exists {
		if err = s.create(); err == nil {
			_, err = s.follow()
		}
	}
	if err != nil {
		return nil, err
	}
	if s.rw == nil {
		// A write of many grants changes thousands of pages: a checkpoint after each would write most of them twice.
		s.rw, err = s.connect("mode=rw&_txlock=immediate&_busy_timeout=5000&_journal_mode=WAL" + s.synchronous() +
			"&_pragma=cache_size(-32000)&_pragma=wal_autocheckpoint(8000)" +
			"&_pragma=temp_store(MEMORY)&_error_rc=1")
		if err != nil {
			return nil, err
		}
		// SQLite has one writer at a time; a second connection would only wait for the first.
		s.rw.SetMaxOpenConns(1)
	}
	return s.rw, nil
}

// synchronous returns the option that says when SQLite waits for the disk.
func (s *sqliteFile) synchronous() string {
	if s.copied {
		return "&_synchronous=NORMAL"
	}
	return "&_synchronous=FULL&_pragma=fullfsync(1)"
}

// remove removes the file, for one that is copied.
func (s *sqliteFile) remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{s.disconnect()}
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(s.path + end); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// follow finds the file that has the ledger's name now. It closes the connections to a file that was removed or
// replaced: nobody would find again what they write.
func (s *sqliteFile) follow() (exists bool, err error) {
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

// create creates the directory and an empty file that only this user can read.
func (s *sqliteFile) create() error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	// Closing any descriptor of a file drops the process's locks on it, so do not open an existing file here.
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

// exposed checks the permissions of the file. Windows has others.
func (s *sqliteFile) exposed() error {
	const everybodyWrites = 0o002
	s.mu.Lock()
	defer s.mu.Unlock()
	if runtime.GOOS == "windows" || s.file == nil || s.file.Mode()&everybodyWrites == 0 {
		return nil
	}
	return jit.Invalid("ledger", "chmod 600 "+s.path+"; if that changes nothing, move the ledger to a file system with "+
		"permissions", "everybody on this machine may write %s (mode %04o), "+
		"so its record proves nothing: nothing is granted, started, changed or repaired; ending goes on", s.name(),
		s.file.Mode().Perm())
}

func (s *sqliteFile) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disconnect()
}

// disconnect closes the writer last: the last connection that may write removes the files beside the ledger.
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
		return "another process keeps it locked",
			"run again when that process is done; use a postgres:// ledger for many writers"
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return "the file is damaged, or is not a ledger",
			"restore it from a backup, or correct ledger if it names the wrong file"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return "the file cannot be opened: " + err.Error(),
			"allow this user to read and write the file and its directory; SQLite keeps two more files there"
	case sqlite3.SQLITE_FULL:
		return "the disk is full", "free some space, then run again"
	case sqlite3.SQLITE_IOERR:
		return "the disk reports an error: " + err.Error(), "check that the disk has room and works, then run again"
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Error(), "ledger must name a file in a directory that this user may write to"
	}
	return err.Error(), ""
}

// sqliteCode returns the primary result code of a SQLite error, 0 for any other error.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}
