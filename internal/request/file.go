package request

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Format is the form of the files of grants.
type Format string

// The formats.
const (
	// HCL is a resource block in a file of its own.
	HCL Format = "hcl"
	// TFVars is an entry for one block with for_each: a JSON file in the subfolder grants.
	TFVars Format = "tfvars"
)

// entries is the subfolder of the format [TFVars].
const entries = "grants"

// EntriesBlock is the block that reads the files of the format [TFVars].
const EntriesBlock = `resource "jit_grant" "requested" {
  for_each = {
    for name in fileset("${path.module}/` + entries + `", "*.json") :
    trimsuffix(name, ".json") => jsondecode(file("${path.module}/` + entries + `/${name}"))
  }

  target             = each.value.target
  principal          = each.value.principal
  role               = each.value.role
  scope              = try(each.value.scope, null)
  reason             = each.value.reason
  ttl                = try(each.value.ttl, null)
  expires_at         = try(each.value.expires_at, null)
  renewal            = try(each.value.renewal, null)
  starts_at          = try(each.value.starts_at, null)
  start_by           = try(each.value.start_by, null)
  policy             = try(each.value.policy, null)
  requester          = try(each.value.requester, null)
  break_glass        = try(each.value.break_glass, null)
  terminate_sessions = try(each.value.terminate_sessions, null)
}
`

// file is a file of a folder, relative to the folder.
type file struct {
	path string
	text []byte
	// holds reports whether other text says the same. It is an error if the text cannot be read.
	holds func(text []byte) error
}

// fileOf returns the file of a request. name is that of [nameOf]. A block depends on the blocks of jit_policy with the
// names in after; an entry cannot.
func (a Asked) fileOf(name string, format Format, after ...string) (f file, err error) {
	if format == TFVars {
		f = file{path: entries + "/" + name + ".json", holds: func(text []byte) error { return checkJSON(text, a) }}
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(a)
		f.text = b.Bytes()
	} else {
		label := resourceName(name)
		f = file{
			path: "grant-" + name + ".tf", text: a.block(label, after),
			holds: func(text []byte) error { return checkBlock(text, label, a.attributes(), after) },
		}
	}
	if err == nil {
		err = f.holds(f.text)
	}
	if err != nil {
		return f, fmt.Errorf("the written request does not read back the same: %w", err)
	}
	return f, nil
}

// block returns the resource block with quoted texts.
func (a Asked) block(label string, after []string) []byte {
	f := hclwrite.NewEmptyFile()
	body := f.Body().AppendNewBlock("resource", []string{grantType, label}).Body()
	for _, at := range a.attributes() {
		body.SetAttributeValue(at.name, at.value)
	}
	if len(after) > 0 {
		policies := make([]hclwrite.Tokens, len(after))
		for i, name := range after {
			policies[i] = hclwrite.TokensForTraversal(hcl.Traversal{
				hcl.TraverseRoot{Name: policyType}, hcl.TraverseAttr{Name: name},
			})
		}
		body.AppendNewline()
		body.SetAttributeRaw(dependsOn, hclwrite.TokensForTuple(policies))
	}
	return hclwrite.Format(f.Bytes())
}

// The types of the resources, and the argument that orders an apply.
const (
	grantType  = "jit_grant"
	policyType = "jit_policy"
	dependsOn  = "depends_on"
)

// checkBlock requires a text that is one block with these attributes, which depends on the policies in after, as
// Terraform's parser reads it, and nothing else.
func checkBlock(text []byte, label string, want []attribute, after []string) error {
	f, diags := hclsyntax.ParseConfig(text, "", hcl.InitialPos)
	if diags.HasErrors() {
		return diags
	}
	body, ok := f.Body.(*hclsyntax.Body)
	if !ok || len(body.Attributes) > 0 || len(body.Blocks) != 1 {
		return errors.New("it is not one block")
	}
	block := body.Blocks[0]
	if block.Type != "resource" || !slices.Equal(block.Labels, []string{grantType, label}) ||
		len(block.Body.Blocks) > 0 {
		return fmt.Errorf("its block is not %s.%s", grantType, label)
	}
	for _, at := range want {
		got, has := block.Body.Attributes[at.name]
		if !has {
			return fmt.Errorf("it has no %s", at.name)
		}
		value, diags := got.Expr.Value(nil)
		if diags.HasErrors() || !value.RawEquals(at.value) {
			return fmt.Errorf("it has another %s", at.name)
		}
	}
	return checkOrder(block.Body.Attributes, len(want), after)
}

// checkOrder requires so many attributes, and beside them that the block depends on the policies in after.
func checkOrder(attributes hclsyntax.Attributes, want int, after []string) error {
	order, ordered := attributes[dependsOn]
	if ordered {
		want++
	}
	switch {
	case ordered != (len(after) > 0) || ordered && !slices.Equal(policiesIn(order.Expr), after):
		return errors.New("it has another " + dependsOn)
	case len(attributes) != want:
		return errors.New("it has more attributes")
	}
	return nil
}

// policiesIn returns the names of the blocks of jit_policy in a list of references; nil if it has others.
func policiesIn(list hclsyntax.Expression) (names []string) {
	references, _ := hcl.ExprList(list)
	for _, each := range references {
		path, diags := hcl.AbsTraversalForExpr(each)
		if diags.HasErrors() || len(path) != 2 || path.RootName() != policyType {
			return nil
		}
		name, ok := path[1].(hcl.TraverseAttr)
		if !ok {
			return nil
		}
		names = append(names, name.Name)
	}
	return names
}

// checkJSON requires a text that is one object with this request.
func checkJSON(text []byte, want Asked) error {
	got, err := parseJSON(text)
	if err == nil && got != want {
		err = errors.New("it has another value")
	}
	return err
}

// parseJSON reads a text that is one object with a request.
func parseJSON(text []byte) (a Asked, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err = decoder.Decode(&a); err == nil && decoder.More() {
		err = errors.New("it is more than one object")
	}
	return a, err
}

// write writes a file into a folder, which it never leaves and where it overwrites nothing. already: the file says the
// same.
func (f file) write(folder string) (already bool, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return false, fmt.Errorf("open the folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	if found, err := f.found(root); found || err != nil {
		return found, err
	}
	if err := root.MkdirAll(filepath.Dir(f.path), 0o755); err != nil { // #nosec G301 -- it holds nothing secret
		return false, fmt.Errorf("write %s: %w", f.path, err)
	}
	draft := f.path + "." + rand.Text() + ".new"
	err = writeNew(root, draft, f.text)
	if err == nil {
		var text []byte
		if text, err = root.ReadFile(draft); err == nil {
			err = f.holds(text)
		}
	}
	if err == nil {
		err = root.Link(draft, f.path) // it fails if somebody else has written the file meanwhile
	}
	if removed := root.Remove(draft); !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	if errors.Is(err, fs.ErrExist) {
		return f.found(root)
	}
	if err != nil {
		return false, fmt.Errorf("write %s: %w", f.path, err)
	}
	return false, nil
}

// writeNew writes a file that must not exist. The file may be read by all: it belongs into the repository.
func writeNew(root *os.Root, name string, text []byte) error {
	w, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) // #nosec G302 -- see above
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return errors.Join(err, w.Sync(), w.Close())
}

// found reports whether the file is there and says the same. A file that says something else is an error.
func (f file) found(root *os.Root) (bool, error) {
	info, err := root.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for %s: %w", f.path, err)
	}
	if info.Mode().IsRegular() {
		text, err := root.ReadFile(f.path)
		if err != nil {
			return false, fmt.Errorf("read %s: %w", f.path, err)
		}
		problem := f.holds(text)
		if problem == nil {
			return true, nil
		}
		return false, jit.Errorf(jit.ErrDenied, "", "rename or delete the file, or give another reason",
			"%s exists and differs from your request: %v", f.path, problem)
	}
	return false, jit.Errorf(jit.ErrDenied, "", "rename or delete it", "%s exists and is not a regular file", f.path)
}

// different is the error for a request whose access a block asks for already, in another way.
func different(place string, g jit.Grant, there, asked Asked) error {
	var names []string
	is := asked.fields()
	for i, f := range there.fields() {
		if f.text != nil && *f.text != *is[i].text || f.yes != nil && *f.yes != *is[i].yes {
			names = append(names, f.name)
		}
	}
	return jit.Errorf(jit.ErrDenied, "", "to change how long it lasts, write jit request --extend "+string(g.ID)+
		" --ttl …; to ask for more, give another reason; else change the block by hand",
		"%s asks for the same access for the same reason, with another value of %s", place, strings.Join(names, ", "))
}
