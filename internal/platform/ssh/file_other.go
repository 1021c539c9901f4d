//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package ssh

import (
	"context"
	"errors"
	"runtime"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// errUnsupported: the system lacks file locks, or owners of files that sshd would check.
var errUnsupported = errors.New("authorized_keys files cannot be edited safely on " + runtime.GOOS +
	"; run on the host's Unix or on Linux")

func (p *Platform) readFile(context.Context, string) (content, error) {
	return content{}, errUnsupported
}

func (c content) linked() bool { return false }

func (p *Platform) edit(context.Context, string, content, bool, bool, func(content, *keys)) error {
	return errUnsupported
}

func (p *Platform) strip(context.Context, string, []jit.Marker) error { return errUnsupported }
