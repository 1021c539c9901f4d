package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/postgresql"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/ssh"
)

func TestOpenRefuses(t *testing.T) {
	clearCI(t)
	good := map[string]platform.Config{"bastion": {SSH: &ssh.Config{AuthorizedKeys: "/nowhere/authorized_keys"}}}
	for _, tt := range []struct {
		name, attribute string
		s               Settings
	}{
		{"owner", "owner", Settings{Owner: "Payments Team"}},
		{"max_ttl of no duration", "max_ttl", Settings{MaxTTL: "a day"}},
		{"max_ttl never", "max_ttl", Settings{MaxTTL: "0s"}},
		{"notice_before", "notice_before", Settings{NoticeBefore: "soon"}},
		{"a receiver", `notify["ops"].url`, Settings{Notify: map[string]notice.Config{"ops": {URL: "hunter2"}}}},
		{"ledger", "ledger", Settings{Ledger: "mysql://u:hunter2@db/jit"}},
		{"a target of nothing", `targets["empty"]`, Settings{Targets: map[string]platform.Config{"empty": {}}}},
		{"a target of two", `targets["both"]`,
			Settings{Targets: map[string]platform.Config{"both": {SSH: good["bastion"].SSH,
				PostgreSQL: &postgresql.Config{}}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt, err := Open(t.Context(), tt.s, Options{})
			var user *jit.Error
			if !errors.As(err, &user) || rt != nil {
				t.Fatalf("Open() = %v, %v; want a *jit.Error", rt, err)
			}
			if user.Attribute != tt.attribute {
				t.Errorf("the error %q blames %q, want %q", err, user.Attribute, tt.attribute)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells a secret: %q", err)
			}
		})
	}
}

// A plan may open everything on a machine that reaches none of it.
func TestOpenIsLazy(t *testing.T) {
	clearCI(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "sub", "ledger.db")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, url := range []string{"sqlite://" + file, "postgres://jit:hunter2@127.0.0.1:1/jit"} {
		rt, err := Open(ctx, Settings{Ledger: url, Targets: map[string]platform.Config{
			"bastion": {SSH: &ssh.Config{AuthorizedKeys: filepath.Join(dir, "authorized_keys")}},
			"db":      {PostgreSQL: &postgresql.Config{URL: "postgres://admin:hunter2@127.0.0.1:1/postgres"}},
		}}, Options{})
		if err != nil {
			t.Fatalf("Open(%s): %v", url, err)
		}
		if err := rt.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("Open wrote %v", entries)
	}
}

// counted counts the reads that reach a platform.
type counted struct {
	jit.Platform
	reads *int
}

func (c counted) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	*c.reads++
	return c.Platform.Read(ctx, scope)
}

func TestOpenWrapsInsideOfTheSharing(t *testing.T) {
	clearCI(t)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	keys := filepath.Join(t.TempDir(), "authorized_keys")
	if err := os.WriteFile(keys, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	reads := 0
	rt, err := Open(t.Context(), Settings{
		Ledger: "sqlite://" + filepath.Join(t.TempDir(), "ledger.db"), Owner: "payments", MaxTTL: "8h",
		Targets: map[string]platform.Config{"bastion": {SSH: &ssh.Config{AuthorizedKeys: keys}}},
	}, Options{
		Now: func() time.Time { return now }, Source: jit.FromTerraform, Keep: KeepForPlan,
		Wrap: func(name string, p jit.Platform) jit.Platform {
			if name != "bastion" {
				t.Errorf("wrapped %q", name)
			}
			return counted{p, &reads}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rt.Close() }()
	scopes, err := rt.Targets["bastion"].Scopes(t.Context())
	if err != nil || len(scopes) == 0 {
		t.Fatalf("Scopes() = %v, %v", scopes, err)
	}
	read := func() {
		t.Helper()
		if _, err := rt.Targets["bastion"].Read(t.Context(), scopes[0]); err != nil {
			t.Fatal(err)
		}
	}
	read()
	read()
	if reads != 1 {
		t.Errorf("two reads of one scope within a plan made %d calls, want 1", reads)
	}
	now = now.Add(2 * KeepForPlan)
	read()
	if reads != 2 {
		t.Errorf("a read after %s made %d calls in all, want 2", 2*KeepForPlan, reads)
	}
	b := rt.Broker
	if b.Owner != "payments" || b.MaxTTL != 8*time.Hour || b.Actor.Source != jit.FromTerraform || !b.Now().Equal(now) ||
		b.Planned == nil {
		t.Errorf("broker: owner %q, max_ttl %s, actor %+v, now %s", b.Owner, b.MaxTTL, b.Actor, b.Now())
	}
}

// Ends are announced where a receiver is told of them, a quarter of an hour before where nothing else is written.
func TestOpenNotices(t *testing.T) {
	clearCI(t)
	hook := func(events ...string) notice.Config {
		return notice.Config{URL: "https://hooks.example.com", Secret: "0123456789abcdef", Events: events}
	}
	for _, tt := range []struct {
		s         Settings
		receivers string
		before    time.Duration
	}{
		{Settings{}, "", 0},
		{Settings{NoticeBefore: "1h"}, "", 0},
		{Settings{Notify: map[string]notice.Config{"b": hook(), "a": hook()}}, "a b", 15 * time.Minute},
		{Settings{NoticeBefore: "1h", Notify: map[string]notice.Config{"a": hook("ends_soon")}}, "a", time.Hour},
		{Settings{NoticeBefore: "1h", Notify: map[string]notice.Config{"a": hook("granted")}}, "a", 0},
	} {
		tt.s.Ledger = "sqlite://" + filepath.Join(t.TempDir(), "ledger.db")
		rt, err := Open(t.Context(), tt.s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range rt.Receivers {
			names = append(names, r.Name)
		}
		if got := strings.Join(names, " "); got != tt.receivers || rt.NoticeBefore != tt.before {
			t.Errorf("%+v: receivers %q, %s before", tt.s, got, rt.NoticeBefore)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}
}
