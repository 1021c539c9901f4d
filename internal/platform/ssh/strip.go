//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ssh

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// maxStrip is the largest file from which lines are still removed.
	maxStrip = 256 << 20
	// maxLine is the longest line that may be removed there. A longer one is copied as it is.
	maxLine = 1 << 20
)

// errNothing: the file has no line to remove.
var errNothing = errors.New("no line to remove")

// strip removes the lines of the grants from a file that is too large to be read: any login of the account can make it
// so, and access must end all the same. It copies the file line by line.
func (p *Platform) strip(ctx context.Context, path string, gone []jit.Marker) error {
	p.warn("authorized_keys " + path + " is too large to be read; only lines of ended grants are removed from it")
	return p.locked(ctx, path, false, func(at *place, _ int) error {
		p.called("read")
		f, info, err := at.openRegular(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		seen := sha256.New()
		fill := func(temp *os.File) error {
			out := bufio.NewWriter(temp)
			if err := at.copyWithout(ctx, out, f, seen, gone); err != nil {
				return err
			}
			p.called("write")
			return out.Flush()
		}
		written, err := at.replace(ctx, info, fill, func() error { return at.unchanged(ctx, info, seen) })
		switch {
		case errors.Is(err, errNothing):
			return nil
		case err != nil:
			return err
		}
		return content{info: written}.arrived(path)
	})
}

// copyWithout copies the file without the lines of the grants, and hashes all that it reads.
func (at *place) copyWithout(ctx context.Context, out *bufio.Writer, f io.Reader, seen hash.Hash,
	gone []jit.Marker) error {
	limited := &io.LimitedReader{R: f, N: maxStrip + 1}
	in := bufio.NewReaderSize(io.TeeReader(limited, seen), maxLine)
	result, middle := errNothing, false // middle of a line that is too long
	for n := 0; ; n++ {
		raw, err := in.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		if !middle && !long && bears(raw, gone) {
			result = nil
		} else {
			_, _ = out.Write(raw) // out keeps an error until Flush
		}
		middle = long
		switch {
		case limited.N == 0:
			return at.tooLargeToStrip()
		case errors.Is(err, io.EOF):
			return result
		case err != nil && !long:
			return fmt.Errorf("read authorized keys %s: %w", at.path, err)
		case n%4096 == 0 && ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// bears reports whether the line belongs to one of the grants.
func bears(raw []byte, grants []jit.Marker) bool {
	if !bytes.Contains(raw, []byte("jit:")) {
		return false
	}
	l := parseLine(raw)
	return slices.ContainsFunc(grants, l.is)
}

// unchanged makes sure that the file is still the one that was read, with the same content.
func (at *place) unchanged(ctx context.Context, info os.FileInfo, seen hash.Hash) error {
	f, now, err := at.openRegular(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	again := sha256.New()
	if _, err := io.Copy(again, io.LimitReader(f, maxStrip+1)); err != nil {
		return fmt.Errorf("read authorized keys %s: %w", at.path, err)
	}
	if !os.SameFile(now, info) || !bytes.Equal(again.Sum(nil), seen.Sum(nil)) {
		return errMeanwhile
	}
	return nil
}

func (at *place) tooLargeToStrip() error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s has more than the %d MiB from which lines are still removed", at.path, maxStrip>>20),
		Hint:    "remove lines that are no keys; sshd itself ends each grant at the end on its line",
		Err:     errTooLarge,
	}
}
