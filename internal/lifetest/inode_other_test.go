//go:build !unix

package lifetest_test

import "io/fs"

// identity is empty: files that a grant edits are refused on this system.
func identity(fs.FileInfo) string { return "" }
