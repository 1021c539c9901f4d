//go:build unix

package lifetest_test

import (
	"fmt"
	"io/fs"
	"syscall"
)

// identity returns the identity of the file itself. A replaced file has another.
func identity(info fs.FileInfo) string {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("inode %d, owner %d:%d", stat.Ino, stat.Uid, stat.Gid)
	}
	return ""
}
