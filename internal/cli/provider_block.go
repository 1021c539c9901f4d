package cli

import (
	"cmp"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// providerBlock is what the default provider block of a folder says literally.
type providerBlock struct {
	hcledit.Block
	// settings are those of the block, or of the settings file that it names, with the defaults.
	settings config.Settings
}

// providerBlocks returns the default provider blocks for jit of a folder. Their paths start in dir.
func providerBlocks(folder *hcledit.Folder, dir string) (all []providerBlock, err error) {
	for _, b := range folder.Providers {
		source, named := folder.Sources[b.Type]
		if b.Name != "" || named && source != "jitaccess/jit" && !strings.HasSuffix(source, "/jitaccess/jit") ||
			!named && b.Type != "jit" {
			continue
		}
		text := func(name string) string {
			v, written := b.Literals[name]
			if !written {
				return ""
			}
			return literalText(v)
		}
		s := config.Settings{Ledger: text("ledger"), Owner: text("owner"), MaxTTL: text("max_ttl")}
		if file := text("config"); file != "" {
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, file)
			}
			if s, err = config.LoadProvider(file); err != nil {
				return nil, err
			}
		}
		all = append(all, providerBlock{b, s.WithDefaults()})
	}
	return all, nil
}

// unsaid reports whether the block sets an attribute to a value that is not literal.
func (b providerBlock) unsaid(name string) bool {
	return slices.Contains(b.Others, name) || slices.Contains(b.Others, "config")
}

// checkProvider refuses settings that differ from the provider block of the folder: the plan judges by that. It returns
// notes about what the block does not say literally.
func checkProvider(folder *hcledit.Folder, s config.Settings, dir string) (notes []string, err error) {
	blocks, err := providerBlocks(folder, dir)
	for _, b := range blocks {
		for _, each := range []struct {
			name, here, there string
			same              bool
		}{
			{"owner", s.Owner, b.settings.Owner, s.Owner == b.settings.Owner},
			// The same relative path is told elsewhere: it depends on where the programs run.
			{"ledger", "", "", s.Ledger == b.settings.Ledger ||
				ledgerPlace(s.Ledger, ".") == ledgerPlace(b.settings.Ledger, dir)},
			{"max_ttl", s.MaxTTL, b.settings.MaxTTL, sameLength(s.MaxTTL, b.settings.MaxTTL)},
		} {
			place := b.File + ":" + strconv.Itoa(b.Line)
			switch {
			case b.unsaid(each.name):
				notes = append(notes, "the provider block at "+place+" does not say its "+each.name+
					" literally; jit judges by that of "+s.File)
			case !each.same:
				values := ""
				if each.here != "" {
					values = fmt.Sprintf(": %q and %q", each.there, each.here)
				}
				return nil, jit.Invalid(each.name, "write the same in both, best with config in the provider block",
					"the provider block at %s and %s differ%s", place, s.File, values)
			}
		}
	}
	return notes, err
}

func sameLength(a, b string) bool {
	x, wrong := jit.ParseDuration("max_ttl", a)
	y, wrongToo := jit.ParseDuration("max_ttl", b)
	return a == b || wrong == nil && wrongToo == nil && x == y
}

// ledgerPlace returns where a ledger is: the file of a SQLite ledger, whose path starts in dir, or else the bucket
// and the prefix, or the server and the database.
func ledgerPlace(ledger, dir string) string {
	path, local := strings.CutPrefix(ledger, "sqlite://")
	if !local {
		at, err := url.Parse(ledger)
		if err != nil {
			return ledger
		}
		if !strings.HasPrefix(at.Scheme, "postgres") { // a bucket
			return at.Scheme + "://" + at.Host + strings.TrimSuffix(at.Path, "/") + " " + at.Query().Get("endpoint")
		}
		return cmp.Or(at.Port(), "5432") + " " + at.Hostname() + at.Path
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}
