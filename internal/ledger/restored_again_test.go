package ledger

import (
	"errors"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The same backup is put back twice, and accepted twice. The second acceptance frees every process and every state, also
// those of the time between, whose epoch is lost; so does a third.
func TestAcceptTheSameBackupTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, r rewound) {
		daemon := opened(t, r.url)
		must(t, say(t, daemon, true))
		r.save(t)
		must(t, say(t, daemon, true))
		r.back(t)
		mustBeBehind(t, daemon.Recall(t.Context()))
		_, err := opened(t, r.url).Accept(t.Context(), carol, "restored", "")
		must(t, err)
		must(t, say(t, daemon, true))
		state := newest(daemon)
		r.back(t)
		mustBeBehind(t, daemon.Recall(t.Context()))
		mustBeBehind(t, say(t, daemon, true)) // it records that, with the epoch
		for _, reason := range []string{"restored once more", "and again"} {
			_, err := opened(t, r.url).Accept(t.Context(), carol, reason, "")
			must(t, err)
			must(t, daemon.Recall(t.Context()))
			fresh := opened(t, r.url)
			must(t, fresh.Recall(t.Context(), state))
			must(t, say(t, fresh, true))
			must(t, say(t, daemon, true))
		}
	})
}

// A backup from before an acceptance is restored, and only a state remembers that acceptance: the error names its epoch,
// and accepting with that epoch frees the state.
func TestAcceptanceThatOnlyAStateRemembers(t *testing.T) {
	onBoth(t, func(t *testing.T, r rewound) {
		l := opened(t, r.url)
		must(t, say(t, l, true))
		r.save(t)
		_, err := l.Accept(t.Context(), carol, "the first", "")
		must(t, err)
		must(t, say(t, l, true))
		lost := newest(l)
		r.back(t)
		r.forget(t)
		run := func() *Ledger {
			l := opened(t, r.url)
			l.run = "run"
			return l
		}
		err = run().Recall(t.Context(), lost)
		if !errors.Is(err, jit.ErrStateAhead) || !strings.Contains(err.Error(), " --epoch "+lost.Epoch) {
			t.Fatalf("the error is %v, want one that names the epoch", err)
		}
		for _, epoch := range []string{"", strings.Repeat("e", 64), lost.Epoch} {
			_, err = opened(t, r.url).Accept(t.Context(), carol, "once more", epoch)
			must(t, err)
			if err := run().Recall(t.Context(), lost); (err == nil) != (epoch == lost.Epoch) {
				t.Errorf("after an acceptance with the epoch %q: %v", epoch, err)
			}
		}
	})
}
