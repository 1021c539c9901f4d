// Package cache builds the programs the tests need from pinned nested modules
// and keeps them outside the source tree. It uses the standard library only, so
// that a build can start before anything else is downloaded.
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
	"slices"
	"strings"
	"time"
)

// EnvDir names the environment variable that moves the cache.
const EnvDir = "JIT_TESTENV_CACHE"

// rootModule is the first line of the go.mod at the top of the source tree.
const rootModule = "module github.com/jitaccess/terraform-provider-jit"

// Program is a main package of a nested module under internal/testenv.
type Program struct {
	Name    string // file name of the executable
	module  string // folder under internal/testenv
	pkg     string // what to build there
	ldflags string // beyond those of every program
}

// KubeAPI is etcd and kube-apiserver in one process.
func KubeAPI() Program {
	// Without a version of its own the server says v0.0.0, which clients refuse to parse.
	const version = "v1.37.2"
	return Program{Name: "kubeapi", module: "kubeapi", pkg: ".",
		ldflags: "-X k8s.io/component-base/version.gitVersion=" + version}
}

// Tofu is the OpenTofu CLI.
func Tofu() Program {
	return Program{
		Name: "tofu", module: "opentofu", pkg: "github.com/opentofu/opentofu/cmd/tofu",
		ldflags: "-X github.com/opentofu/opentofu/version.dev=no", // as its releases are built
	}
}

// VersityGW is an IAM and S3 server that enforces policies.
func VersityGW() Program {
	return Program{Name: "versitygw", module: "versitygw", pkg: "github.com/versity/versitygw/cmd/versitygw"}
}

// OPA evaluates a query of the Open Policy Agent.
func OPA() Program { return Program{Name: "opa", module: "opa", pkg: "."} }

// FakeGCS is a server that answers as Google Cloud Storage does.
func FakeGCS() Program {
	return Program{Name: "fake-gcs-server", module: "fakegcs", pkg: "github.com/fsouza/fake-gcs-server"}
}

// Path returns the path of the program's executable. The path changes with the module's files, the Go version and the
// platform. The file may not exist.
func (p Program) Path() (string, error) {
	dir, err := p.sourceDir()
	if err != nil {
		return "", err
	}
	key, err := p.hash(dir)
	if err != nil {
		return "", fmt.Errorf("hash %s: %w", dir, err)
	}
	base, err := Dir()
	return filepath.Join(base, p.Name+"-"+key, executable(p.Name)), err
}

// Lookup returns the executable's path, or an error that wraps fs.ErrNotExist if it has not been built.
func (p Program) Lookup() (string, error) {
	path, err := p.Path()
	if err != nil {
		return "", err
	}
	return lookup(p.Name+" is not built", path)
}

func lookup(problem, path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s; run `make testenv`: %w", problem, err)
	}
	return path, nil
}

// Build makes the executable unless it exists, and returns its path. Builds of the same program exclude one another;
// progress goes to log.
func (p Program) Build(ctx context.Context, log io.Writer) (string, error) {
	path, err := p.Path()
	if err != nil {
		return "", err
	}
	return path, once(ctx, p.Name, path, path, log, func(partial string) error {
		dir, err := p.sourceDir()
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(log, "building %s (several minutes the first time)\n", p.Name)
		cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w "+p.ldflags,
			"-o", partial, p.pkg)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0", "PWD="+dir)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w", p.Name, err)
		}
		return nil
	})
}

// once calls make unless the file exists, in one process at a time. make writes partial, which is then renamed to
// whole: the file or a folder around it.
func once(ctx context.Context, name, file, whole string, log io.Writer, make func(partial string) error) error {
	if isThere(file) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(whole), 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, whole+".lock", log)
	if err != nil {
		return err
	}
	defer unlock()
	if isThere(file) { // another process made it meanwhile
		return nil
	}
	began := time.Now()
	partial := fmt.Sprintf("%s.%d", whole, os.Getpid())
	defer func() { _ = os.RemoveAll(partial) }() // it exists only after a failure
	if err := make(partial); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(whole), os.Rename(partial, whole)); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(log, "built %s in %s\n", name, time.Since(began).Round(time.Second))
	return nil
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Dir returns the cache directory: $JIT_TESTENV_CACHE, or terraform-provider-jit
// in $XDG_CACHE_HOME, or that in $HOME/.cache.
func Dir() (string, error) {
	if dir := os.Getenv(EnvDir); dir != "" {
		return filepath.Abs(dir)
	}
	base := os.Getenv("XDG_CACHE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no place for the test cache; set %s: %w", EnvDir, err)
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "terraform-provider-jit"), nil
}

// sourceDir finds the program's module from the working directory upwards.
func (p Program) sourceDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			first, _, _ := strings.Cut(string(data), "\n")
			if strings.TrimSpace(first) == rootModule {
				return filepath.Join(dir, "internal", "testenv", p.module), nil
			}
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "",
				errors.New("run inside the terraform-provider-jit source tree: no go.mod of it above the working directory")
		}
		dir = parent
	}
}

// hash digests go.mod, go.sum and the Go files of dir, the Go version, the
// platform and the linker's flags.
func (p Program) hash(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	files = append(files, filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum"))
	slices.Sort(files)
	sum := sha256.New()
	_, _ = fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH, p.ldflags)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(sum, "%s %d\n", filepath.Base(file), len(data))
		_, _ = sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

func executable(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}
