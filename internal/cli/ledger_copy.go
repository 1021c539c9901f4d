package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

func (p *program) ledgerCopyCommand() *cobra.Command {
	cmd := leaf(&cobra.Command{
		Use:   "copy FROM TO",
		Args:  cobra.ExactArgs(2),
		Short: "Copy the record to another ledger",
		Long: `Copy the whole record from one ledger to another, between files, PostgreSQL and buckets: grants, policies,
persons, claims, every event with its chain, and how far notices were delivered. The copy has the id and the heads of
the original, so Terraform states and kept heads fit it. Then the copy is checked, as jit audit verify does.

TO must be empty. Stop everybody who writes to either ledger first. Then set ledger to TO everywhere, and take the old
one away: two ledgers that both go on are two records.

A file or a database has all of the record or nothing after a copy that failed. A bucket that has a part of it is
refused by everybody; use another prefix.

Exit codes: 0 copied, 1 the copy could not be written or is not intact, 2 there is no ledger FROM or it could not be
read, 3 the command line is wrong.`,
		Example: `  jit ledger copy sqlite://.jit/ledger.db "s3://example-state/jit?region=eu-central-1"
  jit ledger copy "s3://example-state/jit?region=eu-central-1" postgres://jit@db.example.com/jit --json`,
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, url := range args {
			if err := ledger.CheckURL(url); err != nil {
				return usage(err)
			}
		}
		return p.limited(cmd.Context(), func(ctx context.Context) error { return p.ledgerCopy(ctx, args[0], args[1]) })
	}
	p.jsonFlag(cmd)
	return cmd
}

// progressEach is after how many rows a copy says how far it is.
const progressEach = 100_000

func (p *program) ledgerCopy(ctx context.Context, from, to string) error {
	folder, err := os.MkdirTemp("", "jit-copy-*")
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	source, err := ledger.Open(ctx, ledger.Config{URL: from, Now: p.Now, Copy: filepath.Join(folder, "from")})
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = source.Close() }()
	if _, err := source.Info(ctx); err != nil {
		return unreadable(err)
	}
	target, err := ledger.Open(ctx, ledger.Config{URL: to, Now: p.Now, Copy: filepath.Join(folder, "to")})
	if err != nil {
		return unreadable(err)
	}
	said := int64(0)
	c, err := source.CopyTo(ctx, target, func(rows int64) {
		if rows/progressEach > said/progressEach {
			fmt.Fprintf(p.err, "%d rows\n", rows)
		}
		said = rows
	})
	switch err = errors.Join(err, target.Close()); {
	case errors.Is(err, jit.ErrUnknown):
		return unreadable(err)
	case err != nil:
		return notDone(err)
	}
	if p.json {
		err = p.printJSON(c)
	} else {
		_, err = fmt.Fprintf(p.out, "Copied %s and %s of the ledger %s from %s to %s. The chains are intact; root %s.\n",
			counted(c.Grants, "grant"), counted(c.Events, "event"), c.ID, c.From, c.To, c.Root)
	}
	if c.LeftOut > 0 {
		fmt.Fprintf(p.err, "warning: the due work of %s that %s does not have was left out\n",
			counted(c.LeftOut, "grant"), c.From)
	}
	if err == nil && c.Mismatches > 0 {
		err = notDone(fmt.Errorf("the copy is complete, and has %s as the original has; "+
			"run `jit audit verify` with its URL", counted(c.Mismatches, "finding")))
	}
	return err
}
