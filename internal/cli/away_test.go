package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// While the directory is unmounted, the revoked grant stays recorded as not removed. The directory's name may be gone,
// or be an empty mount point. The first sweep after the directory is back ends the access.
func TestADirectoryThatIsAway(t *testing.T) {
	for _, empty := range []bool{false, true} {
		t.Run(fmt.Sprintf("empty %t", empty), func(t *testing.T) {
			w := newWorld(t)
			dir := filepath.Join(w.dir, ".ssh")
			w.keys = filepath.Join(dir, "authorized_keys")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			w.write(".ssh/authorized_keys", foreignLine)
			w.write(
				"jit.hcl",
				fmt.Sprintf(
					"ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\ntargets = { bastion = { ssh = { authorized_keys = %q } } }\n",
					w.keys,
				),
			)
			g := w.request(broker.Request{Binding: jit.Binding{Target: "bastion", Principal: w.key(), Role: "login"},
				Reason: "INC-1: look", Renewal: 1, TTL: jit.RecordedTTL("1h")})

			err := os.Rename(dir, dir+".away")
			if empty {
				err = errors.Join(err, os.Mkdir(dir, 0o700))
			}
			if err != nil {
				t.Fatal(err)
			}
			w.run("revoke", string(g.ID), "--reason", "INC-1: done").wantCode(exitNotDone).
				wantOut("cannot be looked at", "mount its file system")
			w.run("list").wantCode(exitDone).wantOut("not removed")
			if r := w.run("sweep"); r.code == exitDone || !strings.Contains(r.err+r.out, "cannot be looked at") {
				t.Errorf("jit sweep: exit code %d\n%s%s", r.code, r.out, r.err)
			}
			if empty {
				err = os.Remove(dir) // fails if something was written there
			}
			if err := errors.Join(err, os.Rename(dir+".away", dir)); err != nil {
				t.Fatal(err)
			}
			if got := w.read(".ssh/authorized_keys"); !strings.Contains(got, string(g.ID)) {
				t.Fatalf("the grant's line is gone:\n%s", got)
			}
			w.now = w.now.Add(10 * time.Minute) // a failed attempt is not repeated at once
			w.run("sweep").wantCode(exitDone)
			if got := w.read(".ssh/authorized_keys"); got != foreignLine {
				t.Errorf("the file holds\n%s", got)
			}
			w.run("list").wantCode(exitDone).wantErr("No grant matches.")
		})
	}
}

// A lock file that cannot be opened does not keep access alive. The command warns that it wrote without the lock.
func TestALockThatCannotBeHad(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: look", "1h")
	lock := w.keys + ".jit.lock"
	if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
		t.Fatal(err)
	}
	w.run("revoke", string(g.ID), "--reason", "INC-1: done").wantCode(exitDone).
		wantErr(`warning: target "bastion": authorized_keys is changed without its lock`, lock)
	if got := w.read("authorized_keys"); got != foreignLine {
		t.Errorf("the file holds\n%s", got)
	}
}
