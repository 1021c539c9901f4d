package ledger

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A machine whose clock was 400 days ahead wrote an event. Nothing begins until somebody accepts the ledger; then later
// events count.
func TestAcceptEventsOfAClockThatWasAhead(t *testing.T) {
	url := "sqlite://" + filepath.Join(t.TempDir(), "ledger.db")
	ahead, err := Open(t.Context(), Config{URL: url, Now: func() time.Time { return time.Now().AddDate(0, 0, 400) }})
	must(t, err)
	must(t, say(t, ahead, false))
	l := opened(t, url)
	must(t, say(t, l, false))
	mustBegin := func(want bool) {
		t.Helper()
		_, notBefore, err := l.Clock(t.Context())
		must(t, err)
		if err := jit.CheckNotBefore(time.Now(), notBefore); want != (err == nil) || notBefore.IsZero() {
			t.Errorf("by the event of %s: %v", notBefore, err)
		}
	}
	mustBegin(false)
	_, err = l.Accept(t.Context(), carol, "a wrong clock", "")
	must(t, err)
	mustBegin(true)
	must(t, say(t, ahead, false))
	mustBegin(false)
	must(t, ahead.Close())
}
