package jittest_test

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

func TestLeases(t *testing.T) {
	ledgertest.RunLeases(t, func(*testing.T) func() jit.Leases {
		l := &jittest.Ledger{}
		return l.Leases
	})
}
