package ledger_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

func TestCheckURL(t *testing.T) {
	for _, url := range []string{
		"sqlite://.jit/ledger.db", "sqlite:///var/lib/jit/ledger.db", "sqlite://~/ledger.db", "sqlite://a b%20.db",
		"postgres://db.example.com/jit", "postgresql://jit:hunter2@db.example.com:5432/jit?sslmode=verify-full",
		"postgres:///jit?host=/var/run/postgresql", "postgres://a,b:5433/jit",
	} {
		if err := ledger.CheckURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, word := range map[string]string{
		"":                                     "empty",
		".jit/ledger.db":                       "sqlite://",
		"hunter2":                              "sqlite://",
		"sqlite:ledger.db":                     "sqlite://",
		"mysql://root@h/db":                    "mysql",
		"sqlite://":                            "no file",
		"sqlite://dir/":                        "no file",
		"sqlite://x?mode=rwc":                  "?",
		"sqlite://:memory:":                    "outlive",
		"sqlite://a\nb":                        "U+000A",
		"postgres://":                          "no host",
		"postgres:///jit":                      "no host",
		"postgres://host":                      "no database",
		"postgres://host:x/db":                 "percent-encode",
		"postgres://u:hunter2/hunter2@host/db": "percent-encode",
		"postgres://u:x@hunter2@host/db":       "@",
		"postgres://u:12/hunter2@host/db":      "@",
		"postgres://u:12?hunter2@host/db":      "@",
		"postgres://u:hunter2%zz@host/db":      "percent-encode",
	} {
		err := ledger.CheckURL(url)
		told(t, url, err, word)
		if err != nil && url != "hunter2" && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password is in %q", url, err)
		}
		if _, err := ledger.Open(t.Context(), ledger.Config{URL: url}); err == nil {
			t.Errorf("Open(%q) accepts a URL that CheckURL refuses", url)
		}
	}
	_, err := ledger.Open(t.Context(), ledger.Config{URL: "postgres://u:hunter2@h/db?sslmode=perhaps"})
	told(t, "a bad option", err, "sslmode")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password is in %q", err)
	}
}

func TestUnreachable(t *testing.T) {
	l := open(t, "postgres://someone:hunter2@127.0.0.1:1/jit?connect_timeout=2&password=hunter2")
	for use, err := range uses(t, l) {
		told(t, use, err, "postgres://127.0.0.1:1/jit", "refused", "check that the server runs")
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password is in %q", use, err)
		}
	}
}

func TestPathForms(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", filepath.Join(dir, "home"))
	for url, path := range map[string]string{
		"sqlite://.jit/ledger.db":  ".jit/ledger.db",
		"sqlite://~/ledger.db":     "home/ledger.db",
		"sqlite://a b%20c&d=e.db":  "a b%20c&d=e.db",
		"sqlite://" + dir + "/x.y": "x.y",
	} {
		write(t, open(t, url), ledgertest.Entry(ledgertest.Grant(1)))
		if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}
