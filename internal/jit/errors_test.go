package jit

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestError(t *testing.T) {
	for want, e := range map[string]*Error{
		"ttl: too long; write less":       {Attribute: "ttl", Problem: "too long", Hint: "write less"},
		"too long":                        {Problem: "too long"},
		`scope: "x" is no scope; write y`: Invalid("scope", "write y", "%q is no scope", "x"),
	} {
		if e.Error() != want {
			t.Errorf("Error = %q, want %q", e, want)
		}
	}
}

func TestCheckSkew(t *testing.T) {
	local := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	for _, d := range []time.Duration{0, MaxSkew, -MaxSkew} {
		if err := CheckSkew(local, local.Add(d)); err != nil {
			t.Errorf("CheckSkew with %s = %v", d, err)
		}
	}
	if err := CheckSkew(local, time.Time{}); err != nil {
		t.Errorf("CheckSkew without a remote time = %v", err)
	}
	for _, d := range []time.Duration{MaxSkew + 1, -MaxSkew - 1, time.Hour, -10000 * time.Hour} {
		err := CheckSkew(local, local.Add(d))
		if !errors.Is(err, ErrSkew) || !strings.Contains(err.Error(), "30s") {
			t.Errorf("CheckSkew with %s = %v, want ErrSkew and the limit", d, err)
		}
	}
}

func TestCheckNotBefore(t *testing.T) {
	newest := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	for _, late := range []time.Duration{0, -MaxSkew, time.Hour, 10000 * time.Hour} {
		if err := CheckNotBefore(newest.Add(late), newest); err != nil {
			t.Errorf("%s after the newest event: %v", late, err)
		}
	}
	if err := CheckNotBefore(newest, time.Time{}); err != nil {
		t.Errorf("a ledger without events: %v", err)
	}
	if err := CheckNotBefore(newest.Add(-MaxSkew-1), newest); !errors.Is(err, ErrSkew) {
		t.Errorf("before the newest event: %v, want ErrSkew", err)
	}
}

func TestEarlierTime(t *testing.T) {
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		remote, want time.Time
		skewed       bool
	}{
		{time.Time{}, now, false},
		{now.Add(-MaxSkew), now, false},
		{now.Add(-time.Hour), now.Add(-time.Hour), true},
		{now.Add(time.Hour), now, true},
	} {
		if got, skew := EarlierTime(now, tt.remote); !got.Equal(tt.want) || (skew != nil) != tt.skewed {
			t.Errorf("EarlierTime with %s = %s, %v; want %s", tt.remote, got, skew, tt.want)
		}
	}
}
