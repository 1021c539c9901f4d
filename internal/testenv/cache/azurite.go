package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
)

// azuritePackage is the package from the npm registry: a server that answers as Azure Blob Storage does
// (https://learn.microsoft.com/azure/storage/common/storage-use-azurite).
const azuritePackage = "azurite@3.37.0"

// AzuriteServer is a folder of npm with the program azurite-blob.
type AzuriteServer struct{}

// Azurite returns the folder.
func Azurite() AzuriteServer { return AzuriteServer{} }

// Path returns the path of the program. It changes with the package's version and the platform. The file may not exist.
func (AzuriteServer) Path() (string, error) {
	base, err := Dir()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(azuritePackage + "\n" + runtime.GOOS + "\n" + runtime.GOARCH))
	return filepath.Join(base, "azurite-"+hex.EncodeToString(key[:])[:16], "node_modules", ".bin", "azurite-blob"), nil
}

// Lookup returns the path of the program, or an error that wraps fs.ErrNotExist if it has not been installed.
func (a AzuriteServer) Lookup() (string, error) {
	path, err := a.Path()
	if err != nil {
		return "", err
	}
	return lookup("azurite is not installed", path)
}

// Build installs the package unless it is there and returns the path of the program. Builds exclude one another;
// progress goes to log.
func (a AzuriteServer) Build(ctx context.Context, log io.Writer) (string, error) {
	path, err := a.Path()
	if err != nil {
		return "", err
	}
	whole := filepath.Dir(filepath.Dir(filepath.Dir(path)))
	return path, once(ctx, "azurite", path, whole, log, func(partial string) error {
		npm, err := exec.LookPath("npm")
		if err != nil {
			return errors.New("no npm on the PATH; run `make testenv` or install Node.js with npm")
		}
		cmd := exec.CommandContext(ctx, npm, "install", "--prefix", partial, "--no-audit", "--no-fund", "--no-save",
			azuritePackage)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("install azurite: %w", err)
		}
		return nil
	})
}
