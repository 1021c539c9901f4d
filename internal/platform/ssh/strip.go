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
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// maxStrip bounds the size of a file from which lines are still removed.
	maxStrip = 256 << 20
	// maxLine bounds a line that is looked at there. A longer one is copied as it is.
	maxLine = 1 << 20
)

// strip removes the lines of the grants from a file that is too large to be read: any login of the account can make it
// so, and access is to end all the same. It copies the file line by line.
func (p *Platform) strip(ctx context.Context, path string, over map[grantKey]bool) error {
	p.warn(fmt.Sprintf("authorized_keys %s is too large to be read; only lines of ended grants are removed from it", path))
	patience := time.Now().Add(p.patience)
	var err error
	for n := range attempts {
		if n > 0 {
			if err := backoff.Wait(ctx, 0, 20*time.Millisecond, 20*time.Millisecond); err != nil {
				return err
			}
		}
		if err = p.stripOnce(ctx, path, over, patience); !errors.Is(err, errMeanwhile) {
			return err
		}
	}
	return fmt.Errorf("write authorized keys %s, %d attempts: %w", path, attempts, err)
}

func (p *Platform) stripOnce(ctx context.Context, path string, over map[grantKey]bool, patience time.Time) (err error) {
	at, err := find(path)
	if err != nil {
		return err
	}
	defer at.close()
	unlock, locked, err := p.lock(ctx, at, patience)
	if err != nil {
		return err
	}
	defer unlock()
	p.called("read")
	f, info, err := at.openRegular(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	temp, name, err := at.temporary(locked)
	if err != nil {
		return at.cannotWrite(err)
	}
	arrived := false
	defer func() {
		_ = temp.Close()
		if !arrived {
			_ = at.remove(name)
		}
	}()
	read := sha256.New()
	out := bufio.NewWriter(temp)
	removed, err := at.copyWithout(ctx, out, f, read, over)
	if err != nil || !removed {
		return err
	}
	p.called("write")
	if err := errors.Join(out.Flush(), at.dress(ctx, temp, info), temp.Sync()); err != nil {
		return at.cannotWrite(err)
	}
	written, err := temp.Stat()
	if err != nil {
		return at.cannotWrite(err)
	}
	if err := at.unchanged(ctx, info, read); err != nil {
		return err
	}
	failpoint.Hit("ssh.before-rename")
	if err := at.rename(name, at.name); err != nil {
		return at.cannotWrite(err)
	}
	arrived = true
	return errors.Join(at.sync(), content{info: written}.arrived(path))
}

// copyWithout copies the file without the lines of the grants, and notes all that it reads.
func (at *place) copyWithout(ctx context.Context, out *bufio.Writer, f io.Reader, read hash.Hash, over map[grantKey]bool) (removed bool, err error) {
	in := bufio.NewReaderSize(io.TeeReader(io.LimitReader(f, maxStrip+1), read), maxLine)
	size, middle := 0, false
	for n := 0; ; n++ {
		raw, err := in.ReadSlice('\n')
		if size += len(raw); size > maxStrip {
			return false, at.tooLargeToStrip()
		}
		whole := !middle && !errors.Is(err, bufio.ErrBufferFull)
		middle = errors.Is(err, bufio.ErrBufferFull)
		if whole && bears(raw, over) {
			removed = true
		} else if _, err := out.Write(raw); err != nil {
			return false, at.cannotWrite(err)
		}
		switch {
		case errors.Is(err, io.EOF):
			return removed, nil
		case err != nil && !middle:
			return false, fmt.Errorf("read authorized keys %s: %w", at.path, err)
		case n%4096 == 0 && ctx.Err() != nil:
			return false, ctx.Err()
		}
	}
}

// bears reports whether the line is one of the grants'.
func bears(raw []byte, over map[grantKey]bool) bool {
	if !bytes.Contains(raw, []byte("jit:")) {
		return false
	}
	l := parseLine(raw)
	return l.ours && over[grantKey{l.marker.Owner, l.marker.ID}]
}

// unchanged makes sure that the file is still the one that was read, and holds what it did.
func (at *place) unchanged(ctx context.Context, info os.FileInfo, read hash.Hash) error {
	f, now, err := at.openRegular(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	again := sha256.New()
	if _, err := io.Copy(again, io.LimitReader(f, maxStrip+1)); err != nil {
		return fmt.Errorf("read authorized keys %s: %w", at.path, err)
	}
	if !os.SameFile(now, info) || !bytes.Equal(again.Sum(nil), read.Sum(nil)) {
		return errMeanwhile
	}
	return ctx.Err()
}

func (at *place) tooLargeToStrip() error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s has more than the %d MiB from which lines are still removed", at.path, maxStrip>>20),
		Hint:    "take out of it what is no key; sshd itself ends each grant at the end that its line carries",
		Err:     errTooLarge,
	}
}
