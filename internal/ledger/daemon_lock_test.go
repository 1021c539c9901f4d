package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

const envWatch = "JIT_TEST_DAEMON_LOCK"

// TestDaemonLock takes the lock from another process while this one holds it, after this one has released it, and after
// its holder was killed.
func TestDaemonLock(t *testing.T) {
	if url := os.Getenv(envWatch); url != "" {
		lockDaemon(url)
	}
	url := sqliteURL(t)
	ask := func(more ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDaemonLock$")
		cmd.Env = append(os.Environ(), append(more, envWatch+"="+url)...)
		return cmd
	}
	first, err := open(t, url).LockDaemon()
	if err != nil {
		t.Fatal(err)
	}
	out, err := ask().CombinedOutput()
	if err == nil || !strings.Contains(string(out), "ledger: another `jit sweep --watch` runs on sqlite://") {
		t.Errorf("a second daemon: %v, %s", err, out)
	}
	if _, err := open(t, url).LockDaemon(); !errors.Is(err, jit.ErrInvalid) {
		t.Errorf("a second daemon in this process: %v", err)
	}
	first.Release()
	if out, err := ask().CombinedOutput(); err != nil {
		t.Errorf("after the release: %v, %s", err, out)
	}
	killed := ask(envWatch + "_DIE=1")
	if out, err := killed.CombinedOutput(); err == nil {
		t.Fatalf("the process was not killed: %s", out)
	}
	first, err = open(t, url).LockDaemon()
	if err != nil {
		t.Fatalf("after the holder was killed: %v", err)
	}
	first.Release()

	t.Run("by other names", func(t *testing.T) {
		dir := t.TempDir()
		file, link, through := filepath.Join(dir, "is", "ledger.db"), filepath.Join(dir, "link.db"), filepath.Join(dir,
			"through")
		if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.Symlink(filepath.Dir(file), through)); err != nil {
			t.Fatal(err)
		}
		check := func(names ...string) {
			t.Helper()
			for i, name := range names {
				lock, err := open(t, "sqlite://"+name).LockDaemon()
				if i == 0 && err == nil {
					defer lock.Release()
				} else if i == 0 || !errors.Is(err, jit.ErrInvalid) {
					t.Errorf("%s after %s: %v", name, names[:i], err)
				}
			}
		}
		check(file, filepath.Join(through, "ledger.db")) // before the ledger exists
		l := open(t, "sqlite://"+file)
		if err := errors.Join(l.Write(t.Context(), []jit.Entry{{Policy: &jit.Policy{Name: "p"}}})[0], os.Symlink(file, link)); err != nil {
			t.Fatal(err)
		}
		check(link, file, filepath.Join(through, "ledger.db"))
	})

	t.Run("its directory is removed", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "is")
		url := "sqlite://" + filepath.Join(dir, "ledger.db")
		first, err := open(t, url).LockDaemon()
		if err != nil {
			t.Fatal(err)
		}
		defer first.Release()
		if err := errors.Join(first.Keep(), os.RemoveAll(dir), first.Keep()); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, url).LockDaemon(); !errors.Is(err, jit.ErrInvalid) {
			t.Errorf("a second daemon after the first has noticed the removal: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		second, err := open(t, url).LockDaemon()
		if err != nil {
			t.Fatal(err)
		}
		defer second.Release()
		if err := first.Keep(); !errors.Is(err, jit.ErrInvalid) {
			t.Errorf("the first daemon, after a second one took the lock: %v", err)
		}
	})

	t.Run("many share a server", func(t *testing.T) {
		url := postgresURL(t)
		for range 2 {
			lock, err := open(t, url).LockDaemon()
			if err == nil {
				err = lock.Keep()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Release()
		}
	})
}

// lockDaemon is the other process.
func lockDaemon(url string) {
	l, err := ledger.Open(context.Background(), ledger.Config{URL: url})
	if err == nil {
		_, err = l.LockDaemon()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if os.Getenv(envWatch+"_DIE") != "" {
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	}
	os.Exit(0)
}
