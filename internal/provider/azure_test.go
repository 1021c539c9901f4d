package provider_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// azureGrant writes a configuration with one grant on an Azure target and that provider setting.
func azureGrant(w *acctest.World, s *azuretest.Server, setting, who, scope string, lines ...string) {
	lines = append(lines, `target = "subscription"`, fmt.Sprintf("principal = %q", "user:"+who), `role = "Reader"`,
		fmt.Sprintf("scope = %q", scope))
	w.Write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}

provider "jit" {
  %s
  targets = { subscription = { azure = { endpoint = %q } } }
}

%s`, setting, s.URL, grant("a", lines...)))
}

// The beginning of a grant that PIM has scheduled is moved, with and without its end. PIM begins and ends the access.
func TestAzureStartIsMoved(t *testing.T) {
	const who, scope = "aaaaaaaa-0000-4000-8000-000000000001", "/subscriptions/11111111-0000-4000-8000-000000000000"
	each(t, func(t *testing.T, w *acctest.World) {
		s := azuretest.New(t)
		s.Clock, s.Looks = w.Clock.Now, 2
		s.AddScope(scope)
		s.AddPrincipal("User", who, 0)
		now := w.Clock.Now()
		at := func(name string, d time.Duration) string {
			return fmt.Sprintf("%s = %q", name, jit.FormatTime(now.Add(d)))
		}
		write := func(lines ...string) {
			azureGrant(w, s, `max_ttl = "4h"`, who, scope, lines...)
		}
		given := func(from, until time.Duration) {
			t.Helper()
			if got, want := record(t, w, fact(t, w, "jit_grant.a", "id")).Start, now.Add(from); !got.Equal(want) {
				t.Errorf("the grant begins at %s, want %s", got, want)
			}
			if got, want := fact(t, w, "jit_grant.a", "expires_at"), jit.FormatTime(now.Add(until)); got != want {
				t.Errorf("expires_at is %s, want %s", got, want)
			}
			for moment, want := range map[time.Duration]bool{from - time.Second: false, from: true,
				until - time.Second: true, until: false} {
				if got := s.Allowed(who, azuretest.Reader, scope, now.Add(moment)); got != want &&
					moment >= w.Clock.Now().Sub(now) {
					t.Errorf("at %s, access is %t, want %t", jit.FormatTime(now.Add(moment)), got, want)
				}
			}
			unchanged(t, w, fmt.Sprintf("from %s until %s", from, until))
		}
		write(at("starts_at", 24*time.Hour))
		w.Apply()
		given(24*time.Hour, 26*time.Hour)
		write(at("starts_at", 48*time.Hour))
		w.Apply()
		given(48*time.Hour, 50*time.Hour)
		// The new end exceeds max_ttl only if counted from the old beginning.
		write("ttl =", at("starts_at", 72*time.Hour), at("expires_at", 75*time.Hour))
		w.Apply()
		given(72*time.Hour, 75*time.Hour)
		w.Clock.Advance(time.Hour)
		write()
		w.Apply()
		given(time.Hour, 3*time.Hour)
		w.Clock.Advance(time.Minute)
		write(at("starts_at", 6*time.Hour))
		says(t, w.Plan(), "Invalid starts_at", "The grant began at "+jit.FormatTime(now.Add(time.Hour)))
		w.Clock.Advance(24 * time.Hour)
		says(t, w.Plan(), "The grant is over", "Set renewal = 2")
	})
}

// A grant through Privileged Identity Management, which ends access by itself and accepts no revocation in the first
// five minutes.
func TestAzureWithPIM(t *testing.T) {
	const who, scope = "aaaaaaaa-0000-4000-8000-000000000001", "/subscriptions/11111111-0000-4000-8000-000000000000"
	each(t, func(t *testing.T, w *acctest.World) {
		s := azuretest.New(t)
		s.Clock, s.Looks = w.Clock.Now, 2
		s.AddScope(scope)
		s.AddPrincipal("User", who, 0)
		may := func(want bool, when string) {
			t.Helper()
			if got := s.Allowed(who, azuretest.Reader, scope, w.Clock.Now()); got != want {
				t.Errorf("%s: access is %t, want %t", when, got, want)
			}
		}
		write := func(lines ...string) {
			azureGrant(w, s, "", who, scope, lines...)
		}

		write(`ttl = "4m"`)
		if r := w.Plan(); r.ExitCode != 1 {
			t.Errorf("a ttl of 4 minutes: exit code %d\n%s", r.ExitCode, r.Text())
		} else {
			says(t, r, "lasts at least 5m")
		}
		if _, writes := s.Calls(); writes > 0 {
			t.Errorf("the plan wrote %d times", writes)
		}

		write(`ttl = "10m"`)
		w.Apply()
		may(true, "after the apply")
		unchanged(t, w, "inside of the window")
		w.Clock.Advance(11 * time.Minute)
		may(false, "after the end, with nothing running")
		unchanged(t, w, "after the end")
		before := s.Dump(func(string) bool { return true })
		for _, args := range [][]string{nil, {"-replace=jit_grant.a"}} {
			w.Apply(args...)
			may(false, fmt.Sprintf("after the end and apply %v", args))
		}
		w.Must("destroy", "-auto-approve")
		if r := w.Run("apply", "-auto-approve"); r.ExitCode != 1 {
			t.Errorf("the re-created block: exit code %d\n%s", r.ExitCode, r.Text())
		} else {
			says(t, r, "its resource was destroyed", "Set renewal = 2 to grant again")
		}
		may(false, "after destroy and apply")
		if after := s.Dump(func(string) bool { return true }); after != before {
			t.Errorf("after the end the assignments are\n%s\nbefore they were\n%s", after, before)
		}

		write(`ttl = "2h"`, "renewal = 2")
		w.Apply()
		may(true, "after the renewal")
		granted := w.Clock.Now()
		go func() {
			time.Sleep(3 * time.Second) // destroy is waiting by then
			w.Clock.Advance(5 * time.Minute)
		}()
		w.Must("destroy", "-auto-approve")
		may(false, "after destroy in the first five minutes")
		if waited := w.Clock.Now().Sub(granted); waited < 5*time.Minute {
			t.Errorf("destroy waited for %s, want five minutes", waited)
		}
	})
}
