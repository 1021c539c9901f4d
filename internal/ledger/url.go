package ledger

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const urlHint = `write for example ledger = "sqlite://.jit/ledger.db", "s3://bucket/prefix" or ` +
	`"postgres://user@host:5432/database"`

// CheckURL accepts the URL of a ledger: sqlite:// and a path, relative (sqlite://.jit/ledger.db) or absolute
// (sqlite:///var/lib/jit/ledger.db), postgres:// with a host and a database, or what [bucket.Parse] accepts. It makes
// no call. Its errors are *[jit.Error] about "ledger" and never show a password.
func CheckURL(raw string) error {
	_, _, err := splitURL(raw)
	return err
}

// splitURL returns the path of the file of a SQLite URL, or the parsed PostgreSQL URL, or neither for a bucket.
func splitURL(raw string) (path string, server *url.URL, err error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	switch {
	case raw == "":
		return "", nil, jit.Invalid("ledger", urlHint, "the URL of the ledger is empty")
	case !ok:
		return "", nil, jit.Invalid("ledger", urlHint,
			"the URL of a ledger begins with sqlite://, postgres://, s3://, gs:// or azblob://")
	case scheme == "sqlite":
		return rest, nil, checkPath(rest)
	case scheme == "postgres" || scheme == "postgresql":
		server, err = parseServer(raw)
		return "", server, err
	case slices.Contains(bucket.Schemes, scheme):
		_, err = bucket.Parse(raw)
		return "", nil, err
	default:
		return "", nil, jit.Invalid("ledger", urlHint,
			"%q is not a kind of ledger; write sqlite, postgres, s3, gs or azblob", scheme)
	}
}

func checkPath(path string) error {
	const hint = `write for example ledger = "sqlite://.jit/ledger.db", or "sqlite:///var/lib/jit/ledger.db"`
	switch {
	case path == "" || strings.HasSuffix(path, "/"):
		return jit.Invalid("ledger", hint, "%q names no file", "sqlite://"+path)
	case strings.ContainsAny(path, "?#"):
		return jit.Invalid("ledger", hint,
			"%q has a ? or #; only a path may follow sqlite://", "sqlite://"+path)
	case strings.HasPrefix(path, ":"):
		return jit.Invalid("ledger", hint,
			"%q is not a file; a ledger must outlive the process", "sqlite://"+path)
	}
	return jit.CheckText("ledger", path)
}

func parseServer(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	const hint = "percent-encode every special character in the user and the password (@ is %40, / is %2F)"
	switch {
	case err != nil:
		// The parser's message may quote a part of the password.
		return nil, jit.Invalid("ledger", hint, "the postgres:// URL of the ledger cannot be read")
	case jit.Misplaced(raw):
		return nil, jit.Invalid("ledger", hint, "the postgres:// URL of the ledger has an @ that does not end its user")
	case u.Host == "" && u.Query().Get("host") == "":
		return nil, jit.Invalid("ledger", urlHint, "the postgres:// URL of the ledger names no host")
	case strings.Trim(u.Path, "/") == "" && u.Query().Get("dbname") == "" && u.Query().Get("database") == "":
		return nil, jit.Invalid("ledger", urlHint, "the postgres:// URL of the ledger names no database")
	}
	return u, nil
}

// absolute returns an absolute path for a SQLite URL, so a change of the working directory does not move the ledger.
func absolute(path string) (string, error) {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", jit.Invalid("ledger", "write the whole path",
				"%q needs a home directory: %v", "sqlite://"+path, err)
		}
		return filepath.Join(home, rest), nil
	}
	return filepath.Abs(path)
}
