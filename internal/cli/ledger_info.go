package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func (p *program) ledgerInfoCommand() *cobra.Command {
	cmd := p.command(&cobra.Command{
		Use:   "info",
		Short: "Describe the ledger: its chains, their last events and its size",
		Long: `Print the id of the ledger, its kind, the version of its tables, how many events it has, from when to when,
its size, the last event of each chain and the root over them. It reads no event, so it is quick on a large ledger too.
jit audit verify checks the events.

Exit codes: 0 printed, 2 the ledger could not be read or there is none, 3 the command line or the settings are wrong.`,
	}, nil, p.ledgerInfo)
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) ledgerInfo(ctx context.Context, rt *config.Runtime) error {
	i, err := rt.Ledger.Info(ctx)
	if err == nil && i.ID == "" {
		err = errors.New("there is no ledger yet; the first apply creates it")
	}
	if err != nil {
		return unreadable(err)
	}
	if p.json {
		return p.printJSON(i)
	}
	fields := [][2]string{
		{"id", i.ID}, {"ledger", i.Name}, {"schema", strconv.Itoa(i.Schema)}, {"events", strconv.FormatInt(i.Events, 10)},
		{"from", jit.FormatTime(i.Oldest)}, {"to", jit.FormatTime(i.Newest)}, {"bytes", strconv.FormatInt(i.Bytes, 10)},
		{"root", i.Root},
	}
	for _, f := range fields {
		fmt.Fprintf(p.out, "%-8s%s\n", f[0], printable(f[1]))
	}
	fmt.Fprintln(p.out)
	t := p.table(p.out, "HASH")
	t.row("CHAIN", "LAST EVENT", "HASH")
	for _, tip := range i.Chains {
		t.row(tip.Chain, strconv.FormatInt(tip.Seq, 10), tip.Hash)
	}
	t.flush()
	return nil
}
