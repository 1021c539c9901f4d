// Command doclinks makes the relative links of docs/ absolute. Neither the registry, which shows a page without its
// .md, nor a code host, which shows it with that, follows the relative links of the other.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
)

// address is that of the provider's documentation.
const address = "https://registry.terraform.io/providers/jitaccess/jit/latest/docs"

// relative is the end of a link to another page of docs/, perhaps to a heading of it.
var relative = regexp.MustCompile(`\]\(([\w./-]+)(#[^)]*)?\)`)

func main() {
	if err := run("docs"); err != nil {
		fmt.Fprintln(os.Stderr, "doclinks:", err)
		os.Exit(1)
	}
}

// run rewrites the pages below dir.
func run(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is buffered
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".md" {
			return err
		}
		text, err := root.ReadFile(name)
		if err != nil {
			return err
		}
		return root.WriteFile(name, []byte(absolute(string(text), path.Dir(name))), 0o600)
	})
}

// absolute rewrites the links of a page in the folder within docs/.
func absolute(text, within string) string {
	return relative.ReplaceAllStringFunc(text, func(link string) string {
		m := relative.FindStringSubmatch(link)
		page := strings.TrimSuffix(path.Join("/", within, m[1]), "/")
		return "](" + address + page + m[2] + ")"
	})
}
