package ssh

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxLinks bounds how many links lead to a file, as the kernel does.
const maxLinks = 40

// resolve follows symbolic links to the file itself, which may not exist yet, so
// that the links stay and everybody locks the same file. A link leads to a
// file of its own owner, or is root's: else whoever owns an account could have us, as root,
// write the keys of his account into the file of another.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", path, err)
	}
	root := filepath.VolumeName(path) + string(filepath.Separator)
	real, rest := root, strings.TrimPrefix(path, root)
	var links []fs.FileInfo
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, string(filepath.Separator))
		next := filepath.Join(real, name) // also for ".." of a link: real holds no link
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return filepath.Join(next, rest), ownLinks(links, path, filepath.Dir(next))
		case err != nil:
			return "", fmt.Errorf("resolve %s: %w", path, err)
		case info.Mode().Type() != fs.ModeSymlink:
			real = next
			continue
		}
		if links = append(links, info); len(links) > maxLinks {
			return "", fmt.Errorf("resolve %s: more than %d links", path, maxLinks)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", fmt.Errorf("resolve %s: %w", path, err)
		}
		if filepath.IsAbs(target) {
			real = root
		}
		// Not Join, which would take "link/.." for nothing.
		rest = strings.TrimPrefix(target, root) + string(filepath.Separator) + rest
	}
	return real, ownLinks(links, path, real)
}

// ownLinks refuses links to a place of another owner.
func ownLinks(links []fs.FileInfo, path, place string) error {
	if len(links) == 0 {
		return nil
	}
	info, err := os.Stat(place)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", path, err)
	}
	for _, l := range links {
		if by := owner(l); by != 0 && by != owner(info) {
			return &jit.Error{
				Problem: fmt.Sprintf("%s leads to %s over the link %q of the user %d, who does not own that place (%d does)", path, place, l.Name(), by, owner(info)),
				Hint:    "write the path of the file itself into the target",
				Err:     fs.ErrPermission,
			}
		}
	}
	return nil
}
