package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// RunClaims checks a store of claims. open returns a function that opens a new, empty store, again and again as several
// processes do. The store lives as long as the test.
func RunClaims(t *testing.T, open func(t *testing.T) func() jit.Claims) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func() jit.Claims)
	}{
		{"an absent store is empty", testNoClaims},
		{"claims read back as written", testClaimRoundTrip},
		{"owner, id and object identify a claim", testClaimKey},
		{"places and scopes are separate", testClaimPlaces},
		{"a stale write changes nothing", testClaimStale},
		{"the version outlives the claims", testClaimVersion},
		{"writers of several processes lose nothing", testClaimWriters},
		{"a cancelled context", testClaimCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

const place, account = "arn:aws:sso:::instance/ssoins-0123456789abcdef", "123456789012"

// Claim returns the claim of the n-th grant of the suite on an object.
func Claim(n int, object string) jit.Claim {
	return jit.Claim{Marker: Grant(n).Marker(), Object: object, Principal: "user:alice", Role: "ReadOnly"}
}

func claimed(t *testing.T, m jit.Claims, place, scope string) jit.ClaimSet {
	t.Helper()
	all, err := m.ReadClaims(t.Context(), place, scope)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func update(t *testing.T, m jit.Claims, scope string, put, drop []jit.Claim) {
	t.Helper()
	before := claimed(t, m, place, scope).Version
	version, err := m.Update(t.Context(), place, scope, before, put, drop)
	if err != nil {
		t.Fatal(err)
	}
	if got := claimed(t, m, place, scope).Version; got != version || got <= before {
		t.Errorf("the write returned version %d, %d is read and was %d before", version, got, before)
	}
}

func testNoClaims(t *testing.T, open func() jit.Claims) {
	m := open()
	if got := claimed(t, m, place, account); len(got.Claims) != 0 || got.Version != 0 {
		t.Errorf("ReadClaims = %+v", got)
	}
	if got, err := m.Scopes(t.Context(), place); len(got) != 0 || err != nil {
		t.Errorf("Scopes = %v, %v", got, err)
	}
	update(t, m, account, nil, []jit.Claim{Claim(1, "a")})
}

func testClaimRoundTrip(t *testing.T, open func() jit.Claims) {
	full := Claim(1, "USER/1 ps-1")
	full.Prior, full.Ending = true, true
	want := []jit.Claim{full, Claim(2, "USER/1 ps-1")}
	if want[1].Marker.ID < want[0].Marker.ID {
		want[0], want[1] = want[1], want[0]
	}
	update(t, open(), account, want, nil)
	if got := claimed(t, open(), place, account).Claims; !reflect.DeepEqual(got, want) {
		t.Errorf("read back\n%+v\nwant\n%+v", got, want)
	}
	full.Prior, full.Ending, full.Marker.Window.End = false, false, Epoch
	update(t, open(), account, []jit.Claim{full}, []jit.Claim{Claim(2, "USER/1 ps-1")})
	if got := claimed(t, open(), place, account).Claims; !reflect.DeepEqual(got, []jit.Claim{full}) {
		t.Errorf("after a change\n%+v\nwant\n%+v", got, full)
	}
}

func testClaimKey(t *testing.T, open func() jit.Claims) {
	theirs := Claim(1, "a")
	theirs.Marker.Owner = "another-team"
	update(t, open(), account, []jit.Claim{Claim(1, "a"), Claim(1, "b"), theirs, Claim(2, "a")}, nil)
	update(t, open(), account, nil, []jit.Claim{Claim(1, "a")})
	got := claimed(t, open(), place, account).Claims
	if len(got) != 3 {
		t.Fatalf("%d claims are left, want 3: %+v", len(got), got)
	}
	for _, m := range got {
		if m.Marker == Claim(1, "a").Marker && m.Object == "a" {
			t.Errorf("the dropped claim is still stored: %+v", m)
		}
	}
}

func testClaimPlaces(t *testing.T, open func() jit.Claims) {
	update(t, open(), account, []jit.Claim{Claim(1, "a")}, nil)
	update(t, open(), "210987654321", []jit.Claim{Claim(2, "b")}, nil)
	update(t, open(), "111111111111", []jit.Claim{Claim(3, "c")}, nil)
	update(t, open(), "111111111111", nil, []jit.Claim{Claim(3, "c")})
	if got := claimed(t, open(), "another", account); len(got.Claims) != 0 {
		t.Errorf("another place has %+v", got)
	}
	if got := claimed(t, open(), place, account).Claims; len(got) != 1 || got[0].Object != "a" {
		t.Errorf("the scope has %+v", got)
	}
	for at, want := range map[string]string{place: "[123456789012 210987654321]", "another": "[]"} {
		if got, err := open().Scopes(t.Context(), at); fmt.Sprint(got) != want || err != nil {
			t.Errorf("Scopes(%s) = %v, %v, want %s", at, got, err, want)
		}
	}
	for n, want := range map[int]string{1: "[" + place + "]", 3: "[]"} {
		m := Claim(n, "").Marker
		if got, err := open().Places(t.Context(), m.Owner, m.ID); fmt.Sprint(got) != want || err != nil {
			t.Errorf("Places of grant %d = %v, %v, want %s", n, got, err, want)
		}
		if got, err := open().Places(t.Context(), "another-owner", m.ID); len(got) != 0 || err != nil {
			t.Errorf("Places of another owner = %v, %v", got, err)
		}
	}
}

func testClaimStale(t *testing.T, open func() jit.Claims) {
	seen := claimed(t, open(), place, account).Version
	update(t, open(), account, []jit.Claim{Claim(1, "a")}, nil)
	_, err := open().Update(t.Context(), place, account, seen, []jit.Claim{Claim(2, "b")}, []jit.Claim{Claim(1, "a")})
	if !errors.Is(err, jit.ErrStale) {
		t.Errorf("a write at an old version: %v, want ErrStale", err)
	}
	if got := claimed(t, open(), place, account).Claims; len(got) != 1 || got[0].Object != "a" {
		t.Errorf("a stale write changed the claims to %+v", got)
	}
}

// A reader that found no claim must not write as if there had been none since.
func testClaimVersion(t *testing.T, open func() jit.Claims) {
	update(t, open(), account, []jit.Claim{Claim(1, "a")}, nil)
	update(t, open(), account, nil, []jit.Claim{Claim(1, "a")})
	seen := claimed(t, open(), place, account).Version
	update(t, open(), account, []jit.Claim{Claim(2, "a")}, nil)
	update(t, open(), account, nil, []jit.Claim{Claim(2, "a")})
	if _, err := open().Update(t.Context(), place, account, seen, []jit.Claim{Claim(3, "a")}, nil); !errors.Is(err,
		jit.ErrStale) {
		t.Errorf("claims came and went, and a write returns %v, want ErrStale", err)
	}
}

func testClaimWriters(t *testing.T, open func() jit.Claims) {
	const writers, rounds = 8, 10
	stores := make([]jit.Claims, writers)
	for w := range stores {
		stores[w] = open()
	}
	concurrently(t, writers, func(w int) error {
		for r := 0; r < rounds; {
			seen, err := stores[w].ReadClaims(t.Context(), place, account)
			if err != nil {
				return err
			}
			put := []jit.Claim{Claim(w*rounds+r, "a")}
			switch _, err = stores[w].Update(t.Context(), place, account, seen.Version, put, nil); {
			case err == nil:
				r++
			case !errors.Is(err, jit.ErrStale):
				return err
			}
		}
		return nil
	})
	if got := claimed(t, open(), place, account); len(got.Claims) != writers*rounds || got.Version != writers*rounds {
		t.Errorf("%d claims at version %d, want %d of each", len(got.Claims), got.Version, writers*rounds)
	}
}

func testClaimCancelled(t *testing.T, open func() jit.Claims) {
	update(t, open(), account, []jit.Claim{Claim(1, "a")}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := open()
	if _, err := m.ReadClaims(ctx, place, account); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadClaims: %v", err)
	}
	if _, err := m.Scopes(ctx, place); !errors.Is(err, context.Canceled) {
		t.Errorf("Scopes: %v", err)
	}
	if _, err := m.Update(ctx, place, account, 1, []jit.Claim{Claim(2, "a")}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Update: %v", err)
	}
	if got := claimed(t, m, place, account).Claims; len(got) != 1 {
		t.Errorf("afterwards there are %+v", got)
	}
}
