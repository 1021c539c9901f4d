package ledger_test

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

func postgresURL(t testing.TB) string {
	return testenv.Postgres(t).Database(t)
}

func TestPostgres(t *testing.T) {
	testenv.Acceptance(t)
	ledgertest.Run(t, func(t *testing.T) jit.Ledger { return open(t, postgresURL(t)) })
}
