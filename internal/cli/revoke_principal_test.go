package cli

import "testing"

// A principal without records has nothing to end: an off-boarding script must not fail because of it.
func TestRevokeOfAPrincipalWithoutGrants(t *testing.T) {
	w := newWorld(t)
	nobody := w.key()
	revoke := []string{"revoke", "--yes", "--reason", "HR-7: left", "--principal"}
	w.run(append(revoke, nobody)...).wantCode(exitDone).wantOut("No grant of "+nobody).
		wantErr("note: --principal: no grant in the ledger is to", nobody)

	g := w.grant("INC-1: a", "1h")
	w.run(append(revoke, nobody)...).wantCode(exitDone).wantOut("No grant of " + nobody)
	var none []outcome
	w.run(append(revoke, nobody, "--json")...).wantCode(exitDone).decode(&none)
	if none == nil || len(none) != 0 {
		t.Errorf("JSON = %#v, want an empty array", none)
	}
	w.run(append(revoke, nobody, "--target", "bastion")...).wantCode(exitDone).wantOut("No grant of " + nobody)
	w.wantAccess(g, true)
}

// A text that cannot be a principal is a mistake, which must not look like success.
func TestRevokeOfWhatCannotBeAPrincipal(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	typo := g.Principal[1:]
	revoke := []string{"revoke", "--yes", "--reason", "HR-7: left", "--principal"}
	w.run(append(revoke, typo)...).wantCode(exitUnknown).wantNotOut("No grant").
		wantErr("no grant in the ledger is to", "did you mean "+g.Principal)
	for _, target := range []string{"bastoin", "prod*"} {
		w.run(append(revoke, w.key(), "--target", target)...).wantCode(exitUnknown).wantNotOut("No grant").
			wantErr("--target: no target matches")
	}
	w.wantAccess(g, true)
}
