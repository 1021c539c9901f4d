package ssh

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Config names the files. Exactly one of the two fields is set.
type Config struct {
	// AuthorizedKeys is the path of one file; as written, it is the target's only scope.
	AuthorizedKeys string `tfsdk:"authorized_keys" json:"authorized_keys"`
	// Accounts holds the path of each account's file; the names of the accounts are the scopes.
	Accounts map[string]string `tfsdk:"accounts" json:"accounts"`
}

// New checks the form of the configuration; it opens no file. Its errors are *jit.Error that name authorized_keys or
// accounts. "~/" is the home directory of the current user.
func New(cfg Config, s jit.Services) (*Platform, error) {
	scopes, err := cfg.scopes()
	if err != nil {
		return nil, err
	}
	p := &Platform{
		now: s.Now, scopes: scopes, patience: patience, warn: s.Warn,
		last: map[string]content{}, without: map[string]time.Time{},
	}
	if p.warn == nil {
		p.warn = func(text string) { slog.Warn(text) }
	}
	return p, nil
}

// scopes returns the path of each scope.
func (cfg Config) scopes() (map[string]string, error) {
	switch {
	case cfg.AuthorizedKeys == "" && len(cfg.Accounts) == 0:
		return nil, jit.Invalid("authorized_keys",
			`write for example authorized_keys = "/home/deploy/.ssh/authorized_keys"`,
			"the target names no file; it takes one of authorized_keys and accounts")
	case cfg.AuthorizedKeys == "":
		return cfg.accounts()
	case len(cfg.Accounts) > 0:
		return nil, jit.Invalid("accounts", "leave one of them out",
			"the target has authorized_keys and accounts; it takes one of them")
	}
	path, err := checkPath("authorized_keys", cfg.AuthorizedKeys)
	return map[string]string{cfg.AuthorizedKeys: path}, err
}

func (cfg Config) accounts() (map[string]string, error) {
	scopes, accountOf := map[string]string{}, map[string]string{}
	for _, account := range slices.Sorted(maps.Keys(cfg.Accounts)) {
		if strings.TrimSpace(account) == "" {
			return nil, jit.Invalid("accounts",
				`write for example accounts = { deploy = "/home/deploy/.ssh/authorized_keys" }`,
				"the account name %q is blank", account)
		}
		if err := jit.CheckText("accounts", account); err != nil {
			return nil, err
		}
		attribute := fmt.Sprintf("accounts[%q]", account)
		path, err := checkPath(attribute, cfg.Accounts[account])
		if err != nil {
			return nil, err
		}
		if first, taken := accountOf[path]; taken {
			return nil, jit.Invalid(attribute, "give each account its own file",
				"%q is the file of account %q too", cfg.Accounts[account], first)
		}
		accountOf[path], scopes[account] = account, path
	}
	return scopes, nil
}

// checkPath returns the path with the home directory in place.
func checkPath(attribute, written string) (string, error) {
	bad := func(format string, args ...any) (string, error) {
		return "", jit.Invalid(attribute, `write the whole path, for example "/home/deploy/.ssh/authorized_keys"`,
			format, args...)
	}
	if err := jit.CheckText(attribute, written); err != nil {
		return "", err
	}
	path := written
	if rest, ok := strings.CutPrefix(written, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return bad("%q cannot be resolved: %v", written, err)
		}
		path = filepath.Join(home, rest)
	}
	switch {
	case strings.TrimSpace(path) == "":
		return bad("the path is empty")
	case strings.HasPrefix(path, "~"):
		return bad("%q names another user's home directory; only ~/ is understood", written)
	case strings.HasSuffix(path, "/"):
		return bad("%q is a directory; it must be a file", written)
	}
	return filepath.Clean(path), nil
}
