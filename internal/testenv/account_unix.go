//go:build unix

package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is the system user that a server runs as. The nil account is the
// current user.
type account struct {
	name     string
	uid, gid uint32
}

// unprivileged returns an account for servers that refuse to run as root: the
// current user, or when that is root the first that exists of postgres, nobody.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(found.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(found.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil,
		errors.New("the server refuses to run as root and there is no user postgres or nobody; run the tests as " +
			"an ordinary user")
}

// apply makes the command run as the account, with the little environment that
// servers need.
func (a *account) apply(cmd *exec.Cmd) {
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=/"}
	// The server has its own process group, so an interrupt at the terminal reaches only the tests. Their end then ends
	// the server in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
}

// own gives the file to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// write writes a file that belongs to the account.
func (a *account) write(path, text string) error {
	return errors.Join(os.WriteFile(path, []byte(text), 0o600), a.own(path))
}
