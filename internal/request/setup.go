package request

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
)

const (
	providerSource = "jitaccess/jit"
	providerName   = "jit"
	setupName      = "jit.tf"
)

// setup returns the file that configures the provider, also if jit wrote it before, and notes about it. ok is false if
// the folder needs none.
func (d *Desk) setup(settings string) (f file, notes []string, ok bool) {
	required := false
	for name, source := range d.folder.Sources {
		if source == providerSource || strings.HasSuffix(source, "/"+providerSource) {
			required = true
			if slices.ContainsFunc(d.folder.Providers, func(b hcledit.Block) bool { return b.Type == name }) {
				return d.ownSetup(settings)
			}
		}
	}
	switch {
	case required:
		return f, []string{
			fmt.Sprintf("%s has no provider block for jit: as a module, it takes the provider of its caller",
				d.Dir),
		}, false
	case len(d.folder.Unread) > 0:
		return f, []string{
			fmt.Sprintf("jit did not read all of %s; check that it configures the provider jit", d.Dir),
		}, false
	case slices.ContainsFunc(d.folder.Providers, func(b hcledit.Block) bool { return b.Type == providerName }):
		return d.ownSetup(settings)
	}
	path, err := relative(d.Dir, settings)
	if err != nil {
		return f, []string{fmt.Sprintf("write a provider block for jit: %v", err)}, false
	}
	if len(d.folder.Sources) > 0 {
		notes = append(notes,
			fmt.Sprintf("add to required_providers: %s = { source = %q }", providerName, providerSource))
	}
	return setupFile(path, len(d.folder.Sources) == 0), notes, true
}

// ownSetup returns the file that configures the provider if jit wrote it: the branch of a grant needs it too, until it
// is committed.
func (d *Desk) ownSetup(settings string) (f file, notes []string, ok bool) {
	got := d.folder.Text(filepath.Join(d.Dir, setupName))
	path, err := relative(d.Dir, settings)
	if err != nil || got == nil {
		return f, nil, false
	}
	for _, required := range []bool{true, false} {
		if f = setupFile(path, required); f.holds(got) == nil {
			return f, nil, true
		}
	}
	return f, nil, false
}

// setupFile is the file that configures the provider by the settings in path. required: it also requires the provider.
func setupFile(path string, required bool) file {
	out := hclwrite.NewEmptyFile()
	if required {
		required := out.Body().AppendNewBlock("terraform", nil).Body().AppendNewBlock("required_providers", nil)
		required.Body().SetAttributeValue(providerName,
			cty.ObjectVal(map[string]cty.Value{"source": cty.StringVal(providerSource)}))
		out.Body().AppendNewline()
	}
	out.Body().
		AppendNewBlock("provider", []string{providerName}).
		Body().
		SetAttributeValue("config", cty.StringVal(path))
	text := hclwrite.Format(out.Bytes())
	return file{path: setupName, text: text, holds: func(got []byte) error {
		if string(got) != string(text) {
			return fmt.Errorf("it does not configure the provider %s", providerName)
		}
		return nil
	}}
}

// relative returns the path of a file as Terraform finds it when it runs in the folder.
func relative(folder, path string) (string, error) {
	from, err := filepath.Abs(folder)
	if err == nil {
		from, err = filepath.EvalSymlinks(from)
	}
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(to)); err == nil {
		to = filepath.Join(parent, filepath.Base(to))
	}
	short, err := filepath.Rel(from, to)
	if err != nil {
		return filepath.ToSlash(to), nil //nolint:nilerr // on another volume, only the absolute path leads there
	}
	return filepath.ToSlash(short), nil
}

// Written is what a request has written.
type Written struct {
	// Files are the paths of all its files, the grant's last. New are those that were not there.
	Files, New []string
	// Notes say what else there is to do.
	Notes []string
}

// NoteUncommitted notes what the plan reads and git does not track, or not as it is, beside the files of the request.
func (d *Desk) NoteUncommitted(ctx context.Context, w *Written, settings string) {
	var files []string
	for _, b := range slices.Concat(d.folder.Blocks, d.folder.Providers) {
		if b.Type != grantType && !slices.Contains(w.Files, b.File) {
			files = append(files, filepath.Base(b.File))
		}
	}
	path, err := relative(d.Dir, settings)
	if err == nil && filepath.IsLocal(path) {
		files = append(files, path)
	}
	others := listed(ctx, d.Dir, "--others", "--exclude-standard")
	others = slices.DeleteFunc(others, func(name string) bool {
		return !slices.Contains(files, filepath.FromSlash(name))
	})
	if len(others) > 0 {
		w.Notes = append(w.Notes, "the plan reads "+strings.Join(others, ", ")+
			", which git does not track; commit it first")
	}
	changed := slices.DeleteFunc(listed(ctx, d.Dir, "--modified"), func(name string) bool {
		isConfig := filepath.Dir(name) == "." && slices.Contains([]string{".tf", ".tofu"}, filepath.Ext(name))
		return name != path && !isConfig || slices.Contains(w.Files, filepath.Join(d.Dir, name))
	})
	if len(changed) > 0 {
		w.Notes = append(w.Notes, "the pull request lacks your changes of "+strings.Join(changed, ", ")+
			", which this verdict counts; commit them first")
	}
}

// Write writes the file of a request that was not refused, and before it the file that configures the provider, if the
// folder has none. settings is the path of jit.hcl. dry: it writes nothing.
func (d *Desk) Write(v Verdict, format Format, settings string, dry bool) (w Written, err error) {
	g := v.Decision.Grant
	var files []file
	first, notes, ok := d.setup(settings)
	if w.Notes = notes; ok {
		files = append(files, first)
	}
	there := slices.IndexFunc(d.grants, func(p placed) bool { return p.grant.ID == g.ID })
	v.Asked.Policy = cmp.Or(v.Asked.Policy, v.first)
	if there >= 0 && !d.grants[there].says(v.Asked) {
		return Written{}, different(at(d.grants[there].Block), g, d.grants[there].asked, v.Asked)
	}
	after := d.after(v)
	f, err := v.Asked.fileOf(nameOf(g), format, after...)
	if err != nil {
		return Written{}, err
	}
	waits := format == HCL && len(after) > 0
	if there < 0 {
		files = append(files, f)
	} else {
		waits = waits && f.holds(d.folder.Text(d.grants[there].File)) == nil
	}
	if waits {
		w.Notes = append(w.Notes, fmt.Sprintf("the block depends on %s.%s: the apply records the policy first",
			policyType, after[0]))
	} else {
		w.Notes = append(w.Notes, d.applyFirst(v)...)
	}
	for _, f := range files {
		path := filepath.Join(d.Dir, filepath.FromSlash(f.path))
		already := false
		if !dry {
			if already, err = f.write(d.Dir); err != nil {
				return w, err
			}
		}
		if w.Files = append(w.Files, path); !already {
			w.New = append(w.New, path)
		}
	}
	if there >= 0 {
		w.Files = append(w.Files, d.grants[there].File)
	}
	return w, nil
}
