package review

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// readFolder reads the configuration of a folder, without its subfolders.
func readFolder(dir string) folder {
	f := folder{blocks: map[string]map[string]expression{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.unread = append(f.unread, dir)
		return f
	}
	files := map[string]*hcl.File{}
	names := map[string]bool{"jit": true} // by which the configuration calls this provider
	suffixes := map[string]bool{}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch kind := kindOfFile(entry); {
		case kind == inJSON && mentions(path):
			f.unread = append(f.unread, path)
		case kind == ofValues:
			text, err := os.ReadFile(path) // #nosec G304 -- the user names the folder
			if err != nil {
				f.unread = append(f.unread, path)
			}
			f.defines = append(f.defines, text...)
		case kind == inHCL:
			file, err := parse(path)
			if err != nil {
				f.unread = append(f.unread, path)
				continue
			}
			files[entry.Name()] = file
			suffixes[filepath.Ext(entry.Name())] = true
			localNames(bodyOf(file), names)
		}
	}
	order := slices.SortedFunc(maps.Keys(files), func(a, b string) int { // overrides come last and win
		return cmp.Or(cmp.Compare(overrides(a), overrides(b)), cmp.Compare(a, b))
	})
	for _, name := range order {
		f.read(name, files[name], names)
	}
	f.both = suffixes[".tf"] && suffixes[".tofu"]
	f.readConfigs(dir)
	return f
}

// readConfigs reads the files that provider blocks name by a literal in config.
func (f *folder) readConfigs(dir string) {
	for _, at := range slices.Sorted(maps.Keys(f.blocks)) {
		config := f.blocks[at]["config"]
		value := config.value
		switch {
		case at == settingsFile || config.syntax == nil || value != cty.NilVal && value.IsNull():
			continue
		case value == cty.NilVal || value.Type() != cty.String:
			f.unread = append(f.unread, "config of "+at)
			continue
		}
		name := filepath.Clean(value.AsString())
		if name == settingsFile {
			continue // it is read already
		}
		path := name
		if !filepath.IsAbs(name) {
			path = filepath.Join(dir, name)
		}
		file, err := parse(path)
		if err != nil {
			f.unread = append(f.unread, path)
			continue
		}
		f.add("config "+filepath.ToSlash(name), bodyOf(file), file.Bytes)
	}
}

// The kinds of files of a configuration.
const (
	inHCL    = "hcl"
	inJSON   = "json"
	ofValues = "values"
)

// kindOfFile returns the kind of a file; empty if it is no configuration.
func kindOfFile(entry os.DirEntry) string {
	name := entry.Name()
	switch {
	case entry.IsDir(), strings.HasPrefix(name, "."): // neither CLI reads it
	case strings.HasSuffix(name, ".tf.json"), strings.HasSuffix(name, ".tofu.json"):
		return inJSON
	case name == settingsFile, strings.HasSuffix(name, ".tf"), strings.HasSuffix(name, ".tofu"):
		return inHCL
	case strings.HasSuffix(name, ".tfvars"), strings.HasSuffix(name, ".tfvars.json"):
		return ofValues
	}
	return ""
}

// read reads a file. names are those of this provider.
func (f *folder) read(name string, file *hcl.File, names map[string]bool) {
	if name == settingsFile {
		f.add(settingsFile, bodyOf(file), file.Bytes)
		return
	}
	for _, block := range bodyOf(file).Blocks {
		if block.Type == "variable" || block.Type == "locals" {
			f.defines = append(f.defines, block.Range().SliceBytes(file.Bytes)...)
		}
		if block.Type != "provider" || len(block.Labels) != 1 || !names[block.Labels[0]] {
			continue
		}
		at := "provider." + block.Labels[0]
		if alias, set := block.Body.Attributes["alias"]; set {
			if value, diags := alias.Expr.Value(nil); !diags.HasErrors() && value.Type() == cty.String {
				at += "." + value.AsString()
			}
		}
		f.add(at, block.Body, file.Bytes)
	}
}

// add adds the attributes of a block; a later one of the same address overrides them.
func (f *folder) add(at string, body *hclsyntax.Body, text []byte) {
	if f.blocks[at] == nil {
		f.blocks[at] = map[string]expression{}
	}
	for name, a := range body.Attributes {
		f.blocks[at][name] = expressionOf(a.Expr, text)
	}
}

func parse(path string) (*hcl.File, error) {
	text, err := os.ReadFile(path) // #nosec G304 -- the user names the folder
	if err != nil {
		return nil, err
	}
	file, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	return file, nil
}

func bodyOf(file *hcl.File) *hclsyntax.Body {
	return file.Body.(*hclsyntax.Body) // what hclsyntax parses
}

// overrides is 1 for the files whose blocks override those of others.
func overrides(name string) int {
	base := strings.TrimSuffix(name, filepath.Ext(name))
	if base == "override" || strings.HasSuffix(base, "_override") {
		return 1
	}
	return 0
}

// localNames adds the names by which required_providers calls this provider.
func localNames(body *hclsyntax.Body, names map[string]bool) {
	for _, block := range body.Blocks {
		if block.Type != "terraform" {
			continue
		}
		for _, inner := range block.Body.Blocks {
			if inner.Type != "required_providers" {
				continue
			}
			for name, a := range inner.Body.Attributes {
				value, _ := a.Expr.Value(nil)
				if !value.IsNull() && value.IsKnown() && value.Type().IsObjectType() &&
					value.Type().HasAttribute("source") {
					at := value.GetAttr("source")
					if at.Type() == cty.String && !at.IsNull() && strings.HasSuffix(at.AsString(), source) {
						names[name] = true
					}
				}
			}
		}
	}
}

// mentions reports whether a file in JSON may configure a provider, or cannot be read.
func mentions(path string) bool {
	text, err := os.ReadFile(path) // #nosec G304 -- the user names the folder
	var content map[string]json.RawMessage
	if err != nil || json.Unmarshal(text, &content) != nil {
		return true
	}
	_, provider := content["provider"]
	_, settings := content["terraform"]
	return provider || settings
}
