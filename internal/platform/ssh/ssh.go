// Package ssh gives access through OpenSSH's authorized_keys: one line for each
// grant, with expiry-time, so that sshd itself refuses the key after the end.
//
// Lines of ours follow the foreign ones, because sshd takes the first line that
// admits a key: a line of before keeps its effect. A login line stands before
// the narrower lines of the same key, so that overlapping grants give the wider access.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// patience is how long a change waits for the lock. Ours are held for a fraction of a second, so somebody keeps one
// that is held for longer, and the account can: it must not keep its access by that.
const patience = 5 * time.Second

// Config says which files hold access. Exactly one of the two is set.
type Config struct {
	// AuthorizedKeys is the path of one file; it is the target's only scope, as written.
	AuthorizedKeys string `tfsdk:"authorized_keys" json:"authorized_keys"`
	// Accounts are files by the name of their account; the names are the scopes.
	Accounts map[string]string `tfsdk:"accounts" json:"accounts"`
}

// Platform is one target with one authorized_keys file or several.
type Platform struct {
	// OnCall, when set before use, is called before each access to a file: "read" or "write".
	OnCall func(op string)

	now    func() time.Time
	scopes map[string]string // scope to path
	// patience is how long a change waits for the lock of its file.
	patience time.Duration
	// warn tells what no error tells.
	warn func(text string)

	mu sync.Mutex
	// without is when each lock could not be had, by its path.
	without map[string]time.Time
	// last is each file as it was when it was last seen. An edit begins from there and makes sure, before it writes,
	// that nothing has changed since.
	last map[string]content
}

// New checks the form of the configuration; it opens no file. Its errors are
// *jit.Error that name authorized_keys or accounts. "~/" is the home directory of the current user.
func New(cfg Config, s jit.Services) (*Platform, error) {
	p := &Platform{now: s.Now, scopes: map[string]string{}, patience: patience, warn: s.Warn,
		last: map[string]content{}, without: map[string]time.Time{}}
	if p.warn == nil {
		p.warn = func(text string) { slog.Warn(text) }
	}
	switch {
	case cfg.AuthorizedKeys == "" && len(cfg.Accounts) == 0:
		return nil, jit.Invalid("authorized_keys", `write for example authorized_keys = "/home/deploy/.ssh/authorized_keys"`,
			"the target names no file; it takes one of authorized_keys and accounts")
	case cfg.AuthorizedKeys != "" && len(cfg.Accounts) > 0:
		return nil, jit.Invalid("accounts", "leave one of them out", "the target has authorized_keys and accounts; it takes one of them")
	case cfg.AuthorizedKeys != "":
		path, err := checkPath("authorized_keys", cfg.AuthorizedKeys)
		if err != nil {
			return nil, err
		}
		p.scopes[cfg.AuthorizedKeys] = path
	}
	accountOf := map[string]string{}
	for _, account := range slices.Sorted(maps.Keys(cfg.Accounts)) {
		if strings.TrimSpace(account) == "" {
			return nil, jit.Invalid("accounts", `write for example accounts = { deploy = "/home/deploy/.ssh/authorized_keys" }`, "the name %q of an account is blank", account)
		}
		if err := jit.CheckText("accounts", account); err != nil {
			return nil, err
		}
		path, err := checkPath(fmt.Sprintf("accounts[%q]", account), cfg.Accounts[account])
		if err != nil {
			return nil, err
		}
		if first, taken := accountOf[path]; taken {
			return nil, jit.Invalid(fmt.Sprintf("accounts[%q]", account), "give each account its own file",
				"%q is the file of account %q too", cfg.Accounts[account], first)
		}
		accountOf[path], p.scopes[account] = account, path
	}
	return p, nil
}

// checkPath returns the path with the home directory in place.
func checkPath(attribute, written string) (string, error) {
	const hint = `write the whole path, for example "/home/deploy/.ssh/authorized_keys"`
	if err := jit.CheckText(attribute, written); err != nil {
		return "", err
	}
	path := written
	if rest, ok := strings.CutPrefix(written, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", jit.Invalid(attribute, hint, "%q cannot be resolved: %v", written, err)
		}
		path = filepath.Join(home, rest)
	}
	switch {
	case strings.TrimSpace(path) == "":
		return "", jit.Invalid(attribute, hint, "the path is empty")
	case strings.HasPrefix(path, "~"):
		return "", jit.Invalid(attribute, hint, "%q names another user's home directory; only ~/ is understood", written)
	case strings.HasSuffix(path, "/"):
		return "", jit.Invalid(attribute, hint, "%q is a directory; it has to be a file", written)
	}
	return filepath.Clean(path), nil
}

// Kind returns "ssh".
func (p *Platform) Kind() string { return "ssh" }

// Check accepts a public key as principal; login, command:<command> or
// port-forward:<host>:<port> as role; and a configured file or account as scope.
// sshd never ends a session that is open, so the session tail is unlimited.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	traits := jit.Traits{Enforcement: jit.Native, SessionTail: jit.Unlimited}
	key, err := parsePrincipal(b.Principal)
	if err != nil {
		return b, traits, err
	}
	role, err := parseRole(b.Role)
	if err != nil {
		return b, traits, err
	}
	if b.Scope == "" && len(p.scopes) == 1 {
		b.Scope = p.list()[0]
	}
	if _, err := p.path(b.Scope); err != nil {
		return b, traits, err
	}
	traits.PrincipalName = strings.Join(strings.Fields(b.Principal)[2:], " ") // the comment of the key
	b.Principal, b.Role = key, role.String()
	return b, traits, nil
}

// Scopes returns the configured file, or the names of the accounts in their order.
func (p *Platform) Scopes(ctx context.Context) ([]string, error) { return p.list(), ctx.Err() }

func (p *Platform) list() []string { return slices.Sorted(maps.Keys(p.scopes)) }

// path returns the file of the scope.
func (p *Platform) path(scope string) (string, error) {
	path, ok := p.scopes[scope]
	if !ok {
		return "", jit.Invalid("scope", fmt.Sprintf("write one of %q, or add the account to the target", p.list()),
			"%q is not a file or account of this target", scope)
	}
	return path, nil
}

// Read reads the file once. A file that does not exist in its directory gives no access; where the directory itself
// is missing, nothing can be said, and that is an error.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	path, err := p.path(scope)
	if err != nil {
		return jit.Snapshot{}, err
	}
	if err := ctx.Err(); err != nil {
		return jit.Snapshot{}, err
	}
	content, err := p.readFile(ctx, path)
	if err != nil {
		return jit.Snapshot{}, err
	}
	return parseKeys(content.data).snapshot(), nil
}

// Apply makes all changes with at most one read and one write of the file. It reads the file only if another process
// has written to it since this one did, and writes it only if something changes.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	var before content
	path, err := p.path(scope)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		before, err = p.latest(ctx, path)
	}
	errs := make([]error, len(changes))
	expected := slices.ContainsFunc(changes, p.expects)
	creating := slices.ContainsFunc(changes, func(c jit.Change) bool { return c.Op == jit.Ensure })
	switch {
	case err != nil || len(changes) == 0:
	case before.info != nil || creating:
		err = p.edit(ctx, path, before, expected, creating, func(before content, k *keys) {
			for i, c := range changes {
				errs[i] = p.change(before, k, c)
			}
		})
	case expected && before.untouched:
		err = vanished(before.path)
	}
	if err == nil {
		return errs
	}
	ended := err
	if over := removals(changes); errors.Is(err, errTooLarge) && len(over) > 0 {
		ended = p.strip(ctx, path, over)
	}
	for i, c := range changes {
		switch {
		case c.Op == jit.Remove:
			errs[i] = ended
		case errs[i] == nil:
			errs[i] = err
		}
	}
	return errs
}

// errTooLarge: the file is too large to be read.
var errTooLarge = errors.New("the file is too large")

// grantKey names a grant in a file.
type grantKey struct {
	owner string
	id    jit.ID
}

// removals are the grants whose lines are to go.
func removals(changes []jit.Change) map[grantKey]bool {
	over := map[grantKey]bool{}
	for _, c := range changes {
		if c.Op == jit.Remove {
			over[grantKey{c.Access.Marker.Owner, c.Access.Marker.ID}] = true
		}
	}
	return over
}

// expects reports whether the record says that a line of the grant is in the file and still works there.
func (p *Platform) expects(c jit.Change) bool {
	return c.Held && p.now().Before(c.Access.Marker.Window.End)
}

// vanished is the error for a directory with neither file nor lock, in which we are to have written before.
func vanished(path string) error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s cannot be looked at: access is recorded there, and neither it nor %[1]s.jit.lock is in its directory", path),
		Hint:    "mount its file system if that is away; if the file is really gone, make an empty one in its place and run again",
		Err:     fs.ErrNotExist,
	}
}

// away is the error for a directory that is missing.
func away(path, dir string) error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s cannot be looked at: there is no directory %s", path, dir),
		Hint:    fmt.Sprintf("mount its file system if that is away; else make the directory %s, owned by the account and with mode 0700, or correct the path in the target", filepath.Dir(path)),
		Err:     fs.ErrNotExist,
	}
}

// content is a file as it was read; info is nil when there was none.
type content struct {
	path string // without links
	data []byte
	info fs.FileInfo
	// untouched: there is neither the file nor the lock that we leave beside it.
	untouched bool
	// parsed are the lines, where they are known already.
	parsed *keys
}

// maxSize and maxLines bound what is read of a file, in bytes and lines: the account whose it is must not use up our
// memory. A thousand keys take less than a tenth of either.
const (
	maxSize  = 4 << 20
	maxLines = 40_000
)

// latest returns the file as this process last saw it, and reads it if it has not seen it yet.
func (p *Platform) latest(ctx context.Context, path string) (content, error) {
	p.mu.Lock()
	last, ok := p.last[path]
	p.mu.Unlock()
	if ok {
		return last, nil
	}
	return p.readFile(ctx, path)
}

// remember keeps the file as seen. It forgets a file that is missing or could not be read or written.
func (p *Platform) remember(path string, c content, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || c.info == nil {
		delete(p.last, path)
		return
	}
	p.last[path] = c
}

// change makes one change of the lines.
func (p *Platform) change(before content, k *keys, c jit.Change) error {
	switch c.Op {
	case jit.Remove:
		k.remove(c.Access.Marker.Owner, c.Access.Marker.ID)
		return nil
	case jit.Ensure:
		if before.linked() {
			return &jit.Error{
				Problem: fmt.Sprintf("%s is a file with several names (hard links); it is replaced, and the others would stay as they are", before.path),
				Hint:    "make it a file of its own: cp -p it to another name and mv that back",
			}
		}
		return p.ensure(k, c.Access)
	}
	return fmt.Errorf("unknown operation %d", c.Op)
}

func (p *Platform) ensure(k *keys, a jit.Access) error {
	b, _, err := p.Check(a.Binding)
	if err != nil {
		return err
	}
	m, now := a.Marker, p.now()
	if _, ok := jit.ParseMarker(m.String()); !ok || !m.Window.End.After(m.Window.Start) {
		return fmt.Errorf("the marker %q does not say whose the grant is and when it begins and ends", m)
	}
	if now.Before(m.Window.Start) {
		// The line gives access from the moment it is written.
		return &jit.Error{
			Attribute: "starts_at",
			Problem:   fmt.Sprintf("%s lies ahead and sshd cannot begin access by itself", jit.FormatTime(m.Window.Start)),
			Hint:      "leave the start to the sweeper (jit sweep)",
		}
	}
	role, err := parseRole(b.Role)
	if err != nil {
		return err
	}
	return k.ensure(m, b.Principal, role, now)
}

// called reports a call to the observer, if there is one.
func (p *Platform) called(op string) {
	if p.OnCall != nil {
		p.OnCall(op)
	}
}
