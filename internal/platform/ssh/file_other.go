//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package ssh

import (
	"context"
	"fmt"
	"runtime"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// errUnsupported: the system lacks file locks, or owners of files that sshd would check.
var errUnsupported = fmt.Errorf("authorized_keys files cannot be edited safely on %s; "+
	"run on the host's Unix or on Linux", runtime.GOOS)

func (p *Platform) readFile(context.Context, string) (content, error) {
	return content{}, errUnsupported
}

func (c content) linked() bool { return false }

func (p *Platform) edit(context.Context, string, content, bool, bool, func(content, *keys)) error {
	return errUnsupported
}

func (p *Platform) strip(context.Context, string, []jit.Marker) error { return errUnsupported }
