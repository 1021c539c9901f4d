package notice_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// Two processes share a real ledger. One delivers each event once and in order. When it dies, the other continues at
// its position.
func TestTwoProcessesOnOneLedger(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { twoProcesses(t, "sqlite://"+filepath.Join(t.TempDir(), "ledger.db")) })
	t.Run("postgres", func(t *testing.T) { twoProcesses(t, testenv.Postgres(t).Database(t)) })
}

// clocked is a ledger whose server has a clock.
type clocked struct {
	*ledger.Ledger
	now func() time.Time
}

func (c clocked) Clock(context.Context) (now, notBefore time.Time, err error) {
	return c.now(), notBefore, nil
}

func twoProcesses(t *testing.T, url string) {
	var mu sync.Mutex
	now := time.Now().UTC()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	var got []string
	asked, goOn := make(chan struct{}), make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got = append(got, r.Header.Get("webhook-id"))
		first := len(got) == 1
		mu.Unlock()
		if first {
			close(asked)
			<-goOn
		}
	}))
	defer hook.Close()
	process := func(holder string) (*notice.Sender, *ledger.Ledger) {
		l, err := ledger.Open(t.Context(), ledger.Config{URL: url, Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		r, err := notice.NewReceiver("ops", notice.Config{URL: hook.URL, Secret: "0123456789abcdef"})
		if err != nil {
			t.Fatal(err)
		}
		return &notice.Sender{Ledger: clocked{l, clock}, LedgerID: l.ID, Leases: l.Leases(), Owner: "jit",
			Receivers: []*notice.Receiver{r}, Holder: holder, Now: clock}, l
	}
	flush := func(s *notice.Sender) {
		t.Helper()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a, l := process("a")
	b, _ := process("b")
	flush(a) // creates the ledger
	const many = 50
	for n := range many {
		binding := jit.Binding{Target: "prod", Principal: "user:alice@example.com", Role: "viewer", Scope: "all"}
		reason := fmt.Sprintf("INC-%d: look", n)
		g := jit.Grant{ID: jit.NewID("jit", binding, reason, 1), Owner: "jit", Binding: binding,
			Reason: reason, Renewal: 1,
			Window:      jit.Window{Start: now.Truncate(time.Second), End: now.Truncate(time.Second).Add(time.Hour)},
			RequestedAt: now}
		e := jit.Event{At: now, Kind: jit.EventGranted, Grant: g.ID,
			Actor: jit.Actor{Name: "carol", Source: jit.FromTerraform}}
		if err := l.Write(t.Context(), []jit.Entry{{Grant: &g, Events: []jit.Event{e}}})[0]; err != nil {
			t.Fatal(err)
		}
	}
	over := make(chan error)
	go func() { over <- a.Flush(t.Context()) }()
	<-asked
	flush(b) // a is alive
	mu.Lock()
	if len(got) != 1 {
		t.Errorf("the second process delivers, too: %q", got)
	}
	now = now.Add(2 * time.Minute) // a counts as dead, because its lease has ended
	mu.Unlock()
	flush(b)
	close(goOn)
	if err := <-over; err == nil {
		t.Error("the first process does not notice that it lost the receiver")
	}
	flush(a)
	id, err := l.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for e, err := range jit.AllEvents(t.Context(), l) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id+"/"+e.UID())
	}
	want = append(want[:1:1], want[:many]...) // a could not save the delivery of the first
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("delivered %q, want %q", got, want)
	}
	positions, err := b.Positions(t.Context())
	if err != nil || len(positions) != 1 || positions[0].Seq != many || positions[0].Behind != 0 ||
		positions[0].Sender != "" {
		t.Errorf("positions %+v, %v", positions, err)
	}
}
