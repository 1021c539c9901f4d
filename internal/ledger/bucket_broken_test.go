package ledger_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// damagesOfAnOwner are what a role can do to the log of its own owner.
var damagesOfAnOwner = map[string]func(t *testing.T, s *buckettest.Server){
	"no commit":       func(_ *testing.T, s *buckettest.Server) { s.Put(objectKey(3), []byte("no commit")) },
	"a foreign name":  func(_ *testing.T, s *buckettest.Server) { s.Put("team/jit/payments/log/notes", []byte("x")) },
	"a missing one":   func(_ *testing.T, s *buckettest.Server) { s.Put(objectKey(4), s.Object(objectKey(2))) },
	"of a newer form": func(_ *testing.T, s *buckettest.Server) { s.Put(objectKey(3), []byte(`{"format":99}`)) },
	"a forged policy": func(t *testing.T, s *buckettest.Server) {
		s.Put(objectKey(3), s.Object(objectKey(2)))
		altered(t, s, objectKey(3), func(text string) string {
			text = strings.Replace(text, `"number":2`, `"number":3`, 1)
			return strings.Replace(text, `"tables":[`,
				`"tables":[{"table":"jit_policies","columns":["name","body"],"rows":[["mine","{}"]]},`, 1)
		})
	},
}

// The log of one owner can be damaged by whoever may write it. Nothing is granted for that owner then, and its records
// are not shown; what concerns the other owners goes on. Once the log is repaired, everything goes on.
func TestDamagedLogOfAnOwner(t *testing.T) {
	ours, theirs := ledgertest.Grant(1), ledgertest.Of("other", 1)
	policy := jit.Entry{Policy: &jit.Policy{Name: "a", Effect: jit.Permit},
		Events: []jit.Event{{Kind: jit.EventPolicyChanged, Policy: "a", At: ledgertest.Epoch}}}
	for name, damage := range damagesOfAnOwner {
		t.Run(name, func(t *testing.T) {
			url, s := bucketURL(t)
			l := onMachine(t, url)
			entries := []jit.Entry{policy, ledgertest.Entry(ours), ledgertest.Entry(theirs)}
			if err := errors.Join(l.Write(t.Context(), entries)...); err != nil {
				t.Fatal(err)
			}
			if err := writeGrant(t, l, 2); err != nil {
				t.Fatal(err)
			}
			before := map[string][]byte{}
			for _, key := range s.Keys() {
				before[key] = s.Object(key)
			}
			heads := map[string]jit.Head{}
			for _, h := range append(l.Heads("payments"), l.Heads("other")...) {
				heads[h.Chain] = h
			}
			damage(t, s)
			for i, l := range []*ledger.Ledger{l, onMachine(t, url)} {
				othersGoOn(t, l, theirs, heads, 10+i)
				ownerStops(t, l, ours, heads)
			}
			for _, key := range s.Keys() {
				if strings.Contains(key, "payments") {
					s.Put(key, before[key])
				}
			}
			for i, l := range []*ledger.Ledger{l, onMachine(t, url)} {
				if g, known, err := l.Lookup(t.Context(), ours.ID); err != nil || !known || g.Owner != "payments" {
					t.Errorf("after the repair: %+v, %v, %v", g, known, err)
				}
				if err := writeGrant(t, l, 5+i); err != nil {
					t.Errorf("after the repair: %v", err)
				}
				if err := l.Recall(t.Context(), heads["payments"]); err != nil {
					t.Errorf("after the repair: %v", err)
				}
				if r := verify(t, l); len(r.Damage) > 0 || r.Grants != int64(6+i) {
					t.Errorf("after the repair: %+v", r)
				}
			}
		})
	}
}

// othersGoOn checks what another owner than the damaged one reads and writes.
func othersGoOn(t *testing.T, l *ledger.Ledger, theirs jit.Grant, heads map[string]jit.Head, n int) {
	t.Helper()
	next := ledgertest.Of("other", n)
	rule := jit.Entry{Policy: &jit.Policy{Name: "b", Effect: jit.Permit},
		Events: []jit.Event{{Kind: jit.EventPolicyChanged, Policy: "b", At: ledgertest.Epoch}}}
	entries := []jit.Entry{ledgertest.Entry(next), rule}
	entries[0].Current = true
	if err := errors.Join(l.Write(t.Context(), entries)...); err != nil {
		t.Fatalf("another owner writes: %v", err)
	}
	_, known, err1 := l.Lookup(t.Context(), theirs.ID)
	policies, err2 := l.Policies(t.Context())
	_, err3 := l.SweptSince(t.Context(), "other", time.Now())
	places, err4 := l.Places(t.Context(), jit.Owners{"other"}, ledgertest.Epoch)
	err5 := l.Recall(t.Context(), heads["other"], heads["_all"])
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil || !known || len(policies) < 1 || len(places) != 1 {
		t.Errorf("another owner reads %v, %v, %v, %v", known, policies, places, err)
	}
	if r, err := l.VerifyOwner(t.Context(), "other"); err != nil || len(r.Damage) > 0 || r.Root != "" {
		t.Errorf("the check of another owner: %+v, %v", r, err)
	}
	var found []jit.ID
	for g, err := range l.Grants(t.Context(), jit.Filter{Owner: "other"}) {
		if found = append(found, g.ID); err != nil {
			t.Errorf("its grants: %v", err)
		}
	}
	if !slices.Contains(found, theirs.ID) || !slices.Contains(found, next.ID) {
		t.Errorf("its grants are %v", found)
	}
	events := 0
	for _, err := range l.EventsOf(t.Context(), []jit.ID{theirs.ID}) {
		if events++; err != nil {
			t.Errorf("its events: %v", err)
		}
	}
	q := jit.DueQuery{Now: theirs.End, Holder: next.Reason, Lease: time.Minute, Limit: 1000}
	due, err := l.AcquireDue(t.Context(), q)
	if err != nil || len(due) == 0 || events == 0 ||
		slices.ContainsFunc(due, func(g jit.Grant) bool { return g.Owner != "other" }) {
		t.Errorf("due are %v, %v; %d events", due, err, events)
	}
}

// ownerStops checks that nothing is read or written of the owner whose log is damaged.
func ownerStops(t *testing.T, l *ledger.Ledger, ours jit.Grant, heads map[string]jit.Head) {
	t.Helper()
	const until = "payments"
	told(t, "a write", writeGrant(t, l, 3), until)
	_, _, err := l.Lookup(t.Context(), ours.ID)
	told(t, "a lookup", err, until)
	for _, f := range []jit.Filter{{}, {Owner: "payments"}, {IDs: []jit.ID{ours.ID}}, {LiveAt: ledgertest.Epoch}} {
		var last error
		for g, err := range l.Grants(t.Context(), f) {
			if last = err; g.Owner == "payments" {
				t.Errorf("the filter %+v finds %+v", f, g)
			}
		}
		told(t, "its grants", last, until)
		if !jit.Partial(last, jit.Owners{"other"}) || jit.Partial(last, jit.Owners{"payments"}) || jit.Partial(last, nil) {
			t.Errorf("the error %v is about others than payments", last)
		}
	}
	for _, last := range l.EventsOf(t.Context(), []jit.ID{ours.ID}) {
		told(t, "its events", last, until)
	}
	for _, last := range l.Events(t.Context(), "payments", 1) {
		told(t, "its chain", last, until)
	}
	_, err = l.SweptSince(t.Context(), "payments", time.Now())
	told(t, "its sweepers", err, until)
	for _, owners := range []jit.Owners{nil, {"payments"}} {
		_, err = l.Places(t.Context(), owners, ledgertest.Epoch)
		told(t, "its places", err, until)
	}
	_, err = l.Verify(t.Context())
	told(t, "verify", err, until)
	_, err = l.VerifyOwner(t.Context(), "payments")
	told(t, "verify", err, until)
	_, err = l.Owners(t.Context())
	told(t, "owners", err, until)
	_, err = l.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{"payments"}, Now: ours.End, Holder: "x",
		Lease: time.Minute, Limit: 10})
	told(t, "its due work", err, until)
	ahead := heads["payments"]
	ahead.Seq += 7
	err = l.Recall(t.Context(), ahead)
	told(t, "a head of its chain", err, until)
	if errors.Is(err, jit.ErrBehind) || errors.Is(err, jit.ErrStateAhead) {
		t.Errorf("a head of its chain: %v", err)
	}
}
