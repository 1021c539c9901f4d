// Command notices writes NOTICES.txt: the licences and notices of everything that a release contains, each text once.
// Versions are left out, so that the file changes only when a licence does; an SBOM of the release has them.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

const (
	file   = "NOTICES.txt"
	header = `terraform-provider-jit and jit contain the following software. The names of modules stand above the text of
their licences and notices. The same text stands here once. The source of each module is at its name, in the version
that "go version -m" prints for the program, and on every Go module proxy.
`
)

// systems are those that a release is built for.
var systems = []string{"darwin", "freebsd", "linux", "windows"}

// legal matches the names of files with a licence or a notice.
var legal = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright|notice|patents)([.-].*)?$`)

// source matches the names of files with code that happen to be called so.
var source = regexp.MustCompile(`\.(go|s|tmpl|json|ya?ml)$`)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	found := texts{}
	if err := found.add("The Go standard library", runtime.GOROOT()); err != nil { //nolint:staticcheck // run by go run
		return err
	}
	for _, system := range systems {
		if err := listed(ctx, system, found.addPackage); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	found.write(&b)
	return os.WriteFile(file, b.Bytes(), 0o644) //nolint:gosec // it is public
}

// pkg is a package, as `go list` describes it.
type pkg struct {
	Dir    string
	Module *struct {
		Path, Dir string
		Main      bool
	}
}

// listed calls each with every package that the program consists of on a system.
func listed(ctx context.Context, system string, each func(pkg) error) error {
	list := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Dir,Module", ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH=amd64")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the packages on %s: %w", system, err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(p); err != nil {
			return err
		}
	}
}

// texts are the names of what each text belongs to.
type texts map[string]map[string]bool

// addPackage adds the texts of a package: those in its folder, and in the folders above it up to that of its module.
func (t texts) addPackage(p pkg) error {
	if p.Module == nil || p.Module.Main {
		return nil // the standard library, or ours
	}
	for dir := p.Dir; dir != p.Module.Dir; dir = filepath.Dir(dir) {
		within, err := filepath.Rel(p.Module.Dir, dir)
		if err != nil {
			return err
		}
		if _, err := t.addFolder(p.Module.Path+"/"+filepath.ToSlash(within), dir); err != nil {
			return err
		}
	}
	return t.add(p.Module.Path, p.Module.Dir)
}

// add adds the texts of a folder, which must have one.
func (t texts) add(name, dir string) error {
	n, err := t.addFolder(name, dir)
	if err == nil && n == 0 {
		err = fmt.Errorf("%s has no licence in %s; find out under which terms it may be passed on", name, dir)
	}
	return err
}

// addFolder adds the texts of a folder, and counts them.
func (t texts) addFolder(name, dir string) (n int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !legal.MatchString(entry.Name()) || source.MatchString(entry.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return 0, err
		}
		n++
		key := strings.TrimRight(strings.ReplaceAll(string(text), "\r\n", "\n"), " \t\n") + "\n"
		if t[key] == nil {
			t[key] = map[string]bool{}
		}
		t[key][name] = true
	}
	return n, nil
}

// write writes the texts in the order of the names above them.
func (t texts) write(to io.Writer) {
	type entry struct{ names, text string }
	var all []entry
	for text, names := range t {
		all = append(all, entry{strings.Join(slices.Sorted(maps.Keys(names)), "\n"), text})
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Or(cmp.Compare(a.names, b.names), cmp.Compare(a.text, b.text)) })
	_, _ = fmt.Fprint(to, header) // to is a buffer
	for _, e := range all {
		_, _ = fmt.Fprintf(to, "\n%s\n%s\n\n%s", strings.Repeat("=", 80), e.names, e.text)
	}
}
