package cli

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
)

// folderStays says why all blocks of the folder stay; empty if nothing keeps them all.
func (p *program) folderStays(folder *hcledit.Folder, o pruning) (string, error) {
	settings, err := config.Load(p.config)
	if err != nil {
		return "", err
	}
	blocks, err := providerBlocks(folder, o.dir)
	if err != nil {
		why := "the settings file of the provider block cannot be read: " + err.Error()
		return why, nil //nolint:nilerr // it keeps the blocks
	}
	for _, b := range blocks {
		switch {
		case !b.unsaid("owner") && b.settings.Owner != settings.Owner:
			return "the provider block has another owner than the settings", nil
		case !b.unsaid("ledger") && ledgerPlace(b.settings.Ledger, o.dir) != ledgerPlace(settings.Ledger, "."):
			return "the provider block has another ledger than the settings", nil
		}
	}
	if names := workspaces(o.dir); len(names) > 0 && !o.workspaces {
		return "the folder has several workspaces (" + strings.Join(names, ", ") +
			"), and this state is of one; check that it is over in each, then add --ignore-workspaces", nil
	}
	return "", nil
}

// workspaces returns the workspaces of a folder that jit sees, other than the default one: those with a local state,
// and the selected one.
func workspaces(dir string) (names []string) {
	add := func(name string) {
		if name != "" && name != "default" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	local, _ := os.ReadDir(filepath.Join(dir, "terraform.tfstate.d")) // most folders have none
	for _, e := range local {
		add(e.Name())
	}
	data := cmp.Or(os.Getenv("TF_DATA_DIR"), ".terraform")
	if !filepath.IsAbs(data) {
		data = filepath.Join(dir, data)
	}
	selected, _ := os.ReadFile(filepath.Join(data, "environment")) // #nosec G304 -- a file of the user's folder
	add(strings.TrimSpace(string(selected)))
	add(os.Getenv("TF_WORKSPACE"))
	return names
}
