// Command install installs the servers for the acceptance tests: the programs kubeapi, tofu, versitygw,
// fake-gcs-server and opa, a virtual environment with moto, a folder with azurite and a recent terraform in the test
// cache and, on Debian with root or password-less sudo, the packages with PostgreSQL, PgBouncer, OpenSSH, Python,
// Node.js, Chromium, promtool, faketime, make, git and a C compiler. Existing ones stay as they are.
//
// Usage: install [packages] [moto] [azurite] [terraform] [kubeapi] [tofu] [versitygw] [fakegcs] [opa]; without
// arguments, all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/cache"
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parts := flag.Args()
	if len(parts) == 0 {
		parts = []string{"packages", "moto", "azurite", "terraform", "kubeapi", "tofu", "versitygw", "fakegcs", "opa"}
	}
	if err := run(ctx, parts); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		stop()
		os.Exit(1)
	}
}

// run installs the parts in the order given.
func run(ctx context.Context, parts []string) error {
	builds := map[string]built{"kubeapi": cache.KubeAPI(), "tofu": cache.Tofu(), "versitygw": cache.VersityGW(),
		"fakegcs": cache.FakeGCS(), "opa": cache.OPA(), "moto": cache.Moto(), "azurite": cache.Azurite(),
		"terraform": cache.Terraform()}
	for _, part := range parts {
		err := fmt.Errorf("%q is not one of packages, moto, azurite, terraform, kubeapi, tofu, versitygw, fakegcs, opa", part)
		if b, ok := builds[part]; ok {
			err = build(ctx, part, b)
		} else if part == "packages" {
			err = packages(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// built is a program of the test cache.
type built interface {
	Build(ctx context.Context, log io.Writer) (path string, err error)
}

func build(ctx context.Context, name string, b built) error {
	path, err := b.Build(ctx, os.Stderr)
	if err != nil {
		return err
	}
	fmt.Printf("%-10s %s\n", name, path)
	return nil
}

// need is an executable and the Debian package with it.
type need struct {
	name    string
	pkg     string
	folders string   // glob of folders beside PATH
	works   []string // arguments with which a complete installation succeeds
}

func needs() []need {
	return []need{
		{name: "initdb", pkg: "postgresql", folders: "/usr/lib/postgresql/*/bin"},
		{name: "pgbouncer", pkg: "pgbouncer", folders: "/usr/sbin"},
		{name: "sshd", pkg: "openssh-server", folders: "/usr/sbin"},
		{name: "python3", pkg: "python3 python3-venv", works: []string{"-c", "import ensurepip, venv"}},
		{name: "npm", pkg: "nodejs npm"},
		{name: "chromium", pkg: "chromium"},
		{name: "promtool", pkg: "prometheus"},
		{name: "faketime", pkg: "faketime"},
		{name: "git", pkg: "git"},
		{name: "make", pkg: "make"},
		{name: "gcc", pkg: "gcc libc6-dev"}, // the race detector links with cgo
	}
}

// find returns where the executable is, or "".
func (n need) find(ctx context.Context) string {
	if path, err := exec.LookPath(n.name); err == nil {
		if n.whole(ctx, path) {
			return path
		}
		return ""
	}
	if n.folders == "" {
		return ""
	}
	found, _ := filepath.Glob(filepath.Join(n.folders, n.name))
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// whole reports whether the executable works.
func (n need) whole(ctx context.Context, path string) bool {
	return len(n.works) == 0 || exec.CommandContext(ctx, path, n.works...).Run() == nil
}

// packages installs the Debian packages whose executables are missing.
func packages(ctx context.Context) error {
	var missing []string
	for _, n := range needs() {
		if path := n.find(ctx); path != "" {
			fmt.Printf("%-10s %s\n", n.name, path)
		} else {
			missing = append(missing, strings.Fields(n.pkg)...)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := aptInstall(ctx, missing); err != nil {
		return fmt.Errorf("%w; install %s by hand and run `make testenv` again", err, strings.Join(missing, ", "))
	}
	return nil
}

// aptInstall installs Debian packages, as root or with sudo.
func aptInstall(ctx context.Context, missing []string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("no apt-get on this system")
	}
	var sudo []string
	if os.Geteuid() != 0 {
		sudo = []string{"sudo", "-n"}
		if err := exec.CommandContext(ctx, "sudo", "-n", "true").Run(); err != nil {
			return errors.New("neither root nor password-less sudo")
		}
	}
	fmt.Println("installing", strings.Join(missing, ", "))
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends"}, missing...),
	} {
		argv := slices.Concat(sudo, []string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get"}, args)
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w", args[0], err)
		}
	}
	return nil
}
