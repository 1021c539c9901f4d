package ledger_test

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

func TestClaimsConformance(t *testing.T) {
	stores := func(t *testing.T, url string) func() jit.Claims {
		return func() jit.Claims { return open(t, url).Claims() }
	}
	t.Run("sqlite", func(t *testing.T) {
		ledgertest.RunClaims(t, func(t *testing.T) func() jit.Claims { return stores(t, sqliteURL(t)) })
	})
	t.Run("bucket", func(t *testing.T) {
		ledgertest.RunClaims(t, func(t *testing.T) func() jit.Claims {
			url, s := bucketURL(t)
			s.Lag(1)
			return stores(t, url)
		})
	})
	t.Run("postgres", func(t *testing.T) {
		ledgertest.RunClaims(t, func(t *testing.T) func() jit.Claims { return stores(t, postgresURL(t)) })
	})
}
