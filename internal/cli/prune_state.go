package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// grantType is the type of the resource of a grant.
const grantType = "jit_grant"

// heldGrant is a grant in a state.
type heldGrant struct {
	// address is that of the instance, name that of its block in the root module; name is empty in other modules.
	address, name string
	id            jit.ID
	values        map[string]any
	// several: the block has other instances, or a key.
	several bool
}

// readState returns the grants of the state, by the order of the state.
func (p *program) readState(ctx context.Context, o pruning) (grants []heldGrant, err error) {
	var text []byte
	switch o.state {
	case "":
		text, err = p.showState(ctx, o.dir)
	case "-":
		text, err = io.ReadAll(p.in)
	default:
		text, err = os.ReadFile(o.state) // #nosec G304 -- the user names it
		if errors.Is(err, os.ErrNotExist) {
			err = jit.Invalid("--state", "write it with: terraform show -json > "+o.state, "there is no file %s", o.state)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	return parseState(text)
}

// parseState reads the output of terraform show -json.
func parseState(text []byte) (grants []heldGrant, err error) {
	const hint = "write it with: terraform show -json > state.json"
	var isPlan struct {
		Planned json.RawMessage `json:"planned_values"`
		Changes json.RawMessage `json:"resource_changes"`
	}
	var state tfjson.State
	if err := errors.Join(json.Unmarshal(text, &isPlan), json.Unmarshal(text, &state)); err != nil {
		return nil, jit.Invalid("--state", hint, "it is not a state in JSON: %v", err)
	}
	if isPlan.Planned != nil || isPlan.Changes != nil {
		return nil, jit.Invalid("--state", hint+", without a plan file", "it is a plan, not a state")
	}
	if state.Values == nil || state.Values.RootModule == nil {
		return nil, nil // nothing is applied
	}
	return grantsOf(state.Values.RootModule), nil
}

// grantsOf returns the grants of a module and of the modules in it.
func grantsOf(m *tfjson.StateModule) (grants []heldGrant) {
	for _, r := range m.Resources {
		if r.Type != grantType || r.Mode != tfjson.ManagedResourceMode {
			continue
		}
		g := heldGrant{address: r.Address, values: r.AttributeValues, several: r.Index != nil || r.DeposedKey != ""}
		if m.Address == "" {
			g.name = r.Name
		}
		id, _ := r.AttributeValues["id"].(string)
		g.id = jit.ID(id)
		grants = append(grants, g)
	}
	for _, child := range m.ChildModules {
		grants = append(grants, grantsOf(child)...)
	}
	return grants
}

// The two programs that write states.
const (
	terraform = "terraform"
	openTofu  = "tofu"
)

// showState runs terraform show -json, or tofu show -json, in the folder, and says which.
func (p *program) showState(ctx context.Context, dir string) ([]byte, error) {
	path, err := stateProgram(dir)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(path)
	if !p.json {
		fmt.Fprintf(p.err, "note: the state comes from %s show -json\n", name)
	}
	cmd := exec.CommandContext(ctx, path, "show", "-no-color", "-json") // #nosec G204 -- one of two names
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s show -json: %w\n%s", name, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

// stateProgram finds the program that the folder uses: OpenTofu if there are files that only OpenTofu reads, or if the
// lock file says so, and otherwise Terraform. If only one of the two is installed, it is that one.
func stateProgram(dir string) (path string, err error) {
	first, second := terraform, openTofu
	lock, _ := os.ReadFile(filepath.Join(dir, ".terraform.lock.hcl")) // #nosec G304 -- a file of the user's folder
	only, _ := filepath.Glob(filepath.Join(dir, "*.tofu"))            // the pattern is well-formed
	if len(only) > 0 || bytes.Contains(lock, []byte(`provider "registry.opentofu.org/`)) {
		first, second = second, first
	}
	for _, name := range []string{first, second} {
		if path, err = exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", jit.Invalid("--state", "install one, or write terraform show -json > state.json where it is installed",
		"neither %s nor %s is on the PATH", first, second)
}
