package cli

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
)

// A FIDO token signs through the agent: the file of its private key is only a handle.
func TestApproveByToken(t *testing.T) {
	source, err := filepath.Abs(filepath.Join("testdata", "token.c"))
	if err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(t.TempDir(), "token.so")
	cc := exec.Command("cc", "-shared", "-fPIC", "-o", library, source, "-lcrypto")
	if out, err := cc.CombinedOutput(); err != nil {
		t.Skipf("no C compiler with OpenSSL: %v\n%s", err, out)
	}
	o := newOffice(t, 1)
	t.Setenv("SSH_SK_PROVIDER", library)
	t.Setenv(config.EnvApprover, "lea")
	o.keygen("-q", "-t", "ed25519-sk", "-N", "", "-f", "token.key")
	rt := o.runtime()
	persons, err := rt.Ledger.Persons(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range persons {
		if p.Name == "lea" {
			p.SigningKeys = []string{o.read("token.key.pub")}
			if err := rt.Broker.PutPerson(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	r := o.wish()
	g := o.refused(r, "1 of: lea, leo")
	args := []string{"approve", string(g.ID), "--yes"}
	o.run(append(args, "--key", "token.key")...).wantCode(exitUsage).
		wantErr("name the public key, and load it with ssh-add")
	o.serveAgent("token.key")
	o.run(append(args, "--key", "token.key.pub")...).wantCode(exitDone).wantOut("The approval of lea is recorded")
	o.granted(r)
	o.intact()
}
