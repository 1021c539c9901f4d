package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// motoPackage is what is installed from the Python package index: a server that
// answers as the AWS services do (https://docs.getmoto.org/en/latest/docs/server_mode.html).
const motoPackage = "moto[server]==5.2.5"

// MotoServer is a Python virtual environment in which `python -m moto.server` runs.
type MotoServer struct{}

// Moto returns the virtual environment.
func Moto() MotoServer { return MotoServer{} }

// Path returns where the environment's Python belongs. The path changes with the
// package's version, the Python on hand and the platform; the file may not exist.
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
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("moto is not installed; run `make testenv`: %w", err)
	}
	return path, nil
}

// Build makes the environment unless it is there and returns the path of its
// Python. Builds exclude one another; progress goes to log.
func (m MotoServer) Build(ctx context.Context, log io.Writer) (string, error) {
	path, err := m.Path()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	dir := filepath.Dir(filepath.Dir(path))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, dir+".lock", log)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil // another process made it meanwhile
	}
	python, err := python()
	if err != nil {
		return "", err
	}
	began := time.Now()
	partial := fmt.Sprintf("%s.%d", dir, os.Getpid())
	defer func() { _ = os.RemoveAll(partial) }() // absent unless it was cut short
	for _, argv := range [][]string{
		{python, "-m", "venv", partial},
		{filepath.Join(partial, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			motoPackage},
	} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("install moto: %s: %w", argv[2], err)
		}
	}
	if err := os.RemoveAll(dir); err != nil { // its Python is gone
		return "", err
	}
	if err := os.Rename(partial, dir); err != nil {
		return "", err
	}
	_, _ = fmt.Fprintf(log, "installed moto in %s\n", time.Since(began).Round(time.Second))
	return path, nil
}

// python finds the Python that the environment is made with.
func python() (string, error) {
	path, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("no python3 on the PATH; run `make testenv` or install Python 3 with its venv module")
	}
	return path, nil
}
