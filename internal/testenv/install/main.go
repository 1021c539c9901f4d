// Command install puts in place what the acceptance tests against real servers
// need: the kubeapi, tofu and versitygw programs and a virtual environment with moto in the
// test cache and, on Debian with root or password-less sudo, the packages with
// PostgreSQL, PgBouncer, OpenSSH, Python, Chromium, promtool, make, git and a C compiler. What is there already
// is left alone.
//
// Usage: install [packages] [moto] [kubeapi] [tofu] [versitygw]; without arguments, all five.
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
		parts = []string{"packages", "moto", "kubeapi", "tofu", "versitygw"}
	}
	if err := run(ctx, parts); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		stop()
		os.Exit(1)
	}
}

// run installs the parts in the order given.
func run(ctx context.Context, parts []string) error {
	for _, part := range parts {
		var err error
		switch part {
		case "packages":
			err = packages(ctx)
		case "kubeapi":
			err = build(ctx, part, cache.KubeAPI())
		case "tofu":
			err = build(ctx, part, cache.Tofu())
		case "versitygw":
			err = build(ctx, part, cache.VersityGW())
		case "moto":
			err = build(ctx, part, cache.Moto())
		default:
			err = fmt.Errorf("%q is not one of packages, moto, kubeapi, tofu, versitygw", part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// built is something of the test cache.
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

// need is an executable and the Debian package that carries it.
type need struct {
	name    string
	pkg     string
	folders string   // glob of folders beside PATH
	works   []string // arguments with which it succeeds if it is whole
}

func needs() []need {
	return []need{
		{name: "initdb", pkg: "postgresql", folders: "/usr/lib/postgresql/*/bin"},
		{name: "pgbouncer", pkg: "pgbouncer", folders: "/usr/sbin"},
		{name: "sshd", pkg: "openssh-server", folders: "/usr/sbin"},
		{name: "python3", pkg: "python3 python3-venv", works: []string{"-c", "import ensurepip, venv"}},
		{name: "chromium", pkg: "chromium"},
		{name: "promtool", pkg: "prometheus"},
		{name: "git", pkg: "git"},
		{name: "make", pkg: "make"},
		{name: "gcc", pkg: "gcc libc6-dev"}, // the race detector links with cgo
	}
}

// find returns where the executable is, or "".
func (n need) find(ctx context.Context) string {
	if path, err := exec.LookPath(n.name); err == nil {
		if len(n.works) > 0 && exec.CommandContext(ctx, path, n.works...).Run() != nil {
			return ""
		}
		return path
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
	by := fmt.Sprintf("install %s by hand and run `make testenv` again", strings.Join(missing, ", "))
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("no apt-get on this system; " + by)
	}
	var sudo []string
	if os.Geteuid() != 0 {
		sudo = []string{"sudo", "-n"}
		if err := exec.CommandContext(ctx, "sudo", "-n", "true").Run(); err != nil {
			return errors.New("neither root nor password-less sudo; " + by)
		}
	}
	fmt.Println("installing", strings.Join(missing, ", "))
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends"}, missing...),
	} {
		argv := append(append([]string{}, sudo...), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get")
		argv = append(argv, args...)
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w; %s", args[0], err, by)
		}
	}
	return nil
}
