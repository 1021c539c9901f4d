package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// RunClaims checks a store of marks. open returns a new, empty one that lives as long as the test; what
// it returns further times in one test is the same store, as another process would have it.
func RunClaims(t *testing.T, open func(t *testing.T) func() jit.Claims) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func() jit.Claims)
	}{
		{"an absent store is empty", testNoMarks},
		{"marks read back as written", testMarkRoundTrip},
		{"a mark is known by owner, id and object", testMarkKey},
		{"places and scopes are apart", testMarkPlaces},
		{"a stale write leaves nothing", testMarkStale},
		{"the version outlives the marks", testMarkVersion},
		{"writers of several processes lose nothing", testMarkWriters},
		{"a context that is over", testMarkCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

const place, account = "arn:aws:sso:::instance/ssoins-0123456789abcdef", "123456789012"

// Mark returns the mark of the n-th grant of the suite on an object.
func Mark(n int, object string) jit.Claim {
	return jit.Claim{Marker: Grant(n).Marker(), Object: object, Principal: "user:alice", Role: "ReadOnly"}
}

func marked(t *testing.T, m jit.Claims, place, scope string) jit.ClaimSet {
	t.Helper()
	all, err := m.ReadClaims(t.Context(), place, scope)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func mark(t *testing.T, m jit.Claims, scope string, put, drop []jit.Claim) {
	t.Helper()
	before := marked(t, m, place, scope).Version
	version, err := m.Update(t.Context(), place, scope, before, put, drop)
	if err != nil {
		t.Fatal(err)
	}
	if got := marked(t, m, place, scope).Version; got != version || got <= before {
		t.Errorf("the write returned version %d, %d is read and was %d before", version, got, before)
	}
}

func testNoMarks(t *testing.T, open func() jit.Claims) {
	m := open()
	if got := marked(t, m, place, account); len(got.Claims) != 0 || got.Version != 0 {
		t.Errorf("Marked = %+v", got)
	}
	if got, err := m.Scopes(t.Context(), place); len(got) != 0 || err != nil {
		t.Errorf("Scopes = %v, %v", got, err)
	}
	mark(t, m, account, nil, []jit.Claim{Mark(1, "a")})
}

func testMarkRoundTrip(t *testing.T, open func() jit.Claims) {
	full := Mark(1, "USER/1 ps-1")
	full.Prior, full.Ending = true, true
	want := []jit.Claim{full, Mark(2, "USER/1 ps-1")}
	if want[1].Marker.ID < want[0].Marker.ID {
		want[0], want[1] = want[1], want[0]
	}
	mark(t, open(), account, want, nil)
	if got := marked(t, open(), place, account).Claims; !reflect.DeepEqual(got, want) {
		t.Errorf("read back\n%+v\nwant\n%+v", got, want)
	}
	full.Prior, full.Ending, full.Marker.Window.End = false, false, Epoch
	mark(t, open(), account, []jit.Claim{full}, []jit.Claim{Mark(2, "USER/1 ps-1")})
	if got := marked(t, open(), place, account).Claims; !reflect.DeepEqual(got, []jit.Claim{full}) {
		t.Errorf("after a change\n%+v\nwant\n%+v", got, full)
	}
}

func testMarkKey(t *testing.T, open func() jit.Claims) {
	theirs := Mark(1, "a")
	theirs.Marker.Owner = "another-team"
	mark(t, open(), account, []jit.Claim{Mark(1, "a"), Mark(1, "b"), theirs, Mark(2, "a")}, nil)
	mark(t, open(), account, nil, []jit.Claim{Mark(1, "a")})
	got := marked(t, open(), place, account).Claims
	if len(got) != 3 {
		t.Fatalf("%d marks are left, want 3: %+v", len(got), got)
	}
	for _, m := range got {
		if m.Marker == Mark(1, "a").Marker && m.Object == "a" {
			t.Errorf("the dropped mark is there: %+v", m)
		}
	}
}

func testMarkPlaces(t *testing.T, open func() jit.Claims) {
	mark(t, open(), account, []jit.Claim{Mark(1, "a")}, nil)
	mark(t, open(), "210987654321", []jit.Claim{Mark(2, "b")}, nil)
	mark(t, open(), "111111111111", []jit.Claim{Mark(3, "c")}, nil)
	mark(t, open(), "111111111111", nil, []jit.Claim{Mark(3, "c")})
	if got := marked(t, open(), "another", account); len(got.Claims) != 0 {
		t.Errorf("another place has %+v", got)
	}
	if got := marked(t, open(), place, account).Claims; len(got) != 1 || got[0].Object != "a" {
		t.Errorf("the scope has %+v", got)
	}
	for at, want := range map[string]string{place: "[123456789012 210987654321]", "another": "[]"} {
		if got, err := open().Scopes(t.Context(), at); fmt.Sprint(got) != want || err != nil {
			t.Errorf("Scopes(%s) = %v, %v, want %s", at, got, err, want)
		}
	}
	for n, want := range map[int]string{1: "[" + place + "]", 3: "[]"} {
		m := Mark(n, "").Marker
		if got, err := open().Places(t.Context(), m.Owner, m.ID); fmt.Sprint(got) != want || err != nil {
			t.Errorf("Places of grant %d = %v, %v, want %s", n, got, err, want)
		}
		if got, err := open().Places(t.Context(), "another-owner", m.ID); len(got) != 0 || err != nil {
			t.Errorf("Places of another owner = %v, %v", got, err)
		}
	}
}

func testMarkStale(t *testing.T, open func() jit.Claims) {
	seen := marked(t, open(), place, account).Version
	mark(t, open(), account, []jit.Claim{Mark(1, "a")}, nil)
	_, err := open().Update(t.Context(), place, account, seen, []jit.Claim{Mark(2, "b")}, []jit.Claim{Mark(1, "a")})
	if !errors.Is(err, jit.ErrStale) {
		t.Errorf("a write at a version that is gone: %v, want ErrStale", err)
	}
	if got := marked(t, open(), place, account).Claims; len(got) != 1 || got[0].Object != "a" {
		t.Errorf("a stale write left %+v", got)
	}
}

// Somebody who has read that there is no mark must not be able to write as if there had been none in between.
func testMarkVersion(t *testing.T, open func() jit.Claims) {
	mark(t, open(), account, []jit.Claim{Mark(1, "a")}, nil)
	mark(t, open(), account, nil, []jit.Claim{Mark(1, "a")})
	seen := marked(t, open(), place, account).Version
	mark(t, open(), account, []jit.Claim{Mark(2, "a")}, nil)
	mark(t, open(), account, nil, []jit.Claim{Mark(2, "a")})
	if _, err := open().Update(t.Context(), place, account, seen, []jit.Claim{Mark(3, "a")}, nil); !errors.Is(err,
		jit.ErrStale) {
		t.Errorf("marks came and went, and a write says %v, want ErrStale", err)
	}
}

func testMarkWriters(t *testing.T, open func() jit.Claims) {
	const writers, rounds = 8, 10
	errs := make(chan error, writers)
	for w := range writers {
		m := open()
		go func() {
			errs <- func() error {
				for r := 0; r < rounds; {
					seen, err := m.ReadClaims(t.Context(), place, account)
					if err != nil {
						return err
					}
					_, err = m.Update(t.Context(), place, account, seen.Version, []jit.Claim{Mark(w*rounds+r, "a")}, nil)
					if err != nil && !errors.Is(err, jit.ErrStale) {
						return err
					}
					if err == nil {
						r++
					}
				}
				return nil
			}()
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := marked(t, open(), place, account); len(got.Claims) != writers*rounds || got.Version != writers*rounds {
		t.Errorf("%d marks at version %d, want %d of each", len(got.Claims), got.Version, writers*rounds)
	}
}

func testMarkCancelled(t *testing.T, open func() jit.Claims) {
	mark(t, open(), account, []jit.Claim{Mark(1, "a")}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := open()
	if _, err := m.ReadClaims(ctx, place, account); !errors.Is(err, context.Canceled) {
		t.Errorf("Marked: %v", err)
	}
	if _, err := m.Scopes(ctx, place); !errors.Is(err, context.Canceled) {
		t.Errorf("Scopes: %v", err)
	}
	if _, err := m.Update(ctx, place, account, 1, []jit.Claim{Mark(2, "a")}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Mark: %v", err)
	}
	if got := marked(t, m, place, account).Claims; len(got) != 1 {
		t.Errorf("afterwards there are %+v", got)
	}
}
