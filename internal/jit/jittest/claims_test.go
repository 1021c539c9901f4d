package jittest_test

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

func TestClaims(t *testing.T) {
	ledgertest.RunClaims(t, func(*testing.T) func() jit.Claims {
		m := &jittest.Claims{}
		return func() jit.Claims { return m }
	})
}
