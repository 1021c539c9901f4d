package ledger_test

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

func TestLeasesConformance(t *testing.T) {
	stores := func(t *testing.T, url string) func() jit.Leases {
		return func() jit.Leases { return open(t, url).Leases() }
	}
	t.Run("sqlite", func(t *testing.T) {
		ledgertest.RunLeases(t, func(t *testing.T) func() jit.Leases { return stores(t, sqliteURL(t)) })
	})
	t.Run("postgres", func(t *testing.T) {
		ledgertest.RunLeases(t, func(t *testing.T) func() jit.Leases { return stores(t, postgresURL(t)) })
	})
}
