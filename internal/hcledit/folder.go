// Package hcledit reads what a folder of Terraform configuration says literally, and edits single blocks of it without
// touching another byte. It evaluates nothing but literals.
package hcledit

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Folder is a folder of configuration, as it was read.
type Folder struct {
	// Blocks are the resource blocks, in the order of files and lines.
	Blocks []Block
	// Providers are the provider blocks. Their Type is the local name of the provider, their Name its alias, which is
	// empty for the default.
	Providers []Block
	// Sources are the literal sources of required_providers, by the local names of the providers.
	Sources map[string]string
	// Modules are the names of the module blocks.
	Modules []string
	// Unread names what was not read, with the reason: files in JSON syntax, override files, files with a syntax error.
	Unread []Unread

	files map[string]*file
	// mentions are the places that name resources; nil until they are needed.
	mentions map[string][]mention
}

// Unread is a file that was not read.
type Unread struct{ File, Why string }

// String returns the file and the reason.
func (u Unread) String() string { return u.File + ": " + u.Why }

// Block is a resource block, or a provider block.
type Block struct {
	// File is the path of its file, with the folder as Read got it.
	File string
	// Line is the line of its header, from 1.
	Line       int
	Type, Name string
	// Literals are the attributes whose values are literal; nested lists and objects are literal if all of their parts
	// are. Others names the remaining attributes and the nested blocks.
	Literals map[string]cty.Value
	Others   []string
	// Repeated: the block has count or for_each.
	Repeated bool

	// start and end are the bytes of the block in its file.
	start, end int
}

// Address returns the address of a resource in its module, such as "jit_grant.a".
func (b Block) Address() string { return b.Type + "." + b.Name }

// file is a file of the folder. Only files that were read have a body.
type file struct {
	text []byte
	body *hclsyntax.Body
}

// Read reads the files of a folder, without its subfolders.
func Read(dir string) (*Folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	f := &Folder{Sources: map[string]string{}, files: map[string]*file{}}
	for _, e := range entries {
		f.read(filepath.Join(dir, e.Name()))
	}
	for _, pattern := range []string{"*.hcl", "*.json"} {
		tests, _ := filepath.Glob(filepath.Join(dir, "tests", pattern)) // the pattern is well-formed
		for _, path := range tests {
			f.read(path)
		}
	}
	for _, list := range [][]Block{f.Blocks, f.Providers} {
		slices.SortStableFunc(list, func(a, b Block) int {
			return cmp.Or(strings.Compare(a.File, b.File), a.start-b.start)
		})
	}
	return f, nil
}

// Text returns the text of a file as it was read; nil if it was not.
func (f *Folder) Text(path string) []byte {
	if file := f.files[path]; file != nil {
		return file.text
	}
	return nil
}

// kind is how Terraform and OpenTofu use a file.
type kind int

const (
	other kind = iota // not configuration
	native
	inJSON
	override
	test // a test or a query: it names resources and declares none
)

// kindOf tells files apart as Terraform and OpenTofu do. Both ignore hidden files and those of editors.
func kindOf(path string) kind {
	name := filepath.Base(path)
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") ||
		strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") {
		return other
	}
	for _, end := range []string{".tftest", ".tofutest", ".tfquery"} {
		if strings.HasSuffix(name, end+".hcl") || strings.HasSuffix(name, end+".json") {
			return test
		}
	}
	base, isJSON := strings.CutSuffix(name, ".json")
	ext := filepath.Ext(base)
	base = strings.TrimSuffix(base, ext)
	switch {
	case ext != ".tf" && ext != ".tofu":
		return other
	case isJSON:
		return inJSON
	case base == "override" || strings.HasSuffix(base, "_override"):
		return override
	}
	return native
}

// read reads a file.
func (f *Folder) read(path string) {
	kind := kindOf(path)
	if kind == other {
		return
	}
	unread := func(format string, args ...any) {
		f.Unread = append(f.Unread, Unread{path, fmt.Sprintf(format, args...)})
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		unread("it cannot be read: it is not a regular file")
		return
	}
	text, err := os.ReadFile(path) // #nosec G304 -- a file of the folder that the user names
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		unread("it cannot be read: %v", err)
		return
	}
	read := &file{text: text}
	f.files[path] = read
	switch kind {
	case inJSON:
		unread("it is in JSON syntax")
	case override:
		unread("it is an override file, which changes blocks of other files")
	case native:
		parsed, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
		if body, ok := parsed.Body.(*hclsyntax.Body); ok && !diags.HasErrors() {
			read.body = body
			f.blocks(path, body)
			return
		}
		unread("%s", syntaxError(diags))
	}
}

// syntaxError describes the first error.
func syntaxError(diags hcl.Diagnostics) string {
	for _, d := range diags {
		if d.Severity == hcl.DiagError && d.Subject != nil {
			return fmt.Sprintf("line %d has a syntax error: %s", d.Subject.Start.Line, d.Summary)
		}
	}
	return "it has a syntax error"
}

// blocks reads the blocks of a file.
func (f *Folder) blocks(path string, body *hclsyntax.Body) {
	for _, b := range body.Blocks {
		switch {
		case b.Type == "resource" && len(b.Labels) == 2:
			f.Blocks = append(f.Blocks, blockOf(path, b, b.Labels[0], b.Labels[1]))
		case b.Type == "provider" && len(b.Labels) == 1:
			provider := blockOf(path, b, b.Labels[0], "")
			if alias, ok := provider.Literals["alias"]; ok && alias.Type() == cty.String && !alias.IsNull() {
				provider.Name = alias.AsString()
			}
			f.Providers = append(f.Providers, provider)
		case b.Type == "module" && len(b.Labels) == 1:
			f.Modules = append(f.Modules, b.Labels[0])
		case b.Type == "terraform":
			f.required(b.Body)
		}
	}
}

// required reads the literal sources of required_providers.
func (f *Folder) required(body *hclsyntax.Body) {
	for _, b := range body.Blocks {
		if b.Type != "required_providers" {
			continue
		}
		for name, a := range b.Body.Attributes {
			object, ok := a.Expr.(*hclsyntax.ObjectConsExpr)
			if !ok {
				continue
			}
			for _, item := range object.Items { // configuration_aliases are not literal
				key, value := hcl.ExprAsKeyword(item.KeyExpr), item.ValueExpr
				if key != "source" || !literal(value) {
					continue
				}
				if v, diags := value.Value(nil); !diags.HasErrors() && v.Type() == cty.String && !v.IsNull() {
					f.Sources[name] = v.AsString()
				}
			}
		}
	}
}

func blockOf(path string, from *hclsyntax.Block, kind, name string) Block {
	b := Block{
		File: path, Line: from.TypeRange.Start.Line, Type: kind, Name: name, Literals: map[string]cty.Value{},
		start: from.TypeRange.Start.Byte, end: from.CloseBraceRange.End.Byte,
	}
	for name, a := range from.Body.Attributes {
		b.Repeated = b.Repeated || name == "count" || name == "for_each"
		if v, diags := a.Expr.Value(nil); literal(a.Expr) && !diags.HasErrors() {
			b.Literals[name] = v
		} else {
			b.Others = append(b.Others, name)
		}
	}
	for _, nested := range from.Body.Blocks {
		b.Others = append(b.Others, nested.Type)
	}
	slices.Sort(b.Others)
	b.Others = slices.Compact(b.Others)
	return b
}

// literal reports whether an expression is a literal.
func literal(e hclsyntax.Expression) bool {
	all := func(list []hclsyntax.Expression) bool {
		return !slices.ContainsFunc(list, func(e hclsyntax.Expression) bool { return !literal(e) })
	}
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return true
	case *hclsyntax.ParenthesesExpr:
		return literal(e.Expression)
	case *hclsyntax.UnaryOpExpr:
		_, number := e.Val.(*hclsyntax.LiteralValueExpr)
		return number && e.Op == hclsyntax.OpNegate
	case *hclsyntax.TemplateExpr: // a heredoc has a part for each line
		return !slices.ContainsFunc(e.Parts, func(e hclsyntax.Expression) bool {
			_, text := e.(*hclsyntax.LiteralValueExpr)
			return !text
		})
	case *hclsyntax.TupleConsExpr:
		return all(e.Exprs)
	case *hclsyntax.ObjectConsExpr:
		return !slices.ContainsFunc(e.Items, func(i hclsyntax.ObjectConsItem) bool {
			key, ok := i.KeyExpr.(*hclsyntax.ObjectConsKeyExpr)
			keyword := ok && !key.ForceNonLiteral && hcl.ExprAsKeyword(key.Wrapped) != ""
			return !keyword && (!ok || !literal(key.Wrapped)) || !literal(i.ValueExpr)
		})
	}
	return false
}
