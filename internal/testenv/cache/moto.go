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

// motoPackage is the package from the Python package index: a server that answers as the AWS services do
// (https://docs.getmoto.org/en/latest/docs/server_mode.html).
const motoPackage = "moto[server]==5.2.5"

// MotoServer is a Python virtual environment in which `python -m moto.server` runs.
type MotoServer struct{}

// Moto returns the virtual environment.
func Moto() MotoServer { return MotoServer{} }

// Path returns the path of the environment's Python. The path changes with the package's version, the system's Python
// and the platform. The file may not exist.
func (MotoServer) Path() (string, error) {
	python, err := python()
	if err != nil {
		return "", err
	}
	base, err := Dir()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(motoPackage + "\n" + python + "\n" + runtime.GOOS + "\n" + runtime.GOARCH))
	return filepath.Join(base, "moto-"+hex.EncodeToString(key[:])[:16], "bin", "python"), nil
}

// Lookup returns the path of the environment's Python, or an error that wraps
// fs.ErrNotExist when it has not been made or the Python under it is gone.
func (m MotoServer) Lookup() (string, error) {
	path, err := m.Path()
	if err != nil {
		return "", err
	}
	return lookup("moto is not installed", path)
}

// Build makes the environment unless it is there and returns the path of its
// Python. Builds exclude one another; progress goes to log.
func (m MotoServer) Build(ctx context.Context, log io.Writer) (string, error) {
	path, err := m.Path()
	if err != nil {
		return "", err
	}
	// An environment without its Python is replaced as a whole.
	return path, once(ctx, "moto", path, filepath.Dir(filepath.Dir(path)), log, func(partial string) error {
		python, err := python()
		if err != nil {
			return err
		}
		for _, argv := range [][]string{
			{python, "-m", "venv", partial},
			{filepath.Join(partial, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
				motoPackage},
		} {
			cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
			cmd.Stdout, cmd.Stderr = log, log
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("install moto: %s: %w", argv[2], err)
			}
		}
		return nil
	})
}

// python finds the Python for making the environment.
func python() (string, error) {
	path, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("no python3 on the PATH; run `make testenv` or install Python 3 with its venv module")
	}
	return path, nil
}
