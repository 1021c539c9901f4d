package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

func (p *program) ledgerMigrateCommand() *cobra.Command {
	var dryRun bool
	cmd := p.command(&cobra.Command{
		Use:   "migrate",
		Short: "Bring the ledger to the schema of this program",
		Long: `The first write of a newer version brings the ledger to its schema. On a large ledger that can take longer than a
write may wait: the write then fails, changes nothing and names this command, which takes the time that it needs. Run it
before you upgrade many teams. Meanwhile others can read the ledger, and who writes to it waits.

--dry-run says what is to be done, and which programs can use the ledger afterwards. If it breaks off, run it again: each
step is done in full or not at all.

Exit codes: 0 done, or nothing to do; 2 the ledger could not be read or migrated, or there is none; 3 the command line
or the settings are wrong.`,
		Example: `  jit ledger migrate --dry-run
  jit ledger migrate`,
	}, nil, func(ctx context.Context, rt *config.Runtime) error { return p.ledgerMigrate(ctx, rt, dryRun) })
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what is to be done")
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) ledgerMigrate(ctx context.Context, rt *config.Runtime, dryRun bool) error {
	m, err := rt.Ledger.Migration(ctx)
	if err == nil && m.Name == "" {
		err = errors.New("there is no ledger yet; the first apply creates it")
	}
	if err == nil && !dryRun && m.From < m.To {
		err = rt.Ledger.Migrate(ctx, func(version int) {
			fmt.Fprintf(p.err, "Migrating to schema version %d of %d …\n", version, m.To)
		})
	}
	if err != nil {
		return unreadable(err)
	}
	if p.json {
		return p.printJSON(struct {
			ledger.Migration
			DryRun bool `json:"dry_run"`
		}{m, dryRun})
	}
	switch {
	case m.From == m.To:
		fmt.Fprintf(p.out, "Nothing to do: %s has schema version %d.\n", printable(m.Name), m.To)
		return nil
	case dryRun:
		fmt.Fprintf(p.out, "%s would go from schema version %d to %d.\n", printable(m.Name), m.From, m.To)
	default:
		fmt.Fprintf(p.out, "%s went from schema version %d to %d.\n", printable(m.Name), m.From, m.To)
	}
	fmt.Fprintf(p.out, "Programs that know version %d can read it, and those that know version %d can write to it.\n",
		m.ReadableSince, m.WritableSince)
	return nil
}
