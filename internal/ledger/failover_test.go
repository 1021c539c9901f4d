package ledger

import (
	"net"
	"net/url"
	"strconv"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// TestAFailoverThatLostCommits: a replica that lacks the last commits takes the primary's place, at the same address.
// Whoever remembers those commits grants nothing until somebody accepts the ledger, and still records ends.
func TestAFailoverThatLostCommits(t *testing.T) {
	servers := testenv.ReplicatedPostgres(t)
	address := func(s *testenv.PostgresServer) string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }
	front := testenv.NewProxy(t, address(servers.Primary))
	at, err := url.Parse(servers.Primary.URL)
	must(t, err)
	at.Host = front.Addr

	daemon := opened(t, at.String())
	must(t, say(t, daemon, true))
	servers.FallBehind(t)
	must(t, say(t, daemon, false)) // an end, say, that the replica never gets
	lost := newest(daemon)
	servers.FailOver(t)
	front.Forward(address(servers.Replica))
	daemon.db.(*postgres).db.SetMaxIdleConns(0) // those to the primary; after a second they would be tried first

	mustBeBehind(t, say(t, daemon, true))
	must(t, say(t, daemon, false))
	fresh := opened(t, at.String())
	mustBeBehind(t, fresh.Recall(t.Context(), lost))
	mustBeBehind(t, say(t, fresh, true))

	accepted, err := fresh.Accept(t.Context(), carol, "the replica took over without the last commits", "")
	must(t, err)
	if accepted.Detail[jit.LostHashDetail] != lost.Hash {
		t.Errorf("accepted is %+v, want the lost head %s", accepted, lost.Hash)
	}
	for _, l := range []*Ledger{daemon, fresh, opened(t, at.String())} {
		must(t, l.Recall(t.Context(), lost))
		must(t, say(t, l, true))
	}
	if report, err := daemon.Verify(t.Context()); err != nil || !report.OK() {
		t.Errorf("Verify = %+v, %v", report, err)
	}
}
