package lifetest_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// atOnce is the number of tests that run at the same time. Most of the time they wait for a minute to pass or for
// another process.
const atOnce = "8"

// binaries is the directory of the built programs.
var binaries string

func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if binaries, err = os.MkdirTemp("", "jit-lifetest"); err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(binaries) }()
	return m.Run()
}

// noLag is the environment in which the killable program finds drift of clouds without waiting until reads are current.
const noLag = "JIT_LAG=0s"

// released builds the program as released, killable the one that dies at a failpoint. Both return the path of the
// provider; the command jit is beside it.
var (
	released = sync.OnceValues(func() (string, error) { return build("released", "") })
	killable = sync.OnceValues(func() (string, error) { return build("killable", "failpoint") })
)

func build(name, tags string) (string, error) {
	dir := filepath.Join(binaries, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	provider := filepath.Join(dir, "terraform-provider-jit")
	cmd := exec.Command("go", "build", "-tags", tags, "-o", provider, "github.com/jitaccess/terraform-provider-jit")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the provider: %w\n%s", err, out)
	}
	return provider, os.Symlink(provider, filepath.Join(dir, "jit"))
}
