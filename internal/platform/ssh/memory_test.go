//go:build darwin || linux || netbsd || openbsd

package ssh

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The memory of one process never overrides what others have done to the file.
func TestTheFileOverridesMemory(t *testing.T) {
	access := func(n int, path string) jit.Access {
		b := jit.Binding{Target: "host", Principal: alice, Role: "login", Scope: path}
		start := jit.Second(time.Now())
		return jit.Access{Binding: b, Marker: jit.Marker{Owner: "jit", ID: jit.NewID("jit", b, fmt.Sprint(n), 1),
			Window: jit.Window{Start: start, End: start.Add(time.Hour)}}}
	}
	type world struct {
		t      *testing.T
		path   string
		p      *Platform
		reads  int
		writes int
	}
	open := func(t *testing.T, path string) *world {
		p, err := New(Config{AuthorizedKeys: path}, jit.Services{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, path: path, p: p}
		p.OnCall = func(op string) {
			if op == "read" {
				w.reads++
			} else {
				w.writes++
			}
		}
		return w
	}
	apply := func(w *world, op jit.Op, n int) {
		w.t.Helper()
		if err := w.p.Apply(w.t.Context(), w.path, []jit.Change{{Op: op, Access: access(n, w.path)}})[0]; err != nil {
			w.t.Fatal(err)
		}
	}

	t.Run("alone it reads once", func(t *testing.T) {
		w := open(t, filepath.Join(t.TempDir(), "keys"))
		write(t, w.path, "# by hand\n")
		for n := range 5 {
			apply(w, jit.Ensure, n)
		}
		if w.reads != 1 || w.writes != 5 {
			t.Errorf("%d reads and %d writes, want 1 and 5", w.reads, w.writes)
		}
	})
	t.Run("a line is changed in its place and the time set back", func(t *testing.T) {
		w := open(t, filepath.Join(t.TempDir(), "keys"))
		write(t, w.path, "# by hand A\n")
		apply(w, jit.Ensure, 1)
		info, err := os.Stat(w.path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(w.path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("# by hand B"), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(w.path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		apply(w, jit.Ensure, 2)
		if got := string(read(t, w.path)); !strings.HasPrefix(got, "# by hand B\n") ||
			strings.Count(got, "jit:jit:") != 2 {
			t.Errorf("the file is\n%s", got)
		}
	})
	t.Run("the owner changes", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root can give a file away")
		}
		w := open(t, filepath.Join(t.TempDir(), "keys"))
		write(t, w.path, "# by hand\n")
		apply(w, jit.Ensure, 1)
		if err := os.Chown(w.path, 4711, 4712); err != nil {
			t.Fatal(err)
		}
		apply(w, jit.Ensure, 2)
		info, err := os.Stat(w.path)
		if err != nil {
			t.Fatal(err)
		}
		if owner(info) != 4711 {
			t.Errorf("the file belongs to %d again", owner(info))
		}
	})
	t.Run("another process takes a grant away and back", func(t *testing.T) {
		w := open(t, filepath.Join(t.TempDir(), "keys"))
		apply(w, jit.Remove, 1) // there is no file
		other := open(t, w.path)
		apply(other, jit.Ensure, 1)
		apply(w, jit.Remove, 1)
		if got := string(read(t, w.path)); strings.Contains(got, "jit:jit:") {
			t.Errorf("the grant of another process was not removed:\n%s", got)
		}
		apply(other, jit.Ensure, 1)
		apply(w, jit.Ensure, 2)
		apply(other, jit.Remove, 1)
		if got := string(read(t, w.path)); strings.Count(got, "jit:jit:") != 1 {
			t.Errorf("want one grant:\n%s", got)
		}
	})
	t.Run("the file goes", func(t *testing.T) {
		w := open(t, filepath.Join(t.TempDir(), "keys"))
		apply(w, jit.Ensure, 1)
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		apply(w, jit.Ensure, 2)
		if got := string(read(t, w.path)); strings.Count(got, "jit:jit:") != 1 {
			t.Errorf("a grant came back with the file:\n%s", got)
		}
	})
}
