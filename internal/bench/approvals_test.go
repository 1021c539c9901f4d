package bench_test

import (
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	tfjson "github.com/hashicorp/terraform-json"
	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// approvals times the plan of 1,000 new grants, each with a signed approval, beside the same plan under a policy that
// asks for none.
func (t *table) approvals(cli testenv.CLI) {
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.b.Fatal(err)
	}
	binary := acctest.Build(t.b)
	world := func(asks string) *acctest.World {
		w := sshWorld(t.b, cli, acctest.Options{Binary: binary})
		grants := w.Read("main.tf")
		rules := fmt.Sprintf("resource \"jit_person\" \"lea\" {\n  name = \"lea\"\n  signing_keys = [%q]\n}\n"+
			"resource \"jit_policy\" \"all\" {\n  name = \"all\"\n  match = [{}]\n  %s\n  depends_on = [jit_person.lea]\n}\n",
			strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), asks)
		block := strings.Index(grants, `resource "jit_grant"`)
		w.Write("main.tf", grants[:block]+rules)
		w.Apply()
		w.Write("main.tf", grants+rules)
		return w
	}
	plain := world("")
	asked := world(`approval = [{ required = 1, from = ["lea"] }]`)
	signAll(t, asked, signer)

	// As in besideNothing.
	pairs := make([]struct{ plain, asked time.Duration }, 21)
	for i := range pairs {
		plans := []func(){
			func() { pairs[i].plain = works(func() { plain.Must("plan") }) },
			func() {
				pairs[i].asked = works(func() {
					if r := asked.Must("plan"); strings.Contains(r.Text(), "needs approval") {
						t.b.Fatalf("the approvals do not count:\n%.2000s", r.Text())
					}
				})
			},
		}
		if i%2 == 1 {
			slices.Reverse(plans)
		}
		for _, plan := range plans {
			plan()
		}
	}
	slices.SortFunc(pairs, func(a, b struct{ plain, asked time.Duration }) int {
		return cmp.Compare(a.asked.Seconds()/a.plain.Seconds(), b.asked.Seconds()/b.plain.Seconds())
	})
	middle := pairs[len(pairs)/2]
	t.ratio("plan of 1,000 with an approval each beside the same without, processor time, median of 21 pairs",
		middle.asked, middle.plain, 1.1)
}

// signAll signs what a plan asks for, as jit approve does: a file for each request.
func signAll(t *table, w *acctest.World, signer ssh.Signer) {
	w.Must("plan", "-out=tfplan")
	var plan tfjson.Plan
	if err := json.Unmarshal([]byte(w.Must("show", "-json", "tfplan").Stdout), &plan); err != nil {
		t.b.Fatal(err)
	}
	if err := os.Mkdir(w.Path("approvals"), 0o700); err != nil {
		t.b.Fatal(err)
	}
	now := jit.Second(time.Now())
	for _, c := range plan.ResourceChanges {
		after, _ := c.Change.After.(map[string]any)
		if c.Type != "jit_grant" {
			continue
		}
		g := jit.Grant{
			Binding: jit.Binding{Target: fmt.Sprint(after["target"]), Principal: fmt.Sprint(after["principal"]),
				Role: fmt.Sprint(after["role"]), Scope: fmt.Sprint(after["scope"])},
			Reason: fmt.Sprint(after["reason"]), Renewal: 1, TTL: jit.RecordedTTL(fmt.Sprint(after["ttl"])),
			StartAsked: jit.StartAsked(time.Time{}),
		}
		s := approval.Statement{Choice: jit.Approve, Approver: "lea", SignedAt: now, NotAfter: now.Add(24 * time.Hour),
			Digest: fmt.Sprint(after["request_digest"])}
		text := s.Text(g.RequestFields())
		armored, err := approval.Sign(text, signer)
		if err != nil {
			t.b.Fatal(err)
		}
		w.Write(filepath.Join("approvals", approval.FileName(s)), string(approval.Join(text, armored)))
	}
}
