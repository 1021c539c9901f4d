package ledger_test

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

func TestMarksConformance(t *testing.T) {
	stores := func(t *testing.T, url string) func() jit.Claims {
		return func() jit.Claims { return open(t, url).Marks() }
	}
	t.Run("sqlite", func(t *testing.T) {
		ledgertest.RunMarks(t, func(t *testing.T) func() jit.Claims { return stores(t, sqliteURL(t)) })
	})
	t.Run("postgres", func(t *testing.T) {
		ledgertest.RunMarks(t, func(t *testing.T) func() jit.Claims { return stores(t, postgresURL(t)) })
	})
}
