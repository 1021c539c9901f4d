package ledger_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// copyOf returns a statement that inserts a copy of event from at seq.
func copyOf(seq, from int) string {
	return fmt.Sprintf(
		`INSERT INTO jit_log (`+logColumns+`)
		SELECT chain, %d, recorded_at, kind, grant_id, policy, actor, change_ref, source, detail, after_seq, prev, hash
		FROM jit_log WHERE seq = %d`,
		seq,
		from,
	)
}

// shift returns statements that renumber the events from first on, with free numbers in between.
func shift(first, by int) []string {
	return []string{
		fmt.Sprintf("UPDATE jit_log SET seq = -seq WHERE seq >= %d", first),
		fmt.Sprintf("UPDATE jit_log SET seq = -seq + %d WHERE seq <= -%d", by, first),
	}
}

func swap(a, b int) []string {
	return []string{
		fmt.Sprintf("UPDATE jit_log SET seq = -1 WHERE seq = %d", a),
		fmt.Sprintf("UPDATE jit_log SET seq = %d WHERE seq = %d", a, b),
		fmt.Sprintf("UPDATE jit_log SET seq = %d WHERE seq = -1", b),
	}
}

// rehash sets an event's hash to that of its present content.
func rehash(t *testing.T, l *ledger.Ledger, seq int64) string {
	t.Helper()
	for e, err := range l.Events(t.Context(), jit.AllChain, seq) {
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("UPDATE jit_log SET hash = '%s' WHERE seq = %d", e.Sum(), seq)
	}
	t.Fatalf("no event %d", seq)
	return ""
}

func TestVerify(t *testing.T) {
	concat := func(lists ...[]string) (all []string) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	moved := func(first, last int) string {
		var all []string
		for seq := first; seq <= last; seq++ {
			all = append(all, fmt.Sprintf("reordered %d", seq))
		}
		return strings.Join(all, ", ")
	}
	cases := []struct {
		name   string
		tamper []string
		rehash []int64 // events whose hash is recomputed afterwards
		want   string
	}{
		{"whole", nil, nil, ""},
		{"kind edited", []string{"UPDATE jit_log SET kind = 'revoked' WHERE seq = 5"}, nil, "edited 5"},
		{"actor edited", []string{"UPDATE jit_log SET actor = 'mallory' WHERE seq = 5"}, nil, "edited 5"},
		{"time edited", []string{"UPDATE jit_log SET recorded_at = recorded_at + 1 WHERE seq = 5"}, nil, "edited 5"},
		{"detail edited", []string{"UPDATE jit_log SET detail = '{}' WHERE seq = 5"}, nil, "edited 5"},
		{"detail unreadable", []string{"UPDATE jit_log SET detail = '{' WHERE seq = 5"}, nil, "edited 5"},
		{"hash edited", []string{"UPDATE jit_log SET hash = 'x' WHERE seq = 5"}, nil, "edited 5"},
		{"link edited", []string{"UPDATE jit_log SET prev = 'x' WHERE seq = 5"}, nil, "edited 5"},
		{"first edited", []string{"UPDATE jit_log SET actor = '' WHERE seq = 1"}, nil, "edited 1"},
		{"last edited", []string{"UPDATE jit_log SET actor = '' WHERE seq = 20"}, nil, "edited 20"},
		{
			"three edited",
			[]string{"UPDATE jit_log SET actor = '' WHERE seq IN (2, 3, 19)"},
			nil,
			"edited 2, edited 3, edited 19",
		},
		{"edited and hashed anew", []string{"UPDATE jit_log SET actor = '' WHERE seq = 5"}, []int64{5}, "edited 5"},
		{
			"last edited and hashed anew",
			[]string{"UPDATE jit_log SET actor = '' WHERE seq = 20"},
			[]int64{20},
			"edited 20",
		},
		{"another beginning", []string{"UPDATE jit_log SET prev = 'x' WHERE seq = 1"}, []int64{1}, "edited 1"},
		{"removed", []string{"DELETE FROM jit_log WHERE seq = 5"}, nil, "removed 5"},
		{"first removed", []string{"DELETE FROM jit_log WHERE seq = 1"}, nil, "removed 1"},
		{
			"several removed",
			[]string{"DELETE FROM jit_log WHERE seq IN (4, 5, 6, 9)"},
			nil,
			"removed 4-6, removed 9",
		},
		{"all removed", []string{"DELETE FROM jit_log"}, nil, "removed 1-20"},
		{"tail cut", []string{"DELETE FROM jit_log WHERE seq > 17"}, nil, "removed 18-20"},
		{
			"removed and closed up",
			concat([]string{"DELETE FROM jit_log WHERE seq = 5"}, shift(6, -1)),
			nil,
			"removed 5, " + moved(5, 19),
		},
		{"neighbours swapped", swap(5, 6), nil, "reordered 5, reordered 6"},
		{"distant swapped", swap(2, 18), nil, "reordered 2, reordered 18"},
		{"inserted copy at the end", []string{copyOf(21, 5)}, nil, "inserted 21"},
		{
			"inserted at the end, well linked",
			[]string{
				copyOf(21, 20),
				"UPDATE jit_log SET prev = (SELECT hash FROM jit_log WHERE seq = 20) WHERE seq = 21",
			},
			[]int64{21},
			"inserted 21",
		},
		{"inserted before the first", []string{copyOf(0, 5), copyOf(-7, 5)}, nil, "inserted -7, inserted 0"},
		{"inserted between", concat(shift(6, 1), []string{copyOf(6, 3)}), nil, "inserted 6, " + moved(7, 21)},
		{
			"inserted between, well linked",
			concat(
				shift(6, 1),
				[]string{
					copyOf(6, 3),
					"UPDATE jit_log SET prev = (SELECT hash FROM jit_log WHERE seq = 5) WHERE seq = 6",
				},
			),
			[]int64{6},
			"inserted 6, " + moved(7, 21),
		},
		{
			"all at once",
			concat(
				swap(2, 3),
				[]string{
					"DELETE FROM jit_log WHERE seq = 8",
					"UPDATE jit_log SET actor = '' WHERE seq = 12",
					copyOf(30, 1),
				},
			),
			nil,
			"reordered 2, reordered 3, removed 8, edited 12, inserted 30",
		},
	}
	check := func(t *testing.T, url string, tamper []string, hashes []int64, want string) {
		l := open(t, url)
		for n := range 20 {
			write(t, l, jit.Entry{Events: []jit.Event{ledgertest.Event(ledgertest.Grant(n).ID)}})
		}
		before := verify(t, l)
		if !before.OK() || before.Events != 20 || before.Ledger == "" || len(before.Root) != 64 {
			t.Fatalf("before: %+v", before)
		}
		db := raw(t, url)
		run(t, db, tamper...)
		for _, seq := range hashes {
			run(t, db, rehash(t, l, seq))
		}
		r := verify(t, l)
		if got := kinds(r); got != want || r.OK() != (want == "") {
			t.Errorf("found %q, want %q\n%v", got, want, r.Damage)
		}
		if r.Root != before.Root || r.Ledger != before.Ledger {
			t.Errorf("the root is %s of %s, was %s of %s", r.Root, r.Ledger, before.Root, before.Ledger)
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, url string) { check(t, url, c.tamper, c.rehash, c.want) })
		})
	}
}

func TestVerifyAbsent(t *testing.T) {
	if r := verify(t, open(t, sqliteURL(t))); !r.OK() || r.Events != 0 || r.Ledger != "" {
		t.Errorf("%+v", r)
	}
}

func TestVerifyHeadEdited(t *testing.T) {
	url := sqliteURL(t)
	l := open(t, url)
	write(t, l, ledgertest.Entry(ledgertest.Grant(1)), ledgertest.Entry(ledgertest.Grant(2)))
	run(t, raw(t, url), "UPDATE jit_chains SET head_seq = 1, head_hash = "+
		"(SELECT hash FROM jit_log WHERE seq = 1) WHERE chain = 'payments'")
	const after = "event payments/2 was inserted: it is after the head"
	if r := verify(t, l); len(r.Damage) != 1 || r.Damage[0].String() != after {
		t.Errorf("%v", r.Damage)
	}
	err := l.Write(t.Context(), []jit.Entry{ledgertest.Entry(ledgertest.Grant(3))})[0]
	if err == nil {
		t.Error("a write succeeded after an event outside the chain")
	}
}
