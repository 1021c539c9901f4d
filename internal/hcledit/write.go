package hcledit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrChanged is the error of a file that somebody else has changed since it was read.
var ErrChanged = errors.New("the file has changed since it was read; run the command again")

// Write replaces a file in one step. before is the text that was read, nil if there was no file; if the file holds
// another text now, Write returns [ErrChanged]. Its mode, and a link that leads to it, stay as they are; a new file can
// be read by its owner only.
func Write(path string, before, after []byte) (err error) {
	mode := os.FileMode(0o600)
	if file, err := filepath.EvalSymlinks(path); err == nil {
		path = file
		if info, err := os.Stat(path); err == nil {
			mode = info.Mode().Perm()
		}
	}
	next, err := os.CreateTemp(filepath.Dir(path), ".jit-*") // Terraform ignores hidden files
	if err != nil {
		return err
	}
	_, err = next.Write(after)
	err = errors.Join(err, next.Chmod(mode), next.Sync(), next.Close())
	if err == nil {
		err = unchanged(path, before) // as late as possible
	}
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		_ = os.Remove(next.Name())
	}
	return err
}

// Delete deletes a file, or the link to it. before is the text that was read; if the file holds another text now, Delete returns
// [ErrChanged].
func Delete(path string, before []byte) error {
	if err := unchanged(path, before); err != nil {
		return err
	}
	return os.Remove(path)
}

// unchanged returns [ErrChanged] unless the file holds this text, or there is none and before is nil.
func unchanged(path string, before []byte) error {
	now, err := os.ReadFile(path) // #nosec G304 -- the caller has read it
	switch {
	case errors.Is(err, os.ErrNotExist) && before == nil:
		return nil
	case errors.Is(err, os.ErrNotExist), err == nil && (before == nil || !bytes.Equal(now, before)):
		return fmt.Errorf("%s: %w", path, ErrChanged)
	}
	return err
}
