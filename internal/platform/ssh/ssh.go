// Package ssh gives access through OpenSSH's authorized_keys: one line for each grant, with expiry-time, so that sshd
// itself refuses the key after the end.
//
// sshd uses the first line that admits a key. Our lines follow the foreign ones, so existing lines keep their effect. A
// login line stands before the narrower lines of the same key, so that overlapping grants give the wider access.
package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// patience is how long a change waits for the lock. Our processes hold it for a fraction of a second. A login of the
// account can hold it longer, but must not keep access that way.
const patience = 5 * time.Second

// Platform is one target with one or more authorized_keys files.
type Platform struct {
	// OnCall, if set before use, is called before each access to a file with "read" or "write".
	OnCall func(op string)

	now    func() time.Time
	scopes map[string]string // scope to path
	// patience is how long a change waits for the lock of its file.
	patience time.Duration
	// warn receives warnings about changes that succeeded.
	warn func(text string)

	mu sync.Mutex
	// without is when each lock was last unavailable, by its path.
	without map[string]time.Time
	// last is each file as last seen. An edit starts from it and makes sure, before it writes, that nothing has changed
	// since.
	last map[string]content
}

var _ jit.Platform = (*Platform)(nil)

// Kind returns "ssh".
func (p *Platform) Kind() string { return "ssh" }

// Check accepts a public key as principal; login, command:<command> or port-forward:<host>:<port> as role; and a
// configured file or account as scope. sshd never ends an open session, so the session tail is unlimited.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	traits := jit.Traits{Enforcement: jit.Native, SessionTail: jit.Unlimited}
	if b.Scope == "" && len(p.scopes) == 1 {
		b.Scope = p.list()[0]
	}
	key, keyErr := parsePrincipal(b.Principal)
	role, roleErr := parseRole(b.Role)
	_, scopeErr := p.path(b.Scope)
	if err := cmp.Or(keyErr, roleErr, scopeErr); err != nil {
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

// Read reads the file once. A file that does not exist in its directory gives no access. A missing directory is an
// error: its file system may be away.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	path, err := p.path(scope)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return jit.Snapshot{}, err
	}
	content, err := p.readFile(ctx, path)
	if err != nil {
		return jit.Snapshot{}, err
	}
	return content.parsed.snapshot(), nil
}

// Apply makes all changes with at most one read and one write of the file. It reads the file only if another process
// has written to it since this one did, and writes it only if something changes.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	path, err := p.path(scope)
	if err == nil {
		err = p.apply(ctx, path, changes, errs)
	}
	ended := err
	if gone := removals(changes); errors.Is(err, errTooLarge) && len(gone) > 0 {
		ended = p.strip(ctx, path, gone)
	}
	for i, c := range changes {
		if c.Op == jit.Remove {
			errs[i] = ended
		} else if err != nil && errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// apply makes the changes and sets the error of each; it returns an error that all have in common.
func (p *Platform) apply(ctx context.Context, path string, changes []jit.Change, errs []error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	before, err := p.latest(ctx, path)
	if err != nil {
		return err
	}
	expected := slices.ContainsFunc(changes, p.expects)
	creating := slices.ContainsFunc(changes, func(c jit.Change) bool { return c.Op == jit.Ensure })
	switch {
	case before.info != nil && len(changes) > 0 || creating:
		return p.edit(ctx, path, before, expected, creating, func(before content, k *keys) {
			for i, c := range changes {
				errs[i] = p.change(before, k, c)
			}
		})
	case expected && before.untouched:
		return vanished(before.path)
	}
	return nil
}

// errTooLarge: the file is too large to be read.
var errTooLarge = errors.New("the file is too large")

// removals returns the markers of the grants to remove.
func removals(changes []jit.Change) []jit.Marker {
	var gone []jit.Marker
	for _, c := range changes {
		if c.Op == jit.Remove {
			gone = append(gone, c.Access.Marker)
		}
	}
	return gone
}

// expects reports whether the file must have a line of the grant, by its record, that still gives access.
func (p *Platform) expects(c jit.Change) bool {
	return c.Held && p.now().Before(c.Access.Marker.Window.End)
}

// vanished is the error for a directory with neither file nor lock, though we have written there.
func vanished(path string) error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s cannot be looked at: access is recorded there, and neither it nor %[1]s.jit.lock "+
			"is in its directory", path),
		Hint: "mount its file system if that is away; if the file was deleted, make an empty one and run again",
		Err:  fs.ErrNotExist,
	}
}

// away is the error for a missing directory.
func away(path, dir string) error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s cannot be looked at: there is no directory %s", path, dir),
		Hint: fmt.Sprintf("mount its file system if that is away; else make the directory %s, owned by the account "+
			"and with mode 0700, or correct the path in the target", filepath.Dir(path)),
		Err: fs.ErrNotExist,
	}
}

// content is a file as it was read; info is nil if there was none.
type content struct {
	path string // without links
	data []byte
	info fs.FileInfo
	// untouched: neither the file nor our lock beside it exists.
	untouched bool
	// parsed holds the lines of a file that the platform remembers. Nobody changes them.
	parsed *keys
}

// maxSize and maxLines limit how much of a file is read, so that the account cannot use up our memory. A thousand keys
// take less than a tenth of either.
const (
	maxSize  = 4 << 20
	maxLines = 40_000
)

// latest returns the file as this process last saw it, and reads it if there is no such memory.
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
	switch {
	case c.Op == jit.Remove:
		k.remove(c.Access.Marker)
		return nil
	case c.Op != jit.Ensure:
		return fmt.Errorf("unknown operation %d", c.Op)
	case before.linked():
		return &jit.Error{
			Problem: fmt.Sprintf("%s is a file with several names (hard links); replacing it would leave the others "+
				"as they are", before.path),
			Hint: "make it a file of its own: cp -p it to another name and mv that back",
		}
	}
	return p.ensure(k, c.Access)
}

func (p *Platform) ensure(k *keys, a jit.Access) error {
	b, _, err := p.Check(a.Binding)
	if err != nil {
		return err
	}
	m, now := a.Marker, p.now()
	if _, ok := jit.ParseMarker(m.String()); !ok || !m.Window.End.After(m.Window.Start) {
		return fmt.Errorf("the marker %q does not name a grant with a beginning and an end", m)
	}
	if now.Before(m.Window.Start) {
		// The line gives access from the moment it is written.
		return &jit.Error{
			Attribute: "starts_at",
			Problem:   jit.FormatTime(m.Window.Start) + " lies ahead and sshd cannot begin access by itself",
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
