package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/status"
)

func (p *program) reportCommand() *cobra.Command {
	var s selection
	var from, to, output string
	cmd := p.command(&cobra.Command{
		Use:   "report",
		Short: "Write who had access to what in a period, as one HTML file",
		Long: `Write the grants that gave access in a period: who, what, why, from when until when, how each ended, and
who asked for it from which change. The report has a timeline, drift, failed revocations and policy changes.
The HTML file is self-contained: no script, no network. It names the head of the record that it was made from,
which jit audit verify checks.

Exit codes: 0 written, 1 the file could not be written, or the record is not intact, 2 the ledger could not be read,
3 the command line or the settings are wrong, 5 no target has that name.`,
		Example: `  jit report -o report.html
  jit report --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --target 'prod*' -o november.html
  jit report --from 7d --json | jq .totals`,
	}, func([]string) (action, error) {
		if p.json == (output != "") {
			return nil, jit.Invalid("--output", "write -o report.html, -o - for standard output, or --json",
				"choose one form of output: a file, or --json")
		}
		return func(ctx context.Context, rt *config.Runtime) error {
			return p.makeReport(ctx, rt, s, from, to, output)
		}, nil
	})
	s.addFlags(p, cmd)
	cmd.Flags().StringVar(&from, "from", "30d", "the beginning: a `time` (2026-11-01T00:00:00Z), or how long ago (30d)")
	cmd.Flags().StringVar(&to, "to", "", "the end: a `time`, or how long ago (default now)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "the HTML `file` to write; - is standard output")
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) makeReport(ctx context.Context, rt *config.Runtime, s selection, from, to, output string) error {
	now := p.Now()
	begin, err := p.timeOrAge("--from", from)
	if err != nil {
		return err
	}
	end, err := p.timeOrAge("--to", cmp.Or(to, jit.FormatTime(now.Add(time.Second))))
	if err != nil {
		return err
	}
	if !begin.Before(end) {
		return jit.Invalid("--from", "let it begin before it ends", "the period would begin at %s and end at %s",
			jit.FormatTime(begin), jit.FormatTime(end))
	}
	wanted, err := s.ledgerMatcher(ctx, rt)
	if err != nil {
		return err
	}
	if err := s.checkTarget(ctx, rt); err != nil {
		return err
	}
	checked, err := rt.Ledger.Verify(ctx)
	if err != nil {
		return unreadable(err)
	}
	head := status.Head{Ledger: checked.Ledger, Hash: checked.Head, Seq: checked.Seq, Intact: checked.OK()}
	r, err := status.NewReport(ctx, rt.Ledger, rt.Broker.Owner, status.Period{From: begin, To: end, Wanted: wanted},
		head, now)
	if err != nil {
		return unreadable(err)
	}
	if p.json {
		err = p.printJSON(r)
	} else {
		err = p.writeReport(r, output)
	}
	if err != nil {
		return notDone(err)
	}
	if !checked.OK() {
		return notDone(fmt.Errorf("%w; see jit audit verify", notIntact(checked)))
	}
	return nil
}

// writeReport writes the whole file or nothing. Only its owner can read it.
func (p *program) writeReport(r status.Report, output string) error {
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		return err
	}
	if output == "-" {
		_, err := page.WriteTo(p.out)
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(output), ".report-*")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	defer func() { _ = os.Remove(next.Name()) }() // gone already after the rename
	_, err = page.WriteTo(next)
	if closed := next.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(next.Name(), output)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	fmt.Fprintf(p.err, "Wrote %s to %s.\n", counted(r.Totals.Grants, "grant"), printable(output))
	return nil
}
