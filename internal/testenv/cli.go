package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/cache"
)

// CLI is a Terraform command line program.
type CLI struct {
	Kind    string // "terraform" or "tofu"
	Path    string // absolute
	Version string // without the leading v
}

// String returns the kind and version; it serves as a name for a subtest.
func (c CLI) String() string { return c.Kind + "-" + c.Version }

// Registry returns the host that the CLI assumes in a provider's source address.
func (c CLI) Registry() string {
	if c.Kind == "tofu" {
		return "registry.opentofu.org"
	}
	return "registry.terraform.io"
}

// Setenv points Terraform's test framework at the CLI for the rest of the test,
// and shuts out the user's CLI configuration, which may redirect providers or
// not exist. It forbids t.Parallel, as t.Setenv does.
func (c CLI) Setenv(t testing.TB) {
	t.Helper()
	t.Setenv("TF_ACC_TERRAFORM_PATH", c.Path)
	t.Setenv("TF_ACC_PROVIDER_HOST", c.Registry())
	t.Setenv("TF_CLI_CONFIG_FILE", "")
	t.Setenv("CHECKPOINT_DISABLE", "1")
}

// Terraforms returns every available Terraform CLI, terraform before tofu: those on the PATH, and tofu from the test
// cache if the PATH has none. It fails the test if there is none.
func Terraforms(t testing.TB) []CLI {
	t.Helper()
	clis, err := findCLIs()
	if err != nil {
		t.Fatalf("find a Terraform CLI: %v", err)
	}
	return clis
}

// NewestTerraform returns the CLI with the newest language: list blocks, actions and everything before them. It is
// part of the real servers' environment: see [Acceptance].
func NewestTerraform(t testing.TB) CLI {
	t.Helper()
	return shared(t, "the newest Terraform", findNewest)
}

// AllTerraforms returns [Terraforms] and, when the tests against real servers are turned on, [NewestTerraform].
func AllTerraforms(t testing.TB) []CLI {
	t.Helper()
	clis := slices.Clone(Terraforms(t))
	if os.Getenv(EnvAcceptance) != "" {
		clis = append(clis, NewestTerraform(t))
	}
	return clis
}

// findNewest runs the program's version command once per process.
var findNewest = sync.OnceValues(func() (CLI, error) {
	path, err := cache.Terraform().Lookup()
	if err != nil {
		return CLI{}, err
	}
	return identify(path)
})

// findCLIs runs each program's version command once per process.
var findCLIs = sync.OnceValues(func() ([]CLI, error) {
	var paths []string
	if path, err := exec.LookPath("terraform"); err == nil {
		paths = append(paths, path)
	}
	if path, err := exec.LookPath("tofu"); err == nil {
		paths = append(paths, path)
	} else if path, err := cache.Tofu().Lookup(); err == nil {
		paths = append(paths, path)
	}
	if len(paths) == 0 {
		return nil,
			errors.New("neither terraform nor tofu is on the PATH; install one, or run `make testenv` to build tofu")
	}
	clis := make([]CLI, 0, len(paths))
	for _, path := range paths {
		cli, err := identify(path)
		if err != nil {
			return nil, err
		}
		clis = append(clis, cli)
	}
	return clis, nil
})

// versionLine matches the first line of `terraform version`.
var versionLine = regexp.MustCompile(`(?m)^(Terraform|OpenTofu) v(\S+)`)

// identify runs the program's version command.
func identify(path string) (CLI, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return CLI{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE=", "CHECKPOINT_DISABLE=1")
	out, err := cmd.Output()
	if err != nil {
		return CLI{}, fmt.Errorf("%s version: %w", path, err)
	}
	found := versionLine.FindSubmatch(out)
	if found == nil {
		return CLI{}, fmt.Errorf("%s version: no version in %q", path, out)
	}
	kind := "terraform"
	if string(found[1]) == "OpenTofu" {
		kind = "tofu"
	}
	return CLI{Kind: kind, Path: path, Version: string(found[2])}, nil
}
