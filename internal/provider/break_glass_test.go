package provider_test

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Somebody on call breaks the glass, and access begins. The next time, it begins only after the first was signed off.
func TestBreakGlass(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		glass := `break_glass = { from = ["group:oncall"], max_ttl = "1h", reason_pattern = "^SEV1-" }`
		base := []string{office(t), approved(glass)}
		configure(w, base...)
		w.Apply()
		breaks := func(name string, lines ...string) string {
			return grant(name, append([]string{"break_glass = true", `requester = "alice"`, `ttl = "1h"`,
				`reason = "SEV1-7: down"`, "policy = jit_policy.prod.name"}, lines...)...)
		}
		for line, want := range map[string]string{
			`ttl = "2h"`: "max_ttl of break_glass", `reason = "INC-1: look"`: "reason_pattern of break_glass",
			`requester = "leo"`: "is none of them", "requester =": "who asks is unknown",
			`requester = "lena"`: `o person "lena" is known`,
		} {
			configure(w, append(base, breaks("a", line))...)
			r := w.Plan()
			if r.ExitCode != 1 {
				t.Errorf("%s: exit code %d", line, r.ExitCode)
			}
			says(t, r, want)
		}
		configure(w, append(base, breaks("a"))...)
		says(t, w.Plan(), "Warning: The grant breaks the glass", "1 of: lea, leo")
		w.Apply()
		if lines(w) != 1 {
			t.Fatal("breaking the glass gave no access")
		}
		unchanged(t, w, "the glass is broken")

		// No change of the block avoids the sign-off.
		for _, line := range []string{"break_glass = false", `requester = "leo"`} {
			configure(w, append(base, breaks("a", line))...)
			if r := w.Plan(); r.ExitCode != 1 {
				t.Errorf("%s: exit code %d\n%s", line, r.ExitCode, r.Text())
			}
		}
		second := breaks("b", "renewal = 2")
		configure(w, append(base, breaks("a"), second)...)
		says(t, w.Plan(), `equester "alice" broke the glass before`, "jit approve --sign-off")

		b := w.Runtime().Broker
		g, _, err := b.Ledger.Lookup(t.Context(), jit.ID(fact(t, w, "jit_grant.a", "id")))
		if err != nil || !g.Unsigned() {
			t.Fatalf("%+v, %v", g, err)
		}
		id, err := b.Ledger.ID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		now := w.Clock.Now()
		s := approval.Statement{Choice: jit.SignOff, Approver: "lea", SignedAt: now, NotAfter: now.Add(time.Hour),
			Digest: g.RequestDigest(id)}
		text := s.Text(g.RequestFields())
		armored, err := approval.Sign(text, signer(t, "lea"))
		if err != nil {
			t.Fatal(err)
		}
		signed := approval.Signed{Statement: s, Text: text, Signature: armored, Source: "test"}
		if err := b.Decide(t.Context(), g, signed); err != nil {
			t.Fatal(err)
		}
		w.Apply()
		if lines(w) != 2 {
			t.Error("after the sign-off, breaking the glass again gave no access")
		}
		w.Clock.Advance(2 * time.Hour)
		unchanged(t, w, "after the end")
	})
}
